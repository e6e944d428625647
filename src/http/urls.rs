//! Addresses: the identifiers read from a path and the query read from a URL, the URLs written into answers.
//!
//! Invariant: a URL in an answer is absolute and carries the version of its request (`studies.md` §1.7).
//! Elsewhere: letter case, version and partition segment (`routing`).

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};
use percent_encoding::percent_decode;

use super::Settings;
use super::error::Error;
use super::peers::Ends;
use super::routing::Version;
use crate::base::Partition;
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

/// A segment of a path, decoded. Bytes that are no text become characters that no name has.
pub(super) fn decoded(segment: &str) -> String {
    percent_decode(segment.as_bytes()).decode_utf8_lossy().into_owned()
}

/// What the URLs of one answer begin with: `{scheme}://{host}[/{base}]/{version}[/partitions/{partition}]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base(String);

impl Base {
    /// The configured public address before what a trusted proxy says before the request's own authority
    /// before its `Host` before the socket's address. What is no authority, prefix or scheme is passed over.
    pub(super) fn of(
        settings: &Settings,
        ends: Option<&Ends>,
        uri: &Uri,
        headers: &HeaderMap,
        version: Version,
    ) -> Self {
        if let Some(public) = &settings.public_url {
            return Self(format!("{}/{version}", public.trim_end_matches('/')));
        }
        let believed =
            ends.is_some_and(|ends| settings.trusted_proxies.iter().any(|proxy| proxy.holds(ends.peer)));
        let forwarded = |name| if believed { last_entry(headers, name) } else { None };
        let scheme = forwarded("x-forwarded-proto").or(uri.scheme_str());
        let secure = scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        let own = uri.authority().map(Authority::as_str).or_else(|| headers.get("host")?.to_str().ok());
        let own = own.map(str::trim).filter(|text| is_authority(text));
        let host = match (forwarded("x-forwarded-host").filter(|text| is_authority(text)), own, ends) {
            (Some(forwarded), _, _) => forwarded.to_owned(),
            (None, Some(own), Some(ends)) if !believed && !secure => with_port(own, ends),
            (None, Some(own), _) => own.to_owned(),
            (None, None, Some(ends)) => ends.local.to_string(),
            (None, None, None) => "localhost".to_owned(),
        };
        let prefix = forwarded("x-forwarded-prefix").map(|prefix| prefix.trim_matches('/'));
        let prefix = prefix.filter(|prefix| is_path(prefix)).unwrap_or_default();
        let slash = if prefix.is_empty() { "" } else { "/" };
        let scheme = if secure { "https" } else { "http" };
        Self(format!("{scheme}://{host}{slash}{prefix}/{version}"))
    }

    /// The beginning itself, without a slash at its end.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The same in a data partition, whose name needs no encoding.
    pub(super) fn in_partition(self, partition: &Partition) -> Self {
        Self(format!("{}/partitions/{partition}", self.0))
    }

    /// The host, without its port.
    pub(super) fn host(&self) -> &str {
        let authority = self.0.split_once("://").map_or(self.0.as_str(), |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or_default();
        // An IPv6 address has colons of its own, between brackets.
        match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            Some(_) | None => authority,
        }
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

/// The last entry of a list header: what the peer itself put there, whatever its client sent.
fn last_entry<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let line = headers.get_all(name).into_iter().next_back()?.to_str().ok()?;
    line.rsplit(',').next().map(str::trim).filter(|entry| !entry.is_empty())
}

/// Whether a text is a host, with or without a port, and nothing else.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let is_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse().is_ok_and(|n: u16| n > 0);
    let is_name = |name: &str| {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        (1..=LONGEST_HOST).contains(&name.len()) && name.bytes().all(legal)
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => is_name(host),
    };
    is_host && port.is_none_or(is_port)
}

/// Longest name of a host (RFC 1035 §2.3.4), in characters.
const LONGEST_HOST: usize = 253;
/// Longest prefix taken from a proxy, in characters.
const LONGEST_PREFIX: usize = 1024;

/// Whether a text is segments of a path that mean themselves.
fn is_path(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(legal);
    text.len() <= LONGEST_PREFIX && text.split('/').all(segment)
}

