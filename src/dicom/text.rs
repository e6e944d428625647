//! Text of the dataset in Unicode: Specific Character Set (0008,0005), PS3.3 §C.12.1.1.2 and PS3.5 §6.1.
//!
//! The rules for bytes that are no text are those of contract `studies.md` §1.8: a byte that the declared set
//! does not know becomes U+FFFD; where no set is declared, or one nobody knows, the whole value is UTF-8 if it
//! is valid UTF-8, else ISO 8859-1. (The DICOM library writes such bytes as `\ooo`, which adds values to an
//! element; hence the decoders of the WHATWG encodings here.)
//!
//! Invariant: decoding never fails, and ASCII text without escapes is never copied.
//! Elsewhere: splitting into values and trimming (`json`), which comes after decoding.

use std::borrow::Cow;

use encoding_rs::{DecoderResult, Encoding};

const ESCAPE: u8 = 0x1B;

/// The character sets of one dataset or item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CharacterSet {
    initial: Repertoire,
    /// Whether escape sequences of ISO 2022 switch the set.
    extended: bool,
}

/// One set of characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Repertoire {
    /// Nothing was declared, or nothing that is known.
    #[default]
    Undeclared,
    /// ISO 646 only; also under sets of which no byte above 0x7F has a meaning until an escape sequence.
    Ascii,
    /// ISO 8859-1, of which each byte is a character.
    Latin1,
    /// Any other, ASCII below 0x80.
    Encoded(&'static Encoding),
}

/// What bytes below 0x80 are while ISO 2022 is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lower {
    Ascii,
    /// Two bytes a character, JIS X 0208.
    Kanji,
    /// Two bytes a character, JIS X 0212.
    SupplementaryKanji,
}

impl CharacterSet {
    /// The sets that the value of (0008,0005) declares.
    pub(super) fn declared(value: &[u8]) -> Self {
        // Some pad terms of odd length with NUL.
        let blank = |b: &u8| *b == 0 || b.is_ascii_whitespace();
        let names: Vec<&[u8]> = value.split(|b| *b == b'\\').map(|name| trim(name, blank)).collect();
        let first = names.first().copied().unwrap_or_default();
        let initial = if first.is_empty() && names.len() > 1 { Repertoire::Ascii } else { named(first) };
        // Those two cannot be used without escape sequences, whatever the term's prefix says.
        let two_byte_only = first.ends_with(b" 87") || first.ends_with(b" 159");
        Self { initial, extended: names.len() > 1 || first.starts_with(b"ISO 2022") || two_byte_only }
    }

    /// `bytes` in Unicode.
    pub(super) fn decode<'a>(&self, bytes: &'a [u8]) -> Cow<'a, str> {
        if self.extended && bytes.contains(&ESCAPE) {
            return Cow::Owned(self.decode_extended(bytes));
        }
        match str::from_utf8(bytes) {
            Ok(text) if bytes.is_ascii() || self.initial == Repertoire::Undeclared => Cow::Borrowed(text),
            _ => {
                let mut text = String::with_capacity(bytes.len() * 2);
                self.initial.decode(bytes, &mut text);
                Cow::Owned(text)
            }
        }
    }

    /// Whether every byte of `bytes` is part of a character of the sets; `text` is what [`Self::decode`] gave.
    pub(super) fn is_decodable(&self, bytes: &[u8], text: &str) -> bool {
        if self.initial == Repertoire::Undeclared || !text.contains(char::REPLACEMENT_CHARACTER) {
            return true;
        }
        // The character U+FFFD itself may have been meant.
        match self.initial {
            Repertoire::Encoded(encoding) if !(self.extended && bytes.contains(&ESCAPE)) => {
                encoding.decode_without_bom_handling_and_without_replacement(bytes).is_some()
            }
            Repertoire::Undeclared | Repertoire::Ascii | Repertoire::Latin1 | Repertoire::Encoded(_) => false,
        }
    }

    /// ISO 2022: a set is in use from its escape sequence to the next delimiter.
    fn decode_extended(self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len() * 2);
        let mut rest = bytes;
        let (mut lower, mut upper) = (Lower::Ascii, self.initial);
        loop {
            let end = rest.iter().position(|b| *b == ESCAPE || lower.ends_at(*b)).unwrap_or(rest.len());
            lower.decode(&rest[..end], upper, &mut text);
            rest = &rest[end..];
            match (designated(rest), rest.first()) {
                (Some((Half::Lower(set), length)), _) => {
                    lower = set;
                    rest = &rest[length..];
                }
                (Some((Half::Upper(set), length)), _) => {
                    upper = set;
                    rest = &rest[length..];
                }
                (None, Some(byte)) => {
                    if *byte != ESCAPE {
                        (lower, upper) = (Lower::Ascii, self.initial);
                    }
                    text.push(char::from(*byte));
                    rest = &rest[1..];
                }
                (None, None) => return text,
            }
        }
    }
}

