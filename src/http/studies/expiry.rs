//! The headers that say when the studies of a store expire (`studies.md` §2.10).
//!
//! Elsewhere: what follows from them (`archive::state::expiry`).

use axum::http::HeaderMap;

use crate::http::error::Error;

const TIME: &str = "msdicom-expiry-time-milliseconds";
const OPTION: &str = "msdicom-expiry-option";
const LEVEL: &str = "msdicom-expiry-level";

/// Milliseconds after receipt at which the studies of a request expire; `None` if they do not.
pub(super) fn after_ms(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let whole = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let time = only(headers, TIME, "It must be a whole number above 0, given once.", |text| {
        whole(text).then(|| text.parse::<u64>().ok()).flatten().filter(|time| *time > 0)
    })?;
    let option = only(headers, OPTION, "It must be RelativeToNow, given once.", |text| {
        (text == "RelativeToNow").then_some(())
    })?;
    let level =
        only(headers, LEVEL, "It must be Study, given once.", |text| (text == "Study").then_some(()))?;
    if time.is_none() && (option.is_some() || level.is_some()) {
        return Err(Error::Header { name: TIME, allowed: "It must be there when another one of expiry is." });
    }
    Ok(time)
}

/// The value of a header as `read` takes it; `None` if the header is not there.
fn only<T>(
    headers: &HeaderMap,
    name: &'static str,
    allowed: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Error> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), more) = (values.next(), values.next()) else { return Ok(None) };
    let value = value.to_str().ok().filter(|_| more.is_none()).and_then(|text| read(text.trim()));
    value.map(Some).ok_or(Error::Header { name, allowed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn read(pairs: &[(&'static str, &'static str)]) -> Result<Option<u64>, &'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        after_ms(&headers).map_err(|error| match error {
            Error::Header { name, .. } => name,
            error => panic!("{error}"),
        })
    }

    #[test]
    fn a_time_is_enough_and_what_is_wrong_is_named() {
        assert_eq!(read(&[]), Ok(None));
        for (time, read_as) in [
            ("1", Some(1)),
            (" 60000 ", Some(60_000)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("0", None),
            ("000", None),
            ("-5", None),
            ("+5", None),
            ("1.5", None),
            ("1e3", None),
            ("", None),
            ("ten", None),
            ("1 2", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(read(&[(TIME, time)]).ok().flatten(), read_as, "'{time}'");
            assert_eq!(read(&[(TIME, time)]).err(), read_as.is_none().then_some(TIME), "'{time}'");
        }
        let whole = [(TIME, "5"), (OPTION, "RelativeToNow"), (LEVEL, "Study")];
        assert_eq!(read(&whole), Ok(Some(5)));
        assert_eq!(read(&whole[..2]), Ok(Some(5)));
        assert_eq!(read(&[whole[0], whole[2]]), Ok(Some(5)));
        assert_eq!(read(&whole[1..]), Err(TIME));
        assert_eq!(read(&whole[1..2]), Err(TIME));
        assert_eq!(read(&whole[2..]), Err(TIME));
        assert_eq!(read(&[whole[0], (OPTION, "Absolute")]), Err(OPTION));
        assert_eq!(read(&[whole[0], (OPTION, "")]), Err(OPTION));
        assert_eq!(read(&[whole[0], (LEVEL, "Series")]), Err(LEVEL));
        assert_eq!(read(&[(OPTION, "Absolute")]), Err(OPTION));
        for header in whole {
            let twice = [whole[0], whole[1], whole[2], header];
            assert_eq!(read(&twice), Err(header.0), "given twice");
        }
    }
}
