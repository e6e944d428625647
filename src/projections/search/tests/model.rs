//! Random histories against a model that is a map, searched by walking it.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::kit::{Fold, Inline, key, partition, path, raw, uid};
use crate::base::{Partition, Position};
use crate::event::{Commit, InstanceKey, Payload, Scope, Section, StoreMode};
use crate::projections::search::attributes::Values;
use crate::projections::search::find::Hit;
use crate::projections::search::{Asking, Attributes, Resource, SearchQuery, Version, Wants};

/// Version, position, SOP class and transfer syntax of an instance.
type Placed = (u64, Position, String, String);

#[derive(Clone, Debug, Default)]
struct Series {
    created: u64,
    values: BTreeMap<String, String>,
    instances: BTreeMap<String, Placed>,
}

#[derive(Clone, Debug, Default)]
struct Study {
    created: u64,
    values: BTreeMap<String, String>,
    series: BTreeMap<String, Series>,
}

#[derive(Default)]
struct Model(BTreeMap<(Partition, String), Study>);

const STUDY: [&str; 7] = ["00080020", "00080050", "00080090", "00081030", "00100010", "00100020", "00100030"];
const SERIES: [&str; 3] = ["00080060", "00081090", "00400244"];
const NAMES: [&str; 4] = ["Doe^John", "DÖE^John Mary", "Jones^Doe=田^太郎", "jo^do "];
const IDS: [&str; 4] = ["P1", "p1 ", "P2", "  "];
const DESCRIPTIONS: [&str; 3] = ["Kopf", "KÖPF", "köpf  "];
const DATES: [&str; 3] = ["20240101", "20240601", "20240230"];
const CLASSES: [&str; 2] = ["1.2.8.1", "1.2.8.2"];
const SYNTAXES: [&str; 2] = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.4.90"];
const MODALITIES: [&str; 3] = ["CT", "ct", "MR"];

impl Model {
    fn apply(&mut self, commit: &Commit) {
        for change in commit.changes() {
            let of = (change.partition.clone(), change.key.study.to_string());
            let (series, instance) = (change.key.series.to_string(), change.key.instance.to_string());
            if let Payload::InstanceStored { instance: stored, .. } =
                &commit.event.as_ref().unwrap().head.payload
            {
                let created = change.sequence;
                let study = self.0.entry(of).or_insert_with(|| Study { created, ..Study::default() });
                let entry = study.series.entry(series);
                let series = entry.or_insert_with(|| Series { created, ..Series::default() });
                let (class, syntax) = (stored.sop_class.clone(), stored.transfer_syntax.clone());
                series.instances.insert(instance, (change.version, change.position, class, syntax));
                let metadata = commit.event.as_ref().unwrap().section(Section::Metadata).unwrap().unwrap();
                let metadata: Value = serde_json::from_slice(&metadata).unwrap();
                merge(&mut study.values, &metadata, STUDY.into_iter());
                merge(&mut series.values, &metadata, SERIES.into_iter());
            } else {
                let study = self.0.get_mut(&of).unwrap();
                let members = study.series.get_mut(&series).unwrap();
                members.instances.remove(&instance).unwrap();
                if members.instances.is_empty() {
                    study.series.remove(&series);
                }
                if study.series.is_empty() {
                    self.0.remove(&of);
                }
            }
        }
    }

    /// The page, in the words of `Line`.
    fn search(&self, asked: &Asked) -> Vec<String> {
        let mut found: Vec<(u64, String)> = Vec::new();
        let here = self.0.iter().filter(|((of, _), _)| *of == asked.partition());
        for ((_, study_uid), study) in here {
            let ids = (study_uid.as_str(), None, None);
            if asked.level() == 1 {
                let newest = study.series.values().flat_map(|s| s.instances.values()).max().unwrap();
                found.extend(
                    asked
                        .takes(study, None, ids)
                        .then(|| (study.created, format!("{study_uid}@{} {}", newest.1, line(study, None)))),
                );
                continue;
            }
            for (series_uid, series) in &study.series {
                let ids = (study_uid.as_str(), Some(series_uid.as_str()), None);
                if asked.level() == 2 {
                    let newest = series.instances.values().max().unwrap();
                    let text = format!("{study_uid}/{series_uid}@{} {}", newest.1, line(study, Some(series)));
                    found.extend(asked.takes(study, Some(series), ids).then_some((series.created, text)));
                    continue;
                }
                for (instance, (version, position, class, syntax)) in &series.instances {
                    let placed = Some((instance.as_str(), class.as_str()));
                    let ids = (study_uid.as_str(), Some(series_uid.as_str()), placed);
                    let text = format!(
                        "{study_uid}/{series_uid}/{instance}@{position} {} {syntax}",
                        line(study, Some(series))
                    );
                    found.extend(asked.takes(study, Some(series), ids).then_some((*version, text)));
                }
            }
        }
        found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        found.into_iter().map(|(_, text)| text).skip(asked.offset).take(asked.limit).collect()
    }
}

