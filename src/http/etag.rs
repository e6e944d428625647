//! Entity tags (RFC 9110 §8.8.3): of metadata (`studies.md` §3.6.3), of instances and of frames (§1.3).
//!
//! A multipart body has a new boundary each time, so its tag is a weak one. `If-None-Match` is compared
//! weakly, as it has to be.

use axum::http::header::{ETAG, HeaderName, IF_NONE_MATCH, IF_RANGE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::accept::Form;
use super::media;

/// What tells one state of a resource from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntityTag {
    weak: bool,
    tag: String,
}

impl EntityTag {
    /// Of bytes that are the same whenever the tag is. `tag` holds letters, digits and dashes.
    pub(super) fn strong(tag: String) -> Self {
        Self { weak: false, tag }
    }

    /// Of files, frames or values of one version of an instance, in the form and type they are sent in.
    pub(super) fn of_version(version: u64, form: Form, media: &str) -> Self {
        match form {
            Form::Single => Self::strong(version.to_string()),
            Form::Multipart => Self { weak: true, tag: format!("{version}-{}", media.replace('/', "-")) },
        }
    }

    /// The same in another transfer syntax than it is stored in: other bytes, another tag.
    pub(super) fn encoded_as(mut self, transfer_syntax: &str) -> Self {
        self.tag.push('-');
        self.tag.push_str(&transfer_syntax.replace('.', "-"));
        self
    }

    /// The header of an answer.
    pub(super) fn header(&self) -> [(HeaderName, HeaderValue); 1] {
        let value = format!("{}\"{}\"", if self.weak { "W/" } else { "" }, self.tag);
        [(ETAG, HeaderValue::from_str(&value).expect("letters, digits and dashes are legal"))]
    }

    /// 304, when `If-None-Match` names this tag: in a list, weak or strong, quoted or not, or as `*`.
    pub(super) fn not_modified(&self, headers: &HeaderMap) -> Option<Response> {
        self.is_known(headers).then(|| (StatusCode::NOT_MODIFIED, self.header()).into_response())
    }

    /// Whether `If-Range` (RFC 9110 §13.1.5) lets a range be served: there is none, or it is this tag, both
    /// strong. A date never is: nothing is dated here.
    pub(super) fn may_be_ranged(&self, headers: &HeaderMap) -> bool {
        let Some(given) = headers.get(IF_RANGE) else { return true };
        let given = given.to_str().unwrap_or_default().trim();
        !self.weak && given.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) == Some(&*self.tag)
    }

    fn is_known(&self, headers: &HeaderMap) -> bool {
        let names = |entry: &str| {
            let entry = entry.trim();
            let entry = entry.strip_prefix("W/").or_else(|| entry.strip_prefix("w/")).unwrap_or(entry);
            let bare = entry.strip_prefix('"').and_then(|entry| entry.strip_suffix('"')).unwrap_or(entry);
            entry == "*" || bare.eq_ignore_ascii_case(&self.tag)
        };
        let lines = headers.get_all(IF_NONE_MATCH).into_iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| media::split(line, ',')).any(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_found_in_every_form_clients_send() {
        let tag = EntityTag::strong("7-3".to_owned());
        for (value, known) in [
            ("\"7-3\"", true),
            ("7-3", true),
            ("W/\"7-3\"", true),
            ("\"1-1\", \"7-3\"", true),
            ("\"1-1\",W/\"7-3\" , \"x\"", true),
            ("*", true),
            ("\"*\"", false),
            ("\"7-2\"", false),
            ("\"17-3\"", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static(value));
            assert_eq!(tag.is_known(&headers), known, "{value}");
        }
        assert!(!tag.is_known(&HeaderMap::new()));
    }

    #[test]
    fn a_range_goes_on_only_under_the_strong_tag_itself() {
        let tag = EntityTag::strong("7".to_owned());
        for (value, may) in
            [("\"7\"", true), ("W/\"7\"", false), ("7", false), ("\"8\"", false), ("*", false), ("", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(IF_RANGE, HeaderValue::from_static(value));
            assert_eq!(tag.may_be_ranged(&headers), may, "{value}");
            assert!(!EntityTag::of_version(7, Form::Multipart, "a/b").may_be_ranged(&headers));
        }
        assert!(tag.may_be_ranged(&HeaderMap::new()));
        let mut dated = HeaderMap::new();
        dated.insert(IF_RANGE, HeaderValue::from_static("Sat, 29 Oct 1994 19:43:31 GMT"));
        assert!(!tag.may_be_ranged(&dated));
    }

    #[test]
    fn a_body_with_a_fresh_boundary_is_tagged_weakly() {
        let value = |tag: EntityTag| tag.header()[0].1.clone();
        assert_eq!(value(EntityTag::of_version(12, Form::Single, "a/b")), "\"12\"");
        assert_eq!(value(EntityTag::of_version(12, Form::Multipart, "a/b")), "W/\"12-a-b\"");
        let tag = EntityTag::of_version(12, Form::Single, "a/b");
        assert_eq!(value(tag.encoded_as("1.2.840.10008.1.2.1")), "\"12-1-2-840-10008-1-2-1\"");
    }
}
