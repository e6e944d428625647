//! The minimum rules of the value representations (contract `studies.md` §2.5.2), for first values.
//!
//! Invariant: reasons name rules, never values.
//! Invariant: a text is looked at once, and nothing is allocated.
//! Elsewhere: which elements they hold for (`required`, `indexed`), the stricter rules for all (`full`).

use dicom_core::VR;

use super::Rules;
use super::walk::Element;

/// What is wrong with a value, as a sentence.
pub(super) type Reason = &'static str;

/// The rule for one value, its padding gone.
pub(super) type TextRule = fn(&str) -> Result<(), Reason>;

/// Checks the first value of an element by the rules of `vr`, the one it ought to have.
pub(super) fn first_value(element: &Element<'_>, rules: Rules) -> Result<(), Reason> {
    if let Some(least_bytes) = number_bytes(element.vr) {
        let whole = element.value.len() >= least_bytes;
        return if whole { Ok(()) } else { Err("The value holds no whole number.") };
    }
    let Some(rule) = text_rule(element.vr) else { return Ok(()) };
    let text = element.text();
    let first = text.split('\\').next().unwrap_or_default();
    rule(unpadded(element.vr, first, rules))
}

/// Drops what only pads a value. v1 takes a NUL for the character it is, but for the one that pads a UID; v2
/// drops all NULs at the end.
pub(super) fn unpadded(vr: VR, value: &str, rules: Rules) -> &str {
    match (rules, vr) {
        (Rules::V1, VR::UI) => value.strip_suffix('\0').unwrap_or(value).trim_end_matches([' ', '\t']),
        (Rules::V1, _) => value.trim_end_matches(' '),
        (Rules::V2, VR::UI) => value.trim_end_matches(['\0', ' ', '\t']),
        (Rules::V2, _) => value.trim_end_matches(['\0', ' ']),
    }
}

/// Bytes of one number, where an element must hold one.
fn number_bytes(vr: VR) -> Option<usize> {
    match vr {
        VR::FD => Some(8),
        VR::FL | VR::SL | VR::UL => Some(4),
        VR::SS | VR::US => Some(2),
        _ => None,
    }
}

/// The rule of a text VR, if it has one.
pub(super) fn text_rule(vr: VR) -> Option<TextRule> {
    match vr {
        VR::AE | VR::CS | VR::SH => Some(short),
        VR::AS => Some(age),
        VR::DA => Some(date),
        VR::DT => Some(date_time),
        VR::TM => Some(time),
        VR::IS => Some(integer),
        VR::LO => Some(long),
        VR::PN => Some(person_name),
        VR::UI => Some(uid),
        _ => None,
    }
}

/// That a text has no more characters.
pub(super) fn at_most(text: &str, characters: usize, reason: Reason) -> Result<(), Reason> {
    // No text has more characters than bytes.
    let longer = text.len() > characters && text.chars().nth(characters).is_some();
    if longer { Err(reason) } else { Ok(()) }
}

/// Whether every character may stand in a text of the extended repertoire, ESC among them.
fn is_printable(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && c != '\x1B')
}

pub(super) fn short(text: &str) -> Result<(), Reason> {
    at_most(text, 16, "The value has more than 16 characters.")
}

fn age(text: &str) -> Result<(), Reason> {
    if text.chars().count() == 4 { Ok(()) } else { Err("The value does not have 4 characters.") }
}

/// The values were split at backslashes, so that none holds one.
fn long(text: &str) -> Result<(), Reason> {
    at_most(text, 64, "The value has more than 64 characters.")?;
    if is_printable(text) { Ok(()) } else { Err("The value holds a control character.") }
}

fn person_name(text: &str) -> Result<(), Reason> {
    for (index, group) in text.split('=').enumerate() {
        if index == 3 {
            return Err("The name has more than 3 component groups.");
        }
        at_most(group, 64, "A component group of the name has more than 64 characters.")?;
        if group.split('^').nth(5).is_some() {
            return Err("A component group of the name has more than 5 components.");
        }
    }
    if is_printable(text) { Ok(()) } else { Err("The name holds a control character.") }
}

fn uid(text: &str) -> Result<(), Reason> {
    let is_uid = text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && text.ends_with(|c: char| c.is_ascii_digit());
    if text.is_empty() || is_uid {
        Ok(())
    } else {
        Err("The value is no UID: it must have at most 64 digits and dots and end in a digit.")
    }
}

