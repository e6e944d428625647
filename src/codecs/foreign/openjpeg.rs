//! JPEG 2000 and HTJ2K by OpenJPEG.
//!
//! Invariant: every handle is freed by the guard that holds it; no callback unwinds.
//! Invariant: only what was decoded completely comes out: the library is strict, and every component has its samples.
//! Elsewhere: sizes and tiles, which were checked before (`headers`); samples and values (`samples`).
#![expect(unsafe_code, reason = "OpenJPEG is a library in C")]

use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;

use openjpeg_sys::{
    CODEC_FORMAT, COLOR_SPACE, opj_codec_t, opj_cparameters_t, opj_create_compress, opj_create_decompress,
    opj_decode, opj_destroy_codec, opj_dparameters_t, opj_encode, opj_end_compress, opj_end_decompress,
    opj_image_cmptparm_t, opj_image_comp_t, opj_image_create, opj_image_destroy, opj_image_t,
    opj_read_header, opj_set_default_decoder_parameters, opj_set_default_encoder_parameters,
    opj_set_error_handler, opj_setup_decoder, opj_setup_encoder, opj_start_compress, opj_stream_create,
    opj_stream_destroy, opj_stream_set_read_function, opj_stream_set_seek_function,
    opj_stream_set_skip_function, opj_stream_set_user_data, opj_stream_set_user_data_length,
    opj_stream_set_write_function, opj_stream_t,
};

use crate::codecs::samples::{Extension, in_frame, low_byte, low_word, needed_precision};
use crate::codecs::wire::{Request, Shape};

/// Begins the boxes of a JP2 file.
const JP2: &[u8] = b"\x00\x00\x00\x0CjP  ";
/// Bytes the library reads or writes at once.
const STREAM_BYTES: usize = 1 << 20;
/// Longest text of its own that is kept.
const MESSAGE_BYTES: usize = 200;
/// Resolutions an image has unless it is small.
const RESOLUTIONS: u32 = 6;
/// What the library takes for "no more".
const END: usize = usize::MAX;
const YES: i32 = 1;

/// The samples of a stream.
pub(super) fn decode(stream: &[u8], shape: &Shape) -> Result<Vec<u8>, String> {
    let format =
        if stream.starts_with(JP2) { CODEC_FORMAT::OPJ_CODEC_JP2 } else { CODEC_FORMAT::OPJ_CODEC_J2K };
    let mut message = String::new();
    let decoded = decode_as(format, stream, shape, &mut message);
    decoded.map_err(|step| if message.is_empty() { step.to_owned() } else { format!("{step}: {message}") })
}

fn decode_as(
    format: CODEC_FORMAT,
    stream: &[u8],
    shape: &Shape,
    message: &mut String,
) -> Result<Vec<u8>, &'static str> {
    let mut source = Source { bytes: stream, at: 0 };
    // SAFETY: the handles are checked for null and live in guards; `source` and `message` outlive both, and are
    // reached by nobody else while the library is at work.
    unsafe {
        let codec = Handle(opj_create_decompress(format));
        let input = Stream(opj_stream_create(STREAM_BYTES, YES));
        if codec.0.is_null() || input.0.is_null() {
            return Err("no memory");
        }
        opj_set_error_handler(codec.0, Some(keep_message), (&raw mut *message).cast());
        let mut parameters = Box::new(MaybeUninit::<opj_dparameters_t>::zeroed());
        opj_set_default_decoder_parameters(parameters.as_mut_ptr());
        // Strict is the default. To ask for it would lose the last part of tiles in streams that count their parts
        // wrongly, which are in use: the library mends those as long as nobody asks.
        if opj_setup_decoder(codec.0, parameters.as_mut_ptr()) != YES {
            return Err("the decoder cannot be set up");
        }
        opj_stream_set_read_function(input.0, Some(Source::read));
        opj_stream_set_skip_function(input.0, Some(Source::skip));
        opj_stream_set_seek_function(input.0, Some(Source::seek));
        opj_stream_set_user_data(input.0, (&raw mut source).cast(), None);
        opj_stream_set_user_data_length(input.0, stream.len() as u64);
        let mut image = Image(std::ptr::null_mut());
        if opj_read_header(input.0, codec.0, &raw mut image.0) != YES || image.0.is_null() {
            return Err("its header cannot be read");
        }
        check(image.components(), shape)?;
        if opj_decode(codec.0, input.0, image.0) != YES || opj_end_decompress(codec.0, input.0) != YES {
            return Err("its samples cannot be read");
        }
        gather(image.components(), shape)
    }
}

/// Whether the stream announces what the attributes say, before its samples are read.
fn check(components: &[opj_image_comp_t], shape: &Shape) -> Result<(), &'static str> {
    let fits = |component: &opj_image_comp_t| {
        (component.dx, component.dy) == (1, 1)
            && (component.w, component.h) == (u32::from(shape.columns), u32::from(shape.rows))
            && (1..=u32::from(shape.bits_allocated)).contains(&component.prec)
    };
    if components.len() == usize::from(shape.samples) && components.iter().all(fits) {
        Ok(())
    } else {
        Err("another image than its attributes say")
    }
}

