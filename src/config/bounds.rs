//! The settings of the archive room, checked: what one file, one request and one event may be.
//!
//! Elsewhere: their names and defaults as they are given (`config`), what they mean (`archive`).

use super::{BadSetting, Given, impossible, nonzero, positive};
use crate::dicom::scan::Limits;
use crate::{archive, log};

impl Given {
    pub(super) fn archive(&self) -> Result<archive::Settings, BadSetting> {
        let default = archive::Settings::default();
        let scan = Limits::default();
        let header = positive("max-header", self.max_header, scan.non_bulk_bytes)?;
        Ok(archive::Settings {
            scan: Limits {
                depth: match self.max_depth {
                    // Three levels of JSON each; common readers of JSON give up at 128.
                    Some(given) if !(1..=40).contains(&given) => {
                        return Err(impossible("max-depth", format!("{given} is not 1 to 40")));
                    }
                    given => given.unwrap_or(scan.depth),
                },
                elements: self.max_elements.unwrap_or(scan.elements),
                non_bulk_bytes: header,
                json_bytes: header.saturating_mul(2),
                value_length: positive("max-value", self.max_value, scan.value_length)?,
                inflated_bytes: positive("max-inflated", self.max_inflated, scan.inflated_bytes)?,
                ..scan
            },
            record_bytes: match self.max_record.map(|size| size.as_u64()) {
                Some(given) if given < 16 << 10 => {
                    return Err(impossible("max-record", "at least 16KiB".to_owned()));
                }
                Some(given) => usize::try_from(given)
                    .ok()
                    .filter(|bytes| *bytes <= log::embedded::Settings::default().record_limit_bytes)
                    .ok_or_else(|| impossible("max-record", "at most 64MiB".to_owned()))?,
                None => default.record_bytes,
            },
            headers_in_flight_bytes: usize::try_from(header)
                .map_err(|_| impossible("max-header", "it does not fit this machine".to_owned()))?,
            parts: match self.max_parts {
                Some(0) => return Err(impossible("max-parts", "at least 1".to_owned())),
                given => given.unwrap_or(default.parts),
            },
            validity: nonzero("validity", self.validity, default.validity)?,
            outcome_wait: nonzero("outcome-wait", self.outcome_wait, default.outcome_wait)?,
            stale_reads: match self.allow_stale_reads {
                Some(true) => archive::StaleReads::Allowed,
                Some(false) | None => archive::StaleReads::Refused,
            },
            ..default
        })
    }
}