/// Without what is blank at either end.
fn trim(name: &[u8], blank: impl Fn(&u8) -> bool) -> &[u8] {
    let begin = name.iter().position(|b| !blank(b)).unwrap_or(name.len());
    let end = name.iter().rposition(|b| !blank(b)).map_or(begin, |last| last + 1);
    &name[begin..end]
}

/// Text outside the VRs that (0008,0005) governs (PS3.5 §6.1.2.3).
pub(super) fn decode_default(bytes: &[u8]) -> Cow<'_, str> {
    CharacterSet::default().decode(bytes)
}

impl Repertoire {
    fn decode(self, bytes: &[u8], text: &mut String) {
        match self {
            Self::Undeclared => match str::from_utf8(bytes) {
                Ok(valid) => text.push_str(valid),
                Err(_) => text.extend(bytes.iter().copied().map(char::from)),
            },
            Self::Ascii => text.extend(bytes.iter().map(|b| match b.is_ascii() {
                true => char::from(*b),
                false => char::REPLACEMENT_CHARACTER,
            })),
            Self::Latin1 => text.extend(bytes.iter().copied().map(char::from)),
            Self::Encoded(encoding) => decode_encoded(encoding, bytes, text),
        }
    }
}

impl Lower {
    fn decode(self, bytes: &[u8], upper: Repertoire, text: &mut String) {
        let prefix: &[u8] = match self {
            Self::Ascii => return upper.decode(bytes, text),
            Self::Kanji => &[],
            Self::SupplementaryKanji => &[0x8F],
        };
        for half in bytes.chunk_by(|a, b| a.is_ascii() == b.is_ascii()) {
            match half.is_ascii() {
                true => decode_pairs(half, prefix, text),
                false => upper.decode(half, text),
            }
        }
    }

    /// Whether `byte` ends the reach of an escape sequence. In the sets of two 7-bit bytes a delimiter may be
    /// half of a character, so that only a control character is certain.
    fn ends_at(self, byte: u8) -> bool {
        match byte {
            b'\r' | b'\n' | b'\x0C' | b'\t' => true,
            b'\\' | b'^' | b'=' => self == Self::Ascii,
            _ => false,
        }
    }
}

/// What an escape sequence changes.
enum Half {
    Lower(Lower),
    Upper(Repertoire),
}

/// The escape sequence at the beginning of `bytes` and its length (PS3.3 Tables C.12-3 and C.12-4).
fn designated(bytes: &[u8]) -> Option<(Half, usize)> {
    use Repertoire::{Encoded, Latin1};
    let (set, length) = match bytes.strip_prefix(&[ESCAPE])? {
        [b'(', b'B' | b'J', ..] => return Some((Half::Lower(Lower::Ascii), 3)),
        [b'$', b'B' | b'@', ..] => return Some((Half::Lower(Lower::Kanji), 3)),
        [b'$', b'(', b'D', ..] => return Some((Half::Lower(Lower::SupplementaryKanji), 4)),
        [b')', b'I', ..] => (Encoded(encoding_rs::SHIFT_JIS), 3),
        [b'-', b'A', ..] => (Latin1, 3),
        [b'-', b'B', ..] => (Encoded(encoding_rs::ISO_8859_2), 3),
        [b'-', b'C', ..] => (Encoded(encoding_rs::ISO_8859_3), 3),
        [b'-', b'D', ..] => (Encoded(encoding_rs::ISO_8859_4), 3),
        [b'-', b'L', ..] => (Encoded(encoding_rs::ISO_8859_5), 3),
        [b'-', b'G', ..] => (Encoded(encoding_rs::ISO_8859_6), 3),
        [b'-', b'F', ..] => (Encoded(encoding_rs::ISO_8859_7), 3),
        [b'-', b'H', ..] => (Encoded(encoding_rs::ISO_8859_8), 3),
        [b'-', b'M', ..] => (Encoded(encoding_rs::WINDOWS_1254), 3),
        [b'-', b'b', ..] => (Encoded(encoding_rs::ISO_8859_15), 3),
        [b'-', b'T', ..] => (Encoded(encoding_rs::WINDOWS_874), 3),
        [b'$', b')', b'C', ..] => (Encoded(encoding_rs::EUC_KR), 4),
        [b'$', b')', b'A', ..] => (Encoded(encoding_rs::GBK), 4),
        _ => return None,
    };
    Some((Half::Upper(set), length))
}

