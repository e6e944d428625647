//! How a frame is to be shown, from its instance's attributes (PS3.3 §C.11.1, §C.11.2, §C.7.6.16.2.9 and .10).
//!
//! What per-frame functional groups say counts before what the shared ones say, that before the top level. Tables
//! whose values are not in the metadata are named first ([`Attributes::tables`]) and read by the caller.
//!
//! Elsewhere: what all this does to samples (`render`), bytes of values (`http`).

use std::collections::HashMap;

use serde::Deserialize;

use super::Unrenderable;
use super::attributes::{Items, Numbers, Text};
use super::lut::{self, Descriptor, MOST_TABLE_BYTES, Table};
use super::modality::Modality;
use super::palette::{Entries, Palette};
use super::stored::Stored;
use super::voi::{Function, Voi, Window};
use crate::dicom::pixels::{Description, Photometric};

/// Words of the longest table.
const WORDS: usize = MOST_TABLE_BYTES as usize / 2;
const DATA: &str = "00283006";

/// What the attributes of an instance say of the look of one frame.
#[derive(Debug, Default)]
pub struct Attributes {
    rescale: Option<(f64, f64)>,
    modality: Option<Named>,
    voi: Option<Said>,
    padding: Option<(f64, f64)>,
    palette: [Channel; 3],
}

#[derive(Debug)]
enum Said {
    Window(Window),
    Table(Named),
}

/// A table with the path of its entries.
#[derive(Debug)]
struct Named {
    descriptor: Vec<f64>,
    words: Vec<f64>,
    path: String,
}

/// One table of a palette.
#[derive(Debug, Default)]
struct Channel {
    descriptor: Vec<f64>,
    whole: Vec<f64>,
    segmented: Vec<f64>,
}

/// Paths of the entries of a palette's tables: whole, and in segments.
const PALETTE: [[&str; 2]; 3] =
    [["00281201", "00281221"], ["00281202", "00281222"], ["00281203", "00281223"]];

/// How a frame is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Look(pub(super) How);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum How {
    Grey(Grey),
    Palette(Palette),
    Colour,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grey {
    pub(super) modality: Modality,
    pub(super) voi: Voi,
    /// Stored values that are no part of the image.
    pub(super) padding: Option<std::ops::RangeInclusive<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Top<'a> {
    #[serde(rename = "00283000", borrow)]
    modality: Items<'a>,
    #[serde(rename = "00280120")]
    padding: Numbers<1>,
    #[serde(rename = "00280121")]
    padding_limit: Numbers<1>,
    #[serde(rename = "52009229", borrow)]
    shared: Items<'a>,
    #[serde(rename = "52009230", borrow)]
    per_frame: Items<'a>,
}

/// What may stand at the top level and in functional groups.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Values<'a> {
    #[serde(rename = "00281052")]
    intercept: Numbers<1>,
    #[serde(rename = "00281053")]
    slope: Numbers<1>,
    #[serde(rename = "00281050")]
    center: Numbers<1>,
    #[serde(rename = "00281051")]
    width: Numbers<1>,
    #[serde(rename = "00281056")]
    function: Text,
    #[serde(rename = "00283010", borrow)]
    tables: Items<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Group<'a> {
    #[serde(rename = "00289145", borrow)]
    transformation: Items<'a>,
    #[serde(rename = "00289132", borrow)]
    voi: Items<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TableItem {
    #[serde(rename = "00283002")]
    descriptor: Numbers<3>,
    #[serde(rename = "00283006")]
    words: Numbers<WORDS>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PaletteValues {
    #[serde(rename = "00281101")]
    red: Numbers<3>,
    #[serde(rename = "00281102")]
    green: Numbers<3>,
    #[serde(rename = "00281103")]
    blue: Numbers<3>,
    #[serde(rename = "00281201")]
    red_whole: Numbers<WORDS>,
    #[serde(rename = "00281202")]
    green_whole: Numbers<WORDS>,
    #[serde(rename = "00281203")]
    blue_whole: Numbers<WORDS>,
    #[serde(rename = "00281221")]
    red_segmented: Numbers<WORDS>,
    #[serde(rename = "00281222")]
    green_segmented: Numbers<WORDS>,
    #[serde(rename = "00281223")]
    blue_segmented: Numbers<WORDS>,
}

impl Named {
    /// The first item of a sequence of tables, which lies at `path`.
    fn first(items: &Items<'_>, path: &str) -> Option<Self> {
        let item: TableItem = items.read(0)?;
        Some(Self { descriptor: item.descriptor.0, words: item.words.0, path: format!("{path}/1/{DATA}") })
    }

    fn table(&self, signed: bool, read: &HashMap<String, Vec<u8>>) -> Result<Table, Unrenderable> {
        let descriptor = Descriptor::of(&self.descriptor, signed)?;
        let words = lut::bytes_of(&self.words);
        Table::of(descriptor, if words.is_empty() { bytes(read, &self.path)? } else { &words })
    }
}

fn bytes<'a>(read: &'a HashMap<String, Vec<u8>>, path: &str) -> Result<&'a [u8], Unrenderable> {
    read.get(path).map(Vec::as_slice).ok_or(Unrenderable("a look-up table has no entries"))
}

