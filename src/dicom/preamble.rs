//! What is done about the 128 bytes before `DICM`, which belong to nobody and may make a file two things at
//! once (`studies.md` §2.7; PS3.10 §7.1).
//!
//! Elsewhere: that they are there at all, and what they look like (`scan`).

use std::str::FromStr;

use bytes::{Bytes, BytesMut};

use super::scan::Preamble;

/// Length of a preamble.
const LENGTH: u64 = 128;

/// What is done about preambles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preambles {
    /// They are kept: files that are TIFF as well stay so.
    #[default]
    Keep,
    /// They are overwritten with zeros before anything else sees them.
    Zero,
    /// A file whose preamble begins as a program does is refused.
    RefuseExecutable,
}

impl Preambles {
    /// The bytes of a file from offset `at` on as they are to be stored.
    #[must_use]
    pub fn pass(self, bytes: Bytes, at: u64) -> Bytes {
        match self {
            Self::Zero if at < LENGTH => {
                let zeros = usize::try_from(LENGTH - at).map_or(bytes.len(), |left| left.min(bytes.len()));
                let mut bytes = BytesMut::from(bytes);
                bytes[..zeros].fill(0);
                bytes.freeze()
            }
            Self::Keep | Self::Zero | Self::RefuseExecutable => bytes,
        }
    }

    /// Whether a file with this preamble is refused.
    #[must_use]
    pub fn refuses(self, preamble: Preamble) -> bool {
        self == Self::RefuseExecutable && preamble == Preamble::Executable
    }
}

impl FromStr for Preambles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "keep" => Ok(Self::Keep),
            "zero" => Ok(Self::Zero),
            "refuse-executable" => Ok(Self::RefuseExecutable),
            _ => Err(format!("'{text}' is none of keep, zero and refuse-executable")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preamble_is_kept_or_zeroed_however_the_bytes_come() {
        let file: Vec<u8> = (0..=255).cycle().skip(1).take(400).collect();
        for piece in [1, 3, 127, 128, 129, 400] {
            let passed = |rule: Preambles| {
                let mut stored = Vec::new();
                for bytes in file.chunks(piece) {
                    stored.extend_from_slice(&rule.pass(Bytes::copy_from_slice(bytes), stored.len() as u64));
                }
                stored
            };
            assert_eq!(passed(Preambles::Keep), file);
            assert_eq!(passed(Preambles::RefuseExecutable), file);
            assert_eq!(passed(Preambles::Zero), [&[0; 128], &file[128..]].concat(), "{piece}");
        }
    }

    #[test]
    fn only_one_rule_refuses_and_only_programs() {
        assert!(Preambles::RefuseExecutable.refuses(Preamble::Executable));
        assert!(!Preambles::RefuseExecutable.refuses(Preamble::Other));
        assert!(!Preambles::Keep.refuses(Preamble::Executable));
        assert!(!Preambles::Zero.refuses(Preamble::Executable));
    }

    #[test]
    fn a_rule_has_a_name() {
        assert_eq!("zero".parse(), Ok(Preambles::Zero));
        assert_eq!("keep".parse(), Ok(Preambles::Keep));
        assert_eq!("refuse-executable".parse(), Ok(Preambles::RefuseExecutable));
        assert!("Zero".parse::<Preambles>().is_err());
    }
}
