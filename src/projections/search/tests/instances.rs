//! Instances by values of their own, lists of UIDs, SOP classes of a study: against an archive that is read whole.

use dicom_core::VR;
use serde_json::json;

use super::kit::{
    Fold, Inline, all_resources, extended, extended_element, extended_tag, key, parse, path, query, uid,
};
use crate::base::Partition;
use crate::event::{InstanceKey, Scope, StoreMode};
use crate::projections::search::answer::{Version, compose, fields_for};
use crate::projections::search::attributes::{Attributes, Level};
use crate::projections::search::query::Resource;
use crate::tables::Table;

/// An instance as it was stored last.
#[derive(Clone)]
struct Kept {
    key: InstanceKey,
    number: Option<i64>,
    date: Option<String>,
    class: &'static str,
}

/// The view of an archive, and the archive, oldest first.
struct World {
    view: Inline,
    fold: Fold,
    kept: Vec<Kept>,
}

const CLASSES: [&str; 2] = ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"];

impl World {
    fn new() -> Self {
        let view = Inline::over(Table::memory(), extended());
        Self { view, fold: Fold::default(), kept: Vec::new() }
    }

    /// Stores, some of them over what is there: numbers as numbers and as texts, some missing.
    fn stored(&mut self, from: u32, to: u32) {
        for n in from..to {
            let key = key(&format!("1.{}", 1 + n % 3), &format!("2.{}", 1 + n % 4), &format!("3.{}", n % 61));
            let number = (n % 7 != 6).then_some(i64::from(n % 7) - 2);
            let date = (n % 5 != 4).then(|| format!("202401{:02}", 1 + n % 23));
            let class = CLASSES[usize::from(n % 3 == 0)];
            let mut elements = json!({"00080016": {"vr": "UI", "Value": [class]}});
            if let Some(number) = number {
                let text = json!(format!("{number:03}"));
                elements["00200013"] =
                    json!({"vr": "IS", "Value": [if n % 2 == 0 { text } else { json!(number) }]});
            }
            if let Some(date) = &date {
                let added = extended_element(VR::DA, Level::Instance, true, &json!(date));
                elements.as_object_mut().unwrap().extend(added.as_object().unwrap().clone());
            }
            let commit = self.fold.store(&Partition::default(), &key, StoreMode::Upsert, &elements);
            self.view.apply(&[commit]);
            self.kept.retain(|kept| kept.key != key);
            self.kept.push(Kept { key, number, date, class });
        }
    }

    fn deleted(&mut self, scope: Scope) {
        self.kept.retain(|Kept { key, .. }| {
            key.study != scope.study
                || scope.series.as_ref().is_some_and(|series| *series != key.series)
                || scope.instance.as_ref().is_some_and(|instance| *instance != key.instance)
        });
        let commit = self.fold.delete(&Partition::default(), scope);
        self.view.apply(&[commit]);
    }

    fn found(&self, resource: &Resource, parameters: &[(&str, &str)]) -> Vec<String> {
        let query = parse(&extended(), resource, Version::V2, parameters).unwrap();
        self.view.find(&query).unwrap().iter().map(path).collect()
    }

    fn wanted(&self, resource: &Resource, matches: impl Fn(&Kept) -> bool) -> Vec<String> {
        let here = |kept: &&Kept| {
            resource.study().is_none_or(|study| *study == kept.key.study)
                && resource.series().is_none_or(|series| *series == kept.key.series)
        };
        let found = self.kept.iter().rev().filter(here).filter(|kept| matches(kept));
        found.map(|Kept { key, .. }| format!("{}/{}/{}", key.study, key.series, key.instance)).collect()
    }
}

/// Whether an instance is meant.
type Meant = Box<dyn Fn(&Kept) -> bool>;

/// What is asked of instances.
fn questions() -> Vec<(Vec<(String, String)>, Meant)> {
    let date = format!("{:08X}", extended_tag(VR::DA, Level::Instance, true));
    let mut all: Vec<(Vec<(String, String)>, Meant)> = Vec::new();
    let mut ask = |parameters: &[(&str, &str)], matches: Meant| {
        let owned = parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        all.push((owned, matches));
    };
    for (text, number) in [("-2", -2), ("0003", 3), ("0", 0), ("99", 99)] {
        ask(&[("InstanceNumber", text)], Box::new(move |kept| kept.number == Some(number)));
        let class = CLASSES[1];
        ask(
            &[("InstanceNumber", text), ("SOPClassUID", class)],
            Box::new(move |kept| kept.number == Some(number) && kept.class == class),
        );
    }
    for (text, from, to) in [
        ("20240105-20240112", "20240105", "20240112"),
        ("20240120-", "20240120", "9"),
        ("-20240102", "0", "20240102"),
        ("20240107", "20240107", "20240107"),
    ] {
        let lies = move |kept: &Kept| kept.date.as_deref().is_some_and(|date| from <= date && date <= to);
        ask(&[(&date, text)], Box::new(lies));
        ask(&[(&date, text), ("00200013", "1")], Box::new(move |kept| lies(kept) && kept.number == Some(1)));
    }
    all
}

