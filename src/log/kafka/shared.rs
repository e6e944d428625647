//! What the threads of a log in Kafka know together: where the copy is, who waits for what, how things are.
//!
//! Invariant: an append is answered with a position only when the record at its offset is durable here.
//! Invariant: once the topic was found to be another than it was, nothing is copied, answered or sent.
//! Elsewhere: who copies (`follower`), who sends (`producer`), who looks at the topic (`watch`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{oneshot, watch};

use super::super::{AppendError, CLOSED, Condition};
use super::offsets::Offsets;
use crate::base::{Position, Stamp};

/// Clocks that differ by more put `valid_until` in doubt.
const CLOCKS_MAY_DIFFER: Duration = Duration::from_secs(60);

/// Whoever appended a record.
pub(super) type Reply = oneshot::Sender<Result<Position, AppendError>>;

/// See the module.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Told of the first good check, and of the end.
    known: watch::Sender<Known>,
}

/// What whoever opens the log waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) checked: bool,
    pub(super) over: bool,
}

struct State {
    offsets: Offsets,
    tail: Position,
    /// Offset behind the last record copied.
    next: u64,
    waiting: BTreeMap<u64, Vec<Reply>>,
    refused: Option<String>,
    closing: bool,
    ended: bool,
    /// Checks asked for, and the newest of them that came out right.
    wanted: u64,
    passed: u64,
    /// Nothing is copied before this check has passed.
    gate: u64,
    start: Start,
    away: Option<(Instant, String)>,
    ever_there: bool,
    /// The topic's end at the last look, if the follower has not read to the end since.
    ahead: Option<u64>,
    /// The topic's end at the last look, and `next` when the follower last was at the end.
    ends: (u64, Option<u64>),
    note: String,
    clock_difference: Duration,
    clock_behind: bool,
    /// The last record was copied to the topic from elsewhere, and what opens the log is not there yet; or that
    /// is not known.
    partly: bool,
}

/// How far to read before all that was acknowledged earlier is known.
enum Start {
    Unknown,
    Wanted(u64),
    Reached(Position),
}

/// What a thread that waits is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Go on.
    Go,
    /// Not yet.
    Wait,
    /// The log is closed or was refused.
    End,
}

