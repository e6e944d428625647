//! Decides one stored instance. The log has already ordered it; nobody else decides.
//!
//! Elsewhere: the same decision as a prediction, before an upload is made durable (`ingest`).

use super::super::state::instances::{self, LiveInstance};
use super::super::state::{change_feed, expiry, partitions, released};
use super::{Step, accepted};
use crate::base::Partition;
use crate::event::{Action, Change, Outcome, ReceivedInstance, Refusal, StoreMode};
use crate::tables::Error;

/// What a store does to an instance that is there or not.
///
/// # Errors
/// [`Refusal::AlreadyStored`]
pub fn decide_instance(live: Option<&LiveInstance>, mode: StoreMode) -> Result<Action, Refusal> {
    match (live, mode) {
        (Some(_), StoreMode::Create) => Err(Refusal::AlreadyStored),
        (Some(_), StoreMode::Upsert) => Ok(Action::Update),
        (None, StoreMode::Create | StoreMode::Upsert) => Ok(Action::Create),
    }
}

/// A refused store releases its file at once; a replaced version releases the file it had. One that holds makes its
/// partition, should that not be there, and decides when its study expires.
pub(super) fn instance_stored(
    step: &mut Step<'_, '_>,
    received: &ReceivedInstance,
    mode: StoreMode,
    refusal: Option<Refusal>,
) -> Result<Outcome, Error> {
    let live = instances::live(step.batch, step.partition, &received.key)?;
    let decision = refusal.map_or_else(|| decide_instance(live.as_ref(), mode), Err);
    let action = match decision {
        Ok(action) => action,
        Err(refusal) => {
            // A late repetition of an event that held names a blob that may live.
            if released::state(step.batch, &received.file.key)?.is_none() {
                released::release(step.batch, &received.file.key, step.meta.time);
            }
            return Ok(Outcome::Refused(refusal));
        }
    };
    if let Some(replaced) = &live {
        released::release(step.batch, &replaced.file.key, step.meta.time);
    }
    if *step.partition != Partition::default() {
        partitions::create(step.batch, step.meta, step.partition)?;
    }
    let study = &received.key.study;
    expiry::set(step.batch, step.meta, step.partition, study, received.expires_after_ms)?;
    let sequence = step.count();
    let now = LiveInstance {
        key: received.key.clone(),
        version: sequence,
        position: step.position,
        transfer_syntax: received.transfer_syntax.clone(),
        file: received.file.clone(),
    };
    instances::insert(step.batch, step.partition, &now);
    released::now_lives(step.batch, &now.file.key);
    let change = Change {
        sequence,
        action,
        partition: step.partition.clone(),
        key: now.key,
        version: sequence,
        time: step.meta.time,
        position: step.position,
        file: Some(now.file.key),
    };
    change_feed::append(step.batch, &change);
    Ok(accepted(vec![change]))
}
