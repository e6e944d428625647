//! Events read back, samples of every version, and bytes that are no event.

use std::path::PathBuf;

use super::*;
use crate::base::{Partition, Stamp};
use crate::dicom::uid::Uid;
use crate::event::{Actor, InstanceKey, Payload, ReceivedInstance, Scope, StoreMode, StoredFile};
use proptest::prelude::*;
use uuid::Uuid;

fn uid(text: &str) -> Uid {
    Uid::parse(text).unwrap()
}

fn head(payload: Payload) -> Head {
    Head {
        id: Uuid::from_u128(0x0195_f0a2_c4d3_7e1f_8a6b_2c9d_4e5f_6071),
        node: Uuid::from_u128(7),
        valid_until: Stamp(17_392_617_301_234_567),
        request_id: "r-1".to_owned(),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        actor: Actor::Caller {
            issuer: "https://issuer.example".to_owned(),
            subject: "u".to_owned(),
            client: "c".to_owned(),
        },
        cause: Some(Uuid::from_u128(9)),
        partition: Partition::default(),
        payload,
    }
}

/// One head of every kind of payload, and the sections that go with it.
fn samples() -> Vec<(&'static str, Head, Sections)> {
    let mut sections = Sections::default();
    let json = format!(r#"{{"00080018":{{"vr":"UI","Value":["1.2.3.4.5"]}}{}}}"#, " ".repeat(400));
    sections.push(Section::Metadata, json.as_bytes()).unwrap();
    sections.push(Section::Chunks, &[1, 2, 3, 4]).unwrap();
    let instance = ReceivedInstance {
        key: InstanceKey { study: uid("1.2.3"), series: uid("1.2.3.4"), instance: uid("1.2.3.4.5") },
        received: [None, Some("1.2.3.4 ".to_owned()), None],
        sop_class: "1.2.840.10008.5.1.4.1.1.7".to_owned(),
        transfer_syntax: "1.2.840.10008.1.2.1".to_owned(),
        file: StoredFile { key: "AHDS/a/b.dcm".to_owned(), length_bytes: 526_000, sha256: [5; 32] },
        dataset_offset: 340,
        warnings: vec![45063],
        derived_by: 1,
        expires_after_ms: Some(1000),
    };
    let scope = Scope { study: uid("1.2.3"), series: Some(uid("1.2.3.4")), instance: None };
    let keys = vec!["AHDS/a/b.dcm".to_owned()];
    let partition = Partition::parse("Ward_7").unwrap();
    let created = Head { partition, ..head(Payload::PartitionCreated) };
    vec![
        ("log_created", head(Payload::LogCreated { log: Uuid::from_u128(3) }), Sections::default()),
        ("format_enabled", head(Payload::FormatEnabled { version: 1 }), Sections::default()),
        ("instance_stored", head(Payload::InstanceStored { instance, mode: StoreMode::Upsert }), sections),
        ("deleted", head(Payload::Deleted { scope }), Sections::default()),
        ("blobs_removed", head(Payload::BlobsRemoved { keys }), Sections::default()),
        ("time_marked", head(Payload::TimeMarked), Sections::default()),
        ("log_sealed", head(Payload::LogSealed), Sections::default()),
        ("log_opened", head(Payload::LogOpened), Sections::default()),
        ("partition_created", created, Sections::default()),
    ]
}

fn stored(version: u16, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/events/v{version}/{name}.bin"))
}

/// To add the sample of a new kind of event: KYMO_WRITE_SAMPLES=1. Samples that are there are never rewritten.
#[test]
fn stored_samples_of_every_version_are_read() {
    for (name, head, sections) in samples() {
        let path = stored(head.payload.version(), name);
        if std::env::var_os("KYMO_WRITE_SAMPLES").is_some() && !path.exists() {
            std::fs::write(&path, encode(&head, &sections).unwrap()).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let event = decode(bytes.into()).unwrap();
        assert_eq!(event.head, head, "{name}");
        if let Payload::InstanceStored { .. } = event.head.payload {
            let metadata = event.section(Section::Metadata).unwrap().unwrap();
            assert!(metadata.starts_with(br#"{"00080018""#));
            assert_eq!(event.section(Section::Chunks).unwrap().unwrap()[..], [1, 2, 3, 4]);
            assert_eq!(event.section(Section::Frames).unwrap(), None);
        }
    }
}

/// The bodies of one event.
#[derive(Debug)]
struct Kept(Vec<(BodyRef, Bytes)>);

impl Bodies for Kept {
    fn body(&self, body: &BodyRef) -> Result<Bytes, String> {
        let found = self.0.iter().find(|(kept, _)| kept == body);
        found.map(|(_, bytes)| bytes.clone()).ok_or_else(|| "it is not kept".to_owned())
    }
}

#[test]
fn sections_that_do_not_fit_lie_elsewhere_and_are_found_there() {
    let (_, head, mut sections) = samples().remove(2);
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let noise: Vec<u8> = (0..50_000).map(|_| next()).collect();
    sections.push(Section::Bulk, &noise).unwrap();
    let whole = encode(&head, &sections).unwrap();
    assert!(!may_have_bodies(&whole) && whole[4] == 1, "what fits is written as ever");

    let (moved, bodies) = sections.elsewhere(5_000);
    assert_eq!(bodies.len(), 1, "only what has to go goes");
    let record = encode(&head, &moved).unwrap();
    assert!(may_have_bodies(&record) && record[4] == 2 && record.len() < 1_000);
    let event = decode(record).unwrap();
    assert_eq!((event.head.clone(), event.bodies().unwrap()), (head.clone(), vec![bodies[0].0]));
    assert!(event.section(Section::Bulk).is_err(), "nobody said where");
    assert_eq!(event.section_bytes(Section::Bulk), noise.len());
    let kept: Arc<dyn Bodies> = Arc::new(Kept(bodies));
    let event = event.with_bodies(&kept);
    assert!(event.section(Section::Bulk).unwrap().unwrap() == noise);
    assert_eq!(event.section(Section::Chunks).unwrap().unwrap()[..], [1, 2, 3, 4]);
    let none: Arc<dyn Bodies> = Arc::new(Kept(Vec::new()));
    assert!(event.with_bodies(&none).section(Section::Bulk).is_err());

    let (all, bodies) = sections.elsewhere(0);
    assert_eq!(bodies.len(), 2, "what is smaller than its reference stays");
    let kept: Arc<dyn Bodies> = Arc::new(Kept(bodies));
    let event = decode(encode(&head, &all).unwrap()).unwrap().with_bodies(&kept);
    assert!(event.section(Section::Metadata).unwrap().unwrap().starts_with(br#"{"00080018""#));
    let (same, none) = all.elsewhere(0);
    assert!(none.is_empty() && same == all);
}

/// The sample of version 2; to write it where it is missing: KYMO_WRITE_SAMPLES=1.
#[test]
fn the_stored_sample_of_an_event_with_a_body_is_read() {
    let (_, head, sections) = samples().remove(2);
    let (moved, bodies) = sections.elsewhere(0);
    let path = stored(2, "instance_stored");
    if std::env::var_os("KYMO_WRITE_SAMPLES").is_some() && !path.exists() {
        std::fs::write(&path, encode(&head, &moved).unwrap()).unwrap();
    }
    let event = decode(std::fs::read(&path).unwrap().into()).unwrap();
    assert_eq!(event.head, head);
    assert_eq!(event.bodies().unwrap(), [bodies[0].0]);
    let kept: Arc<dyn Bodies> = Arc::new(Kept(bodies));
    let metadata = event.with_bodies(&kept).section(Section::Metadata).unwrap().unwrap();
    assert!(metadata.starts_with(br#"{"00080018""#));
}

#[test]
fn a_version_from_the_future_is_named() {
    let (_, head, sections) = samples().remove(0);
    let mut bytes = encode(&head, &sections).unwrap().to_vec();
    bytes[4] = 9;
    let refused = decode(bytes.into()).unwrap_err();
    assert_eq!(refused, DecodeError::FromTheFuture { found: 9, known: VERSION });
    assert!(refused.to_string().contains("version 9"));
}

#[test]
fn sections_survive_a_while_outside_of_memory() {
    let (_, head, sections) = samples().remove(2);
    let thawed = Sections::thaw(&sections.freeze()).unwrap();
    assert_eq!(encode(&head, &thawed).unwrap(), encode(&head, &sections).unwrap());
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic_or_allocate_wildly(
        which in 0usize..9, at in 0usize..400, with: u8, cut in 0usize..400,
    ) {
        let (_, head, sections) = samples().remove(which);
        let mut bytes = encode(&head, &sections).unwrap().to_vec();
        let at = at % bytes.len();
        bytes[at] = with;
        bytes.truncate(bytes.len().saturating_sub(cut % 7));
        if let Ok(event) = decode(bytes.into()) {
            for section in [Section::Metadata, Section::Bulk, Section::Frames, Section::Chunks] {
                drop(event.section(section));
            }
        }
    }
}
