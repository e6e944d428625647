//! The metadata of an instance: its non-bulk elements as DICOM JSON (PS3.18 Annex F; contract `studies.md` §1.8
//! and §3.6.2), written straight from the header's bytes.
//!
//! Where the standard leaves a choice, or the DICOM library's writer differs from the contract:
//! * values lose their trailing blanks; of UI, NULs are padding and blanks are kept; NULs elsewhere are kept;
//! * IS, DS are numbers with the digits of the file, or all of the element's values are strings;
//! * FL and FD that are no number are the strings `NaN`, `inf`, `-inf`, as the library reads them;
//! * a binary value that is cut off inside its last number loses that rest;
//! * a VR that is not known counts as UN and is absent;
//! * keys are in ascending order, and of an element that occurs twice in a dataset the last one counts.
//!
//! Invariant: whatever the scanner has passed has metadata; no value makes [`metadata`] fail.
//! Invariant: one pass, no recursion deeper than the scanner's limit, at most six bytes for each of the header.
//! Elsewhere: reading the header (`header`), character sets (`text`), what is refused (`validate`).

mod number;

use std::borrow::Cow;
use std::collections::BTreeMap;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use serde::Serialize;

use super::header::{MAX_DEPTH, Malformed, Piece, Reader, narrowed};
use super::text::{CharacterSet, decode_default};
use number::Notation;

/// Most bytes set aside before anything is written.
const INITIAL_BYTES: usize = 1 << 20;

/// The dataset of `header` ([`super::scan::Scanned::header`]) as DICOM JSON.
///
/// # Errors
/// [`Malformed`] when the bytes are no such header; the scanner gives none.
pub fn metadata(header: &[u8]) -> Result<Vec<u8>, Malformed> {
    metadata_without(header, &[])
}

/// Like [`metadata`], without the elements, nested or not, that begin at the offsets `left_out` of the header, which
/// ascend (§2.5.4). A sequence goes with all that is in it.
///
/// # Errors
/// As [`metadata`].
pub fn metadata_without(header: &[u8], left_out: &[usize]) -> Result<Vec<u8>, Malformed> {
    let expected = (header.len() * 3).min(INITIAL_BYTES);
    let mut writer = Writer { reader: Reader::new(header), json: Vec::with_capacity(expected), left_out };
    writer.dataset(0, CharacterSet::default())?;
    Ok(writer.json)
}

struct Writer<'a> {
    reader: Reader<'a>,
    json: Vec<u8>,
    /// What is still ahead of it.
    left_out: &'a [usize],
}

impl Writer<'_> {
    /// Writes the dataset that begins here, so many sequences deep, to the end of the header or of the item.
    fn dataset(&mut self, depth: usize, inherited: CharacterSet) -> Result<(), Malformed> {
        let mut set = inherited;
        let mut members = Members::begin(&mut self.json);
        loop {
            let left_out = self.is_left_out();
            let tag = match self.reader.next()? {
                Some(Piece::Value(tag, vr, value)) => {
                    if tag == tags::SPECIFIC_CHARACTER_SET {
                        set = CharacterSet::declared(value);
                    }
                    let Some(vr) = vr.filter(|vr| is_shown(tag, *vr)) else { continue };
                    let vr = narrowed(tag, vr, value.len());
                    members.next(&mut self.json);
                    begin_element(&mut self.json, tag, vr);
                    write_value(&mut self.json, vr, value, set);
                    tag
                }
                Some(Piece::Sequence(tag)) => {
                    members.next(&mut self.json);
                    begin_element(&mut self.json, tag, VR::SQ);
                    self.items(depth + 1, set)?;
                    tag
                }
                Some(Piece::ItemEnd) if depth > 0 => break,
                None if depth == 0 => break,
                Some(Piece::Item | Piece::ItemEnd | Piece::SequenceEnd) | None => {
                    return Err(self.reader.malformed());
                }
            };
            self.json.push(b'}');
            members.written(&mut self.json, tag, left_out);
        }
        members.end(&mut self.json);
        Ok(())
    }

    /// Whether the element that begins here is one to leave out.
    fn is_left_out(&mut self) -> bool {
        let here = self.reader.offset();
        while let Some((place, rest)) = self.left_out.split_first().filter(|(place, _)| **place <= here) {
            self.left_out = rest;
            if *place == here {
                return true;
            }
        }
        false
    }

    /// Writes the items of the sequence that begins here, if there are any.
    fn items(&mut self, depth: usize, set: CharacterSet) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            return Err(self.reader.malformed());
        }
        let mut values = Values::default();
        loop {
            match self.reader.next()? {
                Some(Piece::Item) => {
                    values.next(&mut self.json);
                    self.dataset(depth, set)?;
                }
                Some(Piece::SequenceEnd) => break,
                Some(Piece::Value(..) | Piece::Sequence(_) | Piece::ItemEnd) | None => {
                    return Err(self.reader.malformed());
                }
            }
        }
        values.end(&mut self.json);
        Ok(())
    }
}

