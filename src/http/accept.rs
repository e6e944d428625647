//! What a request accepts, and which of it is served.
//!
//! Two filters: one for routes that answer DICOM JSON (`studies.md` §2.2), one that selects form, media type
//! and transfer syntax of a retrieve (§3.2, §3.3). Which instances can be had in the selected syntax is
//! found later, per instance.
//!
//! Elsewhere: the reading of media types (`media`).

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::http::request::Parts;

use super::error::Error;
use super::media::{self, MediaType};
use super::{DICOM, DICOM_JSON};

/// Transfer syntaxes that are asked for by name (PS3.6 table A-1).
pub(super) const EXPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
/// JPEG 2000, lossless only.
pub(super) const JPEG_2000_LOSSLESS: &str = "1.2.840.10008.1.2.4.90";
/// Raw frames.
pub(super) const OCTET_STREAM: &str = "application/octet-stream";
/// JPEG 2000 frames.
pub(super) const JP2: &str = "image/jp2";

/// What a retrieve is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// All instances of a study or of a series.
    StudyOrSeries,
    /// One instance.
    Instance,
    /// Frames of one instance.
    Frames,
}

/// How the parts are put into the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The body is the one part.
    Single,
    /// `multipart/related`.
    Multipart,
}

/// The transfer syntax asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Whatever it is stored in.
    AsStored,
    /// This one.
    Named(&'static str),
}

/// What will be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selected {
    /// Single part or multipart.
    pub(super) form: Form,
    /// Media type of the parts.
    pub(super) media: &'static str,
    /// Transfer syntax of the parts.
    pub(super) syntax: Syntax,
}

/// A row of the table of `studies.md` §3.3.
struct Row {
    essence: &'static str,
    /// Value of `type`, where the row has one.
    of: Option<&'static str>,
    form: Form,
    media: &'static str,
    syntaxes: &'static [&'static str],
    default: &'static str,
}

const RELATED: &str = "multipart/related";
const ANY: &str = "*/*";
const FILES: &[&str] = &["*", EXPLICIT_LITTLE_ENDIAN, JPEG_2000_LOSSLESS];
const RAW: &[&str] = &["*", EXPLICIT_LITTLE_ENDIAN];

const MULTIPART_FILES: Row = Row {
    essence: RELATED,
    of: Some(DICOM),
    form: Form::Multipart,
    media: DICOM,
    syntaxes: FILES,
    default: EXPLICIT_LITTLE_ENDIAN,
};
const ANY_FILES: Row = Row { essence: ANY, of: None, default: "*", ..MULTIPART_FILES };
const SINGLE_FILE: Row = Row { essence: DICOM, of: None, form: Form::Single, ..MULTIPART_FILES };
const MULTIPART_FRAMES: Row = Row {
    essence: RELATED,
    of: Some(OCTET_STREAM),
    form: Form::Multipart,
    media: OCTET_STREAM,
    syntaxes: RAW,
    default: EXPLICIT_LITTLE_ENDIAN,
};
const SINGLE_FRAME: Row = Row { essence: OCTET_STREAM, of: None, form: Form::Single, ..MULTIPART_FRAMES };
const ANY_FRAMES: Row = Row { essence: ANY, of: None, default: "*", ..MULTIPART_FRAMES };
/// What a common Python client sends.
const MULTIPART_ANY_FRAMES: Row = Row { of: Some(ANY), default: "*", ..MULTIPART_FRAMES };
const MULTIPART_JP2: Row = Row {
    essence: RELATED,
    of: Some(JP2),
    form: Form::Multipart,
    media: JP2,
    syntaxes: &[JPEG_2000_LOSSLESS],
    default: JPEG_2000_LOSSLESS,
};

impl Resource {
    fn rows(self) -> &'static [Row] {
        match self {
            Self::StudyOrSeries => &[MULTIPART_FILES, ANY_FILES],
            Self::Instance => &[SINGLE_FILE, MULTIPART_FILES, ANY_FILES],
            Self::Frames => {
                &[SINGLE_FRAME, MULTIPART_FRAMES, MULTIPART_JP2, ANY_FRAMES, MULTIPART_ANY_FRAMES]
            }
        }
    }
}

impl Resource {
    /// The media types its answers come in.
    pub(super) fn media_types(self) -> Vec<&'static str> {
        let of = |row: &Row| if row.form == Form::Single { row.media } else { RELATED };
        let mut types: Vec<_> = self.rows().iter().map(of).collect();
        types.sort_unstable();
        types.dedup();
        types
    }
}