fn merge(values: &mut BTreeMap<String, String>, metadata: &Value, keys: impl Iterator<Item = &'static str>) {
    for key in keys {
        let value = &metadata[key]["Value"][0];
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Object(groups) if groups.len() == 1 => value["Alphabetic"].as_str().unwrap().to_owned(),
            Value::Object(_) => format!(
                "{}={}",
                value["Alphabetic"].as_str().unwrap(),
                value["Ideographic"].as_str().unwrap()
            ),
            _ => continue,
        };
        if !text.trim().is_empty() && text != "20240230" {
            values.insert(key.to_owned(), text);
        }
    }
}

fn line(study: &Study, series: Option<&Series>) -> String {
    let count: usize = study.series.values().map(|s| s.instances.len()).sum();
    let mut modalities: Vec<_> = study.series.values().filter_map(|s| s.values.get("00080060")).collect();
    modalities.sort();
    modalities.dedup();
    let series = series.map(|s| (s.values.values().collect::<Vec<_>>(), s.instances.len()));
    let values: Vec<_> = study.values.values().collect();
    format!("{values:?} {count} {} {modalities:?} {series:?}", study.series.len())
}

/// The same words for what the view found.
fn hit_line(hit: &Hit) -> String {
    let study = &hit.study;
    let texts = |values: &Values| {
        values.iter().filter_map(|(_, items)| items[0].as_deref().map(str::to_owned)).collect::<Vec<_>>()
    };
    let values = texts(&study.values);
    let modalities: Vec<_> = study.modalities.keys().collect();
    let series = hit.series.as_ref().map(|s| (texts(&s.values), s.instances));
    let what = format!("{values:?} {} {} {modalities:?} {series:?}", study.instances, study.series);
    let syntax = hit.syntax.iter().map(|syntax| format!(" {syntax}")).collect::<String>();
    format!("{}@{} {what}{syntax}", path(hit), hit.position())
}

/// UIDs of a study, a series, and an instance with its SOP class.
type Ids<'i> = (&'i str, Option<&'i str>, Option<(&'i str, &'i str)>);

/// A query in words the model understands without the view's code.
#[derive(Clone, Debug)]
struct Asked {
    partition: &'static str,
    resource: u8,
    study: u8,
    series: u8,
    filters: Vec<(&'static str, &'static str)>,
    fuzzy: bool,
    offset: usize,
    limit: usize,
}

fn plain(text: &str) -> String {
    text.trim_end().to_lowercase()
}

fn bare(text: &str) -> String {
    plain(text).replace('ö', "o")
}

impl Asked {
    fn partition(&self) -> Partition {
        partition(self.partition)
    }

    fn level(&self) -> u8 {
        [1, 2, 3, 2, 3, 3][usize::from(self.resource)]
    }

    fn resource(&self) -> Resource {
        let study = uid(&format!("1.{}", self.study));
        match self.resource {
            0 => Resource::AllStudies,
            1 => Resource::AllSeries,
            2 => Resource::AllInstances,
            3 => Resource::StudySeries(study),
            4 => Resource::StudyInstances(study),
            _ => Resource::StudySeriesInstances(study, uid(&format!("2.{}", self.series))),
        }
    }

    /// The filters this resource allows, each attribute once.
    fn filters(&self) -> Vec<(&'static str, &'static str)> {
        let allowed = |key: &str| match key {
            "SOPInstanceUID" | "SOPClassUID" => [2, 4, 5].contains(&self.resource),
            "Modality" | "SeriesInstanceUID" | "PerformedProcedureStepStartDate" => {
                [1, 2, 3, 4].contains(&self.resource)
            }
            _ => self.resource <= 2,
        };
        let mut kept: Vec<(&str, &str)> = Vec::new();
        for (key, value) in &self.filters {
            if allowed(key) && kept.iter().all(|(other, _)| other != key) {
                kept.push((key, value));
            }
        }
        kept
    }