/// The members of one JSON object while it is written: a comma before each but the first, and put in order at
/// the end if they came out of order.
struct Members {
    /// Where the first one stands.
    begin: usize,
    /// Where the current one stands, with the comma before it.
    current: usize,
    last: Option<Tag>,
    disordered: bool,
}

impl Members {
    fn begin(json: &mut Vec<u8>) -> Self {
        json.push(b'{');
        Self { begin: json.len(), current: json.len(), last: None, disordered: false }
    }

    fn next(&mut self, json: &mut Vec<u8>) {
        self.current = json.len();
        if json.len() > self.begin {
            json.push(b',');
        }
    }

    fn written(&mut self, json: &mut Vec<u8>, tag: Tag, left_out: bool) {
        if left_out {
            json.truncate(self.current);
        } else {
            self.disordered |= self.last >= Some(tag);
            self.last = Some(tag);
        }
    }

    fn end(self, json: &mut Vec<u8>) {
        if self.disordered {
            let unordered = json.split_off(self.begin);
            let by_key: BTreeMap<&[u8], &[u8]> =
                members_of(&unordered).into_iter().map(|member| (&member[..KEY_BYTES], member)).collect();
            for member in by_key.into_values() {
                if json.len() > self.begin {
                    json.push(b',');
                }
                json.extend_from_slice(member);
            }
        }
        json.push(b'}');
    }
}

/// A key of eight digits between quotation marks.
const KEY_BYTES: usize = 10;

/// Cuts the inside of a JSON object at the commas between its members.
fn members_of(object: &[u8]) -> Vec<&[u8]> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let separates = |byte: &u8| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => return *byte == b',' && depth == 0,
        }
        false
    };
    object.split(separates).collect()
}

/// The `Value` of an element while it is written; without any value there is no such member.
#[derive(Default)]
struct Values {
    some: bool,
}

impl Values {
    fn next(&mut self, json: &mut Vec<u8>) {
        match std::mem::replace(&mut self.some, true) {
            false => json.extend_from_slice(b",\"Value\":["),
            true => json.push(b','),
        }
    }

    fn end(self, json: &mut Vec<u8>) {
        if self.some {
            json.push(b']');
        }
    }
}

/// Whether an element belongs to the metadata: no group lengths, no file meta group, no bulk data.
fn is_shown(tag: Tag, vr: VR) -> bool {
    use VR::{OB, OD, OF, OL, OV, OW, UN};
    tag.element() != 0 && tag.group() != 0x0002 && !matches!(vr, OB | OD | OF | OL | OV | OW | UN)
}

fn begin_element(json: &mut Vec<u8>, tag: Tag, vr: VR) {
    json.push(b'"');
    write_tag(json, tag);
    json.extend_from_slice(b"\":{\"vr\":\"");
    json.extend_from_slice(vr.to_string().as_bytes());
    json.push(b'"');
}

fn write_tag(json: &mut Vec<u8>, tag: Tag) {
    let number = u32::from(tag.group()) << 16 | u32::from(tag.element());
    let digits = (0..8).rev().map(|n| b"0123456789ABCDEF"[(number >> (4 * n) & 0xF) as usize]);
    json.extend(digits);
}

