//! The query parameters of the change feed, checked (`change-feed.md` §2).
//!
//! Names match in any letter case, the first of several counts, a blank one counts as absent, and unknown
//! ones are passed over.
//!
//! Elsewhere: what is answered (`http::change_feed`).

use std::ops::Range;

use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

use super::{Error, Stamp, Version};

/// What a list request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parameters {
    /// v1: `offset < sequence <= offset + limit`.
    Sequences {
        /// Exclusive start.
        offset: u64,
        /// Width of the window.
        limit: u64,
        /// Whether metadata are attached.
        metadata: bool,
    },
    /// v2: a window of feed time.
    Times {
        /// Start inclusive, end exclusive.
        window: Range<Stamp>,
        /// Rows skipped in it.
        offset: u64,
        /// Most rows.
        limit: usize,
        /// Whether metadata are attached.
        metadata: bool,
    },
}

const OFFSET: &str = "It must be an integer from 0 to 9223372036854775807.";
const LIMIT_V1: &str = "It must be an integer from 1 to 100.";
const LIMIT_V2: &str = "It must be an integer from 1 to 200.";
const BOOLEAN: &str = "It must be 'true' or 'false'.";
const DATE_TIME: &str = "It must be an ISO 8601 date and time with a zone, such as 2023-05-03T10:58:00Z.";
const EMPTY_WINDOW: &str = "It must be later than 'startTime'.";

impl Parameters {
    /// Checks the pairs of a query.
    pub(super) fn parse(version: Version, pairs: &[(String, String)]) -> Result<Self, Error> {
        let offset = number(pairs, "offset", 0, 0, i64::MAX.unsigned_abs(), OFFSET)?;
        if !version.is_v2() {
            let limit = number(pairs, "limit", 10, 1, 100, LIMIT_V1)?;
            return Ok(Self::Sequences { offset, limit, metadata: include_metadata(pairs)? });
        }
        let limit = number(pairs, "limit", 100, 1, 200, LIMIT_V2)?;
        let start = moment(pairs, "startTime")?.unwrap_or(Stamp(i64::MIN));
        let end = moment(pairs, "endTime")?.unwrap_or(Stamp(i64::MAX));
        if end <= start {
            return Err(Error::Parameter { name: "endTime", allowed: EMPTY_WINDOW });
        }
        let limit = usize::try_from(limit).expect("200 at most");
        Ok(Self::Times { window: start..end, offset, limit, metadata: include_metadata(pairs)? })
    }

    /// Whether metadata are attached.
    pub(super) fn metadata(&self) -> bool {
        match self {
            Self::Sequences { metadata, .. } | Self::Times { metadata, .. } => *metadata,
        }
    }
}

/// `includeMetadata`, `true` unless asked otherwise.
pub(super) fn include_metadata(pairs: &[(String, String)]) -> Result<bool, Error> {
    let name = "includeMetadata";
    let bad = Error::Parameter { name, allowed: BOOLEAN };
    match value(pairs, name) {
        None => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(bad),
    }
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = pairs.iter().find(|(known, _)| known.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim()).filter(|value| !value.is_empty())
}

fn number(
    pairs: &[(String, String)],
    name: &'static str,
    default: u64,
    least: u64,
    most: u64,
    allowed: &'static str,
) -> Result<u64, Error> {
    let Some(text) = value(pairs, name) else { return Ok(default) };
    let number = text.parse::<u64>().ok().filter(|number| (least..=most).contains(number));
    number.ok_or(Error::Parameter { name, allowed })
}

fn moment(pairs: &[(String, String)], name: &'static str) -> Result<Option<Stamp>, Error> {
    let Some(text) = value(pairs, name) else { return Ok(None) };
    date_time(text).map(Some).ok_or(Error::Parameter { name, allowed: DATE_TIME })
}

