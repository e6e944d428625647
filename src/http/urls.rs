//! Addresses: the identifiers read from a path and the query read from a URL, the URLs written into answers.
//!
//! Invariant: a URL in an answer is absolute and carries the version of its request (`studies.md` §1.7).
//! Elsewhere: letter case, version and partition segment (`routing`).

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};
use percent_encoding::percent_decode;

use super::Settings;
use super::error::Error;
use super::routing::Version;
use crate::dicom::uid::Uid;
use crate::event::{InstanceKey, Scope};

/// The values between the literals of a path, decoded, under the names of the route.
pub(super) struct Values(Vec<(String, String)>);

/// The values of a request's path.
pub(super) async fn values<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Values, Error> {
    match Path::<Vec<(String, String)>>::from_request_parts(parts, state).await {
        Ok(Path(values)) => Ok(Values(values)),
        Err(_) => Err(Error::Identifier("a segment of the path is no text".to_owned())),
    }
}

impl Values {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    /// The UID under `name`, if the route has it.
    ///
    /// # Errors
    /// [`Error::Identifier`] when it is no UID.
    pub(super) fn uid(&self, name: &str) -> Result<Option<Uid>, Error> {
        let uid = self.text(name).map(Uid::parse).transpose();
        uid.map_err(|bad| Error::Identifier(format!("{name}: {bad}")))
    }
}

/// The study, series or instance a path names; 400 when one of them is no UID.
pub(super) struct UrlScope(pub(super) Scope);

impl<S: Send + Sync> FromRequestParts<S> for UrlScope {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let values = values(parts, state).await?;
        let Some(study) = values.uid("study")? else {
            return Err(Error::Identifier("the path names no study".to_owned()));
        };
        Ok(Self(Scope { study, series: values.uid("series")?, instance: values.uid("instance")? }))
    }
}

/// The study a path names, if it names one. Not yet read: other checks come before a bad one shows.
pub(super) struct UrlStudy(Values);

impl UrlStudy {
    /// The study.
    ///
    /// # Errors
    /// [`Error::Identifier`] when it is no UID.
    pub(super) fn read(&self) -> Result<Option<Uid>, Error> {
        self.0.uid("study")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for UrlStudy {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        values(parts, state).await.map(Self)
    }
}

/// The frame numbers a path names, in its order; 400 when one of them is no positive integer.
pub(super) struct UrlFrames(pub(super) Vec<u32>);

impl<S: Send + Sync> FromRequestParts<S> for UrlFrames {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let values = values(parts, state).await?;
        frame_numbers(values.text("frames").unwrap_or_default()).map(Self)
    }
}

fn frame_numbers(list: &str) -> Result<Vec<u32>, Error> {
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|number| *number > 0);
    let numbers = list.split(',').map(number).collect::<Option<Vec<_>>>();
    numbers.ok_or_else(|| {
        Error::Identifier("frames are given by numbers from 1, separated by commas".to_owned())
    })
}

/// The path of an element that a path names, as `dicom::scan` writes it; 400 when it is none.
pub(super) struct UrlTagPath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for UrlTagPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let values = values(parts, state).await?;
        tag_path(values.text("path").unwrap_or_default()).map(Self)
    }
}

/// Tags of 8 hex digits and item numbers from 1 take turns, a tag at both ends.
fn tag_path(text: &str) -> Result<String, Error> {
    let tag = |part: &str| part.len() == 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let item = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_digit()) && part.parse::<u32>().is_ok_and(|number| number > 0)
    };
    let parts: Vec<&str> = text.split('/').collect();
    let fits = parts.len() % 2 == 1
        && parts.iter().enumerate().all(|(at, part)| if at % 2 == 0 { tag(part) } else { item(part) });
    if !fits {
        let what = "bulk data are named by tags of 8 hex digits with item numbers between them";
        return Err(Error::Identifier(what.to_owned()));
    }
    let canonical = parts.iter().enumerate().map(|(at, part)| {
        if at % 2 == 0 { part.to_ascii_uppercase() } else { part.trim_start_matches('0').to_owned() }
    });
    Ok(canonical.collect::<Vec<_>>().join("/"))
}

/// The pairs of a query, decoded, in order. `+` is a blank; a key without `=` has an empty value.
pub(super) fn query_pairs(uri: &Uri) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode(text.as_bytes()).decode_utf8_lossy().into_owned()
    };
    let pieces = uri.query().unwrap_or_default().split('&').filter(|piece| !piece.is_empty());
    let pairs = pieces.map(|piece| {
        let (key, value) = piece.split_once('=').unwrap_or((piece, ""));
        (decode(key), decode(value))
    });
    pairs.collect()
}

/// What the URLs of one answer begin with: `{scheme}://{host}[/{base}]/{version}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base(String);