/// The samples by pixel. A JP2 file's boxes may have changed the components meanwhile: their order is as it says, a
/// palette in it is another image.
fn gather(components: &[opj_image_comp_t], shape: &Shape) -> Result<Vec<u8>, &'static str> {
    check(components, shape)?;
    let mut out = Vec::new();
    out.try_reserve_exact(shape.frame_bytes()).map_err(|_| "no memory")?;
    out.resize(shape.frame_bytes(), 0);
    let pixel_bytes = usize::from(shape.samples) * shape.sample_bytes();
    for (sample, component) in components.iter().enumerate() {
        if component.data.is_null() {
            return Err("a component without samples");
        }
        // SAFETY: a component that was decoded has width × height samples, and both were checked.
        let values = unsafe { std::slice::from_raw_parts(component.data, shape.pixels()) };
        let precision = u8::try_from(component.prec).map_err(|_| "too many bits")?;
        let extension = Extension::new(precision, shape);
        let samples = values.iter().map(|value| extension.sample(value.cast_unsigned()));
        let first = sample * shape.sample_bytes();
        if shape.bits_allocated == 8 {
            let places = out[first..].iter_mut().step_by(pixel_bytes);
            places.zip(samples).for_each(|(place, sample)| *place = low_byte(sample));
        } else {
            let places = out[first..].chunks_mut(pixel_bytes);
            places.zip(samples).for_each(|(place, sample)| {
                place[..2].copy_from_slice(&low_word(sample).to_le_bytes());
            });
        }
    }
    Ok(out)
}

/// A lossless stream of these samples.
pub(super) fn encode(frame: &[u8], request: &Request) -> Result<Vec<u8>, String> {
    let mut message = String::new();
    let encoded = encode_telling(frame, request, &mut message);
    encoded.map_err(|step| if message.is_empty() { step.to_owned() } else { format!("{step}: {message}") })
}

fn encode_telling(frame: &[u8], request: &Request, message: &mut String) -> Result<Vec<u8>, &'static str> {
    let shape = &request.shape;
    let precision = needed_precision(frame, request.precision, shape);
    let mut sink = Sink { bytes: Vec::new(), at: 0, most: request.most_bytes };
    // SAFETY: as in `decode_as`; the image's components were made by the library for exactly these samples.
    unsafe {
        let image = image_of(frame, shape, precision)?;
        let codec = Handle(opj_create_compress(CODEC_FORMAT::OPJ_CODEC_J2K));
        let output = Stream(opj_stream_create(STREAM_BYTES, 0));
        if codec.0.is_null() || output.0.is_null() {
            return Err("no memory");
        }
        opj_set_error_handler(codec.0, Some(keep_message), (&raw mut *message).cast());
        let mut parameters = Box::new(MaybeUninit::<opj_cparameters_t>::zeroed());
        opj_set_default_encoder_parameters(parameters.as_mut_ptr());
        let set = &mut *parameters.as_mut_ptr();
        // One layer with everything in it: lossless.
        (set.tcp_numlayers, set.tcp_rates[0], set.cp_disto_alloc, set.irreversible) = (1, 0.0, 1, 0);
        set.tcp_mct = c_char::from(request.transform && shape.samples == 3);
        let smaller = u32::from(shape.rows.min(shape.columns));
        let resolutions = RESOLUTIONS.min(1 + smaller.ilog2());
        set.numresolution = i32::try_from(resolutions).expect("at most six");
        if opj_setup_encoder(codec.0, parameters.as_mut_ptr(), image.0) != YES {
            return Err("the encoder cannot be set up");
        }
        opj_stream_set_write_function(output.0, Some(Sink::write));
        opj_stream_set_skip_function(output.0, Some(Sink::skip));
        opj_stream_set_seek_function(output.0, Some(Sink::seek));
        opj_stream_set_user_data(output.0, (&raw mut sink).cast(), None);
        let done = opj_start_compress(codec.0, image.0, output.0) == YES
            && opj_encode(codec.0, output.0) == YES
            && opj_end_compress(codec.0, output.0) == YES;
        if !done {
            return Err("its samples cannot be encoded");
        }
    }
    Ok(sink.bytes)
}

/// The samples as the library wants them: one component after the other, as numbers.
fn image_of(frame: &[u8], shape: &Shape, precision: u8) -> Result<Image, &'static str> {
    let (w, h) = (u32::from(shape.columns), u32::from(shape.rows));
    let prec = u32::from(precision);
    let sgnd = u32::from(shape.signed);
    let one = opj_image_cmptparm_t { dx: 1, dy: 1, w, h, x0: 0, y0: 0, prec, bpp: prec, sgnd };
    let mut all = vec![one; usize::from(shape.samples)];
    let colours =
        if shape.samples == 3 { COLOR_SPACE::OPJ_CLRSPC_SRGB } else { COLOR_SPACE::OPJ_CLRSPC_GRAY };
    // SAFETY: as many descriptions are there as are announced; the library copies them.
    let image = Image(unsafe { opj_image_create(u32::from(shape.samples), all.as_mut_ptr(), colours) });
    if image.0.is_null() {
        return Err("no memory");
    }
    // SAFETY: the image was just made, and is not null.
    unsafe { ((*image.0).x1, (*image.0).y1) = (w, h) };
    let extension = Extension::new(precision, shape);
    for (sample, component) in image.components().iter().enumerate() {
        if component.data.is_null() {
            return Err("no memory");
        }
        // SAFETY: `opj_image_create` allocated width × height values for each component.
        let values = unsafe { std::slice::from_raw_parts_mut(component.data, shape.pixels()) };
        let samples = in_frame(frame, shape).skip(sample).step_by(usize::from(shape.samples));
        values.iter_mut().zip(samples).for_each(|(value, sample)| {
            *value = extension.number(sample).cast_signed();
        });
    }
    Ok(image)
}

