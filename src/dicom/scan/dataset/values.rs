//! What becomes of a value of declared length: kept in the header, listed as bulk, or passed over.
//!
//! Invariant: what Explicit VR cannot express in the element's own VR is listed as UN (PS3.5 §6.2.2), except
//! text, which has VRs with a longer length.
//! Elsewhere: the bytes kept (`scan::header`).

use dicom_core::{Tag, VR};

use super::super::header::HEADER_BYTES;
use super::super::level::path_of;
use super::super::pixels::Table;
use super::super::vr::{
    ELEMENT_JSON_BYTES, SHORT_VALUE_BYTES, has_long_length, json_bytes, number_bytes, widened,
};
use super::super::{BulkElement, Reason, ScanError};
use super::{Dataset, Element, ROOT, State, Then};

const PIXEL_REPRESENTATION: Tag = Tag(0x0028, 0x0103);

impl Dataset {
    pub(super) fn begin_bulk(&mut self, element: Element) -> Result<(), ScanError> {
        let Element { tag, vr, length, .. } = element;
        self.push_bulk(tag, vr, self.at, u64::from(length))?;
        if self.levels.len() > 1 {
            return self.enter_skip(length);
        }
        match self.pixels.bulk_value(tag, self.at, u64::from(length)) {
            Some(table) => {
                self.afford(u64::from(length))?;
                self.enter_table(table, u64::from(length), Then::Element)
            }
            None => self.enter_skip(length),
        }
    }

    pub(super) fn begin_kept(&mut self, element: Element) -> Result<(), ScanError> {
        let Element { tag, vr, length, .. } = element;
        let kept_vr = if length <= SHORT_VALUE_BYTES || has_long_length(vr) { Some(vr) } else { widened(vr) };
        let Some(vr) = kept_vr.filter(|vr| length.is_multiple_of(number_bytes(*vr).0)) else {
            // PS3.5 §6.2.2: what its own VR cannot carry in Explicit VR is UN.
            return self.begin_bulk(Element { vr: VR::UN, ..element });
        };
        if u64::from(length) > self.limits.value_length {
            return Err(self.refuse(Reason::ValueTooLong { tag, limit: self.limits.value_length }));
        }
        self.afford(HEADER_BYTES + u64::from(length))?;
        self.header.begin_element(tag, vr, length);
        self.state = State::Keep { tag, vr, left: u64::from(length) };
        if length == 0 { self.end_kept(tag, vr) } else { Ok(()) }
    }

    pub(super) fn end_kept(&mut self, tag: Tag, vr: VR) -> Result<(), ScanError> {
        let value = self.header.end_element(vr, self.syntax.encoding.big_endian);
        let json = ELEMENT_JSON_BYTES + json_bytes(vr, value);
        if let ([low, high], VR::US, PIXEL_REPRESENTATION) = (value, vr, tag) {
            let signed = u16::from_le_bytes([*low, *high]) == 1;
            self.levels.last_mut().expect(ROOT).signed = signed;
        }
        if self.levels.len() == 1 {
            self.pixels.geometry(tag, vr, value);
        }
        self.describe(json)?;
        self.settle()
    }

    pub(super) fn push_bulk(&mut self, tag: Tag, vr: VR, offset: u64, length: u64) -> Result<(), ScanError> {
        let path = path_of(&self.levels, tag);
        self.afford((size_of::<BulkElement>() + path.len()) as u64)?;
        self.path_bytes += path.len() as u64;
        self.bulk.push(BulkElement { path, vr: vr.to_bytes(), offset, length });
        Ok(())
    }

    pub(super) fn enter_skip(&mut self, length: u32) -> Result<(), ScanError> {
        self.state = State::Skip(u64::from(length));
        if length == 0 { self.settle() } else { Ok(()) }
    }

    pub(super) fn enter_table(&mut self, table: Table, left: u64, then: Then) -> Result<(), ScanError> {
        self.state = match then {
            _ if left > 0 => State::Table { table, left, then },
            Then::Fragment => State::Fragment,
            Then::Element => return self.settle(),
        };
        Ok(())
    }
}
