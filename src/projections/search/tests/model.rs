//! Random histories against a model that is a map, searched by walking it.
//!
//! The model (`archive`, `asked`) compares in its own words, by none of the view's code.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

use self::archive::{Archive, Picked, known};
use self::asked::{Asked, any_query};
use super::kit::{Fold, Inline, extended, key, partition, path};
use crate::event::{InstanceKey, Scope, StoreMode};
use crate::projections::search::Wants;
use crate::projections::search::attributes::{Attributes, Level, Path as TagsOf, Values};
use crate::projections::search::find::{Answer, Hit};
use crate::projections::search::plan::{Along, OrderShape, Plan, Shape, plan};
use crate::tables::{Engine, Table};

mod archive;
mod asked;

const CLASSES: [&str; 2] = ["1.2.8.1", "1.2.8.2"];
const SYNTAXES: [&str; 2] = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.4.90"];

/// What the view found, in the model's words.
fn hit_line(attributes: &Attributes, hit: &Hit) -> String {
    let values = |values: &Values| -> archive::Values {
        let label = |path| match path {
            TagsOf::One(tag) => format!("{tag:08X}"),
            TagsOf::In { sequence, tag } => format!("{sequence:08X}.{tag:08X}"),
        };
        let items = |items: &[Option<Box<str>>]| {
            items.iter().map(|item| item.as_deref().map(str::to_owned)).collect()
        };
        values.iter().map(|(id, all)| (label(attributes.get(id).unwrap().path), items(all))).collect()
    };
    let study = &hit.study;
    let modalities: Vec<_> = study.modalities.keys().collect();
    let series = hit.series.as_ref().map(|series| (values(&series.values), series.instances));
    let of_study = values(&study.values);
    let what = format!("{of_study:?} {} {} {modalities:?} {series:?}", study.instances, study.series);
    let syntax = hit.syntax.iter().map(|syntax| format!(" {syntax}")).collect::<String>();
    format!("{}@{} {what}{syntax}", path(hit), hit.position())
}

#[derive(Clone, Debug)]
enum Op {
    Store {
        partition: &'static str,
        key: InstanceKey,
        mode: StoreMode,
        picked: Picked,
    },
    Delete {
        partition: &'static str,
        scope: Scope,
    },
    Flush,
    /// The view is made again of all commits at once.
    Rebuild,
    /// The view is closed, in order or not, and opened again.
    Restart {
        orderly: bool,
    },
    Ask(Asked),
}

fn any_partition() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just("Microsoft.Default"), 1 => Just("Ward_7")]
}

prop_compose! {
    fn any_picked()(
        values in vec(option::weighted(0.6, 0..40_usize), known().len()),
        items in vec((option::of(0..8_usize), option::of(0..8_usize)), 0..4),
        class in select(CLASSES.to_vec()),
        syntax in select(SYNTAXES.to_vec()),
    ) -> Picked {
        Picked { values, items, class, syntax }
    }
}

fn any_key() -> impl Strategy<Value = InstanceKey> {
    (0..4_u8, 0..2_u8, 0..3_u8)
        .prop_map(|(study, series, i)| key(&format!("1.{study}"), &format!("2.{series}"), &format!("3.{i}")))
}

fn any_op() -> impl Strategy<Value = Op> {
    let mode = prop_oneof![Just(StoreMode::Create), Just(StoreMode::Upsert)];
    let store = (any_partition(), any_key(), mode, any_picked())
        .prop_map(|(partition, key, mode, picked)| Op::Store { partition, key, mode, picked });
    let delete = (any_partition(), any_key(), 0..3_u8).prop_map(|(partition, key, depth)| {
        let scope = Scope {
            study: key.study,
            series: (depth > 0).then_some(key.series),
            instance: (depth > 1).then_some(key.instance),
        };
        Op::Delete { partition, scope }
    });
    let restart = any::<bool>().prop_map(|orderly| Op::Restart { orderly });
    prop_oneof![
        10 => store,
        3 => delete,
        2 => Just(Op::Flush),
        1 => Just(Op::Rebuild),
        1 => restart,
        24 => any_query().prop_map(Op::Ask),
    ]
}

/// Some instances, and then anything.
fn any_history() -> impl Strategy<Value = Vec<Op>> {
    let store = (any_partition(), any_key(), any_picked()).prop_map(|(partition, key, picked)| Op::Store {
        partition,
        key,
        mode: StoreMode::Upsert,
        picked,
    });
    (vec(store, 0..20), vec(any_op(), 1..60))
        .prop_map(|(first, then)| first.into_iter().chain(then).collect())
}

/// The plans other than the chosen one that a query can be answered by. What the URL names is looked up.
fn other_plans(asked: &Asked, shape: &Shape) -> Vec<Plan> {
    if asked.is_beneath() {
        return Vec::new();
    }
    let walk =
        |order, rows, otherwise: Option<Plan>| Plan::Walk { order, rows, otherwise: otherwise.map(Box::new) };
    let is_instance = shape.item == Level::Instance;
    let found = if is_instance { Plan::Merged } else { Plan::Candidates(Along::Newest) };
    match shape.order {
        OrderShape::Newest => vec![
            walk(Along::Newest, None, None),
            walk(Along::Newest, Some(2), Some(found.clone())),
            found,
            Plan::Sorted,
            Plan::Values,
        ],
        OrderShape::Value { level: Level::Instance, .. } => vec![found, Plan::Sorted, Plan::Values],
        OrderShape::Value { alone, .. } => {
            let ranked = alone.then_some(Plan::Ranked);
            let others = [walk(Along::Value, None, None), Plan::Candidates(Along::Value), Plan::Sorted];
            others.into_iter().chain(ranked).collect()
        }
        OrderShape::Unindexed => vec![Plan::Candidates(Along::Value), Plan::Sorted],
    }
    .into_iter()
    .filter(|plan| is_instance || *plan != Plan::Values)
    .collect()
}

