//! Sending records: each once, in the order of the calls, all that wait in one round trip.
//!
//! Invariant: nothing is sent a second time by us. librdkafka repeats what it has no answer to, and the broker
//! recognises that, unless librdkafka had to give up another record meanwhile: then it begins to count anew, and
//! what it repeats may come to lie in the topic twice. Who reads the log must know a record by its content.
//! Invariant: a producer that met a fatal error is replaced, and what it had is answered as unknown.
//! Elsewhere: who answers (`context`, `shared`), how much may wait (`KafkaLog`).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use uuid::Uuid;

use super::super::AppendError;
use super::context::{Context, Delivery, Role};
use super::look::PARTITION;
use super::record;
use super::settings::Settings;
use super::shared::Shared;
use crate::base::Clock;

/// See the module.
pub(super) struct Producer {
    settings: Settings,
    log: Uuid,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    current: Mutex<ThreadedProducer<Context>>,
}

impl Producer {
    pub(super) fn new(
        settings: Settings,
        log: Uuid,
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KafkaError> {
        let current = Mutex::new(one(&settings, &shared, &clock)?);
        Ok(Self { settings, log, shared, clock, current })
    }

    /// Gives `record` its place behind those sent before.
    pub(super) fn send(&self, record: &[u8], delivery: Box<Delivery>) -> Result<(), AppendError> {
        let mut current = self.current.lock();
        if let Some((code, why)) = current.client().fatal_error() {
            tracing::warn!(%code, why, "the producer cannot go on and is replaced");
            self.shared.want_check(super::shared::Gate::Open);
            match one(&self.settings, &self.shared, &self.clock) {
                // What the old one had is answered while it goes, which may take a moment.
                Ok(fresh) => {
                    let old = std::mem::replace(&mut *current, fresh);
                    std::thread::spawn(move || drop(old));
                }
                Err(error) => {
                    tracing::warn!(%error, "there is no new producer; the next append tries again");
                    return Err(AppendError::Busy);
                }
            }
        }
        let sent = BaseRecord::<'_, (), [u8], _>::with_opaque_to(&self.settings.topic, delivery)
            .partition(PARTITION)
            .headers(record::headers(self.log))
            .payload(record);
        match current.send(sent) {
            Ok(()) => Ok(()),
            Err((error, unsent)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    let Delivery { length_bytes, limit_bytes, .. } = *unsent.delivery_opaque;
                    Err(AppendError::TooLarge { length_bytes, limit_bytes })
                }
                Some(_) | None => {
                    tracing::warn!(%error, "librdkafka takes no record now");
                    Err(AppendError::Busy)
                }
            },
        }
    }

    /// Waits until the broker has answered for everything, but no longer than `within`. Blocking.
    pub(super) fn flush(&self, within: Duration) {
        let current = self.current.lock().clone();
        if let Err(error) = current.flush(within) {
            tracing::warn!(%error, "not everything that was sent is acknowledged");
        }
    }
}

fn one(
    settings: &Settings,
    shared: &Arc<Shared>,
    clock: &Arc<dyn Clock>,
) -> Result<ThreadedProducer<Context>, KafkaError> {
    let role = Role::Producing(shared.clone(), clock.clone());
    ThreadedProducer::from_config_and_context(&settings.producing(), Context::new(role, settings))
}