    fn query(&self) -> SearchQuery {
        let mut parameters = self.filters();
        let (offset, limit) = (self.offset.to_string(), self.limit.to_string());
        parameters.push(("offset", &offset));
        parameters.push(("limit", &limit));
        parameters.push(("fuzzymatching", if self.fuzzy { "true" } else { "false" }));
        let (resource, partition) = (&self.resource(), &self.partition());
        let (version, wants, attributes) = (Version::V2, Wants::Page, &Attributes::core());
        let asking = Asking { resource, partition, version, wants, attributes };
        SearchQuery::parse(asking, &raw(&parameters)).unwrap()
    }

    fn takes(&self, study: &Study, series: Option<&Series>, ids: Ids<'_>) -> bool {
        let fixed = match self.resource {
            0..=2 => true,
            3 | 4 => ids.0 == format!("1.{}", self.study),
            _ => ids.0 == format!("1.{}", self.study) && ids.1 == Some(&format!("2.{}", self.series)),
        };
        fixed && self.filters().iter().all(|(key, wanted)| self.filter_takes(key, wanted, study, series, ids))
    }

    fn filter_takes(
        &self,
        key: &str,
        wanted: &str,
        study: &Study,
        series: Option<&Series>,
        ids: Ids<'_>,
    ) -> bool {
        let of_study = |key: &str| study.values.get(key).cloned();
        match key {
            "StudyInstanceUID" => ids.0 == wanted,
            "SeriesInstanceUID" => ids.1 == Some(wanted),
            "SOPInstanceUID" => ids.2.is_some_and(|(instance, _)| instance == wanted),
            "SOPClassUID" => ids.2.is_some_and(|(_, class)| class == wanted),
            "PatientID" => of_study("00100020").is_some_and(|value| plain(&value) == plain(wanted)),
            "StudyDescription" => of_study("00081030").is_some_and(|value| plain(&value) == plain(wanted)),
            "PatientName" if self.fuzzy => {
                let words = |text: &str| -> Vec<String> {
                    bare(&text.replace(['^', '='], " ")).split_whitespace().map(str::to_owned).collect()
                };
                let wanted = words(wanted);
                let begins =
                    |run: &[String]| run.iter().zip(&wanted).all(|(word, begin)| word.starts_with(begin));
                of_study("00100010").is_some_and(|value| words(&value).windows(wanted.len()).any(begins))
            }
            "PatientName" => of_study("00100010").is_some_and(|value| bare(&value) == bare(wanted)),
            "StudyDate" => of_study("00080020").is_some_and(|value| in_range(&value, wanted)),
            "ModalitiesInStudy" => study
                .series
                .values()
                .any(|s| s.values.get("00080060").is_some_and(|value| plain(value) == plain(wanted))),
            "Modality" => series
                .and_then(|s| s.values.get("00080060"))
                .is_some_and(|value| plain(value) == plain(wanted)),
            "PerformedProcedureStepStartDate" => {
                series.and_then(|s| s.values.get("00400244")).is_some_and(|value| in_range(value, wanted))
            }
            _ => unreachable!("{key}"),
        }
    }
}

fn in_range(value: &str, wanted: &str) -> bool {
    match wanted.split_once('-') {
        None => value == wanted,
        Some((from, to)) => (from.is_empty() || from <= value) && (to.is_empty() || value <= to),
    }
}

fn any_filter() -> impl Strategy<Value = (&'static str, &'static str)> {
    select(vec![
        ("StudyInstanceUID", "1.1"),
        ("StudyInstanceUID", "1.7"),
        ("SeriesInstanceUID", "2.0"),
        ("SeriesInstanceUID", "2.1"),
        ("SOPInstanceUID", "3.0"),
        ("SOPInstanceUID", "3.1"),
        ("SOPClassUID", "1.2.8.1"),
        ("SOPClassUID", "1.2.8.2"),
        ("SOPClassUID", "1.2.9"),
        ("PatientID", "p1"),
        ("PatientID", "P2"),
        ("PatientID", "P"),
        ("StudyDescription", "kopf"),
        ("StudyDescription", "köpf"),
        ("PatientName", "doe^john"),
        ("PatientName", "jo do"),
        ("PatientName", "JO"),
        ("PatientName", "john mar"),
        ("PatientName", "doe 田"),
        ("PatientName", "döe^john mary"),
        ("StudyDate", "20240101"),
        ("StudyDate", "20240102-"),
        ("StudyDate", "-20240601"),
        ("StudyDate", "20240101-20240531"),
        ("ModalitiesInStudy", "CT"),
        ("ModalitiesInStudy", "mr"),
        ("Modality", "ct"),
        ("Modality", "MR"),
        ("PerformedProcedureStepStartDate", "-20240131"),
    ])
}

