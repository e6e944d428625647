//! JPEG by libjpeg-turbo: 8 and 12 bits, lossless with 2 to 16.
//!
//! Invariant: the handle is freed by the guard that holds it.
//! Invariant: the destination was made for the size that the stream announces, after that was compared.
//! Elsewhere: which colours are turned into RGB, which the stream says plainly by now (`headers`).
#![expect(unsafe_code, reason = "libjpeg-turbo is a library in C")]

use std::ffi::{CStr, c_int};

use turbojpeg_sys::{
    TJINIT_TJINIT_DECOMPRESS, TJPARAM_TJPARAM_JPEGHEIGHT, TJPARAM_TJPARAM_JPEGWIDTH,
    TJPARAM_TJPARAM_MAXMEMORY, TJPARAM_TJPARAM_MAXPIXELS, TJPARAM_TJPARAM_PRECISION,
    TJPARAM_TJPARAM_SCANLIMIT, TJPARAM_TJPARAM_STOPONWARNING, TJPF_TJPF_GRAY, TJPF_TJPF_RGB, size_t,
    tj3Decompress8, tj3Decompress12, tj3Decompress16, tj3DecompressHeader, tj3Destroy, tj3Get,
    tj3GetErrorStr, tj3Init, tj3Set, tjhandle,
};

use crate::codecs::samples::{of_bytes, of_words};
use crate::codecs::wire::Shape;

/// Scans of a progressive stream: real ones have about ten, and each costs as much as the whole image.
const MOST_SCANS: c_int = 100;
/// Memory the library may take, in its megabytes; the process has a limit of its own.
const MOST_MEMORY: c_int = 1 << 10;

/// The samples of a stream.
pub(super) fn decode(stream: &[u8], shape: &Shape) -> Result<Vec<u8>, String> {
    let pixels = c_int::try_from(shape.pixels()).map_err(|_| "too large")?;
    // SAFETY: the handle is checked for null and lives in a guard; every buffer outlives the call and has the
    // length that its call goes by: of the stream as given, of a destination columns × rows × samples, which the
    // stream's header was found to announce.
    unsafe {
        let handle = Handle(tj3Init(number(TJINIT_TJINIT_DECOMPRESS)));
        if handle.0.is_null() {
            return Err("no memory".to_owned());
        }
        for (parameter, value) in [
            // Half an image is none.
            (TJPARAM_TJPARAM_STOPONWARNING, 1),
            (TJPARAM_TJPARAM_MAXPIXELS, pixels),
            (TJPARAM_TJPARAM_MAXMEMORY, MOST_MEMORY),
            (TJPARAM_TJPARAM_SCANLIMIT, MOST_SCANS),
        ] {
            handle.sound(tj3Set(handle.0, number(parameter), value))?;
        }
        let (from, length) = (stream.as_ptr(), stream.len() as size_t);
        handle.sound(tj3DecompressHeader(handle.0, from, length))?;
        let announced = |parameter| tj3Get(handle.0, number(parameter));
        let size = (announced(TJPARAM_TJPARAM_JPEGWIDTH), announced(TJPARAM_TJPARAM_JPEGHEIGHT));
        if size != (c_int::from(shape.columns), c_int::from(shape.rows)) {
            return Err("another image than its attributes say".to_owned());
        }
        let precision = u8::try_from(announced(TJPARAM_TJPARAM_PRECISION)).unwrap_or(0);
        if !(2..=shape.bits_allocated).contains(&precision) {
            return Err("more bits than its attributes say".to_owned());
        }
        let format = number(if shape.samples == 1 { TJPF_TJPF_GRAY } else { TJPF_TJPF_RGB });
        let values = shape.pixels() * usize::from(shape.samples);
        match precision {
            ..=8 => {
                let mut bytes = room::<u8>(values)?;
                handle.sound(tj3Decompress8(handle.0, from, length, bytes.as_mut_ptr(), 0, format))?;
                Ok(of_bytes(bytes, precision, shape))
            }
            9..=12 => {
                let mut words = room::<u16>(values)?;
                let to = words.as_mut_ptr().cast();
                handle.sound(tj3Decompress12(handle.0, from, length, to, 0, format))?;
                Ok(of_words(&words, precision, shape))
            }
            _ => {
                let mut words = room::<u16>(values)?;
                handle.sound(tj3Decompress16(handle.0, from, length, words.as_mut_ptr(), 0, format))?;
                Ok(of_words(&words, precision, shape))
            }
        }
    }
}

/// A constant of the library as its functions want it.
fn number<T: TryInto<c_int>>(constant: T) -> c_int {
    constant.try_into().unwrap_or(-1)
}

fn room<T: Clone + Default>(values: usize) -> Result<Vec<T>, String> {
    let mut room = Vec::new();
    room.try_reserve_exact(values).map_err(|_| "no memory".to_owned())?;
    room.resize(values, T::default());
    Ok(room)
}

struct Handle(tjhandle);

impl Handle {
    fn sound(&self, code: c_int) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the handle is not null, and its text ends in NUL.
        let text = unsafe { CStr::from_ptr(tj3GetErrorStr(self.0)) };
        Err(text.to_string_lossy().into_owned())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it was made by the library, or is null, which the library allows.
        unsafe { tj3Destroy(self.0) };
    }
}
