//! The JSON of a row (`change-feed.md` §3, §5, §7).

use serde_json::{Value, json};

use super::*;
use crate::archive::LiveInstance;
use crate::base::{Partition, Position};
use crate::dicom::uid::Uid;
use crate::event::{Change, InstanceKey, StoredFile};

fn key() -> InstanceKey {
    let uid = |text| Uid::parse(text).unwrap();
    InstanceKey { study: uid("1.2"), series: uid("1.2.3"), instance: uid("1.2.3.4") }
}

fn row(action: Action, state: FeedState, own: Option<&str>, live: Option<&str>) -> FeedRow {
    let change = Change {
        sequence: 41,
        action,
        partition: Partition::default(),
        key: key(),
        version: 41,
        time: Stamp(17_392_617_301_234_567),
        position: Position(7),
        file: own.map(str::to_owned),
    };
    let live = live.map(|path| LiveInstance {
        key: key(),
        version: 57,
        position: Position(9),
        transfer_syntax: "1.2.840.10008.1.2.1".to_owned(),
        file: StoredFile { key: path.to_owned(), length_bytes: 1, sha256: [0; 32] },
    });
    FeedRow { change, state, live }
}

fn value(row: &FeedRow) -> Value {
    serde_json::from_slice(&Entry::of(row).json()).unwrap()
}

#[test]
fn an_entry_has_exactly_the_members_of_the_contract() {
    let row = row(Action::Create, FeedState::Current, Some("a.dcm"), Some("a.dcm"));
    let expected = json!({
        "sequence": 41,
        "partitionName": "Microsoft.Default",
        "filePath": "a.dcm",
        "studyInstanceUid": "1.2",
        "seriesInstanceUid": "1.2.3",
        "sopInstanceUid": "1.2.3.4",
        "action": "Create",
        "timestamp": "2025-02-11T08:15:30.1234567+00:00",
        "state": "Current"
    });
    assert_eq!(value(&row), expected);
}

#[test]
fn the_path_is_that_of_the_version_alive_or_the_one_the_dead_had() {
    use Action::{Create, Delete, Update};
    use FeedState::{Current, Deleted, Replaced};
    for (row, path) in [
        (row(Create, Replaced, Some("a.dcm"), Some("b.dcm")), Some("b.dcm")),
        (row(Update, Current, Some("b.dcm"), Some("b.dcm")), Some("b.dcm")),
        (row(Create, Deleted, Some("a.dcm"), None), Some("a.dcm")),
        (row(Delete, Deleted, None, None), None),
        (row(Delete, Replaced, None, Some("b.dcm")), None),
    ] {
        assert_eq!(value(&row).get("filePath").and_then(Value::as_str), path, "{row:?}");
    }
}

#[test]
fn metadata_are_put_in_as_they_are() {
    let row = row(Action::Delete, FeedState::Replaced, None, Some("b.dcm"));
    let metadata = Bytes::from_static(br#"{"00080018":{"vr":"UI","Value":["1.2.3.4"]}}"#);
    let pieces = with_member(Entry::of(&row).json(), "metadata", metadata);
    let whole: Value = serde_json::from_slice(&pieces.concat()).unwrap();
    assert_eq!(whole["metadata"], json!({"00080018": {"vr": "UI", "Value": ["1.2.3.4"]}}));
    assert_eq!(whole["state"], "Replaced");
}

#[test]
fn an_unreadable_row_says_so() {
    let row = row(Action::Create, FeedState::Current, Some("a.dcm"), Some("a.dcm"));
    let entry = Entry { metadata_error: Some("why"), ..Entry::of(&row) };
    let json: Value = serde_json::from_slice(&entry.json()).unwrap();
    assert_eq!(json["metadataError"], "why");
    assert!(json.get("metadata").is_none());
}
