//! What librdkafka's clients tell us while they work: errors, figures, and the token they ask for.
//!
//! Invariant: a line of librdkafka is debug output; what an operator must know is said once, by `shared`.
//! Elsewhere: how a client is configured (`settings`).

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::ProducerContext;
use rdkafka::statistics::Statistics;
use rdkafka::{ClientContext, Message, message::DeliveryResult};
use tokio::sync::OwnedSemaphorePermit;

use super::super::AppendError;
use super::settings::{Login, Settings};
use super::shared::{Gate, Reply, Shared};
use crate::base::{Clock, Stamp};

/// What a client is for.
#[derive(Clone)]
pub(super) enum Role {
    /// It asks; what goes wrong is told to whoever asked.
    Asking,
    /// It copies the topic.
    Following(Arc<Shared>),
    /// It appends.
    Producing(Arc<Shared>, Arc<dyn Clock>),
}

/// See the module.
pub(super) struct Context {
    role: Role,
    token_file: Option<PathBuf>,
    last_error: Mutex<Option<String>>,
    disconnects: Mutex<i64>,
}

/// An append on its way to the broker.
pub(super) struct Delivery {
    pub(super) reply: Reply,
    pub(super) sent: Stamp,
    /// Offset behind the last record copied when it was sent: it cannot come to lie before.
    pub(super) known: u64,
    pub(super) length_bytes: usize,
    pub(super) limit_bytes: usize,
    /// Its part of the queue's room, given back when it is answered.
    pub(super) _room: OwnedSemaphorePermit,
}

impl Context {
    pub(super) fn new(role: Role, settings: &Settings) -> Self {
        let token_file = match &settings.login {
            Login::TokenFile(file) => Some(file.clone()),
            Login::Nobody | Login::Password { .. } => None,
        };
        Self { role, token_file, last_error: Mutex::default(), disconnects: Mutex::default() }
    }

    /// What went wrong last; told once.
    pub(super) fn take_error(&self) -> Option<String> {
        self.last_error.lock().take()
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
        let kept = &mut *self.last_error.lock();
        // That all brokers are down says less than why the last of them is.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) || kept.is_none() {
            *kept = Some(reason.to_owned());
        }
        match &self.role {
            Role::Asking => {}
            Role::Following(shared) => shared.want_check(Gate::Shut),
            Role::Producing(shared, _) => shared.want_check(Gate::Open),
        }
    }

    fn stats(&self, figures: Statistics) {
        let lost: i64 = figures.brokers.values().filter_map(|broker| broker.disconnects).sum();
        let before = std::mem::replace(&mut *self.disconnects.lock(), lost);
        metrics::counter!("kymo_log_disconnects_total").increment(u64::try_from(lost - before).unwrap_or(0));
        if let Role::Producing(..) = self.role {
            let count = u32::try_from(figures.msg_cnt).unwrap_or(u32::MAX);
            metrics::gauge!("kymo_log_queue_records").set(count);
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let file = self.token_file.as_ref().ok_or("no file with a token is set ('kafka-token-file')")?;
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(token(text.trim()).ok_or_else(|| format!("{} holds no JSON web token", file.display()))?)
    }
}

impl ConsumerContext for Context {}

/// For records whose delivery is not awaited one by one.
pub(super) struct Bulk(Context);

impl Bulk {
    pub(super) fn new(settings: &Settings) -> Self {
        Self(Context::new(Role::Asking, settings))
    }

    pub(super) fn take_error(&self) -> Option<String> {
        self.0.take_error()
    }
}

impl ClientContext for Bulk {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }

    fn generate_oauth_token(&self, settings: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.0.generate_oauth_token(settings)
    }
}

impl ProducerContext for Bulk {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Box<Delivery>) {
        let Role::Producing(shared, clock) = &self.role else { return };
        let (length_bytes, limit_bytes) = (delivery.length_bytes, delivery.limit_bytes);
        match result {
            Ok(message) => {
                let heard = clock.now();
                let took = heard.since(delivery.sent);
                metrics::histogram!("kymo_log_round_trip_seconds").record(took);
                if let rdkafka::Timestamp::LogAppendTime(millis) = message.timestamp() {
                    shared.clocks(delivery.sent, stamp_of(millis), heard);
                }
                match u64::try_from(message.offset()) {
                    Ok(offset) if offset < delivery.known => {
                        let known = delivery.known;
                        shared.refuse(format!(
                            "the topic was made again: it put a new record at offset {offset}, but this node \
                             has copied all before offset {known}"
                        ));
                    }
                    Ok(offset) => shared.delivered(offset, delivery.reply),
                    Err(_) => {
                        unknown(delivery.reply, "the broker did not say where it put the record".to_owned())
                    }
                }
            }
            Err((error, _)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    let too_large = AppendError::TooLarge { length_bytes, limit_bytes };
                    drop(delivery.reply.send(Err(too_large))); // Whoever appended may have stopped waiting.
                }
                _ => {
                    shared.want_check(Gate::Open);
                    unknown(delivery.reply, error.to_string());
                }
            },
        }
    }
}

fn unknown(reply: Reply, why: String) {
    tracing::warn!(why, "whether an event was appended is not known");
    drop(reply.send(Err(AppendError::Unknown(why)))); // Whoever appended may have stopped waiting.
}

/// Milliseconds since 1970, as the brokers count.
pub(super) fn stamp_of(millis: i64) -> Stamp {
    Stamp(millis.saturating_mul(Stamp::TICKS_PER_SECOND / 1000))
}

/// Subject and end of a JSON web token, which only the brokers check.
fn token(text: &str) -> Option<OAuthToken> {
    let claims = base64url(text.split('.').nth(1)?)?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    Some(OAuthToken {
        token: text.to_owned(),
        principal_name: claims.get("sub")?.as_str()?.to_owned(),
        lifetime_ms: claims.get("exp")?.as_i64()?.checked_mul(1000)?,
    })
}

fn base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut count) = (0u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        (bits, count) = (bits << 6 | u32::from(value), count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xFF).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_for_whom_and_until_when() {
        // {"sub":"kymo","exp":1700000000}
        let read = token("e30.eyJzdWIiOiJreW1vIiwiZXhwIjoxNzAwMDAwMDAwfQ.c2ln").unwrap();
        assert_eq!((read.principal_name.as_str(), read.lifetime_ms), ("kymo", 1_700_000_000_000));
        for bad in ["", "a.b.c", "e30.e30.c2ln", "no token"] {
            assert!(token(bad).is_none(), "{bad}");
        }
    }
}
