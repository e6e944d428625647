//! What a client wants of a picture: query and `Accept`, checked (`studies.md` §3.7).
//!
//! Names match in any letter case, the first of several counts, unknown ones are passed over: `annotation` and
//! `iccprofile` are among them.
//! Elsewhere: what windows and viewports do (`dicom::render`).

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use crate::codecs::picture::Form;
use crate::dicom::render::{Function, Source, Viewport, Window};
use crate::http::error::Error;
use crate::http::media;

/// Media types of pictures.
pub(super) const JPEG: &str = "image/jpeg";
pub(super) const PNG: &str = "image/png";

/// Longest side of a viewport, in pixels.
const MOST_PIXELS: u32 = 8192;
/// Sides of the box that a thumbnail fits, unless told.
const THUMBNAIL_PIXELS: u32 = 128;

const QUALITY: &str = "It must be an integer from 1 to 100.";
const WINDOW: &str = "It must be a center, a width above 0 (1 or more if it is linear) and one of linear, \
                      linear-exact and sigmoid, separated by commas.";
const VIEWPORT: &str = "It must be a width and a height from 1 to 8192 and perhaps the left and upper edge, the \
                        width and the height of a part of the image, separated by commas.";
const THUMBNAIL: &str = "It must be a width and a height from 1 to 8192, separated by a comma.";
/// What is said of a part that lies beside the image.
pub(super) const BESIDE: Error =
    Error::Parameter { name: "viewport", allowed: "The part must have at least a pixel of the image." };

/// A checked wish.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Wish {
    pub(super) form: Form,
    pub(super) window: Option<Window>,
    pub(super) viewport: Option<Viewport>,
}

impl Wish {
    /// Of a rendered instance or frame.
    pub(super) fn of_picture(pairs: &[(String, String)], headers: &HeaderMap) -> Result<Self, Error> {
        let quality = quality(pairs)?;
        let window = parameter(pairs, "window", WINDOW, window)?;
        let viewport = parameter(pairs, "viewport", VIEWPORT, viewport)?;
        Ok(Self { form: form(headers, quality)?, window, viewport })
    }

    /// Of a thumbnail, which shows all of an image in a small box.
    pub(super) fn of_thumbnail(pairs: &[(String, String)], headers: &HeaderMap) -> Result<Self, Error> {
        let quality = quality(pairs)?;
        let whole = |text: &str| viewport(text).filter(|_| text.matches(',').count() == 1);
        let viewport = parameter(pairs, "viewport", THUMBNAIL, whole)?;
        let default =
            Viewport { width: THUMBNAIL_PIXELS, height: THUMBNAIL_PIXELS, source: Source::default() };
        Ok(Self { form: form(headers, quality)?, window: None, viewport: Some(viewport.unwrap_or(default)) })
    }

    /// The media type of the answer.
    pub(super) fn media(&self) -> &'static str {
        match self.form {
            Form::Jpeg(_) => JPEG,
            Form::Png => PNG,
        }
    }
}

fn parameter<T>(
    pairs: &[(String, String)],
    name: &'static str,
    allowed: &'static str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Error> {
    let given = pairs.iter().find(|(known, _)| known.trim().eq_ignore_ascii_case(name));
    let Some((_, text)) = given else { return Ok(None) };
    read(text.trim()).map(Some).ok_or(Error::Parameter { name, allowed })
}

fn quality(pairs: &[(String, String)]) -> Result<u8, Error> {
    let read = |text: &str| text.parse().ok().filter(|quality| (1..=100).contains(quality));
    Ok(parameter(pairs, "quality", QUALITY, read)?.unwrap_or(100))
}

fn window(text: &str) -> Option<Window> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let [center, width, function] = parts[..] else { return None };
    let function = match function.to_ascii_lowercase().as_str() {
        "linear" => Function::Linear,
        "linear-exact" => Function::LinearExact,
        "sigmoid" => Function::Sigmoid,
        _ => return None,
    };
    Window::new(center.parse().ok()?, width.parse().ok()?, function)
}

/// Two numbers or six, of which those of the part may be empty.
fn viewport(text: &str) -> Option<Viewport> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let side = |text: &str| text.parse().ok().filter(|side| (1..=MOST_PIXELS).contains(side));
    let (&width, rest) = parts.split_first()?;
    let (&height, part) = rest.split_first()?;
    let number = |text: &str| match text {
        "" => Some(None),
        text => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Some),
    };
    let source = match part {
        [] => Source::default(),
        [x, y, wide, high] => Source {
            x: number(x)?.unwrap_or_default(),
            y: number(y)?.unwrap_or_default(),
            width: number(wide)?,
            height: number(high)?,
        },
        _ => return None,
    };
    Some(Viewport { width: side(width)?, height: side(height)?, source })
}

