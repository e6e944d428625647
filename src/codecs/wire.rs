//! What a codec's process is told and what it answers (`schemas/codec-pipe.md`).
//!
//! Invariant: a length is checked against its bound before anything is allocated for it.
//! Elsewhere: the parent's side (`pool`), the child's (`worker`).

/// Begins every message: "CMYK" backwards, so to say.
const MAGIC: u32 = 0x4B59_4D43;
pub(super) const REQUEST_BYTES: usize = 40;
pub(super) const REPLY_BYTES: usize = 32;
/// Longest text of a refusal.
pub(super) const TEXT_BYTES: u64 = 1 << 10;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Decode = 1,
    Encode = 2,
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    OpenJpeg = 1,
    CharLs = 2,
    TurboJpeg = 3,
}

impl Codec {
    /// As metrics name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OpenJpeg => "openjpeg",
            Self::CharLs => "charls",
            Self::TurboJpeg => "turbojpeg",
        }
    }
}

/// The frame's geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) rows: u16,
    pub(super) columns: u16,
    pub(super) samples: u8,
    pub(super) bits_allocated: u8,
    pub(super) bits_stored: u8,
    pub(super) signed: bool,
}

impl Shape {
    pub(super) fn pixels(&self) -> usize {
        usize::from(self.rows) * usize::from(self.columns)
    }

    pub(super) fn sample_bytes(&self) -> usize {
        usize::from(self.bits_allocated / 8)
    }

    pub(super) fn frame_bytes(&self) -> usize {
        self.pixels() * usize::from(self.samples) * self.sample_bytes()
    }
}

/// One frame to work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) codec: Codec,
    pub(super) shape: Shape,
    /// Of an encoder: decorrelates three components (JPEG 2000).
    pub(super) transform: bool,
    /// Of a decoder: the stream has one plane behind the other.
    pub(super) by_plane: bool,
    /// Bits of a sample in the stream; of an encoder, if they suffice.
    pub(super) precision: u8,
    /// Longest answer.
    pub(super) most_bytes: u64,
    /// Bytes of the frame, which follow.
    pub(super) body_bytes: u64,
    /// Comes back with the answer.
    pub(super) job: u64,
}

impl Request {
    pub(super) fn bytes(&self) -> [u8; REQUEST_BYTES] {
        let mut out = [0; REQUEST_BYTES];
        let shape = &self.shape;
        out[..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..8].copy_from_slice(&[
            self.operation as u8,
            self.codec as u8,
            shape.bits_allocated,
            shape.bits_stored,
        ]);
        out[8..10].copy_from_slice(&shape.rows.to_le_bytes());
        out[10..12].copy_from_slice(&shape.columns.to_le_bytes());
        let flags = u8::from(self.transform) | u8::from(self.by_plane) << 1;
        out[12..16].copy_from_slice(&[shape.samples, u8::from(shape.signed), flags, self.precision]);
        out[16..24].copy_from_slice(&self.most_bytes.to_le_bytes());
        out[24..32].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[32..40].copy_from_slice(&self.job.to_le_bytes());
        out
    }