prop_compose! {
    fn any_query()(
        partition in select(vec!["Microsoft.Default", "Ward_7"]),
        resource in 0..6_u8,
        study in 0..4_u8,
        series in 0..2_u8,
        filters in vec(any_filter(), 0..3),
        fuzzy: bool,
        offset in 0..3_usize,
        limit in select(vec![1, 2, 200]),
    ) -> Asked {
        Asked { partition, resource, study, series, filters, fuzzy, offset, limit }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Store { partition: &'static str, key: InstanceKey, mode: StoreMode, elements: Value },
    Delete { partition: &'static str, scope: Scope },
    Flush,
    Ask(Asked),
}

fn any_partition() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just("Microsoft.Default"), 1 => Just("Ward_7")]
}

prop_compose! {
    fn any_elements()(
        name in option::of(select(NAMES.to_vec())),
        id in option::of(select(IDS.to_vec())),
        description in option::of(select(DESCRIPTIONS.to_vec())),
        date in option::of(select(DATES.to_vec())),
        modality in option::of(select(MODALITIES.to_vec())),
        step in option::of(select(DATES.to_vec())),
        class in select(CLASSES.to_vec()),
        syntax in select(SYNTAXES.to_vec()),
    ) -> Value {
        let text = |vr: &str, value: Option<&str>| match value {
            Some(value) => json!({"vr": vr, "Value": [value]}),
            None => json!({"vr": vr}),
        };
        let name = match name.map(|name| name.split_once('=').unwrap_or((name, ""))) {
            None => json!({"vr": "PN"}),
            Some((name, "")) => json!({"vr": "PN", "Value": [{"Alphabetic": name}]}),
            Some((name, other)) => {
                json!({"vr": "PN", "Value": [{"Alphabetic": name, "Ideographic": other}]})
            }
        };
        json!({
            "00100010": name,
            "00100020": text("LO", id),
            "00081030": text("LO", description),
            "00080020": text("DA", date),
            "00080060": text("CS", modality),
            "00400244": text("DA", step),
            "00080016": text("UI", Some(class)),
            "00083002": text("UI", Some(syntax)),
        })
    }
}

fn any_key() -> impl Strategy<Value = InstanceKey> {
    (0..4_u8, 0..2_u8, 0..3_u8)
        .prop_map(|(study, series, i)| key(&format!("1.{study}"), &format!("2.{series}"), &format!("3.{i}")))
}

fn any_op() -> impl Strategy<Value = Op> {
    let mode = prop_oneof![Just(StoreMode::Create), Just(StoreMode::Upsert)];
    let store = (any_partition(), any_key(), mode, any_elements())
        .prop_map(|(partition, key, mode, elements)| Op::Store { partition, key, mode, elements });
    let delete = (any_partition(), any_key(), 0..3_u8).prop_map(|(partition, key, depth)| {
        let scope = Scope {
            study: key.study,
            series: (depth > 0).then_some(key.series),
            instance: (depth > 1).then_some(key.instance),
        };
        Op::Delete { partition, scope }
    });
    prop_oneof![8 => store, 3 => delete, 1 => Just(Op::Flush), 10 => any_query().prop_map(Op::Ask)]
}

proptest! {
    /// Whatever lies in the index and whatever only in the rows, the answer is the model's; a rebuild in one
    /// run gives the same view.
    #[test]
    fn every_answer_is_the_models(ops in vec(any_op(), 1..60)) {
        let (view, mut fold, mut model) = (Inline::new(), Fold::default(), Model::default());
        for op in ops {
            let commit = match op {
                Op::Store { partition: name, key, mode, elements } => {
                    fold.store(&partition(name), &key, mode, &elements)
                }
                Op::Delete { partition: name, scope } => fold.delete(&partition(name), scope),
                Op::Flush => {
                    view.overlay.flush();
                    continue;
                }
                Op::Ask(asked) => {
                    let found: Vec<_> = view.find(&asked.query()).unwrap().iter().map(hit_line).collect();
                    prop_assert_eq!(found, model.search(&asked), "{:?}", asked);
                    continue;
                }
            };
            view.apply(&[Arc::clone(&commit)]);
            model.apply(&commit);
        }
        if !fold.commits.is_empty() {
            let again = Inline::new();
            again.apply(&fold.commits);
            prop_assert_eq!(again.dump(), view.dump());
        }
    }
}
