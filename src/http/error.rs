//! The one place that chooses status codes.
//!
//! Every error of another room is matched to the last variant: one that is added there does not compile
//! until it has a status here. Bodies are plain text (`studies.md` §1.4); what is wrong inside the archive
//! goes to the log, not to the client.
//!
//! Elsewhere: instances refused inside a store, which are values of its answer (`studies::store`).

use axum::http::header::{CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::body::BodyError;
use super::multipart::MultipartError;
use super::range;
use crate::archive::{ReadError, SubmitError};
use crate::base::{BadPartition, Partition, Position};
use crate::projections::search::{BadMetadata, QueryError, SearchError};
use crate::{blob, codecs};

/// Seconds after which a refused client may well try again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("2");

/// Why a request has no answer of its own.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A version nobody knows.
    #[error("The API version is not supported.")]
    UnsupportedVersion,
    /// `<` in the query.
    #[error("The query string must not hold '<'.")]
    QueryGuard,
    /// A bad UID or frame number in the path.
    #[error("The address is invalid. {0}")]
    Identifier(String),
    /// A bad query parameter.
    #[error("The query parameter '{name}' is invalid. {allowed}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A partition segment or the list of partitions while there are none.
    #[error("Data partitions are not enabled.")]
    PartitionsOff,
    /// No partition segment while there are partitions.
    #[error(
        "Data partitions are enabled: the path must name one, as in 'partitions/Microsoft.Default/studies'."
    )]
    PartitionMissing,
    /// A partition segment that is no name.
    #[error("The data partition is invalid: {0}.")]
    PartitionName(#[from] BadPartition),
    /// A partition that is not there, and is not made by such a request.
    #[error("The data partition '{0}' does not exist.")]
    UnknownPartition(Partition),
    /// A request header that is not of its form.
    #[error("The header '{name}' is invalid. {allowed}")]
    Header {
        /// Its name.
        name: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
    /// `Kymo-Min-Position` is no position.
    #[error("The header 'Kymo-Min-Position' is invalid. It must be a position as given by 'Kymo-Position'.")]
    MinPosition,
    /// `multipart/related` with a `start` parameter.
    #[error("The parameter 'start' of the content type is not supported.")]
    StartParameter,
    /// Several frames in a single part.
    #[error("Several frames can only be had as multipart/related.")]
    FramesNeedMultipart,
    /// Many frames of a deflated file, to and fro.
    #[error(
        "The file is deflated and can be read from its beginning only: a list of its frames may go back \
         {allowed} times at most. Ask for them in ascending order."
    )]
    FramesToAndFro {
        /// How often a list may go back.
        allowed: usize,
    },
    /// A bad search parameter or attribute.
    #[error("The query is invalid: {0}.")]
    Query(#[from] QueryError),
    /// The body.
    #[error("The request cannot be read: {0}.")]
    Body(#[from] BodyError),
    /// The parts in it.
    #[error("The request cannot be read: {0}.")]
    Multipart(MultipartError),
    /// No form that is accepted.
    #[error("Not acceptable: {0}.")]
    NotAcceptable(&'static str),
    /// `Range` beyond what is there.
    #[error("The range is not satisfiable: there are {length_bytes} bytes.")]
    Range {
        /// Of the whole body.
        length_bytes: u64,
    },
    /// No content type that is taken.
    #[error("Unsupported media type: {0}.")]
    UnsupportedMediaType(&'static str),
    /// Pixels that cannot be had.
    #[error("Not acceptable: {0}.")]
    Codec(#[from] codecs::Error),
    /// Pixels that cannot be had in the transfer syntax asked for.
    #[error("Not acceptable: {0}; ask for transfer-syntax=*.")]
    Transcode(codecs::Error),
    /// Nothing there.
    #[error("{0} is not found.")]
    NotFound(&'static str),
    /// The request target.
    #[error("The request target is too long.")]
    UriTooLong,
    /// A write without an outcome.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// A read without an answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file that cannot be had.
    #[error(transparent)]
    Blob(#[from] blob::Error),
    /// The log took it, but too late for the fold to accept it.
    #[error("The request reached the log too late and had no effect.")]
    TooLate,
    /// A search without an answer.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// Metadata of ours that cannot be read.
    #[error(transparent)]
    Metadata(#[from] BadMetadata),
    /// A view is still catching up after a start.
    #[error("The archive has started and is still reading its log: {0}.")]
    CatchingUp(String),
    /// A write took effect, but a view has not shown it in time.
    #[error("The request took effect at position {0}, but cannot be searched yet.")]
    NotVisibleYet(Position),
    /// Not a failure of the request.
    #[error("The request failed: {0}")]
    Internal(String),
}

impl From<MultipartError> for Error {
    fn from(error: MultipartError) -> Self {
        match error {
            MultipartError::Body(body) => Self::Body(body),
            MultipartError::Malformed(_) => Self::Multipart(error),
        }
    }
}

impl Error {
    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::UnsupportedVersion
            | Self::QueryGuard
            | Self::Identifier(_)
            | Self::Parameter { .. }
            | Self::PartitionsOff
            | Self::PartitionMissing
            | Self::PartitionName(_)
            | Self::UnknownPartition(_)
            | Self::Header { .. }
            | Self::MinPosition
            | Self::StartParameter
            | Self::FramesNeedMultipart
            | Self::FramesToAndFro { .. } => StatusCode::BAD_REQUEST,
            Self::Query(error) => query_status(error),
            Self::Body(error) | Self::Multipart(MultipartError::Body(error)) => body_status(error),
            Self::Multipart(MultipartError::Malformed(_)) => StatusCode::BAD_REQUEST,
            Self::NotAcceptable(_) => StatusCode::NOT_ACCEPTABLE,
            Self::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::Submit(error) => submit_status(error),
            Self::Read(error) => read_status(error),
            Self::Blob(error) => blob_status(error),
            Self::Codec(error) | Self::Transcode(error) => codec_status(error),
            Self::TooLate | Self::CatchingUp(_) | Self::NotVisibleYet(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Search(error) => search_status(error),
            Self::Internal(_) | Self::Metadata(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the client is told.
    fn text(&self) -> String {
        if let Self::Submit(SubmitError::Unknown { until }) = self {
            return format!(
                "The outcome is not known yet. The request may still take effect, until {until}; a repeated \
                 POST adds nothing to it."
            );
        }
        if let Some(file) = self.file() {
            return storage_text(file);
        }
        match self.status() {
            StatusCode::INTERNAL_SERVER_ERROR => "The server failed to answer the request.".to_owned(),
            StatusCode::SERVICE_UNAVAILABLE if !self.is_about_waiting() => {
                "The archive cannot serve the request now; try again later.".to_owned()
            }
            _ => self.to_string(),
        }
    }

    /// The error of the blob store in it.
    fn file(&self) -> Option<&blob::Error> {
        match self {
            Self::Blob(file) | Self::Submit(SubmitError::Blob(file)) | Self::Read(ReadError::Blob(file)) => {
                Some(file)
            }
            _ => None,
        }
    }

    fn is_about_waiting(&self) -> bool {
        matches!(
            self,
            Self::TooLate
                | Self::CatchingUp(_)
                | Self::NotVisibleYet(_)
                | Self::Submit(SubmitError::Sealed)
                | Self::Read(ReadError::Behind { .. } | ReadError::EndUnknown)
        )
    }
}

fn body_status(error: &BodyError) -> StatusCode {
    match error {
        BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::Stalled { .. } => StatusCode::REQUEST_TIMEOUT,
        BodyError::Cut => StatusCode::BAD_REQUEST,
    }
}

fn submit_status(error: &SubmitError) -> StatusCode {
    match error {
        SubmitError::Unavailable(_)
        | SubmitError::Sealed
        | SubmitError::Unknown { .. }
        | SubmitError::Busy
        | SubmitError::State(_) => StatusCode::SERVICE_UNAVAILABLE,
        SubmitError::Blob(file) => blob_status(file),
        SubmitError::TooManyParts { .. } | SubmitError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
    }
}

fn read_status(error: &ReadError) -> StatusCode {
    match error {
        ReadError::State(_)
        | ReadError::Log(_)
        | ReadError::Behind { .. }
        | ReadError::EndUnknown
        | ReadError::Stopped(_)
        | ReadError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ReadError::Blob(file) => blob_status(file),
        ReadError::Event(..) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// `studies.md` §1.5: what cannot be decoded is not acceptable; what nobody had time for is there later.
fn codec_status(error: &codecs::Error) -> StatusCode {
    match error {
        codecs::Error::Unsupported(_)
        | codecs::Error::Corrupt(_)
        | codecs::Error::TooLarge { .. }
        | codecs::Error::Died
        | codecs::Error::TimedOut => StatusCode::NOT_ACCEPTABLE,
        codecs::Error::Busy | codecs::Error::Stopped(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn query_status(error: &QueryError) -> StatusCode {
    match error {
        QueryError::UnknownParameter(_)
        | QueryError::NotQueryable(_)
        | QueryError::Duplicate(_)
        | QueryError::DuplicateInOtherForm(_)
        | QueryError::EmptyValue(_)
        | QueryError::BadValue { .. }
        | QueryError::BadRange { .. }
        | QueryError::QuotationMark(_)
        | QueryError::SequencePath(_)
        | QueryError::BadLimit { .. }
        | QueryError::BadOffset { .. }
        | QueryError::BadFuzzyMatching { .. }
        | QueryError::BadIncludeField { .. }
        | QueryError::Disabled(_)
        | QueryError::TooMany { .. }
        | QueryError::Unsupported { .. }
        | QueryError::BadOrder { .. }
        | QueryError::NotForCounts(_) => StatusCode::BAD_REQUEST,
    }
}

fn search_status(error: &SearchError) -> StatusCode {
    match error {
        SearchError::NotReady(_) | SearchError::Busy | SearchError::Damaged(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        SearchError::TooBroad { .. } => StatusCode::PAYLOAD_TOO_LARGE,
    }
}

/// What the owner of the store did is 424, what failed by itself 503 (`bulk-update-export.md` §4.2).
fn blob_status(error: &blob::Error) -> StatusCode {
    match error {
        blob::Error::Missing { .. } | blob::Error::Changed { .. } | blob::Error::Refused { .. } => {
            StatusCode::FAILED_DEPENDENCY
        }
        blob::Error::Unavailable(_) | blob::Error::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn storage_text(error: &blob::Error) -> String {
    let code = match error {
        blob::Error::Missing { .. } => "BlobNotFound",
        blob::Error::Changed { .. } => "ConditionNotMet",
        blob::Error::Refused { code, .. } => code,
        blob::Error::Unavailable(_) | blob::Error::Full(_) => {
            return "The store of files cannot be used now; try again later.".to_owned();
        }
    };
    format!("The configured storage account failed: {code}.")
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() || status == StatusCode::FAILED_DEPENDENCY {
            tracing::error!(status = status.as_u16(), error = %self, "a request failed");
        }
        if matches!(self, Self::UnsupportedVersion) {
            return unsupported_version(&self);
        }
        let mut response = (status, self.text()).into_response();
        if let Self::Range { length_bytes } = self {
            response.headers_mut().insert(CONTENT_RANGE, range::unsatisfied(length_bytes));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
        }
        response
    }
}

/// The one error with a JSON body (`studies.md` §1.1).
fn unsupported_version(error: &Error) -> Response {
    let message = error.to_string();
    let body = serde_json::json!({
        "error": { "code": "UnsupportedApiVersion", "message": message, "innerError": null }
    });
    let kind = [(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))];
    (error.status(), kind, body.to_string()).into_response()
}

/// The answer to a request whose handler panicked: a fixed text.
pub(super) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Error::Internal("a handler panicked".to_owned()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stamp;

    #[test]
    fn files_changed_behind_our_back_are_424_and_failing_stores_503() {
        let key = || "AHDS/a/b.dcm".to_owned();
        let what = || "length".to_owned();
        for (error, status, text) in [
            (blob::Error::Missing { key: key() }, 424, "BlobNotFound"),
            (blob::Error::Changed { key: key(), what: what() }, 424, "ConditionNotMet"),
            (
                blob::Error::Refused { key: key(), code: "AuthorizationFailure", what: what() },
                424,
                "AuthorizationFailure",
            ),
            (blob::Error::Unavailable(what()), 503, "try again"),
            (blob::Error::Full(what()), 503, "try again"),
        ] {
            for error in [
                Error::Blob(error.clone()),
                Error::Submit(SubmitError::Blob(error.clone())),
                Error::Read(ReadError::Blob(error)),
            ] {
                assert_eq!(error.status().as_u16(), status, "{error}");
                assert!(error.text().contains(text) && !error.text().contains("AHDS"), "{}", error.text());
            }
        }
    }

    #[test]
    fn an_unknown_outcome_says_until_when_it_may_come() {
        let error = Error::Submit(SubmitError::Unknown { until: Stamp(17_392_617_301_234_567) });
        assert!(error.text().contains("may still take effect, until 2025-02-11T08:15:30.1234567+00:00"));
        let response = error.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn pixels_that_cannot_be_decoded_are_406_and_codecs_without_time_503() {
        for (error, status) in [
            (codecs::Error::Unsupported("why"), 406),
            (codecs::Error::Corrupt("why".to_owned()), 406),
            (codecs::Error::TooLarge { bytes: 2, most: 1 }, 406),
            (codecs::Error::Died, 406),
            (codecs::Error::TimedOut, 406),
            (codecs::Error::Busy, 503),
            (codecs::Error::Stopped("why".to_owned()), 503),
        ] {
            let response = Error::Codec(error).into_response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers().contains_key(RETRY_AFTER), status == 503);
        }
    }

    #[test]
    fn what_is_too_broad_is_413_and_says_what_helps() {
        let narrow = "a shorter range of StudyDate would help";
        let error = Error::Search(SearchError::TooBroad { looked_at: 7, of: 9, narrow });
        assert!(error.text().contains(narrow), "{}", error.text());
        let response = error.into_response();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(!response.headers().contains_key(RETRY_AFTER), "it does not pass by itself");
        let busy = Error::Search(SearchError::Busy).into_response();
        assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(busy.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn what_is_wrong_inside_is_not_told() {
        let error = Error::Internal("secret".to_owned());
        assert!(!error.text().contains("secret"));
        let error = Error::Submit(SubmitError::Unavailable("/var/lib/kymo is gone".to_owned()));
        assert!(!error.text().contains("kymo"));
    }
}
