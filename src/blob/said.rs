//! What an object store said, in our words: its owner's doing, or a failure (contract
//! `bulk-update-export.md` §4.2, §4.3).
//!
//! The stores answer with a status and, but for HEAD, a code in XML; `object_store` hands both on as text
//! only. The code decides where there is one, else the status.
//! Invariant: no credential gets into an error: addresses that carry a signature are left out of it, and of
//! a body only code and status are repeated.
//! Elsewhere: what is answered then (`http::error`), what is reported (`workers::health`).

use std::error::Error as _;
use std::fmt::Write as _;
use std::io;

use object_store::Error as Said;

use super::Error;

/// Codes of an owner who refuses us, or who has taken the container away.
const OWNER: [&str; 26] = [
    "AccessDenied",
    "AccountIsDisabled",
    "AllAccessDisabled",
    "AuthenticationFailed",
    "AuthorizationFailure",
    "AuthorizationPermissionMismatch",
    "AuthorizationProtocolMismatch",
    "AuthorizationSourceIPMismatch",
    "ContainerBeingDeleted",
    "ContainerDisabled",
    "ContainerNotFound",
    "ExpiredToken",
    "FilesystemBeingDeleted",
    "FilesystemNotFound",
    "InsufficientAccountPermissions",
    "InvalidAccessKeyId",
    "InvalidAuthenticationInfo",
    "InvalidToken",
    "KeyVaultAccessTokenCannotBeAcquired",
    "KeyVaultEncryptionKeyNotFound",
    "KeyVaultVaultNotFound",
    "KMS.DisabledException",
    "KMS.NotFoundException",
    "NoSuchBucket",
    "SignatureDoesNotMatch",
    "UnsupportedHeader",
];

/// Codes of a file in a tier from which it cannot be read.
const ARCHIVED: [&str; 3] = ["BlobArchived", "BlobBeingRehydrated", "InvalidObjectState"];

/// Codes of a name that is taken.
const TAKEN: [&str; 2] = ["BlobAlreadyExists", "PreconditionFailed"];

/// Something that is no file of ours, or a file that was there before, has the name.
pub(super) const NAME_TAKEN: &str = "BlobAlreadyExists";

/// What the store said about `key`.
pub(super) fn error(key: &str, error: &Said) -> Error {
    let text = chain(error);
    let (key, what) = (key.to_owned(), brief(&text));
    if let Some(code) = code(&text) {
        if let Some(code) = OWNER.iter().find(|owner| **owner == code) {
            return Error::Refused { key, code, what };
        }
        if ARCHIVED.contains(&code) {
            let what = format!("it lies in an archive tier, from which files cannot be read ({what})");
            return Error::Refused { key, code: "BlobArchived", what };
        }
        if TAKEN.contains(&code) {
            return Error::Refused { key, code: NAME_TAKEN, what: "something has this name already".into() };
        }
        if code == "NoSuchUpload" || status(&text) == Some(409) {
            return Error::Unavailable(format!("{key}: {what}"));
        }
    }
    match error {
        Said::NotFound { .. } => Error::Missing { key },
        Said::PermissionDenied { .. } => Error::Refused { key, code: "AuthorizationFailure", what },
        Said::Unauthenticated { .. } => Error::Refused { key, code: "InvalidAuthenticationInfo", what },
        Said::AlreadyExists { .. } => {
            Error::Refused { key, code: NAME_TAKEN, what: "something has this name already".into() }
        }
        Said::InvalidPath { .. } => Error::Refused { key, code: "InvalidUri", what },
        Said::Precondition { .. } | Said::NotModified { .. } => Error::Changed { key, what },
        // The rest differs by store and version; a cause in the file system tells most.
        _ => match (cause(error), is_unknown_host(&text)) {
            (Some(io), _) => Error::of_io(&key, io),
            (None, true) => Error::Refused { key, code: "HostNotFound", what },
            (None, false) => Error::Unavailable(format!("{key}: {what}")),
        },
    }
}

/// Whether a put is worth another try: no answer came, so that nobody knows whether it took effect, or it met
/// another one in the store.
pub(super) fn is_in_doubt(error: &Said) -> bool {
    let text = chain(error);
    match status(&text) {
        None => matches!(error, Said::Generic { .. }),
        Some(409) => code(&text).is_some_and(|code| !TAKEN.contains(&code) && !OWNER.contains(&code)),
        Some(_) => false,
    }
}

/// Whether the status alone does not say whose doing it is.
pub(super) fn needs_a_code(error: &Said) -> bool {
    let text = chain(error);
    matches!(status(&text), Some(400 | 409)) && code(&text).is_none()
}

fn cause(error: &Said) -> Option<&io::Error> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            // What a connection met is no file's error.
            return io.raw_os_error().is_none_or(is_of_files).then_some(io);
        }
        cause = inner.source();
    }
    None
}

