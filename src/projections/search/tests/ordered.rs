//! Orders, pages and counts by every plan, beside an archive that is sorted by hand.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::kit::{Fold, Inline, key, partition, path, query, uid};
use crate::base::Partition;
use crate::event::{Scope, StoreMode};
use crate::projections::search::budget::{BROAD, Budget, Limits};
use crate::projections::search::find::{Answer, FindError, find_by};
use crate::projections::search::index::Pace;
use crate::projections::search::plan::{Along, CountBy, Plan, Shape, plan};
use crate::projections::search::{Attributes, Resource, SearchError, SearchQuery, Wants};

const DATES: [&str; 4] = ["20240101", "20240102", "20240103", ""];
const NAMES: [&str; 5] = ["Doe^John", "doe^jane", "Smith^Al", "Zoe", ""];
const IDS: [&str; 3] = ["p1", "P2", ""];
const MODALITIES: [&str; 3] = ["CT", "MR", ""];
const NUMBERS: [&str; 4] = ["1", "2", "10", ""];

/// What the instances of a study, of a series and the instance itself say; by number of each list.
#[derive(Clone, Copy, Debug)]
struct Said {
    date: usize,
    name: usize,
    id: usize,
    modality: usize,
    series_number: usize,
    instance_number: usize,
}

#[derive(Clone, Debug)]
enum Step {
    Store { study: usize, series: usize, instance: usize, said: Said },
    Delete { study: usize, series: Option<usize> },
    Write,
}

/// Keywords of what is said, each with the level of its attribute.
const KEYWORDS: [(&str, Level); 6] = [
    ("StudyDate", Level::Study),
    ("PatientName", Level::Study),
    ("PatientID", Level::Study),
    ("Modality", Level::Series),
    ("SeriesNumber", Level::Series),
    ("InstanceNumber", Level::Instance),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Study,
    Series,
    Instance,
}

impl Said {
    fn value(self, keyword: &str) -> &'static str {
        match keyword {
            "StudyDate" => DATES[self.date],
            "PatientName" => NAMES[self.name],
            "PatientID" => IDS[self.id],
            "Modality" => MODALITIES[self.modality],
            "SeriesNumber" => NUMBERS[self.series_number],
            _ => NUMBERS[self.instance_number],
        }
    }

    fn elements(self) -> Value {
        let mut elements = json!({});
        for (keyword, tag, vr) in [
            ("StudyDate", "00080020", "DA"),
            ("PatientName", "00100010", "PN"),
            ("PatientID", "00100020", "LO"),
            ("Modality", "00080060", "CS"),
            ("SeriesNumber", "00200011", "IS"),
            ("InstanceNumber", "00200013", "IS"),
        ] {
            let value = match (self.value(keyword), vr) {
                ("", _) => continue,
                (value, "PN") => json!({"Alphabetic": value}),
                (value, "IS") => json!(value.parse::<u32>().unwrap()),
                (value, _) => json!(value),
            };
            elements[tag] = json!({"vr": vr, "Value": [value]});
        }
        elements
    }
}

fn said() -> impl Strategy<Value = Said> {
    let of = |list: usize| 0..list;
    (of(4), of(5), of(3), of(3), of(4), of(4)).prop_map(
        |(date, name, id, modality, series_number, instance_number)| Said {
            date,
            name,
            id,
            modality,
            series_number,
            instance_number,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..12_usize, 0..3_usize, 0..3_usize, said())
            .prop_map(|(study, series, instance, said)| Step::Store { study, series, instance, said }),
        1 => (0..12_usize, proptest::option::of(0..3_usize)).prop_map(|(study, series)| Step::Delete { study, series }),
        1 => Just(Step::Write),
    ]
}

/// A record: when it was made, and the latest of its values that were not missing.
#[derive(Clone, Debug, Default)]
struct Record {
    made: u64,
    values: BTreeMap<&'static str, &'static str>,
}

impl Record {
    fn of(made: u64) -> Self {
        Self { made, values: BTreeMap::new() }
    }

    fn take(&mut self, said: Said, level: Level) {
        for (keyword, of) in KEYWORDS {
            if of == level && !said.value(keyword).is_empty() {
                self.values.insert(keyword, said.value(keyword));
            }
        }
    }
}

