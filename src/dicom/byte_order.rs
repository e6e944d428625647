//! Big endian values turned into little endian while they stream by (PS3.5 §7.3).
//!
//! What is turned around is the VR's word: two bytes of OW, four of OF, and so on; text, OB and UN have none.
//!
//! Invariant: as many bytes come out as went in. What is left of a value behind its last whole word stays as it is.
//! Elsewhere: whole datasets (`reencode`), which values are bulk (`scan`).

use dicom_core::VR;

/// Longest word.
const WORD_BYTES: usize = 8;

/// Bytes that are turned around together in a value of this VR; 1 where byte order means nothing.
pub(super) fn word_bytes(vr: VR) -> usize {
    match vr {
        VR::AT | VR::OW | VR::SS | VR::US => 2,
        VR::FL | VR::OF | VR::OL | VR::SL | VR::UL => 4,
        VR::FD | VR::OD | VR::OV | VR::SV | VR::UV => 8,
        _ => 1,
    }
}

/// Turns the words of one value around.
#[derive(Clone, Debug)]
pub struct Turner {
    word: usize,
    held: [u8; WORD_BYTES],
    have: usize,
}

impl Turner {
    /// For a big endian value of the VR with these two letters; `None` where there is nothing to turn.
    #[must_use]
    pub fn of_big_endian(vr: [u8; 2]) -> Option<Self> {
        let word = VR::from_binary(vr).map_or(1, word_bytes);
        (word > 1).then(|| Self::of_words(word))
    }

    /// For words of so many bytes.
    pub(super) fn of_words(word: usize) -> Self {
        Self { word, held: [0; WORD_BYTES], have: 0 }
    }

    /// Bytes of a word.
    #[must_use]
    pub fn word_bytes(&self) -> usize {
        self.word
    }

    /// Appends the whole words of `bytes` to `out`; the rest waits for the next ones.
    pub fn turn(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        if self.word == 1 {
            return out.extend_from_slice(bytes);
        }
        while self.have > 0 && !bytes.is_empty() {
            self.hold(bytes[0], out);
            bytes = &bytes[1..];
        }
        let from = out.len();
        let whole = bytes.len() / self.word * self.word;
        out.extend_from_slice(&bytes[..whole]);
        match self.word {
            2 => out[from..].as_chunks_mut::<2>().0.iter_mut().for_each(|word| word.reverse()),
            4 => out[from..].as_chunks_mut::<4>().0.iter_mut().for_each(|word| word.reverse()),
            _ => out[from..].as_chunks_mut::<8>().0.iter_mut().for_each(|word| word.reverse()),
        }
        for byte in &bytes[whole..] {
            self.hold(*byte, out);
        }
    }

    /// The value is over: appends what is no whole word.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.held[..self.have]);
        self.have = 0;
    }

    fn hold(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.held[self.have] = byte;
        self.have += 1;
        if self.have == self.word {
            out.extend(self.held[..self.word].iter().rev());
            self.have = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slices_of_any_size_give_the_same_words(
            value in prop::collection::vec(any::<u8>(), 0..60),
            step in 1usize..9,
            vr in prop::sample::select(vec![*b"OW", *b"UL", *b"FD", *b"AT", *b"OV"]),
        ) {
            let mut turner = Turner::of_big_endian(vr).unwrap();
            let word = turner.word_bytes();
            let mut out = Vec::new();
            value.chunks(step).for_each(|piece| turner.turn(piece, &mut out));
            turner.end(&mut out);
            let whole = value.len() / word * word;
            let mut expected: Vec<u8> = value[..whole].chunks(word).flat_map(|w| w.iter().rev().copied()).collect();
            expected.extend_from_slice(&value[whole..]);
            prop_assert_eq!(out, expected);
        }
    }

    #[test]
    fn text_and_bytes_have_no_order() {
        for vr in [b"OB", b"UN", b"LO", b"UT", b"SQ", b"ZZ", b"??"] {
            assert!(Turner::of_big_endian(*vr).is_none(), "{vr:?}");
        }
    }
}