/// The set that a defined term of (0008,0005) names, with the blank or underscore that is often mistaken.
fn named(term: &[u8]) -> Repertoire {
    use Repertoire::{Ascii, Encoded, Latin1, Undeclared};
    let number = [&b"ISO_IR "[..], b"ISO_IR_", b"ISO 2022 IR ", b"ISO_2022_IR_", b"ISO-IR "]
        .iter()
        .find_map(|prefix| term.strip_prefix(*prefix));
    match number.unwrap_or(term) {
        b"6" | b"87" | b"159" => Ascii,
        b"13" => Encoded(encoding_rs::SHIFT_JIS),
        b"100" => Latin1,
        b"101" => Encoded(encoding_rs::ISO_8859_2),
        b"109" => Encoded(encoding_rs::ISO_8859_3),
        b"110" => Encoded(encoding_rs::ISO_8859_4),
        b"126" => Encoded(encoding_rs::ISO_8859_7),
        b"127" => Encoded(encoding_rs::ISO_8859_6),
        b"138" => Encoded(encoding_rs::ISO_8859_8),
        b"144" => Encoded(encoding_rs::ISO_8859_5),
        b"148" => Encoded(encoding_rs::WINDOWS_1254),
        b"149" => Encoded(encoding_rs::EUC_KR),
        b"166" => Encoded(encoding_rs::WINDOWS_874),
        b"192" => Encoded(encoding_rs::UTF_8),
        b"203" => Encoded(encoding_rs::ISO_8859_15),
        b"58" | b"GBK" | b"GB2312" => Encoded(encoding_rs::GBK),
        b"GB18030" => Encoded(encoding_rs::GB18030),
        _ => Undeclared,
    }
}

/// Decodes characters of two 7-bit bytes, which EUC-JP has with the highest bits set; other bytes stay.
fn decode_pairs(bytes: &[u8], prefix: &[u8], text: &mut String) {
    let graphic = 0x21..=0x7E;
    let mut rest = bytes;
    loop {
        rest = match rest {
            [a, b, rest @ ..] if graphic.contains(a) && graphic.contains(b) => {
                let pair = [prefix, &[a | 0x80, b | 0x80]].concat();
                match encoding_rs::EUC_JP.decode_without_bom_handling_and_without_replacement(&pair) {
                    Some(character) => text.push_str(&character),
                    None => text.extend([char::REPLACEMENT_CHARACTER; 2]),
                }
                rest
            }
            [byte, rest @ ..] => {
                text.push(char::from(*byte));
                rest
            }
            [] => return,
        };
    }
}