impl Row {
    /// What the entry selects here, and whether it asks for `*` in words.
    fn select(&self, entry: &MediaType) -> Option<(Selected, bool)> {
        if entry.essence != self.essence {
            return None;
        }
        if let Some(of) = self.of
            && !entry.parameter("type").is_some_and(|given| given.trim().eq_ignore_ascii_case(of))
        {
            return None;
        }
        let asked = entry.parameter("transfer-syntax").map(str::trim).filter(|syntax| !syntax.is_empty());
        let syntax = asked.unwrap_or(self.default);
        let syntax = self.syntaxes.iter().find(|known| **known == syntax)?;
        let selected = match *syntax {
            "*" => Syntax::AsStored,
            named => Syntax::Named(named),
        };
        let selected = Selected { form: self.form, media: self.media, syntax: selected };
        Some((selected, asked == Some("*")))
    }
}

/// Selects what is sent by the rule of `studies.md` §3.2.
///
/// # Errors
/// [`Error::NotAcceptable`] when no entry matches.
pub(super) fn select(resource: Resource, headers: &HeaderMap) -> Result<Selected, Error> {
    let mut entries = media::list(headers, &ACCEPT);
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.quality()));
    let mut chosen: Option<(Selected, u16)> = None;
    for entry in &entries {
        let Some((selected, asks_for_any)) = resource.rows().iter().find_map(|row| row.select(entry)) else {
            continue;
        };
        let quality = entry.quality();
        let replaces = match chosen {
            None => true,
            Some((_, best)) => asks_for_any && quality >= best,
        };
        if replaces {
            chosen = Some((selected, quality));
        }
    }
    chosen.map(|(selected, _)| selected).ok_or(Error::NotAcceptable("no entry of Accept can be served here"))
}

/// Passes when `Accept` admits `application/dicom+json` (`studies.md` §2.2).
pub(super) fn admits_dicom_json(headers: &HeaderMap) -> Result<(), Error> {
    let entries = media::list(headers, &ACCEPT);
    let admits = |entry: &MediaType| matches!(entry.essence.as_str(), DICOM_JSON | "application/*" | ANY);
    if entries.iter().any(admits) {
        return Ok(());
    }
    Err(Error::NotAcceptable("Accept must admit application/dicom+json"))
}

/// The filter [`admits_dicom_json`] as an argument of a handler.
pub(super) struct AcceptsDicomJson;

