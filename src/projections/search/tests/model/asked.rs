//! Random queries, and what satisfies them in the model's own words.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::archive::{Archive, Instance, Kind, Known, MODALITIES, Series, Study, Values, known, pool};
use crate::base::Partition;
use crate::projections::search::attributes::{Attributes, Level};
use crate::projections::search::tests::kit::{partition, raw, uid};
use crate::projections::search::{Asking, Resource, SearchQuery, Version, Wants};

/// Attributes of a random order.
const MOST_ORDERS: usize = 3;

#[derive(Clone, Debug)]
pub(super) struct Asked {
    partition: &'static str,
    resource: u8,
    study: u8,
    series: u8,
    /// Label or keyword with its value.
    filters: Vec<(String, String)>,
    fuzzy: &'static str,
    orders: Vec<(String, bool)>,
    pub(super) offset: usize,
    pub(super) limit: usize,
}

/// A record that is found: its number in the order of the newest, its words, what it may be ordered by.
struct Found {
    number: u64,
    line: String,
    values: Values,
}

/// The records of one item.
#[derive(Clone, Copy)]
struct Item<'m> {
    study: (&'m str, &'m Study),
    series: Option<(&'m str, &'m Series)>,
    instance: Option<(&'m str, &'m Instance)>,
}

impl Archive {
    /// Everything that satisfies the query, in the words of `line`, in its order.
    pub(super) fn matching(&self, asked: &Asked) -> Vec<String> {
        let known = known();
        let mut found: Vec<Found> = Vec::new();
        let mut judge = |item: Item<'_>, number: u64, line: &dyn Fn() -> String| {
            if asked.takes(&known, item) {
                let mut values = item.study.1.values.clone();
                values.extend(item.series.iter().flat_map(|(_, series)| series.values.clone()));
                values.extend(item.instance.iter().flat_map(|(_, instance)| instance.values.clone()));
                found.push(Found { number, line: line(), values });
            }
        };
        for ((_, study_uid), study) in self.0.iter().filter(|((of, _), _)| *of == asked.partition()) {
            let item = Item { study: (study_uid, study), series: None, instance: None };
            if asked.level() == Level::Study {
                let instances = study.series.values().flat_map(|series| series.instances.values());
                let newest = instances.max_by_key(|instance| instance.version).unwrap().position;
                judge(item, study.created, &|| format!("{study_uid}@{newest} {}", line(study, None)));
                continue;
            }
            for (series_uid, series) in &study.series {
                let item = Item { series: Some((series_uid, series)), ..item };
                let path = format!("{study_uid}/{series_uid}");
                if asked.level() == Level::Series {
                    let newest = series.instances.values().max_by_key(|instance| instance.version).unwrap();
                    let newest = newest.position;
                    judge(item, series.created, &|| format!("{path}@{newest} {}", line(study, Some(series))));
                    continue;
                }
                for (instance_uid, instance) in &series.instances {
                    let item = Item { instance: Some((instance_uid, instance)), ..item };
                    judge(item, instance.version, &|| {
                        let Instance { position, syntax, .. } = instance;
                        format!("{path}/{instance_uid}@{position} {} {syntax}", line(study, Some(series)))
                    });
                }
            }
        }
        found.sort_by(|a, b| asked.compare(&known, a, b));
        found.into_iter().map(|found| found.line).collect()
    }

    /// A page of them.
    pub(super) fn search(&self, asked: &Asked) -> Vec<String> {
        self.matching(asked).into_iter().skip(asked.offset).take(asked.limit).collect()
    }
}

/// What is known of a study and series besides UIDs.
fn line(study: &Study, series: Option<&Series>) -> String {
    let count: usize = study.series.values().map(|series| series.instances.len()).sum();
    let modalities = modalities(study);
    let series = series.map(|series| (&series.values, series.instances.len()));
    format!("{:?} {count} {} {modalities:?} {series:?}", study.values, study.series.len())
}

fn modalities(study: &Study) -> Vec<&String> {
    let mut all: Vec<_> =
        study.series.values().filter_map(|s| s.values.get("00080060")?[0].as_ref()).collect();
    all.sort();
    all.dedup();
    all
}

/// Neither case nor blanks at the end.
fn plain(text: &str) -> String {
    text.trim_end_matches([' ', '\0']).to_lowercase().replace('ß', "ss")
}