/// The name of a plan, without what it holds.
fn kind(plan: &Plan) -> String {
    let text = format!("{plan:?}");
    let end = text.find([' ', '{']).unwrap_or(text.len());
    text[..end].split("(Judged").next().unwrap_or_default().to_owned()
}

/// The page and the count of the model, by the plan that is chosen and by all others.
fn ask(
    view: &Inline,
    model: &Archive,
    attributes: &Attributes,
    asked: &Asked,
    taken: &mut BTreeMap<String, usize>,
) -> Result<(), TestCaseError> {
    let (query, wanted) = (asked.query(attributes, Wants::Page), model.search(asked));
    let mut others = Vec::new();
    let mut chosen = Plan::Nothing;
    let found = view.answer(&query, |shape| {
        others = other_plans(asked, shape);
        chosen = plan(shape);
        chosen.clone()
    });
    let lines =
        |answer: Answer| answer.page().iter().map(|hit| hit_line(attributes, hit)).collect::<Vec<_>>();
    prop_assert_eq!(lines(found.unwrap()), &wanted[..], "{:?} {:?}", chosen, asked);
    *taken.entry(kind(&chosen)).or_default() += usize::from(!wanted.is_empty());
    for plan in others {
        let found = view.answer(&query, |_| plan.clone()).unwrap();
        prop_assert_eq!(lines(found), &wanted[..], "{:?} {:?}", plan, asked);
        *taken.entry(kind(&plan)).or_default() += usize::from(!wanted.is_empty());
    }
    let count = asked.query(attributes, Wants::Count);
    let counted = view.answer(&count, |shape| {
        chosen = plan(shape);
        chosen.clone()
    });
    let all = model.matching(asked).len();
    prop_assert_eq!(counted.unwrap().count(), all as u64, "{:?} {:?}", chosen, asked);
    *taken.entry(kind(&chosen)).or_default() += usize::from(all > 0);
    Ok(())
}

/// The view of these operations, in a folder or in memory, answers as the model does.
fn compare(
    ops: Vec<Op>,
    folder: Option<(&Path, Engine)>,
    taken: &mut BTreeMap<String, usize>,
) -> Result<(), TestCaseError> {
    let (attributes, known) = (extended(), known());
    let open = |generation: u32| match folder {
        None => Inline::over(Table::memory(), attributes.clone()),
        Some((folder, engine)) => {
            Inline::in_folder(&folder.join(generation.to_string()), engine, attributes.clone())
        }
    };
    let (mut generation, mut view) = (0, open(0));
    let (mut fold, mut model) = (Fold::default(), Archive::default());
    for op in ops {
        let commit = match op {
            Op::Store { partition: name, key, mode, picked } => {
                fold.store(&partition(name), &key, mode, &picked.elements(&known))
            }
            Op::Delete { partition: name, scope } => fold.delete(&partition(name), scope),
            Op::Flush => {
                view.overlay.flush();
                continue;
            }
            Op::Rebuild => {
                generation += 1;
                view = open(generation);
                view.catch_up(&fold.commits);
                continue;
            }
            Op::Restart { orderly } => {
                if folder.is_some() {
                    view.close(orderly);
                    view = open(generation);
                    view.catch_up(&fold.commits);
                }
                continue;
            }
            Op::Ask(asked) => {
                ask(&view, &model, &attributes, &asked, taken)?;
                continue;
            }
        };
        view.apply(&[Arc::clone(&commit)]);
        model.apply(&known, &commit);
    }
    if !fold.commits.is_empty() {
        let again = Inline::over(Table::memory(), attributes);
        again.apply(&fold.commits);
        prop_assert_eq!(again.dump(), view.dump());
    }
    Ok(())
}

/// Whatever lies in the index and whatever only in the rows, by whatever plan, the answer is the model's; a
/// rebuild in one run gives the same view.
#[test]
fn every_answer_is_the_models() {
    let taken = RefCell::new(BTreeMap::new());
    let mut runner =
        TestRunner::new(ProptestConfig { source_file: Some(file!()), ..ProptestConfig::default() });
    let run = runner.run(&any_history(), |ops| compare(ops, None, &mut taken.borrow_mut()));
    if let Err(error) = run {
        panic!("{error}");
    }
    let taken = taken.into_inner();
    println!("queries that found something, by their plans: {taken:?}");
    for plan in [
        "Lookup",
        "Beneath",
        "Page",
        "Ranked",
        "Walk",
        "Candidates",
        "Sorted",
        "Merged",
        "Values",
        "Counted(Stretches",
        "Counted(Documents",
        "Counted(Weights",
        "Counted",
    ] {
        let found = taken.iter().any(|(kind, found)| kind.starts_with(plan) && *found > 0);
        assert!(found, "no query that finds something was answered by {plan}: {taken:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// The same on disk, closed and opened again in between, in order or as after a crash.
    #[test]
    fn every_answer_is_the_models_after_restarts(ops in any_history(), other_engine: bool) {
        let folder = tempfile::tempdir().unwrap();
        let engine = if other_engine { Engine::Sled } else { Engine::Fjall };
        compare(ops, Some((folder.path(), engine)), &mut BTreeMap::new())?;
    }
}