struct Handle(*mut opj_codec_t);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it was made by the library, or is null, which the library allows.
        unsafe { opj_destroy_codec(self.0) };
    }
}

struct Stream(*mut opj_stream_t);

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { opj_stream_destroy(self.0) };
    }
}

struct Image(*mut opj_image_t);

impl Image {
    fn components(&self) -> &[opj_image_comp_t] {
        // SAFETY: the image is not null, and has as many components as it says once there are any.
        unsafe {
            let image = &*self.0;
            if image.comps.is_null() {
                return &[];
            }
            std::slice::from_raw_parts(image.comps, image.numcomps as usize)
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { opj_image_destroy(self.0) };
    }
}

/// A stream in memory that is read.
struct Source<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Source<'_> {
    unsafe extern "C" fn read(buffer: *mut c_void, wanted: usize, this: *mut c_void) -> usize {
        // SAFETY: the library gives back what it was given, and a buffer of the length it says.
        unsafe {
            let this = &mut *this.cast::<Source<'_>>();
            let rest = this.bytes.get(this.at..).unwrap_or_default();
            let length = rest.len().min(wanted);
            if length == 0 {
                return END;
            }
            std::ptr::copy_nonoverlapping(rest.as_ptr(), buffer.cast(), length);
            this.at += length;
            length
        }
    }

    unsafe extern "C" fn skip(length: i64, this: *mut c_void) -> i64 {
        // SAFETY: as above.
        let this = unsafe { &mut *this.cast::<Source<'_>>() };
        match usize::try_from(length).ok().and_then(|length| this.at.checked_add(length)) {
            Some(at) if at <= this.bytes.len() => {
                this.at = at;
                length
            }
            _ => -1,
        }
    }

    unsafe extern "C" fn seek(to: i64, this: *mut c_void) -> i32 {
        // SAFETY: as above.
        let this = unsafe { &mut *this.cast::<Source<'_>>() };
        match usize::try_from(to) {
            Ok(at) if at <= this.bytes.len() => {
                this.at = at;
                YES
            }
            _ => 0,
        }
    }
}

/// A stream in memory that is written, of a bounded length.
struct Sink {
    bytes: Vec<u8>,
    at: usize,
    most: u64,
}

impl Sink {
    /// Makes room up to `end`; false when that is too far.
    fn reach(&mut self, end: usize) -> bool {
        let more = end.saturating_sub(self.bytes.len());
        if end as u64 > self.most || self.bytes.try_reserve(more).is_err() {
            return false;
        }
        if more > 0 {
            self.bytes.resize(end, 0);
        }
        true
    }

    unsafe extern "C" fn write(buffer: *mut c_void, length: usize, this: *mut c_void) -> usize {
        // SAFETY: the library gives back what it was given, and a buffer of the length it says.
        unsafe {
            let this = &mut *this.cast::<Sink>();
            let Some(end) = this.at.checked_add(length).filter(|end| this.reach(*end)) else { return END };
            std::ptr::copy_nonoverlapping(buffer.cast(), this.bytes[this.at..].as_mut_ptr(), length);
            this.at = end;
            length
        }
    }

    unsafe extern "C" fn skip(length: i64, this: *mut c_void) -> i64 {
        // SAFETY: as above.
        let this = unsafe { &mut *this.cast::<Sink>() };
        let end = usize::try_from(length).ok().and_then(|length| this.at.checked_add(length));
        match end.filter(|end| this.reach(*end)) {
            Some(end) => {
                this.at = end;
                length
            }
            None => -1,
        }
    }

    unsafe extern "C" fn seek(to: i64, this: *mut c_void) -> i32 {
        // SAFETY: as above.
        let this = unsafe { &mut *this.cast::<Sink>() };
        match usize::try_from(to).ok().filter(|at| this.reach(*at)) {
            Some(at) => {
                this.at = at;
                YES
            }
            None => 0,
        }
    }
}

unsafe extern "C" fn keep_message(text: *const c_char, message: *mut c_void) {
    // SAFETY: the library gives a text that ends in NUL, and back what it was given.
    unsafe {
        let message = &mut *message.cast::<String>();
        let text = CStr::from_ptr(text).to_bytes();
        message.clear();
        message.extend(text.iter().take(MESSAGE_BYTES).map(|byte| char::from(*byte)));
    }
}
