//! The full check of one element (contract `studies.md` §2.5.5): every value, and how many there are.
//!
//! A VR that is not the dictionary's fails as by the minimum rules, and nothing else is looked at then. An empty
//! element passes. NULs and blanks at the end of a value only pad it.
//! Invariant: valid ASCII text is neither copied nor decoded.
//! Elsewhere: the rules that are no stricter (`minimum`), how often an element may occur (`scan`).

use dicom_core::VR;

use super::minimum::{self, Reason, TextRule, at_most};
use super::multiplicity::Multiplicity;
use super::walk::{Element, dictionary_vr};
use super::{Fault, Rules};

/// What is wrong with an element, the first of it.
pub(super) fn fault(element: &Element<'_>) -> Option<Fault> {
    if let Some(vr) = dictionary_vr(element.tag)
        && vr != element.vr
    {
        return Some(Fault::Representation(vr));
    }
    match element.vr {
        VR::SQ => None,
        VR::AT | VR::FL | VR::SL | VR::UL => numbers(element, 4),
        VR::SS | VR::US => numbers(element, 2),
        VR::FD | VR::SV | VR::UV => numbers(element, 8),
        VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN => None,
        _ => text(element),
    }
}

fn numbers(element: &Element<'_>, bytes: usize) -> Option<Fault> {
    if element.value.is_empty() {
        return None;
    }
    multiplicity(element, element.value.len() / bytes)
}

fn multiplicity(element: &Element<'_>, count: usize) -> Option<Fault> {
    let of = Multiplicity::of(element.tag).filter(|multiplicity| !multiplicity.admits(count))?;
    Some(Fault::Multiplicity { of, count })
}

fn text(element: &Element<'_>) -> Option<Fault> {
    if element.value.is_empty() {
        return None;
    }
    let text = element.text();
    let is_single = matches!(element.vr, VR::LT | VR::ST | VR::UR | VR::UT);
    let rule = rule(element.vr);
    let fault = if is_single {
        rule.and_then(|rule| checked(element.vr, &text, rule))
    } else {
        let is_empty = text.bytes().all(|b| matches!(b, b' ' | b'\0'));
        let count = 1 + memchr::memchr_iter(b'\\', text.as_bytes()).count();
        let too_many = if is_empty { None } else { multiplicity(element, count) };
        let mut values = text.split('\\');
        too_many.or_else(|| rule.and_then(|rule| values.find_map(|value| checked(element.vr, value, rule))))
    };
    fault.or_else(|| element.is_undecodable(&text).then_some(Fault::Undecodable))
}

fn checked(vr: VR, value: &str, rule: TextRule) -> Option<Fault> {
    if vr == VR::AE && !value.is_empty() && value.bytes().all(|b| b == b' ') {
        return Some(Fault::Value("The value holds only blanks."));
    }
    rule(minimum::unpadded(vr, value, Rules::V2)).err().map(Fault::Value)
}

/// The rule of a text VR, if it has one.
fn rule(vr: VR) -> Option<TextRule> {
    match vr {
        VR::AE | VR::SH => Some(short),
        VR::AS => Some(age),
        VR::CS => Some(code),
        VR::DA => Some(date),
        VR::DS => Some(decimal),
        VR::LT => Some(|text| at_most(text, 10_240, "The text has more than 10240 characters.")),
        VR::ST => Some(|text| at_most(text, 1024, "The text has more than 1024 characters.")),
        VR::UI => Some(uid),
        _ => minimum::text_rule(vr),
    }
}

/// The values were split at backslashes, so that none holds one.
fn short(text: &str) -> Result<(), Reason> {
    minimum::short(text)?;
    let control = text.chars().any(char::is_control);
    if control { Err("The value holds a control character.") } else { Ok(()) }
}

fn age(text: &str) -> Result<(), Reason> {
    let is_age = match text.as_bytes() {
        [] => true,
        [number @ .., unit] => {
            number.len() == 3
                && number.iter().all(u8::is_ascii_digit)
                && matches!(unit, b'D' | b'W' | b'M' | b'Y')
        }
    };
    if is_age { Ok(()) } else { Err("The value is no age of three digits and one of D, W, M and Y.") }
}

fn code(text: &str) -> Result<(), Reason> {
    minimum::short(text)?;
    let is_code =
        text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b' '));
    match is_code {
        true => Ok(()),
        false => Err("The value holds other characters than A to Z, 0 to 9, underscore and blank."),
    }
}

/// One date, or two with a hyphen; either may be missing.
fn date(text: &str) -> Result<(), Reason> {
    let mut parts = text.split('-');
    let is_part = |part: &str| {
        let numbers = minimum::year_month_day(part);
        part.is_empty() || numbers.is_some_and(|(_, month, day)| month <= 12 && day <= 31)
    };
    let are_dates = parts.by_ref().take(2).all(is_part) && parts.next().is_none();
    if are_dates { Ok(()) } else { Err("The value is no date, written yyyyMMdd.") }
}

/// `[+-]digits[.digits][E[+-]digits]` between blanks.
fn decimal(text: &str) -> Result<(), Reason> {
    minimum::short(text)?;
    let text = text.trim_matches(' ');
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let unsigned = |text: &str| text.strip_prefix(['+', '-']).map_or(text.len(), str::len);
    let number = &mantissa[mantissa.len() - unsigned(mantissa)..];
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let are_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = &exponent[exponent.len() - unsigned(exponent)..];
        !digits.is_empty() && are_digits(digits)
    });
    let fits = whole.len() + fraction.len() > 0 && are_digits(whole) && are_digits(fraction) && exponent_fits;
    if text.is_empty() || fits { Ok(()) } else { Err("The value is no decimal number.") }
}

fn uid(text: &str) -> Result<(), Reason> {
    if text.len() > 64 {
        return Err("The UID has more than 64 characters.");
    }
    let is_component = |component: &str| {
        let digits = !component.is_empty() && component.bytes().all(|b| b.is_ascii_digit());
        digits && (component == "0" || !component.starts_with('0'))
    };
    let is_uid = text.is_empty() || (!text.starts_with('0') && text.split('.').all(is_component));
    match is_uid {
        true => Ok(()),
        false => Err("The UID has an empty component, one that begins with 0, or other characters."),
    }
}
