//! Bindings to codecs in C and C++; the only files that are unsafe.
//!
//! Invariant: they run in a codec's process (`worker`) and nowhere else.
//! Invariant: what leaves a binding is a safe function: slices in, a vector out, a text when it fails.
//! Elsewhere: what was checked of a stream before it comes here (`headers`).

mod charls;
mod openjpeg;
mod turbojpeg;

use super::wire::{Codec, Operation, Request};

/// Decodes or encodes one frame; a text says why not.
pub(super) fn perform(request: &Request, frame: &[u8]) -> Result<Vec<u8>, String> {
    if request.operation == Operation::Encode && frame.len() != request.shape.frame_bytes() {
        return Err("the frame is not as long as it should be".to_owned());
    }
    match (request.codec, request.operation) {
        (Codec::OpenJpeg, Operation::Decode) => openjpeg::decode(frame, &request.shape),
        (Codec::OpenJpeg, Operation::Encode) => openjpeg::encode(frame, request),
        (Codec::CharLs, Operation::Decode) => charls::decode(frame, request),
        (Codec::CharLs, Operation::Encode) => charls::encode(frame, request),
        (Codec::TurboJpeg, Operation::Decode) => turbojpeg::decode(frame, &request.shape),
        (Codec::TurboJpeg, Operation::Encode) => Err("nothing is encoded as JPEG".to_owned()),
    }
}