/// `yyyy-MM-ddTHH:mm[:ss[.f…]]` with `Z` or `±HH:mm`; digits beyond 100 ns are cut.
fn date_time(text: &str) -> Option<Stamp> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let rest = rest.strip_prefix(['T', 't'])?;
    // An offset's `+` that was not percent-encoded arrives as a blank.
    let zone_at = rest.find(['Z', 'z', '+', '-', ' '])?;
    let (time, zone) = rest.split_at(zone_at);
    let at =
        PrimitiveDateTime::new(calendar_date(date)?, time_of_day(time)?).assume_offset(zone_offset(zone)?);
    i64::try_from(at.unix_timestamp_nanos() / 100).ok().map(Stamp)
}

fn calendar_date(text: &str) -> Option<Date> {
    let [year, month, day] = numbers(text, '-', [4, 2, 2])?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    Date::from_calendar_date(
        i32::try_from(year).ok().filter(|year| *year > 0)?,
        month,
        u8::try_from(day).ok()?,
    )
    .ok()
}

fn time_of_day(text: &str) -> Option<Time> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if whole.len() == 8 => (whole, Some(fraction)),
        Some(_) => return None,
        None => (text, None),
    };
    let [hour, minute, second] = match whole.len() {
        5 => {
            let [hour, minute] = numbers(whole, ':', [2, 2])?;
            [hour, minute, 0]
        }
        _ => numbers(whole, ':', [2, 2, 2])?,
    };
    let ticks = match fraction {
        None => 0,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{digits:0<7}").get(..7)?.parse::<u32>().ok()?
        }
        Some(_) => return None,
    };
    let part = |number: u32| u8::try_from(number).ok();
    Time::from_hms_nano(part(hour)?, part(minute)?, part(second)?, ticks * 100).ok()
}

fn zone_offset(text: &str) -> Option<UtcOffset> {
    if text.eq_ignore_ascii_case("z") {
        return Some(UtcOffset::UTC);
    }
    let sign = match text.as_bytes().first()? {
        b'+' | b' ' => 1,
        b'-' => -1,
        _ => return None,
    };
    let [hours, minutes] = numbers(text.get(1..)?, ':', [2, 2])?;
    if hours > 14 || minutes > 59 {
        return None;
    }
    let part = |number: u32| i8::try_from(number).ok().map(|number| number * sign);
    UtcOffset::from_hms(part(hours)?, part(minutes)?, 0).ok()
}

