//! Looks at the topic again and again: at the start, after every error, and every few seconds.
//!
//! Invariant: a topic that is not the one that was copied is noticed, and then nothing goes on.
//! Invariant: while nobody answers, nothing is concluded.
//! Elsewhere: what a look is (`look`), who waits for it (`shared`).

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::super::embedded::local::Segments;
use super::look::{Fault, Looker, Seen};
use super::settings::Settings;
use super::shared::{Gate, Shared};

/// Between two looks, whatever is asked for.
const AT_LEAST_BETWEEN: Duration = Duration::from_millis(100);
/// Between two tries while nobody answers: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// What stands against a topic is looked at once more after this: a broker that has just come up, or just become
/// the leader, may not know all yet.
const CONFIRM_AFTER: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Watch {
    pub(super) settings: Settings,
    pub(super) log: Uuid,
    pub(super) looker: Looker,
    pub(super) segments: Segments,
    pub(super) shared: Arc<Shared>,
}

impl Watch {
    /// Looks until the log is closed or refused.
    pub(super) fn run(self) {
        let (mut retry, mut suspected) = (RETRY.0, false);
        while let Some(number) = self.shared.next_check(self.settings.check_every) {
            match self.look() {
                Ok(seen) => {
                    (retry, suspected) = (RETRY.0, false);
                    self.shared.check_passed(number, seen.end, seen.note);
                    self.shared.pause(AT_LEAST_BETWEEN);
                }
                Err(Fault::Away(why)) => {
                    self.shared.check_failed(&why);
                    self.shared.pause(retry);
                    retry = (retry * 2).min(RETRY.1);
                }
                Err(fault @ (Fault::Missing(_) | Fault::Refused(_))) if suspected => {
                    self.shared.refuse(fault.to_string());
                }
                Err(fault @ (Fault::Missing(_) | Fault::Refused(_))) => {
                    tracing::warn!(%fault, "the topic is looked at once more, and nothing copied before");
                    suspected = true;
                    self.shared.want_check(Gate::Shut);
                    self.shared.pause(CONFIRM_AFTER);
                }
            }
        }
    }

    fn look(&self) -> Result<Seen, Fault> {
        // Asked first: what is copied meanwhile lies behind the end that is found.
        let copied = self.shared.last_copied();
        let seen = self.looker.topic();
        let seen = match seen {
            Err(Fault::Missing(name)) if copied.is_some() => {
                return Err(Fault::Refused(format!(
                    "the topic '{name}' is gone, of which this node has copied {} records: it was deleted",
                    self.segments.tail()
                )));
            }
            other => other?,
        };
        let Some((position, offset)) = copied else { return Ok(seen) };
        let changed = |what: String| {
            Err(Fault::Refused(format!(
                "the topic '{}' is not the one this node has copied: {what}",
                self.settings.topic
            )))
        };
        if seen.end <= offset {
            return changed(format!(
                "it ends at offset {}, but this node has copied the record at offset {offset}: it was \
                 shortened, or deleted and made again, or belongs to another archive",
                seen.end
            ));
        }
        let there = self.looker.record_at(offset, self.log)?;
        let here = match self.segments.get_now(position) {
            Ok(here) => here,
            Err(error) => return Err(Fault::Refused(format!("the copy of the log: {error}"))),
        };
        match there {
            // Stamps are raised where the broker's clock went back, never lowered.
            Some(there) if there.bytes == here.bytes && there.stamp <= here.stamp => {
                self.shared.looked_at(offset, there.copied);
                Ok(seen)
            }
            Some(_) => changed(format!(
                "the record at offset {offset} is another one: it was deleted and made again, or belongs to \
                 another archive"
            )),
            None => changed(format!("there is no record at offset {offset} any more")),
        }
    }
}
