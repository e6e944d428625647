//! DICOM Part 10 files for tests, right ones and wrong ones.
//!
//! An [`Instance`] is built by chained calls and written with [`Instance::part10`] in any transfer syntax. Tags
//! are numbers (`0x0010_0020`), values anything [`Value`] can be made of. Nothing is checked: an element can be
//! missing, doubled, of a wrong VR, or declare a length it does not have.
//!
//! Invariant: the same calls give the same bytes.
//! Elsewhere: images in every transfer syntax (`families`), the files of the vendor's tutorial (`tutorial`).

mod encode;
mod families;
mod tutorial;

pub(crate) use encode::{Element, Value};
pub(crate) use families::{Family, families};
pub(crate) use tutorial::{SERIES, STUDY, blue_circle, green_square, red_triangle};

use encode::Encoding;

pub(crate) const IMPLICIT_LITTLE: &str = "1.2.840.10008.1.2";
pub(crate) const EXPLICIT_LITTLE: &str = "1.2.840.10008.1.2.1";
pub(crate) const EXPLICIT_BIG: &str = "1.2.840.10008.1.2.2";
pub(crate) const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
/// GE's: Implicit VR Little Endian, big-endian pixels.
pub(crate) const GE_IMPLICIT: &str = "1.2.840.113619.5.2";

/// Secondary Capture Image Storage.
pub(crate) const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";

pub(crate) const SOP_CLASS_UID: u32 = 0x0008_0016;
pub(crate) const SOP_INSTANCE_UID: u32 = 0x0008_0018;
pub(crate) const PATIENT_ID: u32 = 0x0010_0020;
pub(crate) const STUDY_UID: u32 = 0x0020_000D;
pub(crate) const SERIES_UID: u32 = 0x0020_000E;
pub(crate) const PIXEL_DATA: u32 = 0x7FE0_0010;

/// How pixels lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    pub(crate) samples: u16,
    /// Bits allocated, all of them stored.
    pub(crate) bits: u16,
    pub(crate) photometric: &'static str,
}

/// Which table says where encapsulated frames begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offsets {
    /// An empty Basic Offset Table.
    Absent,
    Basic,
    Extended,
}

/// One instance, not yet written.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    preamble: [u8; 128],
    meta: Vec<Element>,
    dataset: Vec<Element>,
    defined_lengths: bool,
    appended: Vec<u8>,
}

impl Instance {
    /// A Secondary Capture without pixels, Explicit VR Little Endian, with what every store requires.
    pub(crate) fn new(study: &str, series: &str, sop: &str) -> Self {
        let meta = vec![
            Element::new(0x0002_0001, "OB", vec![0_u8, 1]),
            Element::new(0x0002_0002, "UI", SECONDARY_CAPTURE),
            Element::new(0x0002_0003, "UI", sop),
            Element::new(0x0002_0010, "UI", EXPLICIT_LITTLE),
            Element::new(0x0002_0012, "UI", "2.25.318267091837482649173640187261"),
            Element::new(0x0002_0013, "SH", "KYMO TEST KIT"),
        ];
        let bare = Self {
            preamble: [0; 128],
            meta,
            dataset: Vec::new(),
            defined_lengths: false,
            appended: Vec::new(),
        };
        bare.element(SOP_CLASS_UID, "UI", SECONDARY_CAPTURE)
            .element(SOP_INSTANCE_UID, "UI", sop)
            .element(STUDY_UID, "UI", study)
            .element(SERIES_UID, "UI", series)
            .modality("OT")
            .patient("P-1", "Doe^Jane")
    }

    /// Puts an element in its place; one of the same tag gives way.
    pub(crate) fn element(self, tag: u32, vr: &'static str, value: impl Into<Value>) -> Self {
        self.without(tag).again(tag, vr, value)
    }

    /// Puts an element behind those of the same tag.
    pub(crate) fn again(mut self, tag: u32, vr: &'static str, value: impl Into<Value>) -> Self {
        let at = self.dataset.partition_point(|element| element.tag <= tag);
        self.dataset.insert(at, Element::new(tag, vr, value));
        self
    }

    /// Without any element.
    pub(crate) fn bare(mut self) -> Self {
        self.dataset.clear();
        self
    }

    pub(crate) fn without(mut self, tag: u32) -> Self {
        self.dataset.retain(|element| element.tag != tag);
        self
    }

    /// Puts a private element and, in the first of its block, the name of its creator.
    pub(crate) fn private(self, tag: u32, creator: &str, vr: &'static str, value: impl Into<Value>) -> Self {
        let block = (tag & 0xFFFF_0000) | (tag >> 8 & 0xFF);
        self.element(block, "LO", creator).element(tag, vr, value)
    }

    /// Puts a file meta element; group length is counted when the file is written.
    pub(crate) fn meta(mut self, tag: u32, vr: &'static str, value: impl Into<Value>) -> Self {
        self.meta.retain(|element| element.tag != tag);
        let at = self.meta.partition_point(|element| element.tag <= tag);
        self.meta.insert(at, Element::new(tag, vr, value));
        self
    }