/// Digits of exactly these widths, `separator` between them.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[u32; N]> {
    let mut pieces = text.split(separator);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let piece = pieces.next()?;
        let fits = piece.len() == width && piece.bytes().all(|byte| byte.is_ascii_digit());
        *number = piece.parse().ok().filter(|_| fits)?;
    }
    pieces.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::urls::query_pairs;

    fn parse(version: Version, query: &str) -> Result<Parameters, &'static str> {
        let uri = format!("/changefeed?{query}").parse().unwrap();
        Parameters::parse(version, &query_pairs(&uri)).map_err(|error| match error {
            Error::Parameter { name, .. } => {
                assert_eq!(error.status(), 400);
                assert!(error.to_string().starts_with(&format!("The query parameter '{name}' is invalid. ")));
                name
            }
            other => panic!("{other}"),
        })
    }

    fn v1(offset: u64, limit: u64, metadata: bool) -> Result<Parameters, &'static str> {
        Ok(Parameters::Sequences { offset, limit, metadata })
    }

    fn v2(window: Range<i64>, offset: u64, limit: usize) -> Result<Parameters, &'static str> {
        let window = Stamp(window.start)..Stamp(window.end);
        Ok(Parameters::Times { window, offset, limit, metadata: true })
    }

    const ALL: Range<i64> = i64::MIN..i64::MAX;

    #[test]
    fn defaults_and_ranges_follow_the_version() {
        use Version::{V1, V1Prerelease, V2};
        assert_eq!(parse(V1, ""), v1(0, 10, true));
        assert_eq!(
            parse(V1Prerelease, "limit=100&offset=9223372036854775807"),
            v1(i64::MAX as u64, 100, true)
        );
        assert_eq!(parse(V1, "LIMIT=3&Offset=+5&includemetadata=FALSE&unknown=%20"), v1(5, 3, false));
        assert_eq!(parse(V1, "limit=&offset=%20&includeMetadata="), v1(0, 10, true));
        assert_eq!(parse(V1, "startTime=nonsense&endTime=nonsense"), v1(0, 10, true));
        assert_eq!(parse(V2, ""), v2(ALL, 0, 100));
        assert_eq!(parse(V2, "limit=200&offset=7&startTime=&endTime=%20"), v2(ALL, 7, 200));
    }

    #[test]
    fn every_error_of_the_contract_names_its_parameter() {
        use Version::{V1, V2};
        for (version, query, name) in [
            (V1, "limit=0", "limit"),
            (V1, "limit=-1", "limit"),
            (V1, "limit=101", "limit"),
            (V2, "limit=201", "limit"),
            (V2, "limit=ten", "limit"),
            (V1, "offset=-1", "offset"),
            (V2, "offset=x", "offset"),
            (V1, "offset=92233720368547758070", "offset"),
            (V1, "offset=9223372036854775808", "offset"),
            (V1, "includeMetadata=0", "includeMetadata"),
            (V1, "includeMetadata=1", "includeMetadata"),
            (V2, "includeMetadata=yes", "includeMetadata"),
            (V2, "includeMetadata=true-ish", "includeMetadata"),
            (V2, "includeMetadata=boolean", "includeMetadata"),
            (V2, "startTime=2023-05-03T10:58:00", "startTime"),
            (V2, "startTime=yesterday", "startTime"),
            (V2, "endTime=2023-13-03T10:58:00Z", "endTime"),
            (V2, "endTime=2023-05-03Z", "endTime"),
            (V2, "startTime=2023-05-03T10:58:00Z&endTime=2023-05-03T10:58:00Z", "endTime"),
            (V2, "startTime=2023-05-03T10:58:00Z&endTime=2023-05-03T12:57:59%2B02:00", "endTime"),
        ] {
            assert_eq!(parse(version, query), Err(name), "{version} {query}");
        }
    }

    #[test]
    fn times_are_read_to_100_ns_in_every_zone() {
        // 2025-02-11T08:15:30.1234567Z, as in `base`.
        let at = 17_392_617_301_234_567;
        for text in [
            "2025-02-11T08:15:30.1234567Z",
            "2025-02-11T08:15:30.1234567+00:00",
            "2025-02-11T10:15:30.1234567+02:00",
            "2025-02-11T10:15:30.1234567 02:00",
            "2025-02-11T02:45:30.1234567-05:30",
            "2025-02-11T08:15:30.12345678Z",
        ] {
            assert_eq!(date_time(text), Some(Stamp(at)), "{text}");
        }
        assert_eq!(date_time("2025-02-11T08:15Z"), Some(Stamp(17_392_617_000_000_000)));
        assert_eq!(date_time("2025-02-11T08:15:30.5Z"), Some(Stamp(17_392_617_305_000_000)));
        assert_eq!(date_time("0001-01-01T00:00:00Z"), Some(Stamp(-621_355_968_000_000_000)));
        for bad in [
            "",
            "2025-02-11",
            "2025-02-30T08:15:30Z",
            "2025-02-11T24:00:00Z",
            "2025-02-11T08:15:60Z",
            "2025-02-11T08:15:30.Z",
            "2025-02-11T08:15.5Z",
            "2025-02-11T08:15:30+2:00",
            "2025-02-11T08:15:30+0200",
            "2025-02-11T08:15:30+15:00",
            "2025-02-11T08:15:30Zx",
            "2025-02-11 08:15:30Z",
            "+025-02-11T08:15:30Z",
            "２０25-02-11T08:15:30Z",
        ] {
            assert_eq!(date_time(bad), None, "{bad}");
        }
    }
}