/// The authority with the port of the socket, where a client has left it out that speaks to the socket
/// itself: `localhost`, or an address that is the socket's own.
fn with_port(authority: &str, ends: &Ends) -> String {
    let bare = authority.trim_start_matches('[').trim_end_matches(']');
    let local = ends.local.ip().to_canonical();
    let own = match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical() == local,
        Err(_) => bare.eq_ignore_ascii_case("localhost") && local.is_loopback(),
    };
    if own && ends.local.port() != 80 {
        format!("{authority}:{}", ends.local.port())
    } else {
        authority.to_owned()
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

    fn ends(peer: &str, local: &str) -> Ends {
        Ends { peer: peer.parse().unwrap(), local: local.parse().unwrap() }
    }

    /// The beginning of URLs for a request from `peer` to 127.0.0.1:8042 behind the proxies of 10.0.0.0/8.
    fn base(peer: &str, target: &str, headers: &[(&'static str, &'static str)]) -> String {
        let settings =
            Settings { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Settings::default() };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let ends = ends(peer, "127.0.0.1:8042");
        Base::of(&settings, Some(&ends), &target.parse().unwrap(), &map, Version::V2).as_str().to_owned()
    }

    #[test]
    fn urls_use_the_public_address_then_the_proxy_then_the_authority_then_the_host_then_the_socket() {
        let plain = "/v2/studies";
        let host = ("host", "pacs:8080");
        assert_eq!(base("192.0.2.1", plain, &[host]), "http://pacs:8080/v2");
        assert_eq!(base("192.0.2.1", "http://other:1/v2/studies", &[host]), "http://other:1/v2");
        assert_eq!(base("192.0.2.1", "https://other/v2/studies", &[host]), "https://other/v2");
        assert_eq!(base("192.0.2.1", plain, &[]), "http://127.0.0.1:8042/v2");
        let forwarded = [
            host,
            ("x-forwarded-host", "gate"),
            ("x-forwarded-proto", "HTTPS"),
            ("x-forwarded-prefix", "/dicom/web/"),
        ];
        assert_eq!(base("10.1.2.3", plain, &forwarded), "https://gate/dicom/web/v2");
        assert_eq!(base("::ffff:10.1.2.3", plain, &forwarded), "https://gate/dicom/web/v2");
        // Each by itself.
        assert_eq!(base("10.1.2.3", plain, &forwarded[..2]), "http://gate/v2");
        assert_eq!(base("10.1.2.3", plain, &[host, forwarded[3]]), "http://pacs:8080/dicom/web/v2");
        assert_eq!(base("10.1.2.3", plain, &[host, forwarded[2]]), "https://pacs:8080/v2");
        // From anybody else they are nothing.
        assert_eq!(base("192.0.2.1", plain, &forwarded), "http://pacs:8080/v2");
        assert_eq!(base("127.0.0.1", plain, &forwarded), "http://pacs:8080/v2");
        let public = Settings { public_url: Some("https://a/b/".to_owned()), ..Settings::default() };
        let base = Base::of(&public, None, &plain.parse().unwrap(), &HeaderMap::new(), Version::V1Prerelease);
        assert_eq!(base.study(&Uid::parse("1.2").unwrap()), "https://a/b/v1.0-prerelease/studies/1.2");
    }

    #[test]
    fn what_is_no_host_prefix_or_scheme_never_comes_into_a_url() {
        let forwarded = |name, value| base("10.1.2.3", "/v2/studies", &[("host", "pacs"), (name, value)]);
        for bad in [
            "a/b",
            "a b",
            "user@gate",
            "gate:",
            "gate:0",
            "gate:65536",
            "gate:x",
            "a:b:1",
            "[::1",
            "[x]:1",
            "\"",
            "gate,",
            "gate/..",
            "<a>",
            "%41",
            "gate?x",
            "gate#x",
        ] {
            assert_eq!(forwarded("x-forwarded-host", bad), "http://pacs/v2", "{bad}");
        }
        for (good, url) in [
            ("gate:443", "http://gate:443/v2"),
            ("[2001:db8::1]:8443", "http://[2001:db8::1]:8443/v2"),
            ("[::1]", "http://[::1]/v2"),
            // What the client sent stands before what the proxy put there.
            ("evil.example, gate", "http://gate/v2"),
        ] {
            assert_eq!(forwarded("x-forwarded-host", good), url, "{good}");
        }
        for bad in
            ["//evil.example", "/a/../b", "/a//b", "/.", "/a?b", "/a#b", "/a b", "/%2e%2e", "/<", "https://a"]
        {
            let url = forwarded("x-forwarded-prefix", bad);
            assert!(url == "http://pacs/v2" || url == "http://pacs/evil.example/v2", "{bad}: {url}");
        }
        for bad in ["javascript", "ftp", "https://", "s"] {
            assert_eq!(forwarded("x-forwarded-proto", bad), "http://pacs/v2", "{bad}");
        }
        let hosts = |host| base("192.0.2.1", "/v2/studies", &[("host", host)]);
        for bad in ["a/b", "user@a", "a b", "<", ""] {
            assert_eq!(hosts(bad), "http://127.0.0.1:8042/v2", "{bad}");
        }
    }

    /// The Python dicomweb-client sends `Host` without its port.
    #[test]
    fn a_port_that_the_client_left_out_is_that_of_the_socket_it_speaks_to() {
        let hosts = |host| base("192.0.2.1", "/v2/studies", &[("host", host)]);
        assert_eq!(hosts("localhost"), "http://localhost:8042/v2");
        assert_eq!(hosts("127.0.0.1"), "http://127.0.0.1:8042/v2");
        assert_eq!(hosts("127.0.0.1:9"), "http://127.0.0.1:9/v2");
        // It may be another machine's, or another port's, that leads here.
        assert_eq!(hosts("pacs.example"), "http://pacs.example/v2");
        assert_eq!(hosts("127.0.0.2"), "http://127.0.0.2/v2");
        let proxied = base("10.0.0.1", "/v2/studies", &[("host", "localhost")]);
        assert_eq!(proxied, "http://localhost/v2");
        let six = ends("::1", "[::1]:8042");
        assert_eq!(with_port("[::1]", &six), "[::1]:8042");
        assert_eq!(with_port("localhost", &ends("127.0.0.1", "127.0.0.1:80")), "localhost");
    }

    #[test]
    fn a_host_is_named_without_its_port() {
        for (url, host) in [
            ("https://pacs.example:8080/a/b", "pacs.example"),
            ("http://pacs", "pacs"),
            ("http://[::1]:80", "[::1]"),
            ("http://[fe80::1:2]/x", "[fe80::1:2]"),
            ("http://10.0.0.1:1", "10.0.0.1"),
        ] {
            let settings = Settings { public_url: Some(url.to_owned()), ..Settings::default() };
            let base = Base::of(&settings, None, &Uri::from_static("/"), &HeaderMap::new(), Version::V2);
            assert_eq!(base.host(), host, "{url}");
        }
    }
}
