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

/// Explicit VR Little Endian (PS3.6 table A-1).
pub(super) const EXPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
/// JPEG 2000, lossless only.
pub(super) const JPEG_2000_LOSSLESS: &str = "1.2.840.10008.1.2.4.90";
/// Raw frames and bulk data.
pub(super) const OCTET_STREAM: &str = "application/octet-stream";
/// An encapsulated document.
pub(super) const PDF: &str = "application/pdf";

/// What a retrieve is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// All instances of a study or of a series.
    StudyOrSeries,
    /// One instance.
    Instance,
    /// Frames of one instance.
    Frames,
    /// The value of one element.
    BulkData,
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

/// A row of the tables of `studies.md` §3.3.
#[derive(Clone, Copy)]
struct Row {
    essence: &'static str,
    /// Value of `type`, where the row has one.
    of: Option<&'static str>,
    form: Form,
    media: &'static str,
    syntaxes: &'static [&'static str],
    /// Not one of `syntaxes`: one must be named.
    default: &'static str,
    /// Of the second table: counts only where it can be served as it is stored.
    added: bool,
}

const RELATED: &str = "multipart/related";
const ANY: &str = "*/*";
const FILES: &[&str] = &["*", EXPLICIT_LITTLE_ENDIAN, JPEG_2000_LOSSLESS];
const RAW: &[&str] = &["*", EXPLICIT_LITTLE_ENDIAN];
/// Every other syntax that files may be stored in, of the standard and of those the scanner knows.
const OTHER_FILES: &[&str] = &[
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1.98",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.92",
    "1.2.840.10008.1.2.4.93",
    "1.2.840.10008.1.2.4.94",
    "1.2.840.10008.1.2.4.95",
    "1.2.840.10008.1.2.4.100",
    "1.2.840.10008.1.2.4.100.1",
    "1.2.840.10008.1.2.4.101",
    "1.2.840.10008.1.2.4.101.1",
    "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.4.102.1",
    "1.2.840.10008.1.2.4.103",
    "1.2.840.10008.1.2.4.103.1",
    "1.2.840.10008.1.2.4.104",
    "1.2.840.10008.1.2.4.104.1",
    "1.2.840.10008.1.2.4.105",
    "1.2.840.10008.1.2.4.105.1",
    "1.2.840.10008.1.2.4.106",
    "1.2.840.10008.1.2.4.106.1",
    "1.2.840.10008.1.2.4.107",
    "1.2.840.10008.1.2.4.108",
    "1.2.840.10008.1.2.4.110",
    "1.2.840.10008.1.2.4.111",
    "1.2.840.10008.1.2.4.112",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.4.204",
    "1.2.840.10008.1.2.4.205",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.8.1",
    "1.2.840.10008.1.20",
    "1.2.840.113619.5.2",
];
const NO_DEFAULT: &str = "";

const MULTIPART_FILES: Row = Row {
    essence: RELATED,
    of: Some(DICOM),
    form: Form::Multipart,
    media: DICOM,
    syntaxes: FILES,
    default: EXPLICIT_LITTLE_ENDIAN,
    added: false,
};
const ANY_FILES: Row = Row { essence: ANY, of: None, default: "*", ..MULTIPART_FILES };
const SINGLE_FILE: Row = Row { essence: DICOM, of: None, form: Form::Single, ..MULTIPART_FILES };
const OTHER_MULTIPART_FILES: Row =
    Row { syntaxes: OTHER_FILES, default: NO_DEFAULT, added: true, ..MULTIPART_FILES };
const OTHER_SINGLE_FILE: Row = Row { syntaxes: OTHER_FILES, default: NO_DEFAULT, added: true, ..SINGLE_FILE };
const MULTIPART_RAW: Row =
    Row { of: Some(OCTET_STREAM), media: OCTET_STREAM, syntaxes: RAW, ..MULTIPART_FILES };
const SINGLE_RAW: Row = Row { essence: OCTET_STREAM, of: None, form: Form::Single, ..MULTIPART_RAW };
const ANY_RAW: Row = Row { essence: ANY, of: None, default: "*", ..MULTIPART_RAW };
/// What a common Python client sends.
const MULTIPART_ANY_RAW: Row = Row { of: Some(ANY), default: "*", ..MULTIPART_RAW };
const SINGLE_PDF: Row =
    Row { essence: PDF, media: PDF, syntaxes: &["*"], default: "*", added: true, ..SINGLE_RAW };
const MULTIPART_PDF: Row = Row { essence: RELATED, of: Some(PDF), form: Form::Multipart, ..SINGLE_PDF };
const JPEG: [&str; 4] =
    ["1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57"];
const JPEG_LS: [&str; 2] = ["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"];
const JPEG_2000: [&str; 2] = [JPEG_2000_LOSSLESS, "1.2.840.10008.1.2.4.91"];
const RLE: [&str; 1] = ["1.2.840.10008.1.2.5"];
const HTJ2K: [&str; 3] = ["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"];
const JP2: &str = "image/jp2";
const MULTIPART_JP2: Row =
    Row { syntaxes: &[JPEG_2000_LOSSLESS], added: false, ..image(Form::Multipart, JP2, &JPEG_2000) };

