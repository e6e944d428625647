//! How many values an element may have (PS3.6; contract `studies.md` §2.5.5).
//!
//! The table is `schemas/value-multiplicity.tsv`, read once: columns multiplicity, group, elements.
//! Invariant: private elements, and those the table does not know, have no multiplicity.
//! Elsewhere: how values are counted (`full`), where the table comes from (`schemas/value-multiplicity.py`).

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use dicom_core::Tag;

const TABLE: &str = include_str!("../../../schemas/value-multiplicity.tsv");

static MULTIPLICITIES: LazyLock<Multiplicities> =
    LazyLock::new(|| Multiplicities::read(TABLE).expect("a test reads the table that is compiled in"));

/// The value multiplicity of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplicity {
    least: usize,
    /// `None`: any number.
    most: Option<usize>,
    /// The count is a multiple of it.
    step: usize,
}

impl Multiplicity {
    /// Of a standard element; for private and unknown ones there is none.
    pub(super) fn of(tag: Tag) -> Option<Self> {
        if tag.group() % 2 == 1 {
            return None;
        }
        let number = number(tag);
        let table = &*MULTIPLICITIES;
        table.exact.get(&number).copied().or_else(|| {
            let repeating = table.repeating.iter().find(|(pattern, _)| pattern.matches(number));
            repeating.map(|(_, multiplicity)| *multiplicity)
        })
    }

    /// Whether an element may have so many values.
    pub(super) fn admits(self, count: usize) -> bool {
        count >= self.least && self.most.is_none_or(|most| count <= most) && count.is_multiple_of(self.step)
    }

    /// Reads `3`, `1-2`, `1-n` or `2-2n`.
    fn read(text: &str) -> Option<Self> {
        let Some((least, most)) = text.split_once('-') else {
            let exactly = text.parse().ok()?;
            return Some(Self { least: exactly, most: Some(exactly), step: 1 });
        };
        let least = least.parse().ok()?;
        Some(match most.strip_suffix('n') {
            None => Self { least, most: Some(most.parse().ok()?), step: 1 },
            Some("") => Self { least, most: None, step: 1 },
            Some(step) => Self { least, most: None, step: step.parse().ok().filter(|step| *step > 0)? },
        })
    }
}

impl fmt::Display for Multiplicity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.most, self.step) {
            (Some(most), _) if most == self.least => write!(f, "{most}"),
            (Some(most), _) => write!(f, "{}-{most}", self.least),
            (None, 1) => write!(f, "{}-n", self.least),
            (None, step) => write!(f, "{}-{step}n", self.least),
        }
    }
}

/// The whole table.
struct Multiplicities {
    exact: HashMap<u32, Multiplicity>,
    repeating: Vec<(Pattern, Multiplicity)>,
}

/// A tag with digits that may be any.
struct Pattern {
    mask: u32,
    digits: u32,
}

impl Pattern {
    fn matches(&self, number: u32) -> bool {
        number & self.mask == self.digits
    }

    /// Reads eight digits.
    fn read(text: &str) -> Option<Self> {
        let mask: String = text.chars().map(|c| if c == 'x' { '0' } else { 'f' }).collect();
        let number = |text: &str| u32::from_str_radix(text, 16).ok();
        (text.len() == 8).then_some(())?;
        Some(Self { mask: number(&mask)?, digits: number(&text.replace('x', "0"))? })
    }
}

impl Multiplicities {
    fn read(table: &str) -> Option<Self> {
        let mut read = Self { exact: HashMap::with_capacity(6000), repeating: Vec::new() };
        for row in table.lines().filter(|line| !line.starts_with('#')) {
            let [multiplicity, group, elements] = row.split('\t').collect::<Vec<_>>().try_into().ok()?;
            let multiplicity = Multiplicity::read(multiplicity)?;
            for element in elements.split(' ') {
                if group.contains('x') || element.contains('x') {
                    read.repeating.push((Pattern::read(&format!("{group}{element}"))?, multiplicity));
                    continue;
                }
                let (first, last) = element.split_once('-').unwrap_or((element, element));
                let [group, first, last] = [group, first, last].map(|text| u16::from_str_radix(text, 16));
                let group = group.ok()?;
                let tags = (first.ok()?..=last.ok()?).map(|element| number(Tag(group, element)));
                read.exact.extend(tags.map(|number| (number, multiplicity)));
            }
        }
        Some(read)
    }
}

fn number(tag: Tag) -> u32 {
    u32::from(tag.group()) << 16 | u32::from(tag.element())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn of(group: u16, element: u16) -> Option<String> {
        Multiplicity::of(Tag(group, element)).map(|multiplicity| multiplicity.to_string())
    }

    #[test]
    fn the_multiplicities_are_those_of_the_standard() {
        for (group, element, expected) in [
            (0x0008, 0x0020, "1"),
            (0x0008, 0x0008, "2-n"),
            (0x0008, 0x0061, "1-n"),
            (0x0008, 0x1030, "1"),
            (0x0018, 0x1310, "4"),
            (0x0020, 0x0032, "3"),
            (0x0020, 0x0037, "6"),
            (0x0028, 0x0030, "2"),
            (0x0028, 0x0009, "1-n"),
            (0x0018, 0x1620, "2-2n"),
            (0x0018, 0x1624, "3"),
            (0x3006, 0x0050, "3-3n"),
            // Repeating groups and elements.
            (0x6000, 0x0050, "2"),
            (0x601E, 0x0010, "1"),
            (0x50FE, 0x0030, "1-n"),
            (0x0020, 0x3112, "1-n"),
            (0x1000, 0x1230, "3"),
        ] {
            assert_eq!(of(group, element).as_deref(), Some(expected), "({group:04x},{element:04x})");
        }
        for (group, element) in [(0x0009, 0x1001), (0x0029, 0x0010), (0x6001, 0x0010), (0x0008, 0x0002)] {
            assert_eq!(of(group, element), None, "private or unknown: ({group:04x},{element:04x})");
        }
        assert_eq!(MULTIPLICITIES.exact.len(), 5091);
        assert_eq!(MULTIPLICITIES.repeating.len(), 88);
    }

    #[test]
    fn a_count_lies_within_a_multiplicity_or_not() {
        for (text, admitted, others) in [
            ("1", &[1_usize][..], &[0_usize, 2][..]),
            ("2-4", &[2, 3, 4], &[1, 5]),
            ("1-n", &[1, 2, 100_000], &[0]),
            ("2-2n", &[2, 4, 100], &[0, 1, 3]),
            ("3-3n", &[3, 6], &[2, 4]),
        ] {
            let multiplicity = Multiplicity::read(text).expect("a multiplicity");
            assert!(admitted.iter().all(|count| multiplicity.admits(*count)), "{text}");
            assert!(!others.iter().any(|count| multiplicity.admits(*count)), "{text}");
        }
    }

    #[test]
    fn the_table_is_what_its_generator_makes() {
        let Some(python) = std::env::var_os("KYMO_TEST_PYTHON") else {
            eprintln!("skipped: KYMO_TEST_PYTHON names no Python with pydicom; tests/run sets it up");
            return;
        };
        let generator = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/value-multiplicity.py");
        let ran = Command::new(python).arg(generator).output().expect("KYMO_TEST_PYTHON can be run");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        assert!(ran.stdout == TABLE.as_bytes(), "run schemas/value-multiplicity.py again");
    }
}
