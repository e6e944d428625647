//! Where an instance stands among others, for the choice of the one that stands for all (`studies.md` §3.7).

use serde::Deserialize;

use super::attributes::Numbers;

/// What of an instance's metadata says where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// (0020,0011)
    pub series_number: Option<i64>,
    /// (0020,0013)
    pub instance_number: Option<i64>,
    /// (0028,6010)
    pub representative_frame: Option<u32>,
    /// It has Rows, as images have.
    pub is_image: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(rename = "00200011")]
    series_number: Numbers<1>,
    #[serde(rename = "00200013")]
    instance_number: Numbers<1>,
    #[serde(rename = "00286010")]
    representative_frame: Numbers<1>,
    #[serde(rename = "00280010")]
    rows: Numbers<1>,
}

impl Place {
    /// Of DICOM JSON metadata; what cannot be read says nothing.
    #[must_use]
    pub fn of_metadata(metadata: &[u8]) -> Self {
        let metadata: Metadata = serde_json::from_slice(metadata).unwrap_or_default();
        let whole = |numbers: &Numbers<1>| {
            let number = numbers.first()?;
            // IS has 32 bits.
            (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64)
        };
        Self {
            series_number: whole(&metadata.series_number),
            instance_number: whole(&metadata.instance_number),
            representative_frame: whole(&metadata.representative_frame)
                .and_then(|number| u32::try_from(number).ok())
                .filter(|number| *number > 0),
            is_image: metadata.rows.first().is_some(),
        }
    }
}
