//! Pictures of another size, and as files: PNG, JPEG.
//!
//! Smaller ones are averages of what they stand for, larger ones are interpolated between neighbours.
//!
//! Invariant: the same picture gives the same bytes.
//! Elsewhere: what is in a picture (`dicom::render`), who may wait for a thread (`threads`).

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::dicom::render::{Colour, Picture, Placed};

/// The form of a picture's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Every sample as it is.
    Png,
    /// Lossy, with a quality of 1 to 100.
    Jpeg(u8),
}

/// Why a picture has no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unwritable(pub &'static str);

/// The part of a picture that is placed, in its size.
///
/// # Errors
/// The part lies outside of the picture.
pub fn resized(picture: &Picture, placed: &Placed) -> Result<Picture, Unwritable> {
    const BAD: Unwritable = Unwritable("the part of the picture is impossible");
    let kind = match picture.colour {
        Colour::Grey => PixelType::U8,
        Colour::Rgb => PixelType::U8x3,
    };
    let from = ImageRef::new(picture.width, picture.height, &picture.samples, kind).map_err(|_| BAD)?;
    let mut to = Image::new(placed.width, placed.height, kind);
    let [left, top, width, height] = placed.part;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(left, top, width, height);
    Resizer::new().resize(&from, &mut to, &options).map_err(|_| BAD)?;
    let mut samples = to.into_vec();
    let row = placed.width as usize * picture.colour.samples();
    if placed.mirrored {
        samples.chunks_exact_mut(row).for_each(|row| mirror(row, picture.colour));
    }
    if placed.upside_down {
        let rows: Vec<u8> = samples.chunks_exact(row).rev().flatten().copied().collect();
        samples = rows;
    }
    Ok(Picture { width: placed.width, height: placed.height, colour: picture.colour, samples })
}

fn mirror(row: &mut [u8], colour: Colour) {
    match colour {
        Colour::Grey => row.reverse(),
        Colour::Rgb => row.as_chunks_mut::<3>().0.reverse(),
    }
}

/// The file of a picture.
///
/// # Errors
/// The form has no room for a picture of this size.
pub fn encoded(picture: &Picture, form: Form) -> Result<Vec<u8>, Unwritable> {
    match form {
        Form::Png => png(picture).map_err(|_| Unwritable("the picture is too large for PNG")),
        Form::Jpeg(quality) => {
            const TOO_LARGE: Unwritable = Unwritable("the picture is too large for JPEG");
            let side = |length: u32| u16::try_from(length).map_err(|_| TOO_LARGE);
            let kind = match picture.colour {
                Colour::Grey => jpeg_encoder::ColorType::Luma,
                Colour::Rgb => jpeg_encoder::ColorType::Rgb,
            };
            let mut file = Vec::with_capacity(picture.samples.len() / 4);
            let encoder = jpeg_encoder::Encoder::new(&mut file, quality);
            let (width, height) = (side(picture.width)?, side(picture.height)?);
            encoder.encode(&picture.samples, width, height, kind).map_err(|_| TOO_LARGE)?;
            Ok(file)
        }
    }
}

fn png(picture: &Picture) -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::with_capacity(picture.samples.len() / 2);
    let mut encoder = png::Encoder::new(&mut file, picture.width, picture.height);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_color(match picture.colour {
        Colour::Grey => png::ColorType::Grayscale,
        Colour::Rgb => png::ColorType::Rgb,
    });
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&picture.samples)?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::render::{Source, Viewport};

    fn picture(width: u32, height: u32, colour: Colour, sample: impl Fn(usize) -> u8) -> Picture {
        let samples = (0..width as usize * height as usize * colour.samples()).map(sample).collect();
        Picture { width, height, colour, samples }
    }

    fn read_png(file: &[u8]) -> Picture {
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut samples = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut samples).unwrap();
        let colour = if info.color_type == png::ColorType::Rgb { Colour::Rgb } else { Colour::Grey };
        Picture { width: info.width, height: info.height, colour, samples }
    }

    #[test]
    fn a_png_holds_every_sample() {
        for colour in [Colour::Grey, Colour::Rgb] {
            for (width, height) in [(1, 1), (3, 5), (70, 2)] {
                let picture = picture(width, height, colour, |n| (n * 37 % 251) as u8);
                assert_eq!(read_png(&encoded(&picture, Form::Png).unwrap()), picture);
            }
        }
    }

    #[test]
    fn a_jpeg_is_one_and_smaller_with_less_quality() {
        let picture = picture(64, 48, Colour::Rgb, |n| (n * 7919 % 256) as u8);
        let sizes = [100, 90, 50, 1].map(|quality| {
            let file = encoded(&picture, Form::Jpeg(quality)).unwrap();
            assert!(file.starts_with(b"\xFF\xD8") && file.ends_with(b"\xFF\xD9"));
            file.len()
        });
        assert!(sizes.is_sorted_by(|a, b| a > b), "{sizes:?}");
        let large = self::picture(65_536, 1, Colour::Grey, |_| 0);
        assert!(encoded(&large, Form::Jpeg(90)).is_err());
        assert!(encoded(&large, Form::Png).is_ok());
    }

    #[test]
    fn a_part_is_cut_out_and_mirrored_as_it_is() {
        let whole = picture(4, 3, Colour::Grey, |n| n as u8);
        let part = |source: Source, width, height| {
            let viewport = Viewport { width, height, source };
            resized(&whole, &viewport.place(4, 3).unwrap()).unwrap().samples
        };
        let at = |x, y, width, height| Source { x, y, width: Some(width), height: Some(height) };
        assert_eq!(part(Source::default(), 4, 3), whole.samples);
        assert_eq!(part(at(1.0, 1.0, 2.0, 2.0), 2, 2), [5, 6, 9, 10]);
        assert_eq!(part(at(1.0, 1.0, -2.0, 2.0), 2, 2), [6, 5, 10, 9]);
        assert_eq!(part(at(1.0, 1.0, 2.0, -2.0), 2, 2), [9, 10, 5, 6]);
        let colours = picture(2, 1, Colour::Rgb, |n| n as u8);
        let turned =
            Viewport { width: 2, height: 1, source: Source { width: Some(-2.0), ..Source::default() } };
        let turned = resized(&colours, &turned.place(2, 1).unwrap()).unwrap();
        assert_eq!(turned.samples, [3, 4, 5, 0, 1, 2]);
    }

    #[test]
    fn a_smaller_picture_is_the_average_of_what_it_stands_for() {
        let stripes = picture(64, 64, Colour::Grey, |n| if n % 2 == 0 { 0 } else { 200 });
        let viewport = Viewport { width: 16, height: 16, source: Source::default() };
        let small = resized(&stripes, &viewport.place(64, 64).unwrap()).unwrap();
        assert!(small.samples.iter().all(|sample| sample.abs_diff(100) < 12), "{:?}", small.samples);
    }
}