impl<S: Sync> FromRequestParts<S> for AcceptsDicomJson {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        admits_dicom_json(&parts.headers).map(|()| Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn accept(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn dicom_json_is_admitted_by_itself_its_wildcards_and_any_list_that_holds_one() {
        for good in [
            "application/dicom+json",
            "Application/DICOM+JSON",
            "application/*",
            "*/*",
            "application/json, application/dicom+json;q=0.1",
            "multipart/related; type=application/dicom, */*",
            "broken entry, application/dicom+json",
        ] {
            assert!(admits_dicom_json(&accept(good)).is_ok(), "{good}");
        }
        for bad in ["", "application/json", "application/dicom", "text/*", "dicom+json", "*"] {
            assert!(admits_dicom_json(&accept(bad)).is_err(), "{bad}");
        }
        assert!(admits_dicom_json(&HeaderMap::new()).is_err());
    }

    const EXPLICIT: Syntax = Syntax::Named(EXPLICIT_LITTLE_ENDIAN);
    const J2K: Syntax = Syntax::Named(JPEG_2000_LOSSLESS);

    fn selected(resource: Resource, value: &str) -> Option<(Form, &'static str, Syntax)> {
        select(resource, &accept(value)).ok().map(|s| (s.form, s.media, s.syntax))
    }

    #[test]
    fn a_study_or_series_is_multipart() {
        use Resource::StudyOrSeries;
        for (value, expected) in [
            ("multipart/related; type=\"application/dicom\"", Some(EXPLICIT)),
            ("multipart/related; type=application/dicom", Some(EXPLICIT)),
            ("multipart/related; type=\"application/dicom\"; transfer-syntax=*", Some(Syntax::AsStored)),
            ("multipart/related; type=\"application/dicom\"; transfer-syntax=\"*\"", Some(Syntax::AsStored)),
            (
                "multipart/related; type=\"application/dicom\"; transfer-syntax=1.2.840.10008.1.2.1",
                Some(EXPLICIT),
            ),
            (
                "multipart/related; type=\"application/dicom\"; transfer-syntax=1.2.840.10008.1.2.4.90",
                Some(J2K),
            ),
            ("*/*", Some(Syntax::AsStored)),
            ("*/*; transfer-syntax=1.2.840.10008.1.2.1", Some(EXPLICIT)),
            ("application/dicom", None),
            ("application/*", None),
            ("multipart/related", None),
            ("multipart/related; type=\"application/octet-stream\"", None),
            ("multipart/related; type=\"application/dicom\"; transfer-syntax=1.2.3", None),
            ("multipart/related; type=\"application/dicom\"; transfer-syntax=1.2.840.10008.1.2", None),
            ("", None),
        ] {
            let expected = expected.map(|syntax| (Form::Multipart, DICOM, syntax));
            assert_eq!(selected(StudyOrSeries, value), expected, "{value}");
        }
        assert!(select(StudyOrSeries, &HeaderMap::new()).is_err());
    }

    #[test]
    fn an_instance_is_single_part_or_multipart_as_the_entry_says() {
        use Form::{Multipart, Single};
        for (value, expected) in [
            ("application/dicom", Some((Single, EXPLICIT))),
            ("application/dicom; transfer-syntax=*", Some((Single, Syntax::AsStored))),
            ("application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90", Some((Single, J2K))),
            ("application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80", None),
            ("multipart/related; type=\"application/dicom\"", Some((Multipart, EXPLICIT))),
            ("*/*", Some((Multipart, Syntax::AsStored))),
            ("image/jpeg", None),
        ] {
            let expected = expected.map(|(form, syntax)| (form, DICOM, syntax));
            assert_eq!(selected(Resource::Instance, value), expected, "{value}");
        }
    }

    #[test]
    fn frames_are_octets_or_jpeg_2000() {
        use Form::{Multipart, Single};
        for (value, expected) in [
            ("application/octet-stream", Some((Single, OCTET_STREAM, EXPLICIT))),
            ("application/octet-stream; transfer-syntax=*", Some((Single, OCTET_STREAM, Syntax::AsStored))),
            (
                "multipart/related; type=\"application/octet-stream\"",
                Some((Multipart, OCTET_STREAM, EXPLICIT)),
            ),
            (
                "multipart/related; type=application/octet-stream; transfer-syntax=\"*\"",
                Some((Multipart, OCTET_STREAM, Syntax::AsStored)),
            ),
            ("multipart/related; type=\"image/jp2\"", Some((Multipart, JP2, J2K))),
            (
                "multipart/related; type=\"image/jp2\"; transfer-syntax=1.2.840.10008.1.2.4.90",
                Some((Multipart, JP2, J2K)),
            ),
            ("multipart/related; type=\"image/jp2\"; transfer-syntax=*", None),
            ("multipart/related; type=\"*/*\"", Some((Multipart, OCTET_STREAM, Syntax::AsStored))),
            ("*/*", Some((Multipart, OCTET_STREAM, Syntax::AsStored))),
            ("multipart/related; type=\"image/jpeg\"", None),
            ("multipart/related; type=\"application/octet-stream\"; transfer-syntax=1.2.840.10008.1.2", None),
            ("video/mp4", None),
        ] {
            assert_eq!(selected(Resource::Frames, value), expected, "{value}");
        }
    }

    #[test]
    fn weight_decides_and_a_later_star_of_equal_weight_wins() {
        let dicom = "multipart/related; type=\"application/dicom\"";
        let both =
            |first: &str, second: &str| selected(Resource::StudyOrSeries, &format!("{first}, {second}"));
        let got = |syntax| Some((Form::Multipart, DICOM, syntax));
        let j2k = format!("{dicom}; transfer-syntax=1.2.840.10008.1.2.4.90");
        assert_eq!(both(&format!("{dicom}; q=0.5"), &j2k), got(J2K));
        assert_eq!(both(dicom, &j2k), got(EXPLICIT));
        assert_eq!(both(dicom, &format!("{dicom}; transfer-syntax=*")), got(Syntax::AsStored));
        assert_eq!(both(dicom, &format!("{dicom}; transfer-syntax=*; q=0.9")), got(EXPLICIT));
        assert_eq!(both(&format!("{dicom}; transfer-syntax=1.2.3"), &j2k), got(J2K));
    }
}