    /// `None` for anything that the parent would not send.
    pub(super) fn of(bytes: &[u8; REQUEST_BYTES]) -> Option<Self> {
        let operation = match bytes[4] {
            1 => Operation::Decode,
            2 => Operation::Encode,
            _ => return None,
        };
        let codec = match bytes[5] {
            1 => Codec::OpenJpeg,
            2 => Codec::CharLs,
            3 => Codec::TurboJpeg,
            _ => return None,
        };
        let shape = Shape {
            rows: u16::from_le_bytes([bytes[8], bytes[9]]),
            columns: u16::from_le_bytes([bytes[10], bytes[11]]),
            samples: bytes[12],
            bits_allocated: bytes[6],
            bits_stored: bytes[7],
            signed: bytes[13] == 1,
        };
        let sound = word(bytes, 0) == MAGIC
            && shape.rows > 0
            && shape.columns > 0
            && matches!(shape.samples, 1 | 3)
            && matches!(shape.bits_allocated, 8 | 16)
            && (1..=shape.bits_allocated).contains(&shape.bits_stored)
            && (1..=shape.bits_allocated).contains(&bytes[15])
            && bytes[13] < 2
            && bytes[14] < 4;
        sound.then(|| Self {
            operation,
            codec,
            shape,
            transform: bytes[14] & 1 != 0,
            by_plane: bytes[14] & 2 != 0,
            precision: bytes[15],
            most_bytes: long(bytes, 16),
            body_bytes: long(bytes, 24),
            job: long(bytes, 32),
        })
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// The body is the frame.
    Done = 0,
    /// The stream is bad; the body says how.
    Refused = 1,
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: Status,
    pub(super) job: u64,
    /// Bytes of the body, which follow.
    pub(super) body_bytes: u64,
    /// Processor time the codec took.
    pub(super) cpu_micros: u64,
    /// The process ends with this answer.
    pub(super) last: bool,
}

impl Reply {
    pub(super) fn bytes(&self) -> [u8; REPLY_BYTES] {
        let mut out = [0; REPLY_BYTES];
        out[..4].copy_from_slice(&MAGIC.to_le_bytes());
        (out[4], out[5]) = (self.status as u8, u8::from(self.last));
        out[8..16].copy_from_slice(&self.job.to_le_bytes());
        out[16..24].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[24..32].copy_from_slice(&self.cpu_micros.to_le_bytes());
        out
    }

    /// The answer to `request`; `None` for anything that a sound child would not send.
    pub(super) fn of(bytes: &[u8; REPLY_BYTES], request: &Request) -> Option<Self> {
        let (status, most) = match bytes[4] {
            0 => (Status::Done, request.most_bytes),
            1 => (Status::Refused, TEXT_BYTES),
            _ => return None,
        };
        let reply = Self {
            status,
            last: bytes[5] == 1,
            job: long(bytes, 8),
            body_bytes: long(bytes, 16),
            cpu_micros: long(bytes, 24),
        };
        let sound = word(bytes, 0) == MAGIC && bytes[5] < 2 && bytes[6..8] == [0; 2];
        (sound && reply.job == request.job && reply.body_bytes <= most).then_some(reply)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes of a message of fixed length"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes of a message of fixed length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        let shape =
            Shape { rows: 300, columns: 513, samples: 3, bits_allocated: 16, bits_stored: 12, signed: true };
        Request {
            operation: Operation::Encode,
            codec: Codec::CharLs,
            shape,
            transform: true,
            by_plane: false,
            precision: 12,
            most_bytes: 1 << 40,
            body_bytes: 70_000,
            job: 77,
        }
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        let request = request();
        assert_eq!(Request::of(&request.bytes()), Some(request));
        let other = Request { transform: false, by_plane: true, operation: Operation::Decode, ..request };
        assert_eq!(Request::of(&other.bytes()), Some(other));
        let reply = Reply { status: Status::Done, job: 77, body_bytes: 1 << 40, cpu_micros: 12, last: true };
        assert_eq!(Reply::of(&reply.bytes(), &request), Some(reply));
    }

    #[test]
    fn messages_that_nobody_sends_are_refused() {
        let good = request().bytes();
        for (at, value) in [
            (0, 0),
            (4, 0),
            (4, 3),
            (5, 0),
            (5, 4),
            (6, 12),
            (7, 0),
            (7, 17),
            (12, 2),
            (13, 2),
            (14, 4),
            (15, 0),
            (15, 17),
        ] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(Request::of(&bad), None, "{value} at {at}");
        }
        let reply = Reply { status: Status::Done, job: 77, body_bytes: 5, cpu_micros: 12, last: false };
        for (at, value) in [(0, 0), (4, 2), (5, 2), (6, 1), (8, 76), (22, 1)] {
            let mut bad = reply.bytes();
            bad[at] = value;
            assert_eq!(Reply::of(&bad, &request()), None, "{value} at {at}");
        }
        let long = Reply { status: Status::Refused, body_bytes: TEXT_BYTES + 1, ..reply };
        assert_eq!(Reply::of(&long.bytes(), &request()), None, "a text is short");
    }
}