#[test]
fn instances_are_found_by_their_values_at_once_and_from_the_index() {
    let mut world = World::new();
    let check = |world: &World, when: &str| {
        for resource in all_resources().into_iter().filter(|resource| resource.item() == Level::Instance) {
            for (parameters, matches) in questions() {
                let wanted = world.wanted(&resource, matches);
                for (offset, limit) in [(0, 200), (3, 5), (40, 7), (500, 1)] {
                    let (offset_text, limit_text) = (offset.to_string(), limit.to_string());
                    let mut asked: Vec<_> =
                        parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
                    asked.extend([("offset", offset_text.as_str()), ("limit", limit_text.as_str())]);
                    let page: Vec<_> = wanted.iter().skip(offset).take(limit).cloned().collect();
                    assert_eq!(world.found(&resource, &asked), page, "{when}: {resource:?} {asked:?}");
                }
            }
        }
    };
    world.stored(0, 400);
    check(&world, "stored");
    world.view.overlay.flush();
    check(&world, "written");
    world.stored(400, 460);
    let (study, series) = (uid("1.2"), Some(uid("2.2")));
    world.deleted(Scope { study: study.clone(), series, instance: None });
    check(&world, "deleted");
    world.deleted(Scope { study, series: None, instance: None });
    world.view.overlay.flush();
    check(&world, "written again");
    for study in ["1.1", "1.3"] {
        world.deleted(Scope { study: uid(study), series: None, instance: None });
    }
    let dump = world.view.dump();
    assert!(dump.lines().all(|line| line.starts_with("n1.") || line.starts_with('N')), "{dump}");
}

#[test]
fn instances_are_listed_in_the_order_of_their_values_near_and_far() {
    let mut world = World::new();
    world.stored(0, 300);
    let date = format!("{:08X}", extended_tag(VR::DA, Level::Instance, true));
    let numbers: fn(&Kept) -> Option<String> =
        |kept| kept.number.map(|number| format!("{:03}", number + 100));
    let dates: fn(&Kept) -> Option<String> = |kept| kept.date.clone();
    for (attribute, value, range) in [
        ("InstanceNumber", numbers, None),
        (date.as_str(), dates, None),
        (date.as_str(), dates, Some(("20240104-20240118", "20240104", "20240118"))),
    ] {
        for descending in [false, true] {
            let mut wanted: Vec<_> = world.kept.iter().rev().cloned().collect();
            if let Some((_, from, to)) = range {
                wanted.retain(|kept| value(kept).is_some_and(|date| from <= &*date && &*date <= to));
            }
            wanted.sort_by(|one, other| match (value(one), value(other)) {
                (Some(one), Some(other)) if descending => other.cmp(&one),
                (Some(one), Some(other)) => one.cmp(&other),
                (one, other) => one.is_none().cmp(&other.is_none()),
            });
            let wanted: Vec<_> = wanted
                .into_iter()
                .map(|Kept { key, .. }| format!("{}/{}/{}", key.study, key.series, key.instance))
                .collect();
            let order = format!("{}{attribute}", if descending { "-" } else { "" });
            for (offset, limit) in [(0, 200), (0, 3), (17, 30), (150, 60), (wanted.len() - 1, 5), (9_999, 5)]
            {
                let (offset_text, limit_text) = (offset.to_string(), limit.to_string());
                let mut asked =
                    vec![("orderby", order.as_str()), ("offset", &offset_text), ("limit", &limit_text)];
                asked.extend(range.map(|(text, ..)| (attribute, text)));
                let page: Vec<_> = wanted.iter().skip(offset).take(limit).cloned().collect();
                assert_eq!(world.found(&Resource::AllInstances, &asked), page, "{asked:?}");
            }
        }
    }
}