/// Decodes `bytes`, with one U+FFFD for each byte that is no part of a character.
fn decode_encoded(encoding: &'static Encoding, bytes: &[u8], text: &mut String) {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut rest = bytes;
    loop {
        let room = decoder.max_utf8_buffer_length_without_replacement(rest.len());
        text.reserve(room.unwrap_or(rest.len()).max(8));
        let (result, read) = decoder.decode_to_string_without_replacement(rest, text, true);
        rest = &rest[read..];
        match result {
            DecoderResult::InputEmpty => return,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(length, _) => {
                text.extend(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, usize::from(length)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(set: &[u8], bytes: &[u8]) -> String {
        CharacterSet::declared(set).decode(bytes).into_owned()
    }

    /// Names of the examples in PS3.5 Annexes H, I, J and K, and PS3.3 §C.12.1.1.2.
    #[test]
    fn the_standards_examples_read_as_printed() {
        let kanji = b"Yamada^Tarou=\x1B$B;3ED\x1B(B^\x1B$BB@O:\x1B(B=\x1B$B$d$^$@\x1B(B^\x1B$B$?$m$&\x1B(B";
        assert_eq!(decoded(b"\\ISO 2022 IR 87", kanji), "Yamada^Tarou=山田^太郎=やまだ^たろう");
        assert_eq!(decoded(b"ISO_IR 87", kanji), "Yamada^Tarou=山田^太郎=やまだ^たろう");
        let katakana = b"\xD4\xCF\xC0\xDE^\xC0\xDB\xB3=\x1B$B;3ED\x1B(J^\x1B$BB@O:\x1B(J";
        assert_eq!(decoded(b"ISO 2022 IR 13\\ISO 2022 IR 87", katakana), "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎");
        let hangul =
            b"Hong^Gildong=\x1B$)C\xFB\xF3^\x1B$)C\xD1\xCE\xD4\xD7=\x1B$)C\xC8\xAB^\x1B$)C\xB1\xE6\xB5\xBF";
        assert_eq!(decoded(b"\\ISO 2022 IR 149", hangul), "Hong^Gildong=洪^吉洞=홍^길동");
        assert_eq!(decoded(b"ISO_IR 192", "Wang^XiaoDong=王^小東".as_bytes()), "Wang^XiaoDong=王^小東");
        assert_eq!(decoded(b"GB18030", b"Wang^XiaoDong=\xCD\xF5^\xD0\xA1\xB6\xAB"), "Wang^XiaoDong=王^小东");
        assert_eq!(decoded(b"GB18030\0", b"Wang=\xCD\xF5"), "Wang=王");
        assert_eq!(decoded(b"ISO_IR 100", b"Buc^J\xE9r\xF4me"), "Buc^Jérôme");
        assert_eq!(decoded(b"ISO_IR 144", b"\xBB\xEEce\xDCce\xE0"), "Люceмceр");
        assert_eq!(decoded(b"ISO_IR 148", b"\xDDpek"), "İpek");
        assert_eq!(decoded(b"ISO_IR 166 ", b"\xB9\xD2"), "นา");
    }

    #[test]
    fn a_backslash_inside_a_character_separates_nothing() {
        // 0x5C is the second byte of these characters of GBK and Shift JIS.
        assert_eq!(decoded(b"GBK", b"\x81\x5C\\b"), "乗\\b".replace('乗', &decoded(b"GBK", b"\x81\x5C")));
        assert!(!decoded(b"GBK", b"\x81\x5C").contains('\\'));
        assert_eq!(decoded(b"ISO_IR 13", b"\x94\x5C\\x"), "能\\x");
    }

    #[test]
    fn escapes_end_at_delimiters_and_cut_or_unknown_ones_stay() {
        let greek = b"ISO 2022 IR 6\\ISO 2022 IR 126";
        assert_eq!(decoded(greek, b"a\x1B-F\xE1\\\xE1"), "aα\\\u{FFFD}");
        assert_eq!(decoded(greek, b"\x1B-F\xE1\r\n\xE1"), "α\r\n\u{FFFD}");
        assert_eq!(decoded(greek, b"a\x1B"), "a\u{1B}");
        assert_eq!(decoded(greek, b"a\x1B-"), "a\u{1B}-");
        assert_eq!(decoded(b"\\ISO 2022 IR 87", b"\x1B$B;"), ";");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_one_by_one() {
        assert_eq!(
            decoded(b"ISO_IR 192", b"a\xE2\x82b\xFFc\xE2\x82"),
            "a\u{FFFD}\u{FFFD}b\u{FFFD}c\u{FFFD}\u{FFFD}"
        );
        assert_eq!(decoded(b"ISO_IR 6", b"a\xE9"), "a\u{FFFD}");
    }

    #[test]
    fn a_replaced_byte_is_told_from_the_character_that_replaces() {
        for (set, bytes, decodable) in [
            (&b"ISO_IR 192"[..], "a\u{FFFD}".as_bytes(), true),
            (b"ISO_IR 192", b"a\xFF", false),
            (b"GB18030", b"\x84\x31\xA4\x37", true),
            (b"GB18030", b"\xFF", false),
            (b"ISO_IR 6", b"\xE9", false),
            (b"\\ISO 2022 IR 87", b"\x1B$B\x7F\x7E", true),
            (b"\\ISO 2022 IR 87", b"\x1B$B\x7E\x7E", false),
            (b"ISO 2022 IR 192\\ISO 2022 IR 126", b"\x1B-F\xFF", false),
            (b"", b"\xE9\xFF", true),
            (b"ISO_IR 100", b"\xE9", true),
        ] {
            let set = CharacterSet::declared(set);
            assert_eq!(set.is_decodable(bytes, &set.decode(bytes)), decodable, "{set:?} {bytes:?}");
        }
    }

    #[test]
    fn without_a_known_set_utf8_is_tried_and_then_latin_1() {
        for set in [&b""[..], b"  ", b"LATIN9", b"ISO_IR 999"] {
            assert_eq!(decoded(set, "é€".as_bytes()), "é€");
            assert_eq!(decoded(set, b"\xE9\xC3\xA9"), "éÃ©");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_text(set in 0..12_usize, bytes: Vec<u8>) {
            let sets: [&[u8]; 12] = [b"", b"ISO_IR 192", b"GB18030", b"GBK", b"ISO_IR 13", b"\\ISO 2022 IR 87",
                b"ISO 2022 IR 13\\ISO 2022 IR 159", b"\\ISO 2022 IR 149", b"\\ISO 2022 IR 58", b"ISO_IR 100",
                b"ISO_IR 166", b"?"];
            let text = decoded(sets[set], &bytes);
            proptest::prop_assert!(text.chars().count() <= bytes.len());
        }
    }
}