#[derive(Default)]
struct Archive {
    studies: BTreeMap<usize, Record>,
    series: BTreeMap<(usize, usize), Record>,
    instances: BTreeMap<(usize, usize, usize), Record>,
    version: u64,
}

impl Archive {
    fn store(&mut self, at: (usize, usize, usize), said: Said) {
        self.version += 1;
        let version = self.version;
        self.studies.entry(at.0).or_insert_with(|| Record::of(version)).take(said, Level::Study);
        self.series.entry((at.0, at.1)).or_insert_with(|| Record::of(version)).take(said, Level::Series);
        let mut instance = Record::of(version);
        instance.take(said, Level::Instance);
        self.instances.insert(at, instance);
    }

    fn delete(&mut self, study: usize, series: Option<usize>) {
        let gone = |at: &(usize, usize, usize)| at.0 == study && series.is_none_or(|series| at.1 == series);
        let before = self.instances.len();
        self.instances.retain(|at, _| !gone(at));
        // Each deleted instance takes a number, too.
        self.version += (before - self.instances.len()) as u64;
        let Self { studies, series, instances, .. } = self;
        series.retain(|of, _| instances.keys().any(|at| (at.0, at.1) == *of));
        studies.retain(|of, _| instances.keys().any(|at| at.0 == *of));
    }

    /// All items of a level: path, number, values.
    fn items(&self, level: Level) -> Vec<(String, u64, BTreeMap<&'static str, &'static str>)> {
        let of_study = |study: usize| self.studies[&study].values.clone();
        let of_series = |study, series| {
            let mut values = of_study(study);
            values.extend(self.series[&(study, series)].values.clone());
            values
        };
        match level {
            Level::Study => self
                .studies
                .iter()
                .map(|(study, row)| (study_uid(*study), row.made, row.values.clone()))
                .collect(),
            Level::Series => {
                let item = |(at, row): (&(usize, usize), &Record)| {
                    (
                        format!("{}/{}", study_uid(at.0), series_uid(at.0, at.1)),
                        row.made,
                        of_series(at.0, at.1),
                    )
                };
                self.series.iter().map(item).collect()
            }
            Level::Instance => {
                let item = |(at, row): (&(usize, usize, usize), &Record)| {
                    let mut values = of_series(at.0, at.1);
                    values.extend(row.values.clone());
                    let instance = format!("3.{}.{}.{}", at.0, at.1, at.2);
                    (format!("{}/{}/{instance}", study_uid(at.0), series_uid(at.0, at.1)), row.made, values)
                };
                self.instances.iter().map(item).collect()
            }
        }
    }
}

fn study_uid(study: usize) -> String {
    format!("1.{study}")
}

fn series_uid(study: usize, series: usize) -> String {
    format!("2.{study}.{series}")
}

/// Two values of one attribute; absent ones come last.
fn compare(keyword: &str, descending: bool, one: Option<&&str>, other: Option<&&str>) -> Ordering {
    let (Some(one), Some(other)) = (one, other) else {
        return one.is_none().cmp(&other.is_none());
    };
    let ordering = match keyword.ends_with("Number") {
        true => one.parse::<u32>().unwrap().cmp(&other.parse::<u32>().unwrap()),
        false => one.to_lowercase().cmp(&other.to_lowercase()),
    };
    if descending { ordering.reverse() } else { ordering }
}

/// A filter as it is asked, and whether a value satisfies it.
type Asked = (&'static str, &'static str, fn(&str) -> bool);

const FILTERS: [Asked; 12] = [
    ("StudyDate", "20240101-20240102", |v| ("20240101"..="20240102").contains(&v)),
    ("StudyDate", "20240102-", |v| v >= "20240102"),
    ("StudyDate", "20240103", |v| v == "20240103"),
    ("PatientName", "doe*", |v| v.to_lowercase().starts_with("doe")),
    ("PatientName", "*o*e*", |v| {
        v.to_lowercase().split_once('o').is_some_and(|(_, rest)| rest.contains('e'))
    }),
    ("PatientName", "Smith^Al^", |v| v.eq_ignore_ascii_case("smith^al")),
    ("PatientName", "???", |v| v.len() == 3),
    ("PatientID", "*2", |v| v.ends_with('2')),
    ("PatientID", "p?", |v| v.len() == 2),
    ("Modality", "ct", |v| v == "CT"),
    ("SeriesNumber", "02", |v| v == "2"),
    ("InstanceNumber", "10", |v| v == "10"),
];

