//! What every log promises, as checks that any implementation can be put through.
//!
//! Invariant: the checks know a log only by the trait; each is given a fresh, empty one.
//! Elsewhere: what only segment files promise (`embedded::crashes` and the tests there).

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use super::{AppendError, Log, ReadError, Record, chain};
use crate::base::{Position, Stamp};

/// Every check of this file, each on a new log; panics where one is broken. `limit_bytes` is the largest
/// record the logs take (at most some megabytes, since one of that size is made).
pub async fn all<N, F>(limit_bytes: usize, new: N)
where
    N: Fn() -> F,
    F: Future<Output = Arc<dyn Log>>,
{
    one_callers_appends_keep_their_order(&*new().await).await;
    positions_are_dense_from_zero(new().await).await;
    chains_are_as_the_rule_says(&*new().await).await;
    what_resolved_is_readable(new().await).await;
    a_reader_sees_only_what_is_durable(new().await).await;
    a_stream_waits_at_the_tail(&*new().await).await;
    a_dropped_stream_leaves_the_log_alone(&*new().await).await;
    beyond_the_end_is_an_error_at_once(&*new().await).await;
    batches_keep_their_limits(&*new().await).await;
    too_large_is_refused(&*new().await, limit_bytes).await;
    after_close_nothing_is_taken(&*new().await).await;
}

/// Appends `text` and waits until it is durable.
pub async fn append(log: &dyn Log, text: impl Into<Bytes>) -> Position {
    log.append(text.into()).await.expect("there is room").await.expect("it becomes durable")
}

/// Everything durable.
pub fn everything(log: &dyn Log) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() as u64 != log.tail().0 {
        let from = Position(records.len() as u64);
        records.extend(log.read_batch(from, log.tail(), 1 << 20).expect("the log is readable"));
    }
    records
}

/// Order of calls is order in the log, though nobody waits between them.
pub async fn one_callers_appends_keep_their_order(log: &dyn Log) {
    let mut waiting = Vec::new();
    for number in 0..100u32 {
        waiting.push(log.append(Bytes::copy_from_slice(&number.to_le_bytes())).await.expect("there is room"));
    }
    for (number, appending) in waiting.into_iter().enumerate().rev() {
        assert_eq!(appending.await, Ok(Position(number as u64)));
    }
    for (number, record) in everything(log).iter().enumerate() {
        assert_eq!(record.bytes[..], u32::try_from(number).expect("100 fit").to_le_bytes());
    }
}

/// Concurrent callers get each a position of their own, without gaps, each caller's in its order.
pub async fn positions_are_dense_from_zero(log: Arc<dyn Log>) {
    assert_eq!(log.tail(), Position(0));
    let callers: Vec<_> = (0..8u8)
        .map(|caller| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut positions = Vec::new();
                for number in 0..20u8 {
                    positions.push(append(&*log, vec![caller, number]).await);
                }
                positions
            })
        })
        .collect();
    let mut given = Vec::new();
    for (caller, task) in callers.into_iter().enumerate() {
        let positions = task.await.expect("no caller panics");
        assert!(positions.is_sorted());
        for (number, position) in positions.into_iter().enumerate() {
            let record = log.get(position).await.expect("it is durable");
            assert_eq!(record.bytes[..], [caller, number].map(|n| u8::try_from(n).expect("small")));
            given.push(position.0);
        }
    }
    given.sort_unstable();
    assert_eq!(given, (0..160).collect::<Vec<_>>());
    assert_eq!(log.tail(), Position(160));
}

/// Chain values follow from stamps and bytes alone, and stamps never go back.
pub async fn chains_are_as_the_rule_says(log: &dyn Log) {
    for length in [0, 1, 3000, 7] {
        append(log, vec![0xA5; length]).await;
    }
    let (mut expected, mut stamp) = ([0; 32], Stamp(i64::MIN));
    for (number, record) in everything(log).into_iter().enumerate() {
        expected = chain::link(&expected, record.stamp, &record.bytes);
        assert_eq!((record.position, record.chain), (Position(number as u64), expected));
        assert!(record.stamp >= stamp);
        stamp = record.stamp;
        assert_eq!(log.get(record.position).await, Ok(record));
    }
}

