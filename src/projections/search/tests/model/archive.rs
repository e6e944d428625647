//! The archive of the model: maps, and values as they were received.
//!
//! Nothing here uses the view's code for folding, forms or matching: what is the same to a query is said
//! again in `asked`, in other words.

use std::collections::BTreeMap;

use dicom_core::VR;
use serde_json::{Value, json};

use crate::base::{Partition, Position};
use crate::event::{Commit, Payload, Section};
use crate::projections::search::attributes::Level;
use crate::projections::search::tests::kit::extended_tag;

/// How the model compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Name,
    Date,
    Time,
    DateTime,
    Integer,
    Decimal,
    Uid,
}

/// An attribute the model knows: its tag or path, and how it is compared.
pub(super) struct Known {
    pub(super) label: String,
    pub(super) level: Level,
    pub(super) vr: VR,
    pub(super) kind: Kind,
    /// Elements besides its own.
    creator: Option<(String, Value)>,
}

pub(super) const SCHEDULED: &str = "00400275.00400009";
pub(super) const REQUESTED: &str = "00400275.00401001";

/// All of them.
pub(super) fn known() -> Vec<Known> {
    use Kind::{Date, DateTime, Decimal, Integer, Name, Text, Time, Uid};
    use Level::{Instance, Series, Study};
    let core = [
        ("00080020", Study, VR::DA, Date),
        ("00080030", Study, VR::TM, Time),
        ("00080050", Study, VR::SH, Text),
        ("00080090", Study, VR::PN, Name),
        ("00081030", Study, VR::LO, Text),
        ("00100010", Study, VR::PN, Name),
        ("00100020", Study, VR::LO, Text),
        ("00200010", Study, VR::SH, Text),
        ("00080060", Series, VR::CS, Text),
        ("00081090", Series, VR::LO, Text),
        ("0008103E", Series, VR::LO, Text),
        ("00200011", Series, VR::IS, Integer),
        ("00400244", Series, VR::DA, Date),
        ("00400245", Series, VR::TM, Time),
        (SCHEDULED, Series, VR::SH, Text),
        (REQUESTED, Series, VR::SH, Text),
        ("00200013", Instance, VR::IS, Integer),
    ];
    let added = [
        (Study, VR::FD, Decimal, false),
        (Study, VR::DT, DateTime, true),
        (Series, VR::LO, Text, true),
        (Series, VR::UI, Uid, false),
        (Instance, VR::DS, Decimal, false),
        (Instance, VR::PN, Name, true),
    ];
    let core = core.map(|(label, level, vr, kind)| Known {
        label: label.to_owned(),
        level,
        vr,
        kind,
        creator: None,
    });
    let added = added.map(|(level, vr, kind, private)| {
        let tag = extended_tag(vr, level, private);
        let creator = json!({"vr": "LO", "Value": ["ACME"]});
        let creator = private.then(|| (format!("{:08X}", (tag & 0xFFFF_0000) | 0x10), creator));
        Known { label: format!("{tag:08X}"), level, vr, kind, creator }
    });
    core.into_iter().chain(added).collect()
}

/// Values that may be stored, some of them none of their kind.
pub(super) fn pool(kind: Kind) -> Vec<Value> {
    match kind {
        Kind::Text => vec![
            json!("P1"),
            json!("p1 "),
            json!("P2"),
            json!("Straße"),
            json!("STRASSE"),
            json!("KÖPF"),
            json!("köpf  "),
            json!("  "),
        ],
        Kind::Name => vec![
            json!("Doe^John"),
            json!("DÖE^John Mary^^"),
            json!("Jones^Doe=田^太郎"),
            json!("jo^do "),
            json!("Yamada^Tarou=山田^太郎=ﾔﾏﾀﾞ^ﾀﾛｳ"),
            json!("김^희중=金^熙中"),
            json!("محمد^علی"),
            json!("=李^明"),
        ],
        Kind::Date => vec![json!("20240101"), json!("20240601"), json!("20240230"), json!("20231231")],
        Kind::Time => {
            vec![
                json!("0930"),
                json!("093000.0"),
                json!("22"),
                json!("235960"),
                json!("24"),
                json!("055959.5"),
            ]
        }
        Kind::DateTime => {
            vec![json!("2024"), json!("20240101120000+0100"), json!("20240601"), json!("2024133")]
        }
        Kind::Integer => vec![json!(7), json!("007"), json!("-3 "), json!("x"), json!(12)],
        Kind::Decimal => vec![json!(1.5), json!("1.50"), json!(0), json!("-0.0"), json!(-2e10), json!("NaN")],
        Kind::Uid => vec![json!("1.2.3"), json!("1.2.4 ")],
    }
}

/// The modalities there are, in place of other texts.
pub(super) const MODALITIES: [&str; 4] = ["CT", "ct", "MR", "US"];

/// The text of a value, if it is one of its kind.
fn kept(kind: Kind, value: &Value) -> Option<String> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let valid = match kind {
        Kind::Text | Kind::Name | Kind::Uid => !text.trim().is_empty(),
        Kind::Date => text != "20240230",
        Kind::Time => text != "24",
        Kind::DateTime => text != "2024133",
        Kind::Integer => text != "x",
        Kind::Decimal => text != "NaN",
    };
    valid.then_some(text)
}

/// An instance's choice among the values there are: of each attribute, and of each item of the sequence.
#[derive(Clone, Debug)]
pub(super) struct Picked {
    pub(super) values: Vec<Option<usize>>,
    pub(super) items: Vec<(Option<usize>, Option<usize>)>,
    pub(super) class: &'static str,
    pub(super) syntax: &'static str,
}