/// Frames in a media type of PS3.18 Table 8.7.3-5; the first syntax is the default.
const fn image(form: Form, media: &'static str, syntaxes: &'static [&'static str]) -> Row {
    let (essence, of) = match form {
        Form::Single => (media, None),
        Form::Multipart => (RELATED, Some(media)),
    };
    Row { essence, of, form, media, syntaxes, default: syntaxes[0], added: true }
}

impl Resource {
    /// An entry may match several rows; the first of them that can be served counts.
    fn rows(self) -> &'static [Row] {
        match self {
            Self::StudyOrSeries => const { &[MULTIPART_FILES, ANY_FILES, OTHER_MULTIPART_FILES] },
            Self::Instance => {
                const { &[SINGLE_FILE, MULTIPART_FILES, ANY_FILES, OTHER_SINGLE_FILE, OTHER_MULTIPART_FILES] }
            }
            Self::Frames => {
                const {
                    &[
                        SINGLE_RAW,
                        MULTIPART_RAW,
                        MULTIPART_JP2,
                        ANY_RAW,
                        MULTIPART_ANY_RAW,
                        image(Form::Multipart, "image/jpeg", &JPEG),
                        image(Form::Multipart, "image/jls", &JPEG_LS),
                        Row { default: NO_DEFAULT, ..image(Form::Multipart, JP2, &[JPEG_2000[1]]) },
                        image(Form::Multipart, "image/dicom-rle", &RLE),
                        image(Form::Multipart, "image/jphc", &HTJ2K),
                        image(Form::Single, "image/jpeg", &JPEG),
                        image(Form::Single, "image/jls", &JPEG_LS),
                        image(Form::Single, JP2, &JPEG_2000),
                        image(Form::Single, "image/dicom-rle", &RLE),
                        image(Form::Single, "image/jphc", &HTJ2K),
                    ]
                }
            }
            Self::BulkData => {
                const {
                    &[
                        SINGLE_PDF,
                        MULTIPART_PDF,
                        Row { essence: ANY, ..SINGLE_PDF },
                        SINGLE_RAW,
                        MULTIPART_RAW,
                        Row { essence: ANY, default: "*", ..SINGLE_RAW },
                        MULTIPART_ANY_RAW,
                    ]
                }
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
    /// What the entry selects here.
    fn select(&self, entry: &MediaType) -> Option<Match> {
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
        let syntax = match *syntax {
            "*" => Syntax::AsStored,
            named => Syntax::Named(named),
        };
        let selected = Selected { form: self.form, media: self.media, syntax };
        let asks_for_any = asked == Some("*");
        Some(Match { selected, quality: entry.quality(), asks_for_any, added: self.added })
    }
}

/// An entry that matches a row.
struct Match {
    selected: Selected,
    quality: u16,
    /// It asks for `*` in words.
    asks_for_any: bool,
    added: bool,
}

/// What a request accepts of a resource, best first.
pub(super) struct Accepted(Vec<Match>);

impl Accepted {
    /// The entries that match a row of `studies.md` §3.3.
    ///
    /// # Errors
    /// [`Error::NotAcceptable`] when none does.
    pub(super) fn of(resource: Resource, headers: &HeaderMap) -> Result<Self, Error> {
        let mut entries = media::list(headers, &ACCEPT);
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.quality()));
        let matches = entries
            .iter()
            .flat_map(|entry| resource.rows().iter().filter_map(|row| row.select(entry)))
            .collect::<Vec<_>>();
        if matches.is_empty() { Err(UNSERVED) } else { Ok(Self(matches)) }
    }

    /// Whether what is stored decides.
    pub(super) fn names_a_syntax(&self) -> bool {
        self.0.iter().any(|found| matches!(found.selected.syntax, Syntax::Named(_)))
    }

    /// Selects what is sent by the rule of `studies.md` §3.2. Entries of the added rows count only where
    /// `fits` says so, so that they take nothing from clients that name them beside others.
    ///
    /// # Errors
    /// [`Error::NotAcceptable`] when no entry is left.
    pub(super) fn choose(&self, fits: impl Fn(&Selected) -> bool) -> Result<Selected, Error> {
        let mut chosen: Option<&Match> = None;
        for found in self.0.iter().filter(|found| !found.added || fits(&found.selected)) {
            let replaces = match chosen {
                None => true,
                Some(best) => found.asks_for_any && found.quality >= best.quality,
            };
            if replaces {
                chosen = Some(found);
            }
        }
        chosen.map(|found| found.selected).ok_or(UNSERVED)
    }
}

const UNSERVED: Error = Error::NotAcceptable("no entry of Accept can be served here");

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

    /// What is selected of something stored in `stored`.
    fn selected_of(resource: Resource, value: &str, stored: &str) -> Option<(Form, &'static str, Syntax)> {
        let accepted = Accepted::of(resource, &accept(value)).ok()?;
        let fits = |selected: &Selected| matches!(selected.syntax, Syntax::Named(named) if named == stored);
        accepted.choose(fits).ok().map(|s| (s.form, s.media, s.syntax))
    }

    fn selected(resource: Resource, value: &str) -> Option<(Form, &'static str, Syntax)> {
        selected_of(resource, value, "none")
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
        assert!(Accepted::of(StudyOrSeries, &HeaderMap::new()).is_err());
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
    fn what_is_stored_is_served_under_its_own_name() {
        use Form::{Multipart, Single};
        let named = |syntax: &'static str| Syntax::Named(syntax);
        for (media, syntax, default) in [
            ("image/jpeg", JPEG[0], true),
            ("image/jpeg", JPEG[1], false),
            ("image/jpeg", JPEG[2], false),
            ("image/jpeg", JPEG[3], false),
            ("image/jls", JPEG_LS[0], true),
            ("image/jls", JPEG_LS[1], false),
            ("image/jp2", JPEG_2000[0], true),
            ("image/jp2", JPEG_2000[1], false),
            ("image/dicom-rle", RLE[0], true),
            ("image/jphc", HTJ2K[0], true),
            ("image/jphc", HTJ2K[1], false),
            ("image/jphc", HTJ2K[2], false),
        ] {
            for (form, entry) in
                [(Single, media.to_owned()), (Multipart, format!("multipart/related; type=\"{media}\""))]
            {
                let whole = format!("{entry}; transfer-syntax={syntax}");
                let expected = Some((form, media, named(syntax)));
                assert_eq!(selected_of(Resource::Frames, &whole, syntax), expected, "{whole}");
                let bare = selected_of(Resource::Frames, &entry, syntax);
                // Of image/jp2 the reference has a row, which is chosen whatever is stored.
                let base = (Multipart, JP2, J2K);
                let otherwise = (form == Multipart && media == JP2).then_some(base);
                assert_eq!(bare, if default { expected } else { otherwise }, "{entry}");
                let other = format!("{entry}; transfer-syntax=1.2.840.10008.1.2.1");
                assert_eq!(selected_of(Resource::Frames, &other, EXPLICIT_LITTLE_ENDIAN), None, "{other}");
            }
        }
        for syntax in OTHER_FILES {
            let single = format!("application/dicom; transfer-syntax={syntax}");
            let expected = Some((Single, DICOM, named(syntax)));
            assert_eq!(selected_of(Resource::Instance, &single, syntax), expected, "{single}");
            assert_eq!(selected_of(Resource::Instance, &single, "1.2.3"), None, "{single}");
            let several = format!("multipart/related; type=\"application/dicom\"; transfer-syntax={syntax}");
            let expected = Some((Multipart, DICOM, named(syntax)));
            assert_eq!(selected_of(Resource::StudyOrSeries, &several, syntax), expected, "{several}");
        }
    }

    #[test]
    fn an_added_row_takes_nothing_from_the_entries_beside_it() {
        let jls = "multipart/related; type=image/jls";
        let raw = "multipart/related; type=application/octet-stream";
        let both = format!("{jls}, {raw};q=0.5");
        let got = |stored| selected_of(Resource::Frames, &both, stored).map(|(_, media, _)| media);
        assert_eq!(got("1.2.840.10008.1.2.4.80"), Some("image/jls"));
        assert_eq!(got("1.2.840.10008.1.2.1"), Some(OCTET_STREAM));
    }

    #[test]
    fn bulk_data_are_octets_or_the_document_they_are() {
        use Form::{Multipart, Single};
        let of = |value: &str, pdf: bool| {
            let accepted = Accepted::of(Resource::BulkData, &accept(value)).ok()?;
            accepted.choose(|_| pdf).ok().map(|s| (s.form, s.media))
        };
        for (value, plain, document) in [
            ("*/*", Some((Single, OCTET_STREAM)), Some((Single, PDF))),
            ("application/pdf", None, Some((Single, PDF))),
            ("multipart/related; type=\"application/pdf\"", None, Some((Multipart, PDF))),
            ("application/octet-stream", Some((Single, OCTET_STREAM)), Some((Single, OCTET_STREAM))),
            (
                "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*",
                Some((Multipart, OCTET_STREAM)),
                Some((Multipart, OCTET_STREAM)),
            ),
            (
                "multipart/related; type=\"*/*\"",
                Some((Multipart, OCTET_STREAM)),
                Some((Multipart, OCTET_STREAM)),
            ),
            ("text/html, */*;q=0.8", Some((Single, OCTET_STREAM)), Some((Single, PDF))),
            ("text/html", None, None),
            ("image/jpeg", None, None),
        ] {
            assert_eq!((of(value, false), of(value, true)), (plain, document), "{value}");
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
