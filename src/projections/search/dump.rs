//! The whole state of the search view as sorted text, to compare a rebuilt view with the live one.
//!
//! Invariant: every kind of row but the ring of touched studies is shown with every field; the ring is not
//! state of the view but a note to the index.
//! Elsewhere: the terms of the index (`index::dump`).

use super::find::Moment;
use super::index;
use super::instance_values::Fence;
use super::rows::{self, Id, InstanceRow, Newest, SeriesRow, StudyRow, VersionRow, decode};
use crate::dicom::uid::Uid;
use crate::tables::{self, Read};

/// One line for each row, in key order, then one for each term of the index.
///
/// # Errors
/// Rows or index are damaged, in words.
pub(super) fn dump(moment: &Moment<'_>) -> Result<String, String> {
    let mut text = String::new();
    for kind in b"ENSachinopuv" {
        for row in moment.rows.prefix(&[*kind]) {
            let (key, value) = row.map_err(|error| error.to_string())?;
            let value = value_text(*kind, &value).map_err(|error| error.to_string())?;
            text += &format!("{} {value}\n", key.escape_ascii());
        }
    }
    if let Some(searcher) = &moment.searcher {
        for line in index::dump(searcher).map_err(|error| error.to_string())? {
            text += &line;
            text.push('\n');
        }
    }
    Ok(text)
}

fn value_text(kind: u8, value: &[u8]) -> Result<String, tables::Error> {
    Ok(match kind {
        b'E' | b'S' | b'a' | b'c' | b'n' | b'u' => decode::<Id>(value)?.to_string(),
        b'h' => format!("{:?}", decode::<Fence>(value)?),
        b'N' => decode::<Uid>(value)?.to_string(),
        b'o' => {
            let StudyRow { uid, values, series, instances, newest, modalities } = decode(value)?;
            let newest = newest_text(newest);
            format!("{uid} {values:?} series={series} instances={instances} {newest} {modalities:?}")
        }
        b'p' => {
            let SeriesRow { study, uid, values, instances, newest, classes } = decode(value)?;
            let newest = newest_text(newest);
            format!("{uid} {values:?} study={study} instances={instances} {newest} {classes:?}")
        }
        b'i' => {
            let InstanceRow { uid, position, class, syntax, values } = decode(value)?;
            format!("{uid} {values:?} position={position} class={class} syntax={syntax}")
        }
        b'v' => {
            let VersionRow { series, position, class } = decode(value)?;
            format!("series={series} position={position} class={class}")
        }
        _ => return Err(rows::damaged("a row of no known kind")),
    })
}

fn newest_text(Newest { version, position }: Newest) -> String {
    format!("newest={version}@{position}")
}