    pub(crate) fn preamble(mut self, preamble: [u8; 128]) -> Self {
        self.preamble = preamble;
        self
    }

    /// Writes the dataset in another transfer syntax; one that is not known is Explicit VR Little Endian.
    pub(crate) fn syntax(self, uid: &str) -> Self {
        self.meta(0x0002_0010, "UI", uid)
    }

    /// Writes sequences and items with their length instead of delimiters.
    pub(crate) fn defined_lengths(mut self) -> Self {
        self.defined_lengths = true;
        self
    }

    /// Appends bytes behind the last element, inside the deflated stream if there is one.
    pub(crate) fn appended(mut self, bytes: &[u8]) -> Self {
        self.appended.extend_from_slice(bytes);
        self
    }

    pub(crate) fn modality(self, modality: &str) -> Self {
        self.element(0x0008_0060, "CS", modality)
    }

    pub(crate) fn patient(self, id: &str, name: &str) -> Self {
        self.element(PATIENT_ID, "LO", id).element(0x0010_0010, "PN", name)
    }

    /// Declares a character set; texts are then given in it, as bytes.
    pub(crate) fn character_set(self, term: &str) -> Self {
        self.element(0x0008_0005, "CS", term)
    }

    /// Native pixel data: the frames one after the other, each with its exact length.
    pub(crate) fn frames(self, image: Image, frames: &[Vec<u8>]) -> Self {
        let pixels = frames.concat();
        let described = self.described(image, frames.len());
        if image.bits > 8 {
            described.element(PIXEL_DATA, "OW", Value::Words(pixels))
        } else {
            described.element(PIXEL_DATA, "OB", pixels)
        }
    }

    /// Encapsulated pixel data: of each frame its fragments.
    pub(crate) fn fragments(self, image: Image, frames: &[Vec<Vec<u8>>], offsets: Offsets) -> Self {
        let item = |fragment: &Vec<u8>| 8 + fragment.len();
        let mut begin = 0;
        let mut begins = Vec::new();
        for frame in frames {
            begins.push(begin);
            begin += frame.iter().map(item).sum::<usize>();
        }
        let basic = match offsets {
            Offsets::Basic => begins.iter().map(|at| u32::try_from(*at).expect("a small file")).collect(),
            Offsets::Absent | Offsets::Extended => Vec::new(),
        };
        let instance = match offsets {
            Offsets::Extended => {
                let lengths = frames.iter().map(|frame| frame.iter().map(|f| f.len() as u64).sum()).collect();
                let begins = begins.iter().map(|at| *at as u64).collect();
                self.element(0x7FE0_0001, "OV", Value::U64(begins)).element(
                    0x7FE0_0002,
                    "OV",
                    Value::U64(lengths),
                )
            }
            Offsets::Absent | Offsets::Basic => self,
        };
        let fragments = frames.concat();
        instance.described(image, frames.len()).element(
            PIXEL_DATA,
            "OB",
            Value::Fragments { basic, fragments },
        )
    }

    fn described(self, image: Image, frames: usize) -> Self {
        let instance = self
            .element(0x0028_0002, "US", image.samples)
            .element(0x0028_0004, "CS", image.photometric)
            .element(0x0028_0010, "US", image.rows)
            .element(0x0028_0011, "US", image.columns)
            .element(0x0028_0100, "US", image.bits)
            .element(0x0028_0101, "US", image.bits)
            .element(0x0028_0102, "US", image.bits - 1)
            .element(0x0028_0103, "US", 0_u16);
        let instance = if image.samples > 1 { instance.element(0x0028_0006, "US", 0_u16) } else { instance };
        match frames {
            1 => instance,
            frames => instance.element(0x0028_0008, "IS", frames.to_string().as_str()),
        }
    }

    /// The file.
    pub(crate) fn part10(&self) -> Vec<u8> {
        let meta = Encoding::EXPLICIT_LITTLE.dataset(&self.meta, true);
        let length = u32::try_from(meta.len()).expect("a short group");
        let group_length = Element::new(0x0002_0000, "UL", Value::U32(vec![length]));
        let mut file = self.preamble.to_vec();
        file.extend(b"DICM");
        if !self.meta.iter().any(|element| element.tag == 0x0002_0000) {
            file.extend(Encoding::EXPLICIT_LITTLE.dataset(&[group_length], true));
        }
        file.extend(meta);
        file.extend(self.dataset());
        file
    }

    /// What follows the file meta group.
    fn dataset(&self) -> Vec<u8> {
        let syntax = self.meta.iter().find(|element| element.tag == 0x0002_0010).map(Element::text);
        let syntax = syntax.unwrap_or_default();
        let mut dataset = Encoding::of(&syntax).dataset(&self.dataset, self.defined_lengths);
        dataset.extend(&self.appended);
        if syntax == DEFLATED { encode::deflated(&dataset) } else { dataset }
    }
}
