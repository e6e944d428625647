//! Frames that are stored as samples.
//!
//! Invariant: what comes out has exactly the bytes of its shape.
//! Elsewhere: byte order and bit-packed frames, which are turned and shifted as they are read (`http`).

use bytes::Bytes;

use super::Error;
use crate::dicom::pixels::{Description, Native, Photometric, Planar};

/// A stored frame, its planes woven into pixels.
pub(super) fn decode(stored: &Description, frame: Bytes) -> Result<Native, Error> {
    if frame.len() as u64 != stored.frame_bytes() {
        let what = format!("the frame has {} bytes instead of {}", frame.len(), stored.frame_bytes());
        return Err(Error::Corrupt(what));
    }
    let shape = Description { planar: Planar::ByPixel, ..stored.clone() };
    let by_plane = stored.planar == Planar::ByPlane && stored.samples > 1 && !stored.is_subsampled();
    let bytes = match by_plane && stored.bits_allocated >= 8 {
        true => woven(&frame, usize::from(stored.samples), stored.sample_bytes()),
        false => Vec::from(frame),
    };
    Ok(Native { shape, bytes })
}

/// Planes turned into pixels.
pub(super) fn woven(planes: &[u8], samples: usize, sample_bytes: usize) -> Vec<u8> {
    let mut out = vec![0; planes.len()];
    let plane_bytes = planes.len() / samples;
    for (sample, plane) in planes.chunks_exact(plane_bytes.max(1)).enumerate() {
        let pixels = out[sample * sample_bytes..].chunks_mut(samples * sample_bytes);
        for (pixel, value) in pixels.zip(plane.chunks_exact(sample_bytes)) {
            pixel[..sample_bytes].copy_from_slice(value);
        }
    }
    out
}

/// A frame of which two pixels share their colour (Y1 Y2 Cb Cr), each pixel with its own copy of it.
pub(super) fn upsampled(frame: &Native) -> Native {
    let mut bytes = Vec::with_capacity(frame.bytes.len() / 2 * 3);
    for [first, second, blue, red] in frame.bytes.as_chunks::<4>().0 {
        bytes.extend_from_slice(&[*first, *blue, *red, *second, *blue, *red]);
    }
    let shape = Description { photometric: Photometric::YbrFull, ..frame.shape.clone() };
    Native { shape, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn colour(photometric: Photometric, planar: Planar, bits: u8) -> Description {
        Description {
            rows: 1,
            columns: 2,
            samples: 3,
            bits_allocated: bits,
            bits_stored: bits,
            high_bit: bits - 1,
            signed: false,
            planar,
            photometric,
        }
    }

    #[test]
    fn planes_become_pixels() {
        let eight = colour(Photometric::Rgb, Planar::ByPlane, 8);
        let native = decode(&eight, Bytes::from_static(b"rsgtbu")).unwrap();
        assert_eq!(native.bytes, b"rgbstu");
        assert_eq!(native.shape.planar, Planar::ByPixel);
        let sixteen = colour(Photometric::Rgb, Planar::ByPlane, 16);
        assert_eq!(decode(&sixteen, Bytes::from_static(b"rRsSgGtTbBuU")).unwrap().bytes, b"rRgGbBsStTuU");
        let pixels = colour(Photometric::Rgb, Planar::ByPixel, 8);
        assert_eq!(decode(&pixels, Bytes::from_static(b"rgbstu")).unwrap().bytes, b"rgbstu");
    }

    #[test]
    fn colour_that_is_shared_stays_so_until_it_is_encoded() {
        let shared = colour(Photometric::YbrFull422, Planar::ByPixel, 8);
        let native = decode(&shared, Bytes::from_static(b"yYbr")).unwrap();
        assert_eq!(native.bytes, b"yYbr");
        let whole = upsampled(&native);
        assert_eq!((whole.bytes.as_slice(), whole.shape.photometric), (&b"ybrYbr"[..], Photometric::YbrFull));
        assert_eq!(whole.bytes.len() as u64, whole.shape.frame_bytes());
    }

    #[test]
    fn a_frame_of_another_length_is_refused() {
        let shape = colour(Photometric::Rgb, Planar::ByPixel, 8);
        for bytes in [&b""[..], b"rgbst", b"rgbstux"] {
            assert!(matches!(decode(&shape, Bytes::from_static(bytes)), Err(Error::Corrupt(_))));
        }
    }
}
