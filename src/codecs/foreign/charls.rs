//! JPEG-LS by CharLS.
//!
//! Invariant: every handle is freed by the guard that holds it.
//! Invariant: the destination is as long as the library says it must be, and as the attributes say.
//! Elsewhere: the order of samples in the stream, which was read before (`headers`).
#![expect(unsafe_code, reason = "CharLS is a library in C++ with an interface in C")]

use std::ffi::CStr;
use std::mem::MaybeUninit;

use charls_sys::{
    charls_frame_info, charls_get_error_message, charls_interleave_mode_none, charls_interleave_mode_sample,
    charls_jpegls_decoder, charls_jpegls_decoder_create, charls_jpegls_decoder_decode_to_buffer,
    charls_jpegls_decoder_destroy, charls_jpegls_decoder_get_destination_size,
    charls_jpegls_decoder_get_frame_info, charls_jpegls_decoder_read_header,
    charls_jpegls_decoder_read_spiff_header, charls_jpegls_decoder_set_source_buffer, charls_jpegls_encoder,
    charls_jpegls_encoder_create, charls_jpegls_encoder_destroy, charls_jpegls_encoder_encode_from_buffer,
    charls_jpegls_encoder_get_bytes_written, charls_jpegls_encoder_get_estimated_destination_size,
    charls_jpegls_encoder_set_destination_buffer, charls_jpegls_encoder_set_frame_info,
    charls_jpegls_encoder_set_interleave_mode, charls_jpegls_encoder_set_near_lossless, charls_jpegls_errc,
    charls_jpegls_errc_success, charls_spiff_header,
};

use crate::codecs::native::woven;
use crate::codecs::samples::{in_frame, low_byte, low_word, needed_precision, of_bytes, of_words};
use crate::codecs::wire::{Request, Shape};

/// JPEG-LS has no samples of one bit.
const LEAST_BITS: u8 = 2;
/// What a stream may be longer than the library expects: noise does not get smaller.
const MORE_BYTES: usize = 4 << 10;

/// The samples of a stream.
pub(super) fn decode(stream: &[u8], request: &Request) -> Result<Vec<u8>, String> {
    let shape = &request.shape;
    // SAFETY: the handle is checked for null and lives in a guard; `stream` and the destination outlive it, and
    // each call gets the length of what it is given.
    unsafe {
        let decoder = Decoder(charls_jpegls_decoder_create());
        if decoder.0.is_null() {
            return Err("no memory".to_owned());
        }
        sound(charls_jpegls_decoder_set_source_buffer(decoder.0, stream.as_ptr().cast(), stream.len()))?;
        let mut spiff = MaybeUninit::<charls_spiff_header>::zeroed();
        let mut found = 0;
        sound(charls_jpegls_decoder_read_spiff_header(decoder.0, spiff.as_mut_ptr(), &raw mut found))?;
        sound(charls_jpegls_decoder_read_header(decoder.0))?;
        let mut info = charls_frame_info { width: 0, height: 0, bits_per_sample: 0, component_count: 0 };
        sound(charls_jpegls_decoder_get_frame_info(decoder.0, &raw mut info))?;
        let precision = precision_of(&info, shape).ok_or("another image than its attributes say")?;
        let values = shape.pixels() * usize::from(shape.samples);
        let mut needed = 0;
        sound(charls_jpegls_decoder_get_destination_size(decoder.0, 0, &raw mut needed))?;
        if precision <= 8 {
            let mut bytes = room::<u8>(values)?;
            if needed != bytes.len() {
                return Err("another length than its attributes say".to_owned());
            }
            sound(charls_jpegls_decoder_decode_to_buffer(decoder.0, bytes.as_mut_ptr().cast(), needed, 0))?;
            Ok(by_pixel(of_bytes(bytes, precision, shape), request))
        } else {
            let mut words = room::<u16>(values)?;
            if needed != words.len() * 2 {
                return Err("another length than its attributes say".to_owned());
            }
            sound(charls_jpegls_decoder_decode_to_buffer(decoder.0, words.as_mut_ptr().cast(), needed, 0))?;
            Ok(by_pixel(of_words(&words, precision, shape), request))
        }
    }
}