impl Values<'_> {
    /// Slope and intercept, if one of them is there. A slope of 0 would leave nothing of an image.
    fn rescale(&self) -> Option<(f64, f64)> {
        let (slope, intercept) = (self.slope.first().filter(|slope| *slope != 0.0), self.intercept.first());
        (slope.is_some() || intercept.is_some()).then(|| (slope.unwrap_or(1.0), intercept.unwrap_or(0.0)))
    }

    fn voi(&self, path: &str) -> Option<Said> {
        let function = match self.function.0.as_deref() {
            Some("LINEAR_EXACT") => Function::LinearExact,
            Some("SIGMOID") => Function::Sigmoid,
            Some(_) | None => Function::Linear,
        };
        let window = self.center.first().zip(self.width.first());
        if let Some(window) = window.and_then(|(center, width)| Window::of_instance(center, width, function))
        {
            return Some(Said::Window(window));
        }
        Named::first(&self.tables, &format!("{path}00283010")).map(Said::Table)
    }
}

impl Attributes {
    /// Of DICOM JSON metadata and frame `number`, from 1, of an image with this photometric interpretation.
    ///
    /// # Errors
    /// [`Unrenderable`] when they are no metadata.
    pub fn of_metadata(metadata: &[u8], photometric: Photometric, number: u32) -> Result<Self, Unrenderable> {
        const UNREADABLE: Unrenderable = Unrenderable("its metadata cannot be read");
        match photometric {
            Photometric::Monochrome1 | Photometric::Monochrome2 => {
                let top = serde_json::from_slice(metadata).map_err(|_| UNREADABLE)?;
                let values = serde_json::from_slice(metadata).map_err(|_| UNREADABLE)?;
                Ok(Self::of_grey(&top, &values, number))
            }
            Photometric::Palette => {
                let values: PaletteValues = serde_json::from_slice(metadata).map_err(|_| UNREADABLE)?;
                Ok(Self { palette: channels(values), ..Self::default() })
            }
            Photometric::Rgb
            | Photometric::YbrFull
            | Photometric::YbrFull422
            | Photometric::YbrPartial422
            | Photometric::YbrPartial420
            | Photometric::YbrIct
            | Photometric::YbrRct => Ok(Self::default()),
        }
    }