fn write_value(json: &mut Vec<u8>, vr: VR, value: &[u8], set: CharacterSet) {
    match vr {
        VR::SH | VR::LO | VR::UC => write_strings(json, set.decode(value).split('\\')),
        VR::ST | VR::LT | VR::UT => write_strings(json, std::iter::once(&*set.decode(value))),
        VR::PN => write_person_names(json, &set.decode(value)),
        VR::UR => write_strings(json, std::iter::once(&*decode_default(value))),
        VR::UI => write_uids(json, &decode_default(value)),
        VR::AE | VR::AS | VR::CS | VR::DA | VR::DT | VR::TM => {
            write_strings(json, decode_default(value).split('\\'));
        }
        VR::IS => write_number_texts(json, Notation::Integer, &decode_default(value)),
        VR::DS => write_number_texts(json, Notation::Decimal, &decode_default(value)),
        VR::US => write_each(json, value, |bytes| u16::from_le_bytes(*bytes)),
        VR::SS => write_each(json, value, |bytes| i16::from_le_bytes(*bytes)),
        VR::UL => write_each(json, value, |bytes| u32::from_le_bytes(*bytes)),
        VR::SL => write_each(json, value, |bytes| i32::from_le_bytes(*bytes)),
        VR::UV => write_each(json, value, |bytes| u64::from_le_bytes(*bytes)),
        VR::SV => write_each(json, value, |bytes| i64::from_le_bytes(*bytes)),
        VR::FL => write_each(json, value, |bytes| number::single(f32::from_le_bytes(*bytes))),
        VR::FD => write_each(json, value, |bytes| number::double(f64::from_le_bytes(*bytes))),
        VR::AT => write_each(json, value, |bytes: &[u8; 4]| {
            let [a, b, c, d] = *bytes;
            format!("{:04X}{:04X}", u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
        }),
        // Bulk data and sequences have been told apart before; neither has values of its own here.
        VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::SQ | VR::UN => {}
    }
}

/// Writes each whole number of `N` bytes.
fn write_each<const N: usize, T: Serialize>(json: &mut Vec<u8>, bytes: &[u8], read: impl Fn(&[u8; N]) -> T) {
    let mut values = Values::default();
    for number in bytes.as_chunks::<N>().0 {
        values.next(json);
        write_json(json, &read(number));
    }
    values.end(json);
}

fn write_strings<'t>(json: &mut Vec<u8>, texts: impl Iterator<Item = &'t str>) {
    write_texts(json, texts.map(|text| text.trim_end_matches(' ')), write_json);
}

fn write_uids(json: &mut Vec<u8>, text: &str) {
    let uids = text.split('\\').map(|uid| uid.trim_end_matches('\0'));
    write_texts(json, uids, write_json);
}

/// Writes texts, an empty one as `null`, and nothing for a single empty one.
fn write_texts<'t>(
    json: &mut Vec<u8>,
    texts: impl Iterator<Item = &'t str>,
    write: impl Fn(&mut Vec<u8>, &'t str),
) {
    let mut texts = texts.peekable();
    let mut values = Values::default();
    while let Some(text) = texts.next() {
        if text.is_empty() && !values.some && texts.peek().is_none() {
            return;
        }
        values.next(json);
        match text.is_empty() {
            true => json.extend_from_slice(b"null"),
            false => write(json, text),
        }
    }
    values.end(json);
}

/// Groups beyond the third, which no name has, stay with the third.
fn write_person_names(json: &mut Vec<u8>, text: &str) {
    // A name of nothing but separators has no component group to show.
    let names = text.split('\\').map(|name| match name.trim_matches([' ', '=']) {
        "" => "",
        _ => name.trim_end_matches(' '),
    });
    write_texts(json, names, |json, name| {
        let groups = ["Alphabetic", "Ideographic", "Phonetic"].into_iter().zip(name.splitn(3, '='));
        let mut separator = b'{';
        for (key, group) in groups {
            let group = group.trim_end_matches(' ');
            if group.is_empty() {
                continue;
            }
            json.push(separator);
            separator = b',';
            write_json(json, key);
            json.push(b':');
            write_json(json, group);
        }
        json.push(b'}');
    });
}

/// Writes the values of IS or DS: all as numbers, or all as strings.
fn write_number_texts(json: &mut Vec<u8>, notation: Notation, text: &str) {
    let numbers: Option<Vec<Cow<'_, str>>> = text.split('\\').map(|text| notation.as_json(text)).collect();
    match numbers {
        Some(numbers) => write_texts(json, numbers.iter().map(|number| &**number), |json, number| {
            json.extend_from_slice(number.as_bytes());
        }),
        None => write_strings(json, text.split('\\')),
    }
}

fn write_json<T: Serialize + ?Sized>(json: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(json, value)
        .expect("texts and numbers always serialise, and a Vec takes every write");
}

#[cfg(test)]
mod tests;