/// Nor the accents and widths there are.
fn bare(text: &str) -> String {
    plain(text).replace('ö', "o").replace("ﾔﾏﾀﾞ", "ヤマダ").replace("ﾀﾛｳ", "タロウ")
}

/// Without separators at the end of groups.
fn groups(name: &str) -> Vec<String> {
    let mut groups: Vec<String> =
        bare(name).split('=').map(|group| group.trim_end_matches(['^', ' ']).to_owned()).collect();
    while groups.len() > 1 && groups.last().is_some_and(String::is_empty) {
        groups.pop();
    }
    groups
}

fn words(name: &str) -> Vec<String> {
    bare(name).replace(['^', '='], " ").split_whitespace().map(str::to_owned).collect()
}

/// The textbook's wildcards.
fn globs(pattern: &[char], value: &[char]) -> bool {
    match (pattern.split_first(), value.split_first()) {
        (None, _) => value.is_empty(),
        (Some(('*', rest)), _) => (0..=value.len()).any(|at| globs(rest, &value[at..])),
        (Some((wanted, rest)), Some((found, left))) => {
            (*wanted == '?' || wanted == found) && globs(rest, left)
        }
        (Some(_), None) => false,
    }
}

fn like(pattern: &str, value: &str) -> bool {
    globs(&pattern.chars().collect::<Vec<_>>(), &value.chars().collect::<Vec<_>>())
}