impl Shared {
    pub(super) fn new(offsets: Offsets, tail: Position) -> Self {
        let next = offsets.next_offset(tail);
        let state = State {
            offsets,
            tail,
            next,
            waiting: BTreeMap::new(),
            refused: None,
            closing: false,
            ended: false,
            wanted: 1,
            passed: 0,
            gate: 1,
            start: Start::Unknown,
            away: None,
            ever_there: false,
            ahead: None,
            ends: (0, None),
            note: String::new(),
            clock_difference: Duration::ZERO,
            clock_behind: false,
            partly: tail > Position(0),
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), known: watch::Sender::default() }
    }

    pub(super) fn known(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Notes, durably, where records to be copied lie.
    pub(super) fn note(
        &self,
        first: Position,
        records: impl Iterator<Item = (u64, bool)>,
    ) -> std::io::Result<()> {
        let mut state = self.state.lock();
        let mut position = first;
        for (offset, ours) in records {
            state.offsets.note(position, offset, ours);
            position = position.next();
        }
        state.offsets.save()
    }

    /// Records up to before `tail`, the last of them at `last`, are durable here; `partly` if more of the log
    /// must follow before anybody may write.
    pub(super) fn copied(&self, tail: Position, last: u64, partly: bool) {
        let mut state = self.state.lock();
        state.tail = tail;
        state.next = last + 1;
        state.partly = partly;
        state.start_passed(false);
        let behind = state.waiting.split_off(&(last + 1));
        let done = std::mem::replace(&mut state.waiting, behind);
        for (offset, replies) in done {
            let answer = state.answer(offset);
            for reply in replies {
                drop(reply.send(answer.clone())); // Whoever appended may have stopped waiting.
            }
        }
        self.changed.notify_all();
    }

    /// What [`Self::copied`] would say of the record at `offset`, found before it was copied any further.
    pub(super) fn looked_at(&self, offset: u64, partly: bool) {
        let mut state = self.state.lock();
        if state.next == offset + 1 {
            state.partly = partly;
        }
    }

    /// Why nothing may be written yet, if the topic holds a part of a log only, or was not looked at.
    pub(super) fn partly(&self) -> Option<String> {
        let partly = self.state.lock().partly;
        partly.then(|| "the log is only partly copied to the topic: finish `kymo log copy`".to_owned())
    }

    /// The follower has read to the topic's end.
    pub(super) fn at_end(&self) {
        let mut state = self.state.lock();
        state.ahead = None;
        state.ends.1 = Some(state.next);
        state.start_passed(true);
    }

    /// The broker has put a record at `offset`: `reply` is answered as soon as it is durable here.
    pub(super) fn delivered(&self, offset: u64, reply: Reply) {
        let mut state = self.state.lock();
        if offset < state.next || state.refused.is_some() {
            drop(reply.send(state.answer(offset)));
        } else {
            state.waiting.entry(offset).or_default().push(reply);
        }
    }

    /// Offset behind the last record copied.
    pub(super) fn next_offset(&self) -> u64 {
        self.state.lock().next
    }

    /// Where the last record copied lies.
    pub(super) fn last_copied(&self) -> Option<(Position, u64)> {
        let state = self.state.lock();
        state.tail.0.checked_sub(1).map(|last| (Position(last), state.next - 1))
    }

    /// The position behind everything before `offset`: exact once that is copied, else an upper bound, since
    /// offsets may have gaps.
    pub(super) fn position_before(&self, offset: u64) -> Position {
        let state = self.state.lock();
        Position(state.tail.0 + offset.saturating_sub(state.next))
    }

    /// The end that is to be reached, while it is not.
    pub(super) fn catching_up(&self) -> Option<u64> {
        let state = self.state.lock();
        match state.start {
            Start::Wanted(end) => Some(end),
            Start::Unknown | Start::Reached(_) => state.ahead,
        }
    }

    /// See [`super::super::Log::start_end`].
    pub(super) fn start_end(&self) -> Option<Position> {
        let state = self.state.lock();
        match state.start {
            Start::Unknown => None,
            Start::Wanted(end) => Some(Position(state.tail.0 + end.saturating_sub(state.next))),
            Start::Reached(position) => Some(position),
        }
    }

    /// Nothing goes on: the topic is not what it was, or the copy cannot be written.
    pub(super) fn refuse(&self, why: String) {
        let mut state = self.state.lock();
        if state.refused.is_some() {
            return;
        }
        tracing::error!(%why, "the log is not followed any more, and nothing is answered");
        state.refused = Some(why);
        state.waiting.clear();
        drop(state);
        self.known.send_modify(|known| known.over = true);
        self.changed.notify_all();
    }

    pub(super) fn refusal(&self) -> Option<String> {
        self.state.lock().refused.clone()
    }

    /// Takes no more appends.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.changed.notify_all();
    }

    /// Ends the threads.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        (state.closing, state.ended) = (true, true);
        drop(state);
        self.known.send_modify(|known| known.over = true);
        self.changed.notify_all();
    }

    pub(super) fn stopped(&self) -> Option<String> {
        let state = self.state.lock();
        state.refused.clone().or_else(|| state.closing.then(|| CLOSED.to_owned()))
    }

    /// Waits until every append the broker has taken is answered, but no longer than `within`.
    pub(super) fn wait_answered(&self, within: Duration) {
        let mut state = self.state.lock();
        let until = Instant::now() + within;
        while !state.waiting.is_empty() {
            if self.changed.wait_until(&mut state, until).timed_out() {
                state.waiting.clear();
            }
        }
    }

    /// Something went wrong: the topic is to be looked at, and nothing copied before, if `gate` says so.
    pub(super) fn want_check(&self, gate: Gate) {
        let mut state = self.state.lock();
        state.wanted += 1;
        if gate == Gate::Shut {
            state.gate = state.wanted;
        }
        self.changed.notify_all();
    }

    /// Waits until a check is wanted, for `within` at most, and gives its number.
    pub(super) fn next_check(&self, within: Duration) -> Option<u64> {
        let mut state = self.state.lock();
        let until = Instant::now() + within;
        while state.wanted <= state.passed && !state.over() {
            if self.changed.wait_until(&mut state, until).timed_out() {
                state.wanted += 1;
            }
        }
        (!state.over()).then_some(state.wanted)
    }

    /// A check has come out right; `end` is the topic's.
    pub(super) fn check_passed(&self, number: u64, end: u64, note: String) {
        let mut state = self.state.lock();
        state.passed = state.passed.max(number);
        if !state.ever_there && !note.is_empty() {
            tracing::warn!("the topic can be the log{note}");
        }
        state.note = note;
        if let Some((since, _)) = state.away.take() {
            let seconds = since.elapsed().as_secs();
            tracing::info!(seconds, "the broker answers again, and the topic is the one it was");
        }
        state.ever_there = true;
        if matches!(state.start, Start::Unknown) {
            state.start = Start::Wanted(end);
            state.start_passed(false);
        }
        // A gap at the very end, which nobody can read, is not behind.
        let gap = state.ends == (end, Some(state.next));
        state.ahead = (end > state.next && !gap).then_some(end);
        state.ends.0 = end;
        drop(state);
        self.known.send_modify(|known| known.checked = true);
        self.changed.notify_all();
    }

    /// No broker could be asked.
    pub(super) fn check_failed(&self, why: &str) {
        let mut state = self.state.lock();
        match &mut state.away {
            Some((_, known)) => why.clone_into(known),
            None => {
                tracing::warn!(why, "no broker can be asked; it is tried again until one can");
                state.away = Some((Instant::now(), why.to_owned()));
            }
        }
    }

    /// Whether the follower may go on; waits for that, `within` at most.
    pub(super) fn turn(&self, within: Duration) -> Turn {
        let mut state = self.state.lock();
        if state.passed < state.gate && !state.over() {
            self.changed.wait_for(&mut state, within);
        }
        match (state.over(), state.passed < state.gate) {
            (true, _) => Turn::End,
            (false, true) => Turn::Wait,
            (false, false) => Turn::Go,
        }
    }

    /// A thread that failed waits a moment before it tries again, unless all is over.
    pub(super) fn pause(&self, within: Duration) {
        let mut state = self.state.lock();
        let until = Instant::now() + within;
        while !state.over() && !self.changed.wait_until(&mut state, until).timed_out() {}
    }

    /// A record sent at `sent` and acknowledged at `heard` was stamped `stamp`: outside of the two, clocks differ.
    pub(super) fn clocks(&self, sent: Stamp, stamp: Stamp, heard: Stamp) {
        let mut state = self.state.lock();
        (state.clock_difference, state.clock_behind) =
            if stamp > heard { (stamp.since(heard), true) } else { (sent.since(stamp), false) };
        metrics::gauge!("kymo_log_clock_difference_milliseconds")
            .set(state.clock_difference.as_secs_f64() * 1000.0);
    }

    /// Records to be copied before the end known last, how many were not ours, and whether brokers answer.
    pub(super) fn condition(&self) -> Condition {
        let state = self.state.lock();
        let lag = state.ahead.map_or(0, |end| end.saturating_sub(state.next));
        metrics::gauge!("kymo_log_lag_records").set(rounded(lag));
        if let Some(why) = &state.refused {
            return Condition::Broken(why.clone());
        }
        let mut troubles = Vec::new();
        if let Some((since, why)) = &state.away {
            let text = format!("no broker can be asked since {} s: {why}", since.elapsed().as_secs());
            if !state.ever_there {
                return Condition::Broken(text);
            }
            troubles.push(text);
        }
        if !matches!(state.start, Start::Reached(_)) || lag > 0 {
            troubles.push(format!("catching up, {lag} records behind"));
        }
        if state.partly && !matches!(state.start, Start::Unknown) {
            troubles
                .push("the log is still being copied to the topic, and takes no events before".to_owned());
        }
        if state.closing {
            troubles.push(format!("nothing can be written: {CLOSED}"));
        }
        if let (foreign @ 1.., Some(last)) = state.offsets.foreign() {
            troubles.push(format!(
                "{foreign} records of the topic are not this log's and are passed over, the last at offset {last}"
            ));
        }
        if state.clock_difference > CLOCKS_MAY_DIFFER {
            troubles.push(format!(
                "this node's clock is {} s {} the broker's, and what it writes may count as too late",
                state.clock_difference.as_secs(),
                if state.clock_behind { "behind" } else { "ahead of" }
            ));
        }
        if troubles.is_empty() {
            return Condition::Well(format!("{} records{}", state.tail, state.note));
        }
        Condition::Troubled(troubles.join("; "))
    }
}

/// Whether copying goes on while the topic is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    Shut,
}

impl State {
    fn over(&self) -> bool {
        self.ended || self.refused.is_some()
    }

    fn answer(&self, offset: u64) -> Result<Position, AppendError> {
        if let Some(why) = &self.refused {
            return Err(AppendError::Unknown(why.clone()));
        }
        self.offsets.position_at(offset, self.tail).ok_or_else(|| {
            AppendError::Unknown(format!("the record was given offset {offset} and is not there"))
        })
    }

    fn start_passed(&mut self, at_end: bool) {
        if let Start::Wanted(end) = self.start
            && (at_end || self.next >= end)
        {
            self.start = Start::Reached(self.tail);
            tracing::info!(tail = %self.tail, "the log is read to the end it had at the start");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge beyond 2^53 need not be exact")]
fn rounded(value: u64) -> f64 {
    value as f64
}
