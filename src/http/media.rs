//! Media types as clients write them: `Accept` lists and `Content-Type` values, read leniently.
//!
//! Clients quote parameters or not, and leave a `/` or `*` unquoted where the grammar forbids it. An entry
//! that cannot be read at all is passed over; it never spoils its neighbours (`studies.md` §2.2).
//!
//! Invariant: names and essences are lower case, values are as sent, without their quotes.
//! Elsewhere: which types a route takes (`accept`, `studies::store`).

use axum::http::{HeaderMap, HeaderName};

/// A media type with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MediaType {
    /// `type/subtype` in lower case.
    pub(super) essence: String,
    parameters: Vec<(String, String)>,
}

impl MediaType {
    /// Reads one media type; `None` when there is no `type/subtype` in front.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut pieces = split(text, ';').into_iter();
        let essence = pieces.next()?.trim().to_ascii_lowercase();
        let (kind, subtype) = essence.split_once('/')?;
        let token = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c == '/');
        if !token(kind) || !token(subtype) {
            return None;
        }
        let parameters = pieces.filter_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), unquoted(value.trim())))
        });
        Some(Self { parameters: parameters.collect(), essence })
    }

    /// The first value of a parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The weight in thousandths: 1000 when there is none, or none that can be read.
    pub(super) fn quality(&self) -> u16 {
        let weight = self.parameter("q").and_then(|text| text.trim().parse::<f32>().ok());
        let weight = weight.filter(|weight| weight.is_finite()).unwrap_or(1.0).clamp(0.0, 1.0);
        // Between 0 and 1000 by the clamp.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
        let thousandths = (weight * 1000.0).round() as u16;
        thousandths
    }
}

/// The entries of a list header, over all its lines, in order. Entries with weight 0 are left out: they
/// name what is not wanted.
pub(super) fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<MediaType> {
    let mut entries = Vec::new();
    for line in headers.get_all(name) {
        let line = String::from_utf8_lossy(line.as_bytes());
        entries.extend(split(&line, ',').into_iter().filter_map(MediaType::parse));
    }
    entries.retain(|entry| entry.quality() > 0);
    entries
}

/// The pieces between `separator`, which does not count inside double quotes.
pub(super) fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut pieces, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if character == separator && !quoted => {
                pieces.push(&text[start..at]);
                start = at + character.len_utf8();
            }
            _ => {}
        }
    }
    pieces.push(&text[start..]);
    pieces
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let (mut plain, mut escaped) = (String::with_capacity(inner.len()), false);
    for character in inner.chars() {
        if character == '\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use axum::http::header::ACCEPT;

    #[test]
    fn parameters_are_read_quoted_and_unquoted() {
        let read = |text| MediaType::parse(text).unwrap();
        let quoted = read("Multipart/Related; TYPE=\"application/dicom\"; transfer-syntax=\"*\"");
        let bare = read("multipart/related;type=application/dicom;transfer-syntax=*");
        assert_eq!(quoted, bare);
        assert_eq!(bare.parameter("type"), Some("application/dicom"));
        assert_eq!(bare.parameter("transfer-syntax"), Some("*"));
        assert_eq!(read(r#"a/b; x="1;\"2\",3""#).parameter("x"), Some(r#"1;"2",3"#));
    }

    #[test]
    fn what_has_no_type_and_subtype_is_nothing() {
        for text in ["", " ", "dicom", "/", "a/", "/b", "a b/c", "a/b/c", ";q=1"] {
            assert_eq!(MediaType::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_broken_entry_spoils_only_itself_and_weight_zero_is_not_wanted() {
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT, HeaderValue::from_static("broken, a/b;q=0.25, c/d;q=0"));
        headers.append(ACCEPT, HeaderValue::from_static("e/f;q=x"));
        let list = list(&headers, &ACCEPT);
        let seen: Vec<_> = list.iter().map(|entry| (entry.essence.as_str(), entry.quality())).collect();
        assert_eq!(seen, [("a/b", 250), ("e/f", 1000)]);
    }
}