fn integer(text: &str) -> Result<(), Reason> {
    let text = text.trim_matches(' ');
    match text.is_empty() || text.parse::<i32>().is_ok() {
        true => Ok(()),
        false => Err("The value is no integer of 32 bits."),
    }
}

fn date(text: &str) -> Result<(), Reason> {
    match text.is_empty() || is_date(text) {
        true => Ok(()),
        false => Err("The value is no date of the calendar, written yyyyMMdd."),
    }
}

fn is_date(text: &str) -> bool {
    let Some((year, month, day)) = year_month_day(text) else { return false };
    let month = u8::try_from(month).ok().and_then(|month| time::Month::try_from(month).ok());
    let (year, day) = (i32::try_from(year), u8::try_from(day));
    match (year, month, day) {
        (Ok(year), Some(month), Ok(day)) => {
            year > 0 && time::Date::from_calendar_date(year, month, day).is_ok()
        }
        _ => false,
    }
}

/// The numbers of eight digits.
pub(super) fn year_month_day(text: &str) -> Option<(u32, u32, u32)> {
    if text.len() != 8 {
        return None;
    }
    Some((digits(text.get(..4)?)?, digits(text.get(4..6)?)?, digits(text.get(6..)?)?))
}

fn time(text: &str) -> Result<(), Reason> {
    match text.is_empty() || is_range_of(text, is_time) {
        true => Ok(()),
        false => Err("The value is no time, written HH[MM[SS[.FFFFFF]]]."),
    }
}

fn date_time(text: &str) -> Result<(), Reason> {
    match text.is_empty() || is_range_of(text, is_date_time) {
        true => Ok(()),
        false => Err("The value is no date and time, written YYYY[MM[DD[HH[MM[SS[.FFFFFF]]]]]][±ZZXX]."),
    }
}

/// Whether a text is one such value, or two with `-` between them, of which one may be missing.
fn is_range_of(text: &str, is_one: fn(&str) -> bool) -> bool {
    if is_one(text) {
        return true;
    }
    // An offset has a hyphen too; at most three can be meant.
    text.match_indices('-').take(3).any(|(at, _)| {
        let (from, to) = (&text[..at], &text[at + 1..]);
        let is_end = |end: &str| end.is_empty() || is_one(end);
        text.len() > 1 && is_end(from) && is_end(to)
    })
}

fn is_time(text: &str) -> bool {
    is_clock(text.trim_end_matches(' '))
}

/// `HH[MM[SS[.F{1,6}]]]`.
fn is_clock(text: &str) -> bool {
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (text, None),
    };
    let fraction_fits = fraction.is_none_or(|fraction| {
        clock.len() == 6 && (1..=6).contains(&fraction.len()) && digits(fraction).is_some()
    });
    fraction_fits && matches!(clock.len(), 2 | 4 | 6) && pairs_within(clock, &[(0, 23), (0, 59), (0, 60)])
}

fn is_date_time(text: &str) -> bool {
    let text = text.trim_end_matches(' ');
    let text = match text.rfind(['+', '-']) {
        Some(at) if is_offset(&text[at..]) => &text[..at],
        Some(_) => return false,
        None => text,
    };
    let Some(year) = text.get(..4) else { return false };
    let rest = &text[4..];
    let (calendar, clock) = rest.split_at_checked(4).unwrap_or((rest, ""));
    digits(year).is_some_and(|year| year > 0)
        && matches!(calendar.len(), 0 | 2 | 4)
        && pairs_within(calendar, &[(1, 12), (1, 31)])
        && (clock.is_empty() || is_clock(clock))
}

/// `±ZZXX` from -1200 to +1400, without -0000.
fn is_offset(text: &str) -> bool {
    let (sign, number) = text.split_at(1);
    let Some(number) = Some(number).filter(|number| number.len() == 4).and_then(digits) else { return false };
    let most = if sign == "-" { 1200 } else { 1400 };
    number <= most && number % 100 < 60 && (sign, number) != ("-", 0)
}

/// Whether each two digits lie within their bounds.
fn pairs_within(text: &str, bounds: &[(u32, u32)]) -> bool {
    let pairs = text.as_bytes().chunks(2).zip(bounds);
    text.len() <= 2 * bounds.len()
        && pairs.into_iter().all(|(pair, (least, most))| {
            let number = str::from_utf8(pair).ok().and_then(digits);
            number.is_some_and(|number| (*least..=*most).contains(&number))
        })
}

/// The number that digits, and nothing else, write.
fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}
