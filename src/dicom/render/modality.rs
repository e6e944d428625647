//! Stored values as what the modality measured (PS3.3 §C.11.1).

use super::lut::Table;
use super::stored::Stored;

/// From stored values to the modality's units.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Modality {
    Same,
    Rescale { slope: f64, intercept: f64 },
    Table(Table),
}

impl Modality {
    pub(super) fn output(&self, value: i64) -> f64 {
        match self {
            // Exact up to 53 bits, far beyond what is shown.
            Self::Same => value as f64,
            Self::Rescale { slope, intercept } => value as f64 * slope + intercept,
            Self::Table(table) => table.at(value).into(),
        }
    }

    /// Whether values below 0 can come of what is stored so.
    pub(super) fn may_be_negative(&self, stored: Stored) -> bool {
        let (least, greatest) = stored.extremes();
        self.output(least) < 0.0 || self.output(greatest) < 0.0
    }
}