    fn of_grey(top: &Top<'_>, values: &Values<'_>, number: u32) -> Self {
        let at = number.saturating_sub(1);
        let groups = [(&top.per_frame, "52009230", at), (&top.shared, "52009229", 0)];
        let (mut rescale, mut voi) = (None, None);
        for (items, sequence, at) in groups {
            let Some(group) = items.read::<Group<'_>>(at as usize) else { continue };
            let transformation = || group.transformation.read::<Values<'_>>(0);
            rescale = rescale.or_else(|| transformation()?.rescale());
            let path = format!("{sequence}/{}/00289132/1/", u64::from(at) + 1);
            voi = voi.or_else(|| group.voi.read::<Values<'_>>(0)?.voi(&path));
        }
        let modality = if rescale.is_none() { Named::first(&top.modality, "00283000") } else { None };
        let padding = top.padding.first();
        Self {
            rescale: rescale.or_else(|| values.rescale()),
            modality,
            voi: voi.or_else(|| values.voi("")),
            padding: padding.map(|padding| (padding, top.padding_limit.first().unwrap_or(padding))),
            palette: Default::default(),
        }
    }

    /// Takes `window` instead of what the instance says.
    #[must_use]
    pub fn with(mut self, window: Option<Window>) -> Self {
        if let Some(window) = window {
            self.voi = Some(Said::Window(window));
        }
        self
    }

    /// Paths (`dicom::scan`) of tables to be read, as far as they are there. None is longer than
    /// [`MOST_TABLE_BYTES`].
    #[must_use]
    pub fn tables(&self) -> Vec<String> {
        let voi = match &self.voi {
            Some(Said::Table(table)) => Some(table),
            Some(Said::Window(_)) | None => None,
        };
        let named = self.modality.iter().chain(voi).filter(|table| table.words.is_empty());
        let mut paths: Vec<String> = named.map(|table| table.path.clone()).collect();
        for (channel, [whole, segmented]) in self.palette.iter().zip(PALETTE) {
            if !channel.descriptor.is_empty() && channel.whole.is_empty() {
                paths.push(whole.to_owned());
                if channel.segmented.is_empty() {
                    paths.push(segmented.to_owned());
                }
            }
        }
        paths
    }

    /// The look of frames of `shape`, with the tables that were `read`.
    ///
    /// # Errors
    /// [`Unrenderable`] for a table that is not there or damaged.
    pub fn look(&self, shape: &Description, read: &HashMap<String, Vec<u8>>) -> Result<Look, Unrenderable> {
        let stored = Stored::of(shape);
        match shape.photometric {
            Photometric::Monochrome1 | Photometric::Monochrome2 => self.grey(shape, stored, read),
            Photometric::Palette => {
                let [red, green, blue] = [0, 1, 2].map(|at| self.channel(at, shape.signed, read));
                let (red, green, blue) = (red?, green?, blue?);
                let tables = [&red, &green, &blue].map(|(descriptor, bytes, whole)| {
                    let entries = if *whole { Entries::Whole(bytes) } else { Entries::Segmented(bytes) };
                    (*descriptor, entries)
                });
                Palette::of(tables).map(|palette| Look(How::Palette(palette)))
            }
            Photometric::Rgb
            | Photometric::YbrFull
            | Photometric::YbrFull422
            | Photometric::YbrPartial422
            | Photometric::YbrPartial420
            | Photometric::YbrIct
            | Photometric::YbrRct => Ok(Look(How::Colour)),
        }
    }

    fn grey(
        &self,
        shape: &Description,
        stored: Stored,
        read: &HashMap<String, Vec<u8>>,
    ) -> Result<Look, Unrenderable> {
        let modality = match (&self.modality, self.rescale) {
            (Some(table), _) => Modality::Table(table.table(shape.signed, read)?),
            (None, Some((slope, intercept))) => Modality::Rescale { slope, intercept },
            (None, None) => Modality::Same,
        };
        let voi = match &self.voi {
            Some(Said::Window(window)) => Voi::Window(*window),
            Some(Said::Table(table)) => Voi::Table(table.table(modality.may_be_negative(stored), read)?),
            None => Voi::Range,
        };
        let padding = self.padding.map(|(one, other)| {
            let (one, other) = (stored.written(one), stored.written(other));
            one.min(other)..=one.max(other)
        });
        Ok(Look(How::Grey(Grey { modality, voi, padding })))
    }

    /// Descriptor and entries of a table of the palette, and whether they are all there without segments.
    fn channel(
        &self,
        at: usize,
        signed: bool,
        read: &HashMap<String, Vec<u8>>,
    ) -> Result<(Descriptor, Vec<u8>, bool), Unrenderable> {
        let (channel, [whole, segmented]) = (&self.palette[at], PALETTE[at]);
        let descriptor = Descriptor::of(&channel.descriptor, signed)?;
        let entries = |words: &[f64], path: &str| match words {
            [] => read.get(path).cloned(),
            words => Some(lut::bytes_of(words)),
        };
        if let Some(entries) = entries(&channel.whole, whole) {
            return Ok((descriptor, entries, true));
        }
        let entries = entries(&channel.segmented, segmented);
        let entries = entries.ok_or(Unrenderable("a palette has no entries"))?;
        Ok((descriptor, entries, false))
    }
}

fn channels(values: PaletteValues) -> [Channel; 3] {
    let channel = |descriptor: Numbers<3>, whole: Numbers<WORDS>, segmented: Numbers<WORDS>| Channel {
        descriptor: descriptor.0,
        whole: whole.0,
        segmented: segmented.0,
    };
    [
        channel(values.red, values.red_whole, values.red_segmented),
        channel(values.green, values.green_whole, values.green_segmented),
        channel(values.blue, values.blue_whole, values.blue_segmented),
    ]
}