fn has_wildcards(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Digits that sort as the instants they are the first of.
fn instant(kind: Kind, text: &str) -> String {
    let digits: String = text.split('+').next().unwrap().replace('.', "");
    match (kind, digits.len()) {
        (Kind::Date, _) => digits,
        (Kind::Time, _) => format!("{digits:0<12}"),
        (_, 4) => format!("{:0<20}", digits + "0101"),
        (_, 6) => format!("{:0<20}", digits + "01"),
        _ => format!("{digits:0<20}"),
    }
}

fn number(text: &str) -> f64 {
    text.trim().parse().unwrap()
}

/// Whether a stored value is one that is asked for.
fn takes(kind: Kind, fuzzy: &str, stored: &str, wanted: &str) -> bool {
    match kind {
        Kind::Text if has_wildcards(wanted) => like(&plain(wanted), &plain(stored)),
        Kind::Text => plain(stored) == plain(wanted),
        Kind::Uid => wanted.split([',', '\\']).any(|wanted| stored.trim() == wanted.trim()),
        Kind::Name => name_takes(fuzzy, stored, wanted),
        Kind::Date | Kind::Time | Kind::DateTime => {
            let stored = instant(kind, stored);
            match wanted.split_once('-') {
                None => stored == instant(kind, wanted),
                Some((from, to)) => {
                    (from.is_empty() || instant(kind, from) <= stored)
                        && (to.is_empty() || stored <= instant(kind, to))
                }
            }
        }
        Kind::Integer | Kind::Decimal => number(stored) == number(wanted),
    }
}

fn name_takes(fuzzy: &str, stored: &str, wanted: &str) -> bool {
    let (own, asked) = (groups(stored), groups(wanted).join("="));
    if has_wildcards(wanted) || fuzzy == "false" {
        let is = |text: &str| if has_wildcards(wanted) { like(&asked, text) } else { asked == text };
        return is(&own.join("="))
            || (!asked.contains('=') && own.iter().any(|group| !group.is_empty() && is(group)));
    }
    let (own, asked) = (words(stored), words(wanted));
    let begins = |(word, wanted): (&String, &String)| word.starts_with(wanted.as_str());
    match fuzzy {
        "true" => !asked.is_empty() && own.windows(asked.len()).any(|run| run.iter().zip(&asked).all(begins)),
        _ => !asked.is_empty() && asked.iter().all(|wanted| own.iter().any(|word| begins((word, wanted)))),
    }
}

const MOMENTS: [(&str, &str); 2] = [("00080020", "00080030"), ("00400244", "00400245")];

impl Asked {
    fn partition(&self) -> Partition {
        partition(self.partition)
    }

    fn level(&self) -> Level {
        use Level::{Instance, Series, Study};
        [Study, Series, Instance, Series, Instance, Instance][usize::from(self.resource)]
    }

    fn levels(&self) -> &'static [Level] {
        use Level::{Instance, Series, Study};
        [
            &[Study][..],
            &[Study, Series],
            &[Study, Series, Instance],
            &[Series],
            &[Series, Instance],
            &[Instance],
        ][usize::from(self.resource)]
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
    fn filters(&self) -> Vec<(String, String)> {
        let known = known();
        let level = |label: &str| match label {
            "StudyInstanceUID" | "ModalitiesInStudy" => Level::Study,
            "SeriesInstanceUID" => Level::Series,
            "SOPInstanceUID" | "SOPClassUID" => Level::Instance,
            _ => known.iter().find(|known| known.label == label).unwrap().level,
        };
        let mut kept: Vec<(String, String)> = Vec::new();
        for (label, value) in &self.filters {
            if self.levels().contains(&level(label)) && kept.iter().all(|(other, _)| other != label) {
                kept.push((label.clone(), value.clone()));
            }
        }
        // A night is no range without the days around it.
        for (date, time) in MOMENTS {
            let nights = kept.iter().any(|(label, value)| label == date && value.len() == 17);
            kept.retain(|(label, value)| label != time || value != "22-06" || nights);
        }
        kept
    }

    /// Whether the URL names a study.
    pub(super) fn is_beneath(&self) -> bool {
        self.resource > 2
    }

    pub(super) fn query(&self, attributes: &Attributes, wants: Wants) -> SearchQuery {
        let mut parameters = self.filters();
        parameters.push(("fuzzymatching".to_owned(), self.fuzzy.to_owned()));
        if wants == Wants::Page {
            parameters.push(("offset".to_owned(), self.offset.to_string()));
            parameters.push(("limit".to_owned(), self.limit.to_string()));
            for (label, descending) in self.orders() {
                let order = format!("{}{label}", if descending { "-" } else { "" });
                parameters.push(("orderby".to_owned(), order));
            }
        }
        let parameters: Vec<_> =
            parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let (resource, partition) = (&self.resource(), &self.partition());
        let asking = Asking { resource, partition, version: Version::V2, wants, attributes };
        SearchQuery::parse(asking, &raw(&parameters)).unwrap()
    }

    fn takes(&self, known: &[Known], item: Item<'_>) -> bool {
        let study = format!("1.{}", self.study);
        let here = match self.resource {
            0..=2 => true,
            3 | 4 => item.study.0 == study,
            _ => {
                item.study.0 == study
                    && item.series.is_some_and(|(uid, _)| uid == format!("2.{}", self.series))
            }
        };
        let filters = self.filters();
        here && filters.iter().all(|(label, wanted)| self.filter_takes(known, &filters, label, wanted, item))
    }

    fn filter_takes(
        &self,
        known: &[Known],
        all: &[(String, String)],
        label: &str,
        wanted: &str,
        Item { study, series, instance }: Item<'_>,
    ) -> bool {
        let listed = |uid: &str| wanted.split([',', '\\']).any(|wanted| wanted.trim() == uid);
        match label {
            "StudyInstanceUID" => return listed(study.0),
            "SeriesInstanceUID" => return series.is_some_and(|(uid, _)| listed(uid)),
            "SOPInstanceUID" => return instance.is_some_and(|(uid, _)| listed(uid)),
            "SOPClassUID" => return instance.is_some_and(|(_, instance)| listed(&instance.class)),
            "ModalitiesInStudy" => {
                let modalities = modalities(study.1);
                let mut wanted = wanted.split([',', '\\']);
                return wanted.any(|wanted| modalities.iter().any(|m| takes(Kind::Text, "", m, wanted)));
            }
            _ => {}
        }
        // Whatever there is, and nothing.
        if wanted == "*" {
            return true;
        }
        let attribute = known.iter().find(|known| known.label == label).unwrap();
        let values = match attribute.level {
            Level::Study => Some(&study.1.values),
            Level::Series => series.map(|(_, series)| &series.values),
            Level::Instance => instance.map(|(_, instance)| &instance.values),
        };
        let Some(values) = values else { return false };
        let none = Vec::new();
        if label.contains('.') {
            let paths: Vec<_> =
                all.iter().filter(|(other, wanted)| other.contains('.') && wanted != "*").collect();
            let items = values.get(label).unwrap_or(&none).len();
            return (0..items).any(|at| {
                paths.iter().all(|(label, wanted)| {
                    values[label][at].as_deref().is_some_and(|value| takes(Kind::Text, "", value, wanted))
                })
            });
        }
        for (date, time) in MOMENTS {
            let range = |of: &str| all.iter().find(|(label, value)| label == of && value.contains('-'));
            if let (true, Some((_, days)), Some((_, times))) =
                ([date, time].contains(&label), range(date), range(time))
            {
                let value = |label: &str| values.get(label).and_then(|items| items[0].clone());
                let Some((day, hour)) = value(date).zip(value(time)) else { return false };
                let moment = instant(Kind::Date, &day) + &instant(Kind::Time, &hour);
                let ((first, last), (begin, end)) =
                    (days.split_once('-').unwrap(), times.split_once('-').unwrap());
                let end = if end.is_empty() { "235960.999999" } else { end };
                return (first.is_empty() || first.to_owned() + &instant(Kind::Time, begin) <= moment)
                    && (last.is_empty() || moment <= last.to_owned() + &instant(Kind::Time, end));
            }
        }
        let value = values.get(label).and_then(|items| items[0].as_deref());
        value.is_some_and(|value| takes(attribute.kind, self.fuzzy, value, wanted))
    }

    /// The attributes of the order that the resource's levels have.
    fn orders(&self) -> Vec<(String, bool)> {
        let known = known();
        let here =
            |label: &String| known.iter().any(|k| k.label == *label && self.levels().contains(&k.level));
        let mut kept: Vec<(String, bool)> = Vec::new();
        for (label, descending) in &self.orders {
            if here(label) && kept.iter().all(|(other, _)| other != label) {
                kept.push((label.clone(), *descending));
            }
        }
        kept
    }

    fn compare(&self, known: &[Known], a: &Found, b: &Found) -> std::cmp::Ordering {
        for (label, descending) in self.orders() {
            let kind = known.iter().find(|known| known.label == label).unwrap().kind;
            let value = |found: &Found| {
                let first =
                    found.values.get(&label).and_then(|items| items.iter().flatten().next().cloned())?;
                Some(match kind {
                    Kind::Integer | Kind::Decimal => (number(&first), String::new()),
                    Kind::Name => (0.0, groups(&first).join("=")),
                    Kind::Text => (0.0, plain(&first)),
                    Kind::Uid => (0.0, first.trim().to_owned()),
                    Kind::Date | Kind::Time | Kind::DateTime => (0.0, instant(kind, &first)),
                })
            };
            let order = match (value(a), value(b)) {
                (Some(a), Some(b)) if descending => b.partial_cmp(&a).unwrap(),
                (Some(a), Some(b)) => a.partial_cmp(&b).unwrap(),
                // What lacks the value comes last.
                (a, b) => b.is_some().cmp(&a.is_some()),
            };
            if order.is_ne() {
                return order;
            }
        }
        b.number.cmp(&a.number)
    }
}

/// Texts to ask for, made of those that are stored.
fn any_text(pool: Vec<String>) -> impl Strategy<Value = String> {
    (select(pool), 0..8_u8, 0..12_usize).prop_map(|(text, how, at)| {
        let characters: Vec<char> = text.trim_end().chars().collect();
        let at = at % characters.len().max(1);
        let (head, tail): (String, String) =
            (characters[..at].iter().collect(), characters[at..].iter().collect());
        match how {
            0 => text,
            1 => text.to_lowercase(),
            2 => text.to_uppercase(),
            3 => format!("{head}*"),
            4 => format!("*{tail}"),
            5 => format!("{head}?{}", tail.chars().skip(1).collect::<String>()),
            6 => format!("*{}*", tail.chars().take(2).collect::<String>()),
            _ => "*".to_owned(),
        }
    })
}

fn texts(kind: Kind) -> Vec<String> {
    let texts = pool(kind).into_iter().filter_map(|value| value.as_str().map(str::to_owned));
    texts.filter(|text| !text.trim().is_empty()).collect()
}

/// A value to ask an attribute for.
fn any_value(known: &Known) -> BoxedStrategy<String> {
    let of = |texts: &[&'static str]| select(texts.to_vec()).prop_map(str::to_owned).boxed();
    match known.kind {
        Kind::Text if known.label == "00080060" => {
            any_text(MODALITIES.iter().map(|text| (*text).to_owned()).collect()).boxed()
        }
        Kind::Text => any_text(texts(known.kind)).boxed(),
        Kind::Name => prop_oneof![
            2 => any_text(texts(known.kind)),
            1 => select(vec!["jo do", "JO", "john mar", "doe 田", "太郎 jones", "do jo", "田^太郎", "山田^太郎", "ヤマダ^タロウ", "金^熙*", "doe^*", "李^明", "^", "do"])
                .prop_map(str::to_owned),
        ]
        .boxed(),
        Kind::Date => of(&["20240101", "20240102-", "-20240601", "20240101-20240531", "20231231-20240101"]),
        Kind::Time => of(&["0930", "093000", "09-10", "0930-", "-22", "-235960", "22", "060000-"]),
        Kind::DateTime => of(&["2024", "20240101120000", "2024-", "-20240601", "202401-202406", "20240602-"]),
        Kind::Integer => of(&["7", "007", "-3", "12", "13"]),
        Kind::Decimal => of(&["1.5", "15e-1", "0", "-0", "-20000000000", "2"]),
        Kind::Uid => of(&["1.2.3", "1.2.4,1.2.5", "1.2.3\\\\1.2.4", "1.2"]),
    }
}

/// One filter, or a night.
fn any_filters() -> impl Strategy<Value = Vec<(String, String)>> {
    let values = known().into_iter().map(|known| {
        let label = known.label.clone();
        any_value(&known).prop_map(move |value| vec![(label.clone(), value)]).boxed()
    });
    let lists = |level: u8| {
        let uids = vec(0..5_u8, 1..4)
            .prop_map(move |uids| uids.iter().map(|n| format!("{level}.{n}")).collect::<Vec<_>>().join(","));
        let long = (0..4_u8).prop_map(move |n| {
            let others = (0..499).map(|n| format!("9.{n}\\"));
            others.collect::<String>() + &format!("{level}.{n}")
        });
        prop_oneof![5 => uids, 1 => long]
    };
    let one = |label: &'static str| move |value: String| vec![(label.to_owned(), value)];
    let classes =
        select(vec!["1.2.8.1", "1.2.8.2", "1.2.9", "1.2.8.1,1.2.8.2", "1.2.9\\1.2.8.2", "1.2.9,1.2.10"]);
    let modalities = select(vec!["CT", "mr", "CT,MR", "C*", "us\\MR", "?R", "XA", "X*,US"]);
    let night = select(MOMENTS.to_vec()).prop_map(|(date, time)| {
        vec![(date.to_owned(), "20231231-20240101".to_owned()), (time.to_owned(), "22-06".to_owned())]
    });
    prop_oneof![
        12 => proptest::strategy::Union::new(values),
        1 => lists(1).prop_map(one("StudyInstanceUID")),
        1 => lists(2).prop_map(one("SeriesInstanceUID")),
        1 => lists(3).prop_map(one("SOPInstanceUID")),
        1 => classes.prop_map(str::to_owned).prop_map(one("SOPClassUID")),
        1 => modalities.prop_map(str::to_owned).prop_map(one("ModalitiesInStudy")),
        1 => night,
    ]
}

prop_compose! {
    pub(super) fn any_query()(
        partition in prop_oneof![4 => Just("Microsoft.Default"), 1 => Just("Ward_7")],
        resource in select(vec![0, 0, 1, 1, 2, 2, 3, 4, 5]),
        study in 0..4_u8,
        series in 0..2_u8,
        filters in vec(any_filters(), 0..4),
        fuzzy in select(vec!["false", "true", "any"]),
        orders in vec((select(known().into_iter().map(|known| known.label).collect::<Vec<_>>()), any::<bool>()), 0..=MOST_ORDERS),
        offset in option::weighted(0.5, prop_oneof![9 => 0..4_usize, 1 => Just(usize::MAX)]),
        limit in select(vec![1, 2, 200]),
    ) -> Asked {
        let (filters, offset) = (filters.into_iter().flatten().collect(), offset.unwrap_or(0));
        Asked { partition, resource, study, series, filters, fuzzy, orders, offset, limit }
    }
}