/// Not of a connection: those begin at 88 (a socket is asked for what it cannot do) and end at 115.
fn is_of_files(number: i32) -> bool {
    const OF_CONNECTIONS: std::ops::RangeInclusive<i32> = 88..=115;
    !OF_CONNECTIONS.contains(&number)
}

/// The error with all its causes, each said once.
fn chain(error: &Said) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            // Writing to a text does not fail.
            let _ = write!(text, ": {said}");
        }
        cause = inner.source();
    }
    text
}

fn is_unknown_host(text: &str) -> bool {
    text.contains("dns error") || text.contains("failed to lookup address")
}

/// The status of the store's answer, if there was one.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// The code in the store's answer: in an error document, or of one file among those to be deleted.
fn code(text: &str) -> Option<&str> {
    let between = |open: &str, close: &str| Some(text.split_once(open)?.1.split_once(close)?.0);
    between("<Code>", "</Code>").or_else(|| between("(code: ", ")"))
}

/// Status and code where there is an answer, else the whole text.
fn brief(text: &str) -> String {
    const MOST_BYTES: usize = 400;
    match (status(text), code(text)) {
        (Some(status), Some(code)) => format!("{status} {code}"),
        (Some(status), None) => format!("status {status}"),
        (None, Some(code)) => code.to_owned(),
        (None, None) => {
            let end = (0..=MOST_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
            text[..end.unwrap_or(0)].to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    fn generic(text: &str) -> Said {
        Said::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn codes_decide_then_statuses_then_causes() {
        let answered = |status: &str, code: &str| {
            format!("Server returned non-2xx status code: {status}: <Error><Code>{code}</Code></Error>")
        };
        let not_found = |text: String| Said::NotFound { path: "k".into(), source: text.into() };
        let conflict = |text: String| Said::AlreadyExists { path: "k".into(), source: text.into() };
        let refused = |said: Said, wanted: &str| match error("k", &said) {
            Error::Refused { code, .. } => assert_eq!(code, wanted),
            other => panic!("{other} for {wanted}"),
        };
        refused(not_found(answered("404 Not Found", "NoSuchBucket")), "NoSuchBucket");
        refused(not_found(answered("404 Not Found", "ContainerNotFound")), "ContainerNotFound");
        refused(conflict(answered("409 Conflict", "ContainerBeingDeleted")), "ContainerBeingDeleted");
        refused(conflict(answered("409 Conflict", "BlobAlreadyExists")), NAME_TAKEN);
        refused(conflict(answered("409 Conflict", "BlobArchived")), "BlobArchived");
        refused(generic(&answered("400 Bad Request", "ExpiredToken")), "ExpiredToken");
        let said = error("k", &not_found(answered("404 Not Found", "NoSuchUpload")));
        assert!(matches!(said, Error::Unavailable(_)), "somebody has aborted it");
        refused(generic("client error (Connect): dns error: no such host"), "HostNotFound");
        refused(generic("DeleteObjects failed for key k: no (code: AccessDenied)"), "AccessDenied");
        let denied = Said::PermissionDenied { path: "k".into(), source: answered("403", "Odd").into() };
        refused(denied, "AuthorizationFailure");
        assert!(matches!(error("k", &not_found("404".into())), Error::Missing { .. }));
        for failing in ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"] {
            let said = error("k", &generic(&answered(failing, "SlowDown")));
            assert_eq!(said, Error::Unavailable(format!("k: {} SlowDown", &failing[..3])));
        }
    }

    #[test]
    fn an_answer_that_did_not_come_is_told_from_one_that_did() {
        assert!(is_in_doubt(&generic("error sending request: operation timed out")));
        assert!(!is_in_doubt(&generic("Server returned non-2xx status code: 503 Busy: ")));
        assert!(!is_in_doubt(&Said::NotFound { path: "k".into(), source: "404".into() }));
        let conflict = |code: &str| Said::AlreadyExists {
            path: "k".into(),
            source: format!("status code: 409 Conflict: <Error><Code>{code}</Code></Error>").into(),
        };
        assert!(is_in_doubt(&conflict("ConditionalRequestConflict")));
        assert!(!is_in_doubt(&conflict("BlobAlreadyExists")) && !is_in_doubt(&conflict("ContainerDisabled")));
    }

    #[test]
    fn a_broken_connection_is_no_broken_file() {
        let of = |io: io::Error| {
            let source = Box::new(io);
            error("k", &Said::Generic { store: "x", source })
        };
        assert!(matches!(of(ErrorKind::PermissionDenied.into()), Error::Refused { .. }));
        assert!(matches!(of(io::Error::from_raw_os_error(28)), Error::Full(_)));
        assert!(matches!(of(io::Error::from_raw_os_error(111)), Error::Unavailable(_)));
    }
}