fn value_of(known: &Known, at: usize) -> Value {
    if known.label == "00080060" {
        return json!(MODALITIES[at % MODALITIES.len()]);
    }
    let pool = pool(known.kind);
    pool[at % pool.len()].clone()
}

fn element(known: &Known, value: &Value) -> Value {
    let vr = known.vr.to_string();
    match (known.kind, value.as_str()) {
        (Kind::Name, Some(name)) => {
            let groups = ["Alphabetic", "Ideographic", "Phonetic"].into_iter().zip(name.split('='));
            let groups = groups.filter(|(_, group)| !group.is_empty());
            let groups: serde_json::Map<String, Value> =
                groups.map(|(key, group)| (key.to_owned(), json!(group))).collect();
            json!({"vr": vr, "Value": [groups]})
        }
        _ => json!({"vr": vr, "Value": [value]}),
    }
}

impl Picked {
    /// The elements of the instance.
    pub(super) fn elements(&self, known: &[Known]) -> Value {
        let mut all = json!({
            "00080016": {"vr": "UI", "Value": [self.class]},
            "00083002": {"vr": "UI", "Value": [self.syntax]},
        });
        for (known, at) in known.iter().zip(&self.values) {
            if known.label.contains('.') {
                continue;
            }
            if let Some((label, creator)) = &known.creator {
                all[label] = creator.clone();
            }
            all[&known.label] = match at {
                Some(at) => element(known, &value_of(known, *at)),
                None => json!({"vr": known.vr.to_string()}),
            };
        }
        if !self.items.is_empty() {
            let items = self.items.iter().map(|(scheduled, requested)| {
                let mut item = json!({});
                for (tag, at) in [("00400009", scheduled), ("00401001", requested)] {
                    if let Some(at) = at {
                        let pool = pool(Kind::Text);
                        item[tag] = json!({"vr": "SH", "Value": [pool[at % pool.len()]]});
                    }
                }
                item
            });
            all["00400275"] = json!({"vr": "SQ", "Value": items.collect::<Vec<_>>()});
        }
        all
    }
}

/// By label: the value, or one for each item.
pub(super) type Values = BTreeMap<String, Vec<Option<String>>>;

#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) version: u64,
    pub(super) position: Position,
    pub(super) class: String,
    pub(super) syntax: String,
    pub(super) values: Values,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    pub(super) created: u64,
    pub(super) values: Values,
    pub(super) instances: BTreeMap<String, Instance>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Study {
    pub(super) created: u64,
    pub(super) values: Values,
    pub(super) series: BTreeMap<String, Series>,
}

#[derive(Default)]
pub(super) struct Archive(pub(super) BTreeMap<(Partition, String), Study>);

impl Archive {
    pub(super) fn apply(&mut self, known: &[Known], commit: &Commit) {
        let event = commit.event.as_ref().unwrap();
        for change in commit.changes() {
            let of = (change.partition.clone(), change.key.study.to_string());
            let (series_uid, instance_uid) = (change.key.series.to_string(), change.key.instance.to_string());
            let Payload::InstanceStored { instance: stored, .. } = &event.head.payload else {
                let study = self.0.get_mut(&of).unwrap();
                let members = study.series.get_mut(&series_uid).unwrap();
                members.instances.remove(&instance_uid).unwrap();
                if members.instances.is_empty() {
                    study.series.remove(&series_uid);
                }
                if study.series.is_empty() {
                    self.0.remove(&of);
                }
                continue;
            };
            let created = change.sequence;
            let study = self.0.entry(of).or_insert_with(|| Study { created, ..Study::default() });
            let series =
                study.series.entry(series_uid).or_insert_with(|| Series { created, ..Series::default() });
            let metadata = event.section(Section::Metadata).unwrap().unwrap();
            let metadata: Value = serde_json::from_slice(&metadata).unwrap();
            let mut own = Values::new();
            merge(known, Level::Study, &mut study.values, &metadata);
            merge(known, Level::Series, &mut series.values, &metadata);
            merge(known, Level::Instance, &mut own, &metadata);
            let instance = Instance {
                version: change.version,
                position: change.position,
                class: stored.sop_class.clone(),
                syntax: stored.transfer_syntax.clone(),
                values: own,
            };
            series.instances.insert(instance_uid, instance);
        }
    }
}

/// The latest value that is not missing; a sequence is one value.
fn merge(known: &[Known], level: Level, values: &mut Values, metadata: &Value) {
    for known in known.iter().filter(|known| known.level == level && !known.label.contains('.')) {
        let value = &metadata[&known.label]["Value"][0];
        let text = match value {
            Value::Null => None,
            Value::Object(groups) => {
                let group = |key: &str| groups.get(key).and_then(Value::as_str).unwrap_or_default();
                let groups = ["Alphabetic", "Ideographic", "Phonetic"].map(group);
                Some(json!(groups.join("=").trim_end_matches('=')))
            }
            other => Some(other.clone()),
        };
        if let Some(text) = text.and_then(|value| kept(known.kind, &value)) {
            values.insert(known.label.clone(), vec![Some(text)]);
        }
    }
    let Some(items) = metadata["00400275"]["Value"].as_array().filter(|_| level == Level::Series) else {
        return;
    };
    let column = |tag: &str| -> Vec<Option<String>> {
        items.iter().map(|item| kept(Kind::Text, item[tag]["Value"].get(0)?)).collect()
    };
    let columns = [(SCHEDULED, column("00400009")), (REQUESTED, column("00401001"))];
    if columns.iter().any(|(_, items)| items.iter().any(Option::is_some)) {
        values.extend(columns.map(|(label, items)| (label.to_owned(), items)));
    }
}
