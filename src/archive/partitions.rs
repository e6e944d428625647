//! Data partitions: which there are, and how one comes to be before the first store into it (`studies.md` §6).
//!
//! Invariant: a partition is an event of its own, so it stays though the store that asked for it fails.
//! Elsewhere: the decision (`fold`), its rows (`state::partitions`), which requests may make one (`http`).

use super::state::Meta;
use super::state::partitions::{self, KnownPartition};
use super::submit::finished;
use super::{Archive, Asking, ReadError, SubmitError};
use crate::base::{Partition, Position};
use crate::event::{Outcome, Payload, Refusal};
use crate::tables;

impl Archive {
    /// Whether there is such a partition, as far as this node knows.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn has_partition(&self, partition: &Partition) -> Result<bool, ReadError> {
        self.ready()?;
        Ok(self.knows(partition)?)
    }

    /// The default one is there before the log has a record.
    fn knows(&self, partition: &Partition) -> Result<bool, tables::Error> {
        let default = *partition == Partition::default();
        Ok(default || partitions::exists(&self.0.parts.state.reader(), partition)?)
    }

    /// Whether there is such a partition, if need be after all that other nodes have appended by now.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn has_partition_by_now(&self, partition: &Partition) -> Result<bool, ReadError> {
        if self.has_partition(partition)? {
            return Ok(true);
        }
        let end = self.0.parts.log.end().await?;
        if let Some(last) = end.0.checked_sub(1).map(Position) {
            self.reached(last, self.0.parts.settings.outcome_wait).await?;
        }
        self.has_partition(partition)
    }

    /// The partitions in the order of their numbers, from behind the number `after` on, at most `limit`.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn partitions(&self, after: u64, limit: usize) -> Result<Vec<KnownPartition>, ReadError> {
        self.ready()?;
        let reader = self.0.parts.state.reader();
        Ok(partitions::behind(&reader, after).take(limit).collect::<Result<_, _>>()?)
    }

    /// How many partitions there are, as far as the log was folded.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn partition_count(&self) -> Result<u64, ReadError> {
        Ok(Meta::load(&self.0.parts.state.reader())?.partitions)
    }

    /// Makes the partition of `asking` unless it is there, and waits until it is.
    ///
    /// # Errors
    /// [`SubmitError`]
    pub async fn create_partition(&self, asking: &Asking) -> Result<(), SubmitError> {
        if self.knows(&asking.partition)? {
            return Ok(());
        }
        let (archive, asking) = (self.clone(), asking.clone());
        // Told to the end even if the client goes away in between.
        let telling = tokio::spawn(async move {
            archive.enable_format(Payload::PartitionCreated.version()).await?;
            archive.tell(&asking, Payload::PartitionCreated).await
        });
        match finished(telling).await??.outcome {
            Outcome::Accepted(_) => Ok(()),
            Outcome::Refused(Refusal::Sealed) => Err(SubmitError::Sealed),
            Outcome::Refused(refusal) => Err(SubmitError::Unavailable(refusal.to_string())),
        }
    }
}
