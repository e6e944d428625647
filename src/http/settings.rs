//! Settings of this room, each with its default.
//!
//! Elsewhere: where they come from (`config`), limits of single files (`dicom::scan::Limits`).

use std::time::Duration;

use axum::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, IF_RANGE, RANGE, WARNING,
};
use axum::http::{HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer, ExposeHeaders, Vary};

use super::peers::Network;
use super::routing::SUPPORTED;

/// How requests are met.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `https://host[:port][/base]` that the URLs in answers begin with; `None` takes each request's own
    /// authority.
    pub public_url: Option<String>,
    /// Peers whose `X-Forwarded-Host`, `-Prefix` and `-Proto` are believed (`studies.md` §1.7): proxies that
    /// set them themselves.
    pub trusted_proxies: Vec<Network>,
    /// API versions that callers should leave.
    pub deprecated: Deprecated,
    /// Whether studies lie in data partitions that their routes name (`studies.md` §6).
    pub partitions: bool,
    /// Most bytes of one request's body (`studies.md` §2.4).
    pub body_bytes: u64,
    /// Within each such time of waiting for a body, `body_bytes_per_window` must come.
    pub body_window: Duration,
    /// See `body_window`.
    pub body_bytes_per_window: u64,
    /// Longest request target in bytes; beyond it 414.
    pub uri_bytes: usize,
    /// Most bytes of the request line and headers together; beyond it 431.
    pub head_bytes: usize,
    /// How long a connection may take to send the headers of its next request.
    pub head_time: Duration,
    /// Within each such time that an answer waits for its client, `write_bytes_per_window` must be taken.
    pub write_window: Duration,
    /// See `write_window`.
    pub write_bytes_per_window: usize,
    /// Longest wait for a position to be passed by the views (`Kymo-Min-Position`, after a write).
    pub position_time: Duration,
    /// Connections served at once; others wait to be taken.
    pub connections: usize,
    /// Requests of one HTTP/2 connection at once.
    pub streams_per_connection: u32,
    /// How long running requests may take to finish once the server is told to stop.
    pub stop_time: Duration,
    /// Which pages of other origins may call; `None` is none.
    pub cors: Option<Cors>,
    /// Whether metadata say where the values left out of them are (`studies.md` §3.6.2).
    pub bulk_data_uri: bool,
    /// Largest file that is transcoded as a whole (`studies.md` §3.4).
    pub transcode_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public_url: None,
            trusted_proxies: Vec::new(),
            deprecated: Deprecated::default(),
            partitions: false,
            body_bytes: 4 << 30,
            body_window: Duration::from_secs(30),
            body_bytes_per_window: 8 << 10,
            uri_bytes: 48 << 10,
            head_bytes: 64 << 10,
            head_time: Duration::from_secs(60),
            write_window: Duration::from_secs(30),
            write_bytes_per_window: 8 << 10,
            position_time: Duration::from_secs(10),
            connections: 2048,
            streams_per_connection: 128,
            stop_time: Duration::from_secs(20),
            cors: None,
            bulk_data_uri: false,
            transcode_bytes: 100 << 20,
        }
    }
}

/// API versions an operator has marked deprecated (`studies.md` §1.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deprecated(Option<HeaderValue>);

impl Deprecated {
    /// Checks a list of versions, as `v1` or `1`.
    ///
    /// # Errors
    /// The first that is none.
    pub fn parse(versions: &[String]) -> Result<Self, String> {
        let known = |text: &String| {
            let number = text.strip_prefix(['v', 'V']).unwrap_or(text);
            SUPPORTED.split(", ").find(|known| known.eq_ignore_ascii_case(number)).ok_or_else(|| text.clone())
        };
        let named = versions.iter().map(known).collect::<Result<Vec<_>, _>>();
        let named = named.map_err(|bad| format!("'{bad}' is none of {SUPPORTED}"))?;
        let in_order = SUPPORTED.split(", ").filter(|version| named.contains(version)).collect::<Vec<_>>();
        Ok(Self((!in_order.is_empty()).then(|| {
            HeaderValue::from_str(&in_order.join(", ")).expect("digits, letters, dots and commas are legal")
        })))
    }