impl Base {
    /// The configured public address before what a trusted proxy says before the request's own authority
    /// before its `Host`.
    pub(super) fn of(settings: &Settings, uri: &Uri, headers: &HeaderMap, version: Version) -> Self {
        if let Some(public) = &settings.public_url {
            return Self(format!("{}/{version}", public.trim_end_matches('/')));
        }
        let text =
            |name: &str| headers.get(name)?.to_str().ok().map(str::trim).filter(|text| !text.is_empty());
        let forwarded = |name| if settings.trust_forwarded { text(name) } else { None };
        let scheme = forwarded("x-forwarded-proto").filter(|scheme| matches!(*scheme, "http" | "https"));
        let host = forwarded("x-forwarded-host").or(uri.authority().map(Authority::as_str)).or(text("host"));
        let base = forwarded("x-forwarded-prefix").map_or("", |prefix| prefix.trim_matches('/'));
        let slash = if base.is_empty() { "" } else { "/" };
        let (scheme, host) = (scheme.unwrap_or("http"), host.unwrap_or("localhost"));
        Self(format!("{scheme}://{host}{slash}{base}/{version}"))
    }

    /// The study.
    pub(super) fn study(&self, study: &Uid) -> String {
        format!("{}/studies/{study}", self.0)
    }

    /// What the address of an instance's bulk data begins with; a tag path follows.
    pub(super) fn bulkdata(&self, key: &InstanceKey) -> String {
        format!("{}/bulkdata/", self.instance(key))
    }

    /// The instance.
    pub(super) fn instance(&self, key: &InstanceKey) -> String {
        format!("{}/studies/{}/series/{}/instances/{}", self.0, key.study, key.series, key.instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn frame_lists_keep_their_order_and_their_repetitions() {
        assert_eq!(frame_numbers("3,1,3").ok(), Some(vec![3, 1, 3]));
        for bad in ["", ",", "1,", "0", "-1", "a", "1.5", "1,,2", "1;2", "99999999999"] {
            assert!(frame_numbers(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tag_path_has_tags_at_both_ends() {
        for (path, canonical) in [
            ("7FE00010", "7FE00010"),
            ("7fe00010", "7FE00010"),
            ("0040a730/12/0040DB7A/01/00420011", "0040A730/12/0040DB7A/1/00420011"),
        ] {
            assert_eq!(tag_path(path).ok().as_deref(), Some(canonical), "{path}");
        }
        for bad in [
            "",
            "7FE0001",
            "7FE000100",
            "7FE0001G",
            "PixelData",
            "0040A730/1",
            "0040A730//00420011",
            "0040A730/0/00420011",
            "0040A730/-1/00420011",
            "0040A730/+1/00420011",
            "0040A730/1/00420011/",
            "1/00420011",
            "../../etc",
        ] {
            assert!(tag_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn uids_may_be_padded_but_not_malformed() {
        let read = |text: &str| Values(vec![("study".to_owned(), text.to_owned())]).uid("study");
        assert_eq!(read("1.2.3  ").ok().flatten().map(|uid| uid.to_string()), Some("1.2.3".to_owned()));
        assert_eq!(read("01..2").ok().flatten().map(|uid| uid.to_string()), Some("01..2".to_owned()));
        for bad in ["", " ", "1.2.", "1.2a", "../1\0", &"1".repeat(65)] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_query_is_decoded_pair_by_pair() {
        let uri: Uri = "/studies?a=1%2C2&b&c=x+y&=z&&d=a=b&e=%ff".parse().unwrap();
        let pairs = query_pairs(&uri);
        let seen: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let expected = [("a", "1,2"), ("b", ""), ("c", "x y"), ("", "z"), ("d", "a=b"), ("e", "\u{fffd}")];
        assert_eq!(seen, expected);
    }

    #[test]
    fn urls_use_the_public_address_then_the_proxy_then_the_authority_then_the_host() {
        let study = Uid::parse("1.2.3").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("pacs:8080"));
        headers.insert("x-forwarded-prefix", HeaderValue::from_static("/dicom/"));
        let (plain, whole): (Uri, Uri) =
            ("/v2/studies".parse().unwrap(), "http://other:1/v2/studies".parse().unwrap());
        let url = |settings: &Settings, uri: &Uri, headers: &HeaderMap, version| {
            Base::of(settings, uri, headers, version).study(&study)
        };
        let own = Settings::default();
        assert_eq!(url(&own, &plain, &headers, Version::V2), "http://pacs:8080/v2/studies/1.2.3");
        assert_eq!(url(&own, &whole, &headers, Version::V1), "http://other:1/v1/studies/1.2.3");
        assert_eq!(url(&own, &plain, &HeaderMap::new(), Version::V1), "http://localhost/v1/studies/1.2.3");
        let proxied = Settings { trust_forwarded: true, ..Settings::default() };
        assert_eq!(url(&proxied, &plain, &headers, Version::V2), "http://pacs:8080/dicom/v2/studies/1.2.3");
        headers.insert("x-forwarded-host", HeaderValue::from_static("gate"));
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        assert_eq!(url(&proxied, &whole, &headers, Version::V2), "https://gate/dicom/v2/studies/1.2.3");
        let public = Settings { public_url: Some("https://a/b/".to_owned()), ..proxied };
        let url = url(&public, &whole, &headers, Version::V1Prerelease);
        assert_eq!(url, "https://a/b/v1.0-prerelease/studies/1.2.3");
    }
}