#[derive(Clone, Debug)]
struct Question {
    level: Level,
    order: Vec<(usize, bool)>,
    filters: Vec<usize>,
    offset: usize,
    limit: usize,
}

fn question() -> impl Strategy<Value = Question> {
    let level = select(vec![Level::Study, Level::Series, Level::Instance]);
    (
        level,
        vec((0..KEYWORDS.len(), any::<bool>()), 0..3),
        vec(0..FILTERS.len(), 0..3),
        0..20_usize,
        1..8_usize,
    )
        .prop_map(|(level, mut order, mut filters, offset, limit)| {
            order.retain(|(at, _)| KEYWORDS[*at].1 <= level);
            order.sort_unstable();
            order.dedup_by_key(|(at, _)| *at);
            let of = |keyword: &str| KEYWORDS.iter().find(|(known, _)| *known == keyword).unwrap().1;
            filters.retain(|at| of(FILTERS[*at].0) <= level);
            filters.sort_unstable();
            filters.dedup_by_key(|at| FILTERS[*at].0);
            Question { level, order, filters, offset, limit }
        })
}

impl Question {
    fn query(&self) -> SearchQuery {
        let resource = match self.level {
            Level::Study => Resource::AllStudies,
            Level::Series => Resource::AllSeries,
            Level::Instance => Resource::AllInstances,
        };
        let order: Vec<String> = self
            .order
            .iter()
            .map(|(at, descending)| format!("{}{}", if *descending { "-" } else { "" }, KEYWORDS[*at].0))
            .collect();
        let order = order.join(",");
        let (offset, limit) = (self.offset.to_string(), self.limit.to_string());
        let mut parameters = vec![("offset", offset.as_str()), ("limit", limit.as_str())];
        parameters.extend(self.filters.iter().map(|at| (FILTERS[*at].0, FILTERS[*at].1)));
        if !order.is_empty() {
            parameters.push(("orderby", order.as_str()));
        }
        query(resource, &parameters)
    }

    /// All that match, in their order.
    fn answer(&self, archive: &Archive) -> Vec<String> {
        let mut items = archive.items(self.level);
        items.retain(|(.., values)| {
            self.filters.iter().all(|at| {
                let (keyword, _, holds) = FILTERS[*at];
                values.get(keyword).is_some_and(|value| holds(value))
            })
        });
        items.sort_by(|one, other| {
            let keys = self.order.iter().map(|(at, descending)| {
                let keyword = KEYWORDS[*at].0;
                compare(keyword, *descending, one.2.get(keyword), other.2.get(keyword))
            });
            keys.fold(Ordering::Equal, Ordering::then).then(other.1.cmp(&one.1))
        });
        items.into_iter().map(|(path, ..)| path).collect()
    }

    /// The plans that may answer it, but for the one that is chosen.
    fn plans(&self, shape: &Shape) -> Vec<Plan> {
        let walk = |order, rows, otherwise| Plan::Walk { order, rows, otherwise };
        let mut plans = vec![plan(shape)];
        match (self.level, self.order.first()) {
            (Level::Study | Level::Series, None) if !self.filters.is_empty() => {
                let candidates = Plan::Candidates(Along::Newest);
                plans.push(walk(Along::Newest, None, None));
                plans.push(walk(Along::Newest, Some(2), Some(Box::new(candidates.clone()))));
                plans.push(candidates);
            }
            (Level::Instance, None) if !self.filters.is_empty() => {
                plans.push(walk(Along::Newest, None, None));
                plans.push(walk(Along::Newest, Some(2), Some(Box::new(Plan::Merged))));
                plans.extend([Plan::Merged, Plan::Sorted]);
                if self.filters.iter().any(|at| FILTERS[*at].0 == "InstanceNumber") {
                    plans.push(Plan::Values);
                }
            }
            (_, None) => {}
            (level, Some((first, _))) => {
                plans.push(Plan::Sorted);
                if KEYWORDS[*first].1 < Level::Instance {
                    plans.push(walk(Along::Value, None, None));
                }
                let in_range =
                    |at: &usize| FILTERS[*at].0 == KEYWORDS[*first].0 && FILTERS[*at].1.contains('-');
                if KEYWORDS[*first].1 < Level::Instance && self.filters.iter().all(in_range) {
                    plans.push(Plan::Ranked);
                }
                if level == Level::Instance {
                    plans.extend([Plan::Merged, Plan::Candidates(Along::Value)]);
                }
            }
        }
        plans
    }
}

