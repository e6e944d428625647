//! Decides the deletion of a study, a series or an instance: one row for each live instance, all at once.
//! A study of which nothing is left expires no more.
//!
//! Elsewhere: the files go later (`workers::sweep`).

use super::super::state::instances::{self, LiveInstance};
use super::super::state::{change_feed, expiry, released};
use super::{Step, accepted};
use crate::event::{Action, Change, Outcome, Refusal, Scope};
use crate::tables::Error;

pub(super) fn deleted(step: &mut Step<'_, '_>, scope: &Scope) -> Result<Outcome, Error> {
    let mut gone: Vec<LiveInstance> =
        instances::within(step.batch, step.partition, scope, None).collect::<Result<_, _>>()?;
    if gone.is_empty() {
        return Ok(Outcome::Refused(Refusal::NothingMatches));
    }
    gone.sort_by_key(|live| live.version);
    let mut changes = Vec::with_capacity(gone.len());
    for live in gone {
        instances::remove(step.batch, step.partition, &live.key);
        released::release(step.batch, &live.file.key, step.meta.time);
        let change = Change {
            sequence: step.count(),
            action: Action::Delete,
            partition: step.partition.clone(),
            key: live.key,
            version: live.version,
            time: step.meta.time,
            position: step.position,
            file: None,
        };
        change_feed::append(step.batch, &change);
        changes.push(change);
    }
    if step.meta.expiring > 0 {
        let study = Scope { study: scope.study.clone(), series: None, instance: None };
        if instances::within(step.batch, step.partition, &study, None).next().transpose()?.is_none() {
            expiry::cancel(step.batch, step.meta, step.partition, &study.study)?;
        }
    }
    Ok(accepted(changes))
}
