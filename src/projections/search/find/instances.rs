//! Instances of an answer: found through their series, by a value of theirs, or by walking the order of a
//! partition.
//!
//! A filter on the SOP class is judged twice: a series may hold the class or cannot, an instance is of it or
//! is not.
//! Invariant: instances come newest first, as everything does.
//! Elsewhere: series that match (`find`), instances by a value (`by_value`).

use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::ops::Bound;

use super::asked::{Asked, Listed};
use super::records::Records;
use super::{FindError, rows_for};
use crate::dicom::uid::Uid;
use crate::projections::search::attributes::Level;
use crate::projections::search::counts::Order;
use crate::projections::search::matching::{is_of_class, judge, judge_instance, need_instances};
use crate::projections::search::rows::{Id, VersionRow, decode, key, last_number};
use crate::tables::Read;

/// With more matching series than this, instances are found by walking all of the partition's, newest first.
const MERGED_SERIES: usize = 1_000;

impl Asked<'_> {
    /// The page of instances.
    pub(super) fn instances(&self, records: &mut Records) -> Result<Vec<Listed>, FindError> {
        if let Some(uids) = self.uids(Level::Instance) {
            return Ok(self.newest_page(self.named_instances(&uids, records)?));
        }
        if let Some(studies) = self.named_studies(records)? {
            let series = self.series_beneath(&studies, records)?;
            return self.merged(&series, records);
        }
        if self.filters.is_empty() {
            let listed = |(version, row): (_, Vec<u8>)| {
                let VersionRow { series, .. } = decode(&row)?;
                Ok(Listed { version, series })
            };
            return self.page_of_rows(Order::Instances)?.into_iter().map(listed).collect();
        }
        if self.is_broad()? {
            if let Some(page) = self.by_value(records)? {
                return Ok(page);
            }
            let most = Some(rows_for(self.query.need()));
            if let Some(page) = self.walked_instances(most, records)? {
                return Ok(page);
            }
        }
        let series = self.indexed(Level::Series, MERGED_SERIES + 1, records)?;
        if series.len() <= MERGED_SERIES {
            return self.merged(&series, records);
        }
        Ok(self.walked_instances(None, records)?.unwrap_or_default())
    }

    /// The instances with one of some UIDs that satisfy URL and filters, in no order.
    fn named_instances(
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

    /// The page of the instances of some series, merged from their lists.
    fn merged(&self, series: &[Id], records: &mut Records) -> Result<Vec<Listed>, FindError> {
        let mut heads = BinaryHeap::with_capacity(series.len());
        for id in series {
            heads.push(Listed { version: records.series(self, *id)?.1.newest.version, series: *id });
        }
        let (mut lists, mut page, mut skipped) = (HashMap::new(), Vec::new(), 0);
        while let Some(head) = heads.pop() {
            self.budget.row()?;
            if self.is_match(head)? {
                match skipped < self.query.offset {
                    true => skipped += 1,
                    false => page.push(head),
                }
            }
            if page.len() == self.query.limit {
                break;
            }
            let list = lists.entry(head.series).or_insert_with(|| {
                let after = key::instance(head.series, head.version);
                self.moment.rows.prefix_from(&key::instances_of_series(head.series), Bound::Excluded(&after))
            });
            if let Some(row) = list.next() {
                heads.push(Listed { version: last_number(&row?.0)?, series: head.series });
            }
        }
        Ok(page)
    }

    /// The page of the partition's instances whose series satisfies the filters, as `walked`.
    fn walked_instances(
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