    /// Value of `api-deprecated-versions`.
    pub(super) fn header(&self) -> Option<&HeaderValue> {
        self.0.as_ref()
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CORS setting '{setting}' is wrong: {what}")]
pub struct BadCors {
    /// Which.
    pub setting: &'static str,
    /// Why.
    pub what: String,
}

/// One policy for pages of other origins (`studies.md` §7.6).
#[derive(Clone, Debug)]
pub struct Cors {
    origins: AllowOrigin,
    headers: AllowHeaders,
    methods: Vec<Method>,
    max_age: Duration,
    credentials: bool,
}

/// Headers of answers that a page may read.
const EXPOSED: [HeaderName; 6] = [
    ETAG,
    WARNING,
    HeaderName::from_static("erroneous-dicom-attributes"),
    HeaderName::from_static("content-range"),
    HeaderName::from_static("accept-ranges"),
    HeaderName::from_static("kymo-position"),
];

impl Cors {
    /// Checks a policy. `origins` must not be empty; `*` in `origins` or `headers` stands for any. Empty
    /// `headers` are those DICOMweb clients need, empty `methods` GET, HEAD, POST, PUT and DELETE.
    ///
    /// # Errors
    /// [`BadCors`] for what is no origin, header or method, and for credentials from any origin.
    pub fn parse(
        origins: &[String],
        headers: &[String],
        methods: &[String],
        max_age: Duration,
        credentials: bool,
    ) -> Result<Self, BadCors> {
        let bad = |setting, what: &str| BadCors { setting, what: what.to_owned() };
        if origins.is_empty() {
            return Err(bad("origins", "there is none"));
        }
        let any_origin = origins.iter().any(|origin| origin == "*");
        if any_origin && credentials {
            return Err(bad("credentials", "they cannot be allowed to any origin; name the origins"));
        }
        let origins = if any_origin {
            AllowOrigin::any()
        } else {
            let values = origins.iter().map(|origin| {
                let known = origin.starts_with("http://") || origin.starts_with("https://");
                let value = HeaderValue::from_str(origin.trim_end_matches('/')).ok().filter(|_| known);
                value.ok_or_else(|| bad("origins", origin))
            });
            AllowOrigin::list(values.collect::<Result<Vec<_>, _>>()?)
        };
        let names = headers.iter().filter(|name| *name != "*");
        let names = names.map(|name| name.parse::<HeaderName>().map_err(|_| bad("headers", name)));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let allowed = if headers.iter().any(|name| name == "*") {
            AllowHeaders::mirror_request()
        } else if names.is_empty() {
            let traced = ["kymo-min-position", "x-request-id", "traceparent"].map(HeaderName::from_static);
            let needed = [ACCEPT, AUTHORIZATION, CONTENT_TYPE, IF_NONE_MATCH, IF_RANGE, RANGE];
            AllowHeaders::list(needed.into_iter().chain(traced))
        } else {
            AllowHeaders::list(names)
        };
        let named = methods
            .iter()
            .map(|name| name.to_ascii_uppercase().parse::<Method>().map_err(|_| bad("methods", name)));
        let mut methods = named.collect::<Result<Vec<_>, _>>()?;
        if methods.is_empty() {
            methods = vec![Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
        }
        Ok(Self { origins, headers: allowed, methods, max_age, credentials })
    }

    /// The layer that answers pre-flights and marks answers.
    pub(super) fn layer(&self) -> CorsLayer {
        CorsLayer::new()
            .allow_origin(self.origins.clone())
            .allow_headers(self.headers.clone())
            .allow_methods(self.methods.clone())
            .allow_credentials(self.credentials)
            .max_age(self.max_age)
            .expose_headers(ExposeHeaders::list(EXPOSED))
            // Every answer says what it varies by, with or without this layer.
            .vary(Vary::list([]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(
        origins: &[&str],
        headers: &[&str],
        methods: &[&str],
        credentials: bool,
    ) -> Option<&'static str> {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let age = Duration::from_secs(600);
        Cors::parse(&owned(origins), &owned(headers), &owned(methods), age, credentials)
            .err()
            .map(|bad| bad.setting)
    }

    #[test]
    fn deprecated_versions_are_known_ones_and_told_in_order() {
        let parse =
            |list: &[&str]| Deprecated::parse(&list.iter().map(ToString::to_string).collect::<Vec<_>>());
        let told =
            |list: &[&str]| parse(list).unwrap().header().map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(told(&[]), None);
        assert_eq!(told(&["v1"]).as_deref(), Some("1"));
        assert_eq!(told(&["1", "V1.0-Prerelease", "v1"]).as_deref(), Some("1.0-prerelease, 1"));
        for bad in ["v3", "", "v", "1.0", "1, 2"] {
            assert!(parse(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_policy_is_checked_before_anything_is_served() {
        assert_eq!(parse(&["https://viewer.example"], &[], &[], true), None);
        assert_eq!(parse(&["*"], &["*"], &["get"], false), None);
        assert_eq!(parse(&[], &[], &[], false), Some("origins"));
        assert_eq!(parse(&["viewer.example"], &[], &[], false), Some("origins"));
        assert_eq!(parse(&["*"], &[], &[], true), Some("credentials"));
        assert_eq!(parse(&["https://a"], &["no header"], &[], false), Some("headers"));
        assert_eq!(parse(&["https://a"], &[], &["NO METHOD"], false), Some("methods"));
    }
}
