//! Instances of an answer: found through their series, or by walking the order of a partition.
//!
//! A filter on the SOP class is judged twice: a series may hold the class or cannot, an instance is of it or
//! is not.
//! Invariant: instances come newest first, as everything does.
//! Elsewhere: series that match (`find`).

use std::collections::{BinaryHeap, HashMap};
use std::ops::Bound;

use super::records::Records;
use super::{FindError, Hit, Moment, budget, page};
use crate::dicom::uid::Uid;
use crate::projections::search::attributes::Level;
use crate::projections::search::counts::Order;
use crate::projections::search::matching::{On, is_of_class, judge, judge_instance, need_instances};
use crate::projections::search::query::SearchQuery;
use crate::projections::search::rows::{self, Id, InstanceRow, VersionRow, decode, key, last_number, read};
use crate::tables::Read;

/// With more matching series than this, instances are found by walking all of the partition's, newest first.
const MERGED_SERIES: usize = 1_000;
/// Verdicts on series remembered while instances are walked.
const REMEMBERED_SERIES: usize = 65_536;

/// An instance in the order of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    version: u64,
    series: Id,
}

impl Moment<'_> {
    pub(super) fn instances(&self, query: &SearchQuery) -> Result<Vec<Hit>, FindError> {
        let need = query.need();
        let listed = if let Some(uid) = self.equal_to(On::Uid(Level::Instance)) {
            self.places_of(uid, query)?
        } else if let Some(study) = self.one_study(query)? {
            let Some(study) = study else { return Ok(Vec::new()) };
            let series = self.series_of_study(study, query.resource.series(), usize::MAX)?;
            self.merged(&series, need)?
        } else if self.filters.is_empty() {
            let rows = self.page_of_rows(Order::Instances, query)?;
            let listed =
                rows.into_iter().map(|(version, VersionRow { series, .. })| Listed { version, series });
            return self.hits(listed.collect());
        } else {
            let mut verdicts = HashMap::new();
            if let Some(listed) = self.walked_instances(query, budget(need), &mut verdicts)? {
                return self.hits(listed);
            }
            let series = self.indexed(Level::Series, MERGED_SERIES + 1)?;
            if series.len() > MERGED_SERIES {
                let listed = self.walked_instances(query, usize::MAX, &mut verdicts)?;
                return self.hits(listed.unwrap_or_default());
            }
            self.merged(&series, need)?
        };
        self.hits(page(listed, query))
    }

    /// The instances of a SOP Instance UID that satisfy URL and filters, newest first.
    fn places_of(&self, uid: &str, query: &SearchQuery) -> Result<Vec<Listed>, FindError> {
        let Ok(uid) = Uid::parse(uid) else { return Ok(Vec::new()) };
        let mut listed = Vec::new();
        for row in self.reader.prefix(&key::places(self.partition, &uid)) {
            let (place, version) = row?;
            // The series' id stands at the end of the key, not complemented.
            let (version, id) = (decode(&version)?, !last_number(&place)?);
            let series = self.series_row(id)?;
            let study = self.study_row(series.study)?;
            let here = query.resource.study().is_none_or(|uid| *uid == study.uid)
                && query.resource.series().is_none_or(|uid| *uid == series.uid);
            let found = Listed { version, series: id };
            if here && judge(self.filters, &study, Some(&series), Some(&self.instance_row(found)?)) {
                listed.push(found);
            }
        }
        listed.sort_unstable_by(|a, b| b.cmp(a));
        Ok(listed)
    }

    /// The newest `need` instances of some series, merged from their lists.
    fn merged(&self, series: &[Id], need: usize) -> Result<Vec<Listed>, FindError> {
        let mut heads = BinaryHeap::with_capacity(series.len());
        for id in series {
            heads.push(Listed { version: self.series_row(*id)?.newest.version, series: *id });
        }
        let mut lists = HashMap::new();
        let mut listed = Vec::new();
        while let Some(head) = heads.pop() {
            if self.is_match(head)? {
                listed.push(head);
            }
            if listed.len() == need {
                break;
            }
            let list = lists.entry(head.series).or_insert_with(|| {
                let after = key::instance(head.series, head.version);
                self.reader.prefix_from(&key::instances_of_series(head.series), Bound::Excluded(&after))
            });
            if let Some(row) = list.next() {
                heads.push(Listed { version: last_number(&row?.0)?, series: head.series });
            }
        }
        Ok(listed)
    }

    /// The page of the partition's instances whose series satisfies the filters, as `walked`.
    fn walked_instances(
        &self,
        query: &SearchQuery,
        budget: usize,
        verdicts: &mut HashMap<Id, bool>,
    ) -> Result<Option<Vec<Listed>>, FindError> {
        if budget < usize::MAX && !self.is_broad()? {
            return Ok(None);
        }
        self.walked(Order::Instances, query.offset, query.limit, budget, |version, row| {
            let VersionRow { series, class, position: _ } = decode(row)?;
            let listed = Listed { version, series };
            let matches = is_of_class(self.filters, class)
                && self.remembered(verdicts, series)?
                && (!need_instances(self.filters) || self.is_match(listed)?);
            Ok(matches.then_some(listed))
        })
    }

    fn remembered(&self, verdicts: &mut HashMap<Id, bool>, id: Id) -> Result<bool, FindError> {
        if let Some(verdict) = verdicts.get(&id) {
            return Ok(*verdict);
        }
        let verdict = self.judged_series(&self.series_row(id)?)?;
        if verdicts.len() == REMEMBERED_SERIES {
            verdicts.clear();
        }
        verdicts.insert(id, verdict);
        Ok(verdict)
    }

    /// Whether the instance itself satisfies the filters on its level; its row is read only for them.
    fn is_match(&self, listed: Listed) -> Result<bool, FindError> {
        if self.filters.iter().all(|filter| filter.level != Level::Instance) {
            return Ok(true);
        }
        Ok(judge_instance(self.filters, &self.instance_row(listed)?))
    }

    fn instance_row(&self, Listed { version, series }: Listed) -> Result<InstanceRow, FindError> {
        let row = read(self.reader, &key::instance(series, version))?;
        Ok(row.ok_or_else(|| rows::damaged("an instance has no row"))?)
    }

    fn hits(&self, listed: Vec<Listed>) -> Result<Vec<Hit>, FindError> {
        let mut records = Records::default();
        let hit = |listed: Listed| {
            let row = self.instance_row(listed)?;
            let (study, series) = records.of(self, listed.series)?;
            let syntax = records.name(self, row.syntax)?;
            let (series, instance) = (Some(series), Some(row.uid));
            Ok(Hit { study, series, instance, syntax, position: row.position })
        };
        listed.into_iter().map(hit).collect()
    }
}