#[test]
fn lists_of_uids_find_any_of_them() {
    let mut world = World::new();
    world.stored(0, 120);
    for written in [false, true] {
        if written {
            world.view.overlay.flush();
        }
        let all = |kept: &Kept, studies: &[&str], series: &[&str], instances: &[&str]| {
            let one_of = |uids: &[&str], uid: &str| uids.is_empty() || uids.contains(&uid);
            one_of(studies, kept.key.study.as_str())
                && one_of(series, kept.key.series.as_str())
                && one_of(instances, kept.key.instance.as_str())
        };
        let cases: [(&[&str], &[&str], &[&str]); 8] = [
            (&["1.1", "1.3"], &[], &[]),
            (&["1.1", "1.1", "1.9"], &[], &[]),
            (&[], &["2.1", "2.3", "9"], &[]),
            (&["1.2", "1.3"], &["2.4", "2.2"], &[]),
            (&[], &[], &["3.1", "3.60", "3.7", "3.99"]),
            (&["1.1", "1.2"], &[], &["3.1", "3.60", "3.7"]),
            (&["1.1", "1.2"], &["2.2"], &["3.1", "3.2", "3.3", "3.4", "3.5"]),
            (&["9.9"], &[], &[]),
        ];
        for (studies, series, instances) in cases {
            for separator in [",", "\\", "\\\\", ",,"] {
                let lists = [studies, series, instances].map(|uids| uids.join(separator));
                let keys = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"];
                let asked: Vec<_> = keys
                    .into_iter()
                    .zip(&lists)
                    .filter(|(_, list)| !list.is_empty())
                    .map(|(key, list)| (key, list.as_str()))
                    .collect();
                let wanted =
                    world.wanted(&Resource::AllInstances, |kept| all(kept, studies, series, instances));
                let mut found = world.found(&Resource::AllInstances, &asked);
                assert_eq!(found, wanted[..wanted.len().min(100)], "{asked:?} written={written}");
                if instances.is_empty() {
                    found = world.found(&Resource::AllSeries, &asked);
                    let mut of_series: Vec<_> =
                        wanted.iter().map(|path| path.rsplit_once('/').unwrap().0.to_owned()).collect();
                    of_series.sort();
                    of_series.dedup();
                    found.sort();
                    assert_eq!(found, of_series, "{asked:?} written={written}");
                }
            }
        }
    }
}

#[test]
fn a_studys_sop_classes_are_those_of_its_live_instances() {
    let (view, mut fold) = (Inline::new(), Fold::default());
    let of = |class: &str| json!({"00080016": {"vr": "UI", "Value": [class]}});
    let store = |fold: &mut Fold, series: &str, instance: &str, class: &str| {
        let key = key("1.1", series, instance);
        view.apply(&[fold.store(&Partition::default(), &key, StoreMode::Upsert, &of(class))]);
    };
    let classes = |resource| {
        let hits = view.find(&query(resource, &[("includefield", "SOPClassesInStudy")])).unwrap();
        let texts = |hit: &crate::projections::search::Hit| {
            hit.classes.as_ref().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        hits.iter().map(texts).collect::<Vec<_>>()
    };
    store(&mut fold, "2.1", "3.1", "9.1");
    store(&mut fold, "2.1", "3.2", "9.2");
    store(&mut fold, "2.2", "3.3", "9.2");
    assert_eq!(classes(Resource::AllStudies), [["9.1", "9.2"]]);
    assert_eq!(classes(Resource::AllSeries), [["9.1", "9.2"], ["9.1", "9.2"]]);
    assert_eq!(view.find(&query(Resource::AllStudies, &[])).unwrap()[0].classes, None);
    for (resource, shown) in [(Resource::AllStudies, true), (Resource::StudySeries(uid("1.1")), false)] {
        let asked = query(resource, &[("includefield", "SOPClassesInStudy")]);
        let (hit, fields) = (&view.find(&asked).unwrap()[0], fields_for(&asked));
        let metadata = json!({"00080062": {"vr": "UI", "Value": ["9.9"]}}).to_string();
        let item = compose(hit, &fields, fields.need_metadata().then_some(metadata.as_bytes())).unwrap();
        let item: serde_json::Value = serde_json::from_slice(&item).unwrap();
        let value = if shown { json!(["9.1", "9.2"]) } else { json!(["9.9"]) };
        assert_eq!(item["00080062"]["Value"], value);
    }
    // Replaced by another class, and deleted.
    store(&mut fold, "2.1", "3.1", "9.3");
    assert_eq!(classes(Resource::AllStudies), [["9.2", "9.3"]]);
    let scope = |series: &str, instance: &str| Scope {
        study: uid("1.1"),
        series: Some(uid(series)),
        instance: Some(uid(instance)),
    };
    view.apply(&[fold.delete(&Partition::default(), scope("2.1", "3.2"))]);
    assert_eq!(classes(Resource::AllStudies), [["9.2", "9.3"]]);
    view.apply(&[fold.delete(&Partition::default(), scope("2.2", "3.3"))]);
    assert_eq!(classes(Resource::AllStudies), [["9.3"]]);
    // More than are counted in a series.
    for n in 0..30 {
        store(&mut fold, "2.3", &format!("4.{n}"), &format!("8.{n}"));
    }
    assert_eq!(classes(Resource::AllStudies)[0].len(), 31);
    for n in 1..30 {
        view.apply(&[fold.delete(&Partition::default(), scope("2.3", &format!("4.{n}")))]);
    }
    assert_eq!(classes(Resource::AllStudies), [["8.0", "9.3"]]);
    let found = view.search(Resource::AllInstances, &[("SOPClassUID", "8.0")]);
    assert_eq!(found, ["1.1/2.3/4.0"]);
}

#[test]
fn attributes_without_a_number_here_are_not_in_the_rows() {
    let mut world = World::new();
    world.view = Inline::over(Table::memory(), Attributes::core());
    world.stored(0, 3);
    let dump = world.view.dump();
    let rows = |kind: char| dump.lines().filter(|line| line.starts_with(kind)).count();
    assert_eq!((rows('a'), rows('h')), (3, 1), "{dump}");
}