/// What an append answered can be read by whoever asks next.
pub async fn what_resolved_is_readable(log: Arc<dyn Log>) {
    let callers: Vec<_> = (0..4u8)
        .map(|caller| {
            let log = log.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    let position = append(&*log, vec![caller]).await;
                    assert!(log.tail() > position);
                    assert_eq!(log.get(position).await.expect("it is durable").bytes[..], [caller]);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("every caller found its records");
    }
}

/// A stream never runs ahead of the tail and gives what `get` gives.
pub async fn a_reader_sees_only_what_is_durable(log: Arc<dyn Log>) {
    let mut stream = log.read(Position(0));
    let reader = {
        let log = log.clone();
        tokio::spawn(async move {
            for number in 0..100 {
                let record = stream.next().await.expect("the log is open").expect("it is readable");
                assert_eq!(record.position, Position(number));
                assert!(log.tail() > record.position);
                assert_eq!(log.get(record.position).await, Ok(record));
            }
        })
    };
    let mut waiting = Vec::new();
    for number in 0..100u8 {
        waiting.push(log.append(Bytes::copy_from_slice(&[number])).await.expect("there is room"));
    }
    for appending in waiting {
        appending.await.expect("it becomes durable");
    }
    reader.await.expect("the reader saw all in order");
}

/// A stream gives what is there, waits, and gives what comes.
pub async fn a_stream_waits_at_the_tail(log: &dyn Log) {
    append(log, "first").await;
    let mut stream = log.read(Position(0));
    let mut at_the_tail = log.read(Position(1));
    assert_eq!(stream.next().await.expect("open").expect("readable").bytes, "first");
    assert!(stream.next().now_or_never().is_none());
    assert!(at_the_tail.next().now_or_never().is_none());
    append(log, "second").await;
    assert_eq!(stream.next().await.expect("open").expect("readable").bytes, "second");
    assert_eq!(at_the_tail.next().await.expect("open").expect("readable").bytes, "second");
}

/// Streams dropped in the middle, while waiting or before their first record harm nobody.
pub async fn a_dropped_stream_leaves_the_log_alone(log: &dyn Log) {
    append(log, "first").await;
    drop(log.read(Position(0)));
    let mut waiting = log.read(Position(0));
    assert!(waiting.next().await.is_some());
    assert!(waiting.next().now_or_never().is_none());
    drop(waiting);
    append(log, "second").await;
    let records: Vec<_> = log.read(Position(0)).take(2).collect().await;
    assert_eq!(
        records.into_iter().map(|r| r.expect("readable").bytes).collect::<Vec<_>>(),
        ["first", "second"]
    );
}

/// No read waits for, or makes up, what is not there.
pub async fn beyond_the_end_is_an_error_at_once(log: &dyn Log) {
    append(log, "only").await;
    let tail = Position(1);
    for position in [Position(2), Position(u64::MAX)] {
        let beyond = ReadError::BeyondEnd { position, tail };
        assert_eq!(log.get(position).await, Err(beyond.clone()));
        let streamed: Vec<_> = log.read(position).collect().await;
        assert_eq!(streamed, [Err(beyond.clone())]);
        assert_eq!(log.read_batch(position, Position(u64::MAX), 100), Err(beyond));
    }
    assert_eq!(log.get(tail).await, Err(ReadError::BeyondEnd { position: tail, tail }));
    assert_eq!(log.read_batch(tail, Position(u64::MAX), 100), Ok(Vec::new()));
}

/// A batch holds at least one record, no more bytes than asked for otherwise, and ends where told.
pub async fn batches_keep_their_limits(log: &dyn Log) {
    for number in 0..10u8 {
        append(log, vec![number; 1000]).await;
    }
    let batch = |from, to, limit| log.read_batch(Position(from), Position(to), limit).expect("readable");
    assert_eq!(batch(3, 10, 1).len(), 1);
    assert_eq!(batch(3, 10, 1)[0].position, Position(3));
    let some = batch(0, 10, 3500);
    assert!((1..=3).contains(&some.len()));
    assert_eq!(batch(2, 5, 1 << 20).iter().map(|r| r.position.0).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(batch(0, u64::MAX, 1 << 20).len(), 10);
    assert!(batch(5, 5, 1 << 20).is_empty());
    assert!(batch(5, 2, 1 << 20).is_empty());
}

/// A record over the limit is refused; one of just the limit is not; the log goes on.
pub async fn too_large_is_refused(log: &dyn Log, limit_bytes: usize) {
    let refused = log.append(vec![1; limit_bytes + 1].into()).await.err();
    assert_eq!(refused, Some(AppendError::TooLarge { length_bytes: limit_bytes + 1, limit_bytes }));
    assert_eq!(append(log, vec![2; limit_bytes]).await, Position(0));
    assert_eq!(log.get(Position(0)).await.expect("readable").bytes.len(), limit_bytes);
}

/// Closing finishes what waits, ends the streams, and stops the log.
pub async fn after_close_nothing_is_taken(log: &dyn Log) {
    let mut stream = log.read(Position(0));
    let waiting = log.append(Bytes::from_static(b"last")).await.expect("there is room");
    assert_eq!(log.stopped(), None);
    log.close().await;
    log.close().await;
    assert_eq!(waiting.await, Ok(Position(0)));
    assert!(log.stopped().is_some());
    assert!(matches!(log.append(Bytes::from_static(b"no")).await.err(), Some(AppendError::Stopped(_))));
    assert_eq!(stream.next().await.expect("it was appended").expect("readable").bytes, "last");
    assert!(stream.next().await.is_none());
    assert_eq!(log.get(Position(0)).await.expect("still readable").bytes, "last");
}