/// JPEG where nothing or anything is accepted; else the best of the list that is one of both.
fn form(headers: &HeaderMap, quality: u8) -> Result<Form, Error> {
    if !headers.contains_key(ACCEPT) {
        return Ok(Form::Jpeg(quality));
    }
    let mut entries = media::list(headers, &ACCEPT);
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.quality()));
    let found = entries.iter().find_map(|entry| match entry.essence.as_str() {
        JPEG | "image/*" | "*/*" => Some(Form::Jpeg(quality)),
        PNG => Some(Form::Png),
        _ => None,
    });
    found.ok_or(Error::NotAcceptable("images are rendered as image/jpeg or image/png"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::urls::query_pairs;
    use axum::http::HeaderValue;

    fn wish(query: &str) -> Result<Wish, u16> {
        let uri = format!("/rendered?{query}").parse().unwrap();
        Wish::of_picture(&query_pairs(&uri), &HeaderMap::new()).map_err(|error| error.status().as_u16())
    }

    #[test]
    fn a_window_has_three_parts() {
        let window = |text: &str| wish(&format!("window={text}")).map(|wish| wish.window);
        let linear = Window::new(40.0, 400.0, Function::Linear);
        for good in ["40,400,linear", "40.0,4e2,LINEAR", "+40,400,Linear", "%2040+,+400,%20linear"] {
            assert_eq!(window(good), Ok(linear), "{good}");
        }
        assert_eq!(window("-1.5,0.5,sigmoid"), Ok(Window::new(-1.5, 0.5, Function::Sigmoid)));
        assert_eq!(window("0,0.5,linear-exact"), Ok(Window::new(0.0, 0.5, Function::LinearExact)));
        for bad in [
            "",
            "40",
            "40,400",
            "40,400,linear,1",
            "40,400,cubic",
            "40,400,",
            ",400,linear",
            "40,,linear",
            "a,400,linear",
            "nan,400,linear",
            "40,inf,linear",
            "40,-400,linear",
            "40,0,sigmoid",
            "40,0,linear-exact",
            "40,0.9,linear",
            "1e999,1,linear",
        ] {
            assert_eq!(window(bad), Err(400), "{bad}");
        }
    }

    #[test]
    fn a_viewport_has_two_parts_or_six() {
        let viewport = |text: &str| wish(&format!("viewport={text}")).map(|wish| wish.viewport.unwrap());
        let of = |width, height, source| Ok(Viewport { width, height, source });
        assert_eq!(viewport("1,8192"), of(1, 8192, Source::default()));
        assert_eq!(viewport("10,20,,,,"), of(10, 20, Source::default()));
        let part = Source { x: 1.5, y: 0.0, width: Some(-3.0), height: None };
        assert_eq!(viewport("10,20,1.5,,-3,"), of(10, 20, part));
        for bad in [
            "",
            "10",
            "10,",
            ",10",
            "0,10",
            "10,0",
            "8193,1",
            "-1,1",
            "1.5,1",
            "a,1",
            "10,10,1",
            "10,10,1,1,1",
            "10,10,1,1,1,1,1",
            "10,10,x,1,1,1",
            "10,10,nan,1,1,1",
            "10,10,1,1,inf,1",
            "4294967297,1",
        ] {
            assert_eq!(viewport(bad), Err(400), "{bad}");
        }
    }

    #[test]
    fn quality_is_1_to_100_and_concerns_jpeg() {
        for (query, quality) in [
            ("", 100),
            ("quality=1", 1),
            ("Quality=90", 90),
            ("quality=100&quality=0", 100),
            ("a=quality", 100),
        ] {
            assert_eq!(wish(query).map(|wish| wish.form), Ok(Form::Jpeg(quality)), "{query}");
        }
        for bad in ["0", "101", "x", "", "1.5", "-1", "256", "1e1"] {
            assert_eq!(wish(&format!("quality={bad}")), Err(400), "{bad}");
        }
    }

    #[test]
    fn accept_chooses_between_jpeg_and_png() {
        let chosen = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            form(&headers, 100).ok()
        };
        let (jpeg, png) = (Some(Form::Jpeg(100)), Some(Form::Png));
        for (accept, expected) in [
            ("image/jpeg", jpeg),
            ("IMAGE/PNG", png),
            ("image/png, image/jpeg", png),
            ("image/png;q=0.5, image/jpeg", jpeg),
            ("image/jpeg;q=0.1, image/png;q=0.2", png),
            ("image/gif, image/png", png),
            ("*/*", jpeg),
            ("image/*", jpeg),
            ("text/html, image/avif, */*;q=0.8", jpeg),
            ("application/dicom", None),
            ("application/jpeg", None),
            ("image/gif", None),
            ("image/jpeg;q=0", None),
            ("", None),
        ] {
            assert_eq!(chosen(accept), expected, "{accept}");
        }
        assert_eq!(form(&HeaderMap::new(), 7).ok(), Some(Form::Jpeg(7)));
    }
}
