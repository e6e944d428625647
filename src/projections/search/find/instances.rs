//! Instances of an answer: found through their series, by a value of theirs, or by walking the order of a
//! partition.
//!
//! A filter on the SOP class is judged twice: a series may hold the class or cannot, an instance is of it or
//! is not.
//! Invariant: instances come newest first, as everything does.
//! Elsewhere: series that match (`find`), instances by a value (`by_value`).

use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::ops::Bound;

use super::FindError;
use super::asked::{Asked, Listed};
use super::records::Records;
use crate::dicom::uid::Uid;
use crate::projections::search::attributes::Level;
use crate::projections::search::counts::Order;
use crate::projections::search::matching::{is_of_class, judge, judge_instance, need_instances};
use crate::projections::search::rows::{Id, VersionRow, decode, key, last_number};
use crate::tables::Read;

impl Asked<'_> {
    /// The instances with one of some UIDs that satisfy URL and filters, in no order.
    pub(super) fn named_instances(
        &self,
        uids: &BTreeSet<Uid>,
        records: &mut Records,
    ) -> Result<Vec<Listed>, FindError> {
        let mut found = Vec::new();
        let (study_uids, series_uids) = (self.uids(Level::Study), self.uids(Level::Series));
        for uid in uids {
            for row in self.moment.rows.prefix(&key::places(self.partition, uid)) {
                let (place, version) = row?;
                // The series' id stands at the end of the key, not complemented.
                let listed = Listed { version: decode(&version)?, series: !last_number(&place)? };
                let (study, series) = records.series(self, listed.series)?;
                let here = study_uids.as_ref().is_none_or(|uids| uids.contains(&study.uid))
                    && series_uids.as_ref().is_none_or(|uids| uids.contains(&series.uid));
                if here && judge(self.filters, &study, Some(&series), Some(&self.instance_row(listed)?)) {
                    found.push(listed);
                }
            }
        }
        Ok(found)
    }

    /// The page of the instances of some series, newest first.
    pub(super) fn merged(&self, series: &[Id], records: &mut Records) -> Result<Vec<Listed>, FindError> {
        let found = self.merged_newest(series, self.query.need(), records)?;
        Ok(found.into_iter().skip(self.query.offset).collect())
    }

    /// The newest `need` instances of some series, merged from their lists.
    pub(super) fn merged_newest(
        &self,
        series: &[Id],
        need: usize,
        records: &mut Records,
    ) -> Result<Vec<Listed>, FindError> {
        let mut heads = BinaryHeap::with_capacity(series.len());
        for id in series {
            heads.push(Listed { version: records.series(self, *id)?.1.newest.version, series: *id });
        }
        let (mut lists, mut found) = (HashMap::new(), Vec::new());
        while let Some(head) = heads.pop().filter(|_| found.len() < need) {
            self.budget.row()?;
            if self.is_match(head)? {
                found.push(head);
            }
            let list = lists.entry(head.series).or_insert_with(|| {
                let after = key::instance(head.series, head.version);
                self.moment.rows.prefix_from(&key::instances_of_series(head.series), Bound::Excluded(&after))
            });
            if let Some(row) = list.next() {
                heads.push(Listed { version: last_number(&row?.0)?, series: head.series });
            }
        }
        Ok(found)
    }

    /// The page of the partition's instances whose series satisfies the filters, as `walked`.
    pub(super) fn walked_instances(
        &self,
        most: Option<usize>,
        records: &mut Records,
    ) -> Result<Option<Vec<Listed>>, FindError> {
        let needs_row = need_instances(self.filters);
        self.walked(Order::Instances, most, |version, row| {
            let VersionRow { series, class, position: _ } = decode(row)?;
            let listed = Listed { version, series };
            let matches = is_of_class(self.filters, class)
                && records.is_match(self, series)?
                && (!needs_row || self.is_match(listed)?);
            Ok(matches.then_some(listed))
        })
    }

    /// Whether an instance itself satisfies the filters on its level; its row is read only for them.
    pub(super) fn is_match(&self, listed: Listed) -> Result<bool, FindError> {
        if self.filters.iter().all(|filter| filter.level != Level::Instance) {
            return Ok(true);
        }
        Ok(judge_instance(self.filters, &self.instance_row(listed)?))
    }
}
