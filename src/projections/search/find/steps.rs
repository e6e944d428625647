//! Plans, carried out: the page of a query by each of them.
//!
//! Invariant: each way gives the records that the filters leave, in the order asked for.
//! Elsewhere: which way is taken (`plan`), orders that the index follows (`ordered`).

use super::FindError;
use super::asked::{Asked, Listed};
use super::ordered::Start;
use super::records::Records;
use crate::projections::search::attributes::Level;
use crate::projections::search::counts::Order;
use crate::projections::search::matching::On;
use crate::projections::search::plan::{Along, MERGED_SERIES, Plan};
use crate::projections::search::query::By;
use crate::projections::search::rows::{Id, VersionRow, decode};
use crate::projections::search::sort::{Place, Rows, Sorted, UNREAD};

impl Asked<'_> {
    /// The page of studies or series.
    pub(super) fn records_by(&self, plan: &Plan, records: &mut Records) -> Result<Vec<Id>, FindError> {
        let level = self.query.resource.item();
        let order = if level == Level::Study { Order::Studies } else { Order::Series };
        match plan {
            Plan::Lookup(_) | Plan::Beneath(_) => {
                let studies = self.named_studies(records)?.unwrap_or_default();
                match level {
                    Level::Study => self.page(studies, records),
                    _ => self.page(self.series_beneath(&studies, records)?, records),
                }
            }
            Plan::Page => self
                .page_of_rows(order)?
                .into_iter()
                .map(|(id, row)| {
                    self.judged(level, id, &row, records)?;
                    Ok(id)
                })
                .collect(),
            Plan::Ranked => self.records_in_order(level, Start::ByRank, records),
            Plan::Walk { order: Along::Value, .. } => self.records_in_order(level, Start::First, records),
            Plan::Walk { order: Along::Newest, rows, otherwise } => {
                let judged = |id, row: &[u8]| Ok(self.judged(level, id, row, records)?.then_some(id));
                match (self.walked(order, *rows, judged)?, otherwise) {
                    (Some(page), _) => Ok(page),
                    (None, Some(otherwise)) => self.records_by(otherwise, records),
                    (None, None) => Ok(Vec::new()),
                }
            }
            Plan::Candidates(Along::Newest) => {
                let found = self.indexed(level, self.query.need(), records)?;
                Ok(found.into_iter().skip(self.query.offset).collect())
            }
            Plan::Candidates(Along::Value) | Plan::Sorted => {
                let query = &self.everything();
                let all = match self.filters.is_empty() {
                    true => Asked { query, ..*self }.walked(order, None, |id, _| Ok(Some(id)))?,
                    false => Some(self.indexed(level, usize::MAX, records)?),
                };
                self.page(all.unwrap_or_default(), records)
            }
            Plan::Nothing | Plan::Merged | Plan::Values | Plan::Counted(_) => Ok(Vec::new()),
        }
    }

    /// The page of instances.
    pub(super) fn instances_by(&self, plan: &Plan, records: &mut Records) -> Result<Vec<Listed>, FindError> {
        match plan {
            Plan::Lookup(_) => {
                let uids = self.uids(Level::Instance).unwrap_or_default();
                self.page_of_instances(self.named_instances(&uids, records)?, records)
            }
            Plan::Beneath(_) => {
                let studies = self.named_studies(records)?.unwrap_or_default();
                self.page_beneath(&self.series_beneath(&studies, records)?, records)
            }
            Plan::Page => {
                let listed = |(version, row): (_, Vec<u8>)| {
                    let VersionRow { series, .. } = decode(&row)?;
                    Ok(Listed { version, series })
                };
                self.page_of_rows(Order::Instances)?.into_iter().map(listed).collect()
            }
            Plan::Ranked => self.instances_in_order(Start::ByRank, records),
            Plan::Walk { order: Along::Value, .. } => self.instances_in_order(Start::First, records),
            Plan::Walk { order: Along::Newest, rows, otherwise } => {
                match (self.walked_instances(*rows, records)?, otherwise) {
                    (Some(page), _) => Ok(page),
                    (None, Some(otherwise)) => self.instances_by(otherwise, records),
                    (None, None) => Ok(Vec::new()),
                }
            }
            Plan::Merged => {
                let series = self.indexed(Level::Series, MERGED_SERIES + 1, records)?;
                match series.len() <= MERGED_SERIES {
                    true => self.page_beneath(&series, records),
                    false => self.page_of_walked(records),
                }
            }
            Plan::Values if self.query.order.is_empty() => match self.by_value(records)? {
                Some(page) => Ok(page),
                None => self.page_of_walked(records),
            },
            Plan::Values => match self.by_own_value()? {
                Some(page) => Ok(page),
                None => self.page_of_walked(records),
            },
            Plan::Candidates(_) => {
                let query = &self.everything();
                let all = Asked { query, ..*self };
                match all.by_value(records)? {
                    Some(all) => self.page_of_instances(all, records),
                    None => self.page_of_walked(records),
                }
            }
            Plan::Sorted => self.page_of_walked(records),
            Plan::Nothing | Plan::Counted(_) => Ok(Vec::new()),
        }
    }

    /// The page of the instances of some series.
    fn page_beneath(&self, series: &[Id], records: &mut Records) -> Result<Vec<Listed>, FindError> {
        if self.query.order.is_empty() {
            return self.merged(series, records);
        }
        let all = self.merged_newest(series, usize::MAX, records)?;
        self.page_of_instances(all, records)
    }

    /// The page of instances found by walking all of the partition's.
    fn page_of_walked(&self, records: &mut Records) -> Result<Vec<Listed>, FindError> {
        if self.query.order.is_empty() {
            return Ok(self.walked_instances(None, records)?.unwrap_or_default());
        }
        let query = &self.everything();
        let all = Asked { query, ..*self }.walked_instances(None, records)?;
        self.page_of_instances(all.unwrap_or_default(), records)
    }

    /// The page of these records, in the order asked for.
    fn page(&self, ids: Vec<Id>, records: &mut Records) -> Result<Vec<Id>, FindError> {
        if self.query.order.is_empty() {
            return Ok(self.newest_page(ids));
        }
        let mut sorted = Sorted::of(self.query.need());
        for id in ids {
            sorted.push(self.place(self.query.resource.item(), id, records)?, id);
        }
        Ok(sorted.sorted().into_iter().map(|(_, id)| id).skip(self.query.offset).collect())
    }

    /// The page of these instances, in the order asked for.
    fn page_of_instances(
        &self,
        instances: Vec<Listed>,
        records: &mut Records,
    ) -> Result<Vec<Listed>, FindError> {
        if self.query.order.is_empty() {
            return Ok(self.newest_page(instances));
        }
        let mut sorted = Sorted::of(self.query.need());
        for listed in instances {
            sorted.push(self.place_of_instance(listed, records)?, listed);
        }
        Ok(sorted.sorted().into_iter().map(|(_, listed)| listed).skip(self.query.offset).collect())
    }

    /// Where a study or series stands in the order asked for.
    pub(super) fn place(&self, level: Level, id: Id, records: &mut Records) -> Result<Place, FindError> {
        if level == Level::Study {
            let study = records.study(self, id)?;
            let rows = Rows { study: &study, series: None, instance: None, class: None, stored: &UNREAD };
            return Ok(rows.place(&self.query.order, id));
        }
        let (study, series) = records.series(self, id)?;
        let rows =
            Rows { study: &study, series: Some(&series), instance: None, class: None, stored: &UNREAD };
        Ok(rows.place(&self.query.order, id))
    }

    /// Where an instance stands in the order asked for.
    pub(super) fn place_of_instance(
        &self,
        listed: Listed,
        records: &mut Records,
    ) -> Result<Place, FindError> {
        let (study, series) = records.series(self, listed.series)?;
        let needed = self.query.order.iter().any(|by| by.level == Level::Instance);
        let row = needed.then(|| self.instance_row(listed)).transpose()?;
        let by_class = self.query.order.iter().any(|by| by.by == By::On(On::SopClass));
        let class = row.as_ref().filter(|_| by_class).map(|row| records.name(self, row.class)).transpose()?;
        let class = class.flatten();
        let instance = row.as_ref().map(|row| (&row.uid, &row.values));
        let (series, class) = (Some(&*series), class.as_ref());
        let rows = Rows { study: &study, series, instance, class, stored: &UNREAD };
        Ok(rows.place(&self.query.order, listed.version))
    }
}