/// Bits of a sample, if the stream announces what the attributes say.
fn precision_of(info: &charls_frame_info, shape: &Shape) -> Option<u8> {
    let precision = u8::try_from(info.bits_per_sample).ok()?;
    let fits = info.width == u32::from(shape.columns)
        && info.height == u32::from(shape.rows)
        && info.component_count == i32::from(shape.samples)
        && (LEAST_BITS..=shape.bits_allocated).contains(&precision);
    fits.then_some(precision)
}

fn by_pixel(samples: Vec<u8>, request: &Request) -> Vec<u8> {
    if request.by_plane && request.shape.samples > 1 {
        woven(&samples, usize::from(request.shape.samples), request.shape.sample_bytes())
    } else {
        samples
    }
}

/// A lossless stream of these samples.
pub(super) fn encode(frame: &[u8], request: &Request) -> Result<Vec<u8>, String> {
    let shape = &request.shape;
    let precision = needed_precision(frame, request.precision.max(LEAST_BITS), shape).max(LEAST_BITS);
    let mask = u32::MAX >> (32 - u32::from(precision));
    let values = in_frame(frame, shape).map(|sample| sample & mask);
    // The library takes samples of up to 8 bits as bytes, all others as words.
    if precision <= 8 {
        encode_values(&values.map(low_byte).collect::<Vec<u8>>(), precision, request)
    } else {
        encode_values(&values.map(low_word).collect::<Vec<u16>>(), precision, request)
    }
}

fn encode_values<T>(values: &[T], precision: u8, request: &Request) -> Result<Vec<u8>, String> {
    let shape = &request.shape;
    let info = charls_frame_info {
        width: u32::from(shape.columns),
        height: u32::from(shape.rows),
        bits_per_sample: i32::from(precision),
        component_count: i32::from(shape.samples),
    };
    let interleave =
        if shape.samples == 1 { charls_interleave_mode_none } else { charls_interleave_mode_sample };
    // SAFETY: as in `decode`.
    unsafe {
        let encoder = Encoder(charls_jpegls_encoder_create());
        if encoder.0.is_null() {
            return Err("no memory".to_owned());
        }
        sound(charls_jpegls_encoder_set_frame_info(encoder.0, &raw const info))?;
        sound(charls_jpegls_encoder_set_near_lossless(encoder.0, 0))?;
        sound(charls_jpegls_encoder_set_interleave_mode(encoder.0, interleave))?;
        let mut estimate = 0usize;
        sound(charls_jpegls_encoder_get_estimated_destination_size(encoder.0, &raw mut estimate))?;
        let mut out = room::<u8>(estimate.saturating_mul(2).saturating_add(MORE_BYTES))?;
        sound(charls_jpegls_encoder_set_destination_buffer(encoder.0, out.as_mut_ptr().cast(), out.len()))?;
        let bytes = size_of_val(values);
        sound(charls_jpegls_encoder_encode_from_buffer(encoder.0, values.as_ptr().cast(), bytes, 0))?;
        let mut written = 0;
        sound(charls_jpegls_encoder_get_bytes_written(encoder.0, &raw mut written))?;
        out.truncate(written);
        Ok(out)
    }
}

fn room<T: Clone + Default>(values: usize) -> Result<Vec<T>, String> {
    let mut room = Vec::new();
    room.try_reserve_exact(values).map_err(|_| "no memory".to_owned())?;
    room.resize(values, T::default());
    Ok(room)
}

fn sound(code: charls_jpegls_errc) -> Result<(), String> {
    if code == charls_jpegls_errc_success {
        return Ok(());
    }
    // SAFETY: the text is a constant of the library.
    let text = unsafe { CStr::from_ptr(charls_get_error_message(code)) };
    Err(text.to_string_lossy().into_owned())
}

struct Decoder(*mut charls_jpegls_decoder);

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: it was made by the library, or is null, which the library allows.
        unsafe { charls_jpegls_decoder_destroy(self.0) };
    }
}

struct Encoder(*mut charls_jpegls_encoder);

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { charls_jpegls_encoder_destroy(self.0) };
    }
}