fn run(view: &Inline, query: &SearchQuery, choose: impl FnOnce(&Shape) -> Plan) -> Answer {
    let moment = view.overlay.moment(&view.table);
    find_by(&moment, query, &Budget::of(BROAD), choose).unwrap()
}

fn check(view: &Inline, archive: &Archive, question: &Question) -> Result<(), TestCaseError> {
    let query = question.query();
    let all = question.answer(archive);
    let page: Vec<_> = all.iter().skip(question.offset).take(question.limit).cloned().collect();
    let mut plans = Vec::new();
    run(view, &query, |shape| {
        plans = question.plans(shape);
        Plan::Nothing
    });
    for plan in plans {
        let found: Vec<_> = run(view, &query, |_| plan.clone()).page().iter().map(path).collect();
        prop_assert_eq!(&found, &page, "{:?} by {:?}", question, plan);
    }
    let count = SearchQuery { wants: Wants::Count, order: Vec::new(), offset: 0, limit: 1, ..query };
    let mut ways = Vec::new();
    run(view, &count, |shape| {
        let Plan::Counted(by) = plan(shape) else { panic!("a count is counted") };
        ways.push(by);
        Plan::Nothing
    });
    let walked = Plan::Walk { order: Along::Newest, rows: None, otherwise: None };
    ways.push(CountBy::Judged(Box::new(walked)));
    for by in ways {
        let counted = run(view, &count, |_| Plan::Counted(by.clone())).count();
        prop_assert_eq!(counted, all.len() as u64, "{:?} by {:?}", question, by);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_plan_gives_the_same_page_and_every_count_its_length(
        steps in vec(step(), 1..60),
        questions in vec(question(), 24),
    ) {
        let (view, mut fold, mut archive) = (Inline::new(), Fold::default(), Archive::default());
        let of = Partition::default();
        // Another partition's records stand in the same index.
        let theirs = fold.store(&partition("theirs"), &key("1.1", "2.1.1", "3.9"), StoreMode::Upsert, &Said {
            date: 0, name: 0, id: 0, modality: 0, series_number: 0, instance_number: 0,
        }.elements());
        archive.version += 1;
        view.apply(&[theirs]);
        for step in &steps {
            match step {
                Step::Store { study, series, instance, said } => {
                    let (s, e) = (study_uid(*study), series_uid(*study, *series));
                    let i = format!("3.{study}.{series}.{instance}");
                    view.apply(&[fold.store(&of, &key(&s, &e, &i), StoreMode::Upsert, &said.elements())]);
                    archive.store((*study, *series, *instance), *said);
                }
                Step::Delete { study, series } => {
                    let series_uid = series.map(|series| uid(&series_uid(*study, series)));
                    let scope = Scope { study: uid(&study_uid(*study)), series: series_uid, instance: None };
                    view.apply(&[fold.delete(&of, scope)]);
                    archive.delete(*study, *series);
                }
                Step::Write => view.overlay.flush(),
            }
        }
        for question in &questions {
            check(&view, &archive, question)?;
        }
        view.overlay.flush();
        for question in &questions {
            check(&view, &archive, question)?;
        }
    }
}

/// An archive of one instance a study, every value the index orders by among a few; written into the index.
fn large(studies: usize) -> (Inline, Archive) {
    let (view, mut fold, mut archive) = (Inline::new(), Fold::default(), Archive::default());
    let mut commits = Vec::new();
    for study in 0..studies {
        let (of, instance) = (study_uid(study), format!("3.{study}.0.0"));
        let said = Said {
            date: study % 3,
            name: study * 7 % 5,
            id: study * 11 % 3,
            modality: study % 3,
            series_number: study * 3 % 4,
            instance_number: study % 4,
        };
        let key = key(&of, &series_uid(study, 0), &instance);
        commits.push(fold.store(&Partition::default(), &key, StoreMode::Upsert, &said.elements()));
        archive.store((study, 0, 0), said);
    }
    for commits in commits.chunks(100) {
        view.apply(commits);
    }
    view.overlay.flush();
    (view, archive)
}

#[test]
fn a_far_page_of_an_order_costs_no_scan_of_what_it_skips() {
    const STUDIES: usize = 3_300;
    let (view, archive) = large(STUDIES);
    // Keywords by number: StudyDate, PatientName and the series' Modality; each also within a range.
    for (level, at, filters) in [
        (Level::Study, 0, vec![]),
        (Level::Study, 0, vec![0]),
        (Level::Study, 1, vec![]),
        (Level::Series, 3, vec![]),
        (Level::Instance, 0, vec![1]),
        (Level::Instance, 0, vec![]),
    ] {
        for descending in [false, true] {
            let question = Question {
                level,
                order: vec![(at, descending)],
                filters: filters.clone(),
                offset: 0,
                limit: 5,
            };
            let all = question.answer(&archive);
            for offset in [all.len() / 2, all.len() - 20, all.len() - 3] {
                let question = Question { offset, ..question.clone() };
                let query = question.query();
                let found: Vec<_> = run(&view, &query, plan).page().iter().map(path).collect();
                let page: Vec<_> = all.iter().skip(offset).take(5).cloned().collect();
                assert_eq!(found, page, "{question:?}");
            }
        }
    }
    // Every study has a name of its own: what is passed over is as many values.
    let (view, mut fold) = (Inline::new(), Fold::default());
    let mut commits = Vec::new();
    for study in 0..STUDIES {
        let elements = json!({"00100020": {"vr": "LO", "Value": [format!("P{study:05}")]}});
        let key = key(&study_uid(study), &series_uid(study, 0), &format!("3.{study}"));
        commits.push(fold.store(&Partition::default(), &key, StoreMode::Upsert, &elements));
    }
    commits.chunks(100).for_each(|commits| view.apply(commits));
    view.overlay.flush();
    let (offset, order) = ((STUDIES - 5).to_string(), ("orderby", "PatientID"));
    let query = query(Resource::AllStudies, &[("offset", &offset), ("limit", "2"), order]);
    // The ranks are counted once; from then on they are there.
    run(&view, &query, plan);
    let little = Limits { rows: 20, terms: 200, ids: 20, ..BROAD };
    let moment = view.overlay.moment(&view.table);
    let found = find_by(&moment, &query, &Budget::of(little), plan).unwrap().page();
    let first = STUDIES - 5;
    assert_eq!(found.iter().map(path).collect::<Vec<_>>(), [study_uid(first), study_uid(first + 1)],);
    // Of what was counted some is deleted now, and some has changed since the index was written.
    let delete = |fold: &mut Fold, study| {
        let scope = Scope { study: uid(study), series: None, instance: None };
        view.apply(&[fold.delete(&Partition::default(), scope)]);
    };
    delete(&mut fold, "1.7");
    view.overlay.flush();
    delete(&mut fold, "1.8");
    let moment = view.overlay.moment(&view.table);
    let found = find_by(&moment, &query, &Budget::of(little), plan).unwrap().page();
    let next = [study_uid(first + 2), study_uid(first + 3)];
    assert_eq!(found.iter().map(path).collect::<Vec<_>>(), next);
    let walked = Plan::Walk { order: Along::Value, rows: None, otherwise: None };
    let spent = find_by(&moment, &query, &Budget::of(little), |_| walked);
    assert!(matches!(spent, Err(FindError::Spent(_))), "{spent:?}");
}

#[test]
fn an_order_that_only_metadata_tell_is_refused_and_not_ignored() {
    let (view, _) = large(3);
    let query = query(Resource::AllStudies, &[("includefield", "00100040"), ("orderby", "PatientSex")]);
    let moment = view.overlay.moment(&view.table);
    let refused = find_by(&moment, &query, &Budget::of(BROAD), plan);
    assert_eq!(refused, Err(FindError::Unindexed));
}

#[test]
fn few_matches_alone_are_sorted_by_their_metadata() {
    let given = [("includefield", "00100040"), ("orderby", "PatientSex"), ("limit", "5")];
    let mut asked = query(Resource::AllStudies, &given);
    let order = asked.order_by_metadata(&Attributes::core()).expect("no row has it");
    assert_eq!((asked.limit, asked.offset, asked.order.len()), (1_001, 0, 0));
    assert_eq!(order.takes(1_000), Ok(()));
    assert!(matches!(order.takes(1_001), Err(SearchError::TooBroad { .. })));
    let mut known = query(Resource::AllStudies, &[("orderby", "StudyDate")]);
    assert!(known.order_by_metadata(&Attributes::core()).is_none());
}

#[test]
fn segments_are_merged_and_answer_as_before() {
    let (view, mut fold) = (Inline::new(), Fold::default());
    let store = |fold: &mut Fold, study: usize, id: &str| {
        let elements = json!({"00100020": {"vr": "LO", "Value": [id]}});
        let key = key(&study_uid(study), &series_uid(study, 0), &format!("3.{study}"));
        view.apply(&[fold.store(&Partition::default(), &key, StoreMode::Upsert, &elements)]);
        view.overlay.flush();
        view.overlay.merge(Pace::InAHurry).unwrap();
    };
    for study in 0..40 {
        store(&mut fold, study, "old");
    }
    for study in 0..10 {
        store(&mut fold, study, "new");
    }
    let until_merged = || {
        let started = std::time::Instant::now();
        while view.overlay.status().merges.1 {
            assert!(started.elapsed() < std::time::Duration::from_secs(30), "a merge does not end");
            view.overlay.merge(Pace::InAHurry).unwrap();
            std::thread::yield_now();
        }
    };
    until_merged();
    let status = view.overlay.status();
    assert!(status.merges.0 > 0, "{status:?}");
    assert!(status.sizes.segments < 8, "{status:?}");
    assert_eq!(status.sizes.documents, 80, "a study and a series each");
    let found = |id: &str| {
        let hits = view.find(&query(Resource::AllStudies, &[("PatientID", id)])).unwrap();
        hits.iter().map(path).collect::<Vec<_>>()
    };
    assert_eq!(found("new"), (0..10).rev().map(study_uid).collect::<Vec<_>>());
    assert_eq!(found("old"), (10..40).rev().map(study_uid).collect::<Vec<_>>());
}

#[test]
fn names_are_found_by_wildcards_in_any_group_and_accents_do_not_count() {
    let names = ["Müller^Jürgen", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Hong^Gildong=洪^吉洞=홍^길동"];
    let (view, mut fold) = (Inline::new(), Fold::default());
    for (study, name) in names.iter().enumerate() {
        let groups: Vec<_> = name.split('=').collect();
        let mut value = json!({});
        for (group, text) in ["Alphabetic", "Ideographic", "Phonetic"].iter().zip(groups) {
            value[*group] = json!(text);
        }
        let elements = json!({"00100010": {"vr": "PN", "Value": [value]}});
        let key = key(&study_uid(study), &series_uid(study, 0), &format!("3.{study}"));
        view.apply(&[fold.store(&Partition::default(), &key, StoreMode::Upsert, &elements)]);
    }
    for written in [false, true] {
        if written {
            view.overlay.flush();
        }
        for (pattern, expected) in [
            ("mul*", vec![0]),
            ("*ÜRG*", vec![0]),
            ("MULLER^J?RGEN", vec![0]),
            ("müller?jürgen", vec![0]),
            ("山*", vec![1]),
            ("*太郎", vec![1]),
            ("やまだ^*", vec![1]),
            ("?田^太?", vec![1]),
            ("Yamada*=山田*", vec![1]),
            ("홍^길동", vec![2]),
            ("홍*", vec![2]),
            ("*^*", vec![2, 1, 0]),
            ("*a*", vec![1]),
            ("*g^g*", vec![2]),
            ("*x*", vec![]),
            ("山", vec![]),
        ] {
            let asked = query(Resource::AllStudies, &[("PatientName", pattern), ("fuzzymatching", "true")]);
            let asked = if pattern.contains(['*', '?']) {
                asked
            } else {
                query(Resource::AllStudies, &[("PatientName", pattern)])
            };
            let hits = view.find(&asked).unwrap();
            let expected: Vec<_> = expected.into_iter().map(study_uid).collect();
            assert_eq!(hits.iter().map(path).collect::<Vec<_>>(), expected, "{pattern} {written}");
            let candidates = find_by(&view.overlay.moment(&view.table), &asked, &Budget::of(BROAD), |_| {
                Plan::Candidates(Along::Newest)
            });
            let found: Vec<_> = candidates.unwrap().page().iter().map(path).collect();
            assert_eq!(found, expected, "{pattern} {written} by the index");
        }
    }
}
