//! Whether what happened to several nodes is the history of one archive: what clients were told, held against
//! every node's log and feed.
//!
//! The log says in which order the changes came, and [`Replay`] decides each of them as the fold must. So it is
//! known what was true after each position; an answer fits if it was true at one that the node may have been at.
//! Invariant: pure; whoever reads the same history comes to the same findings.
//! Elsewhere: who makes histories (`many`), that the log's own promises hold (`conformance`).

use std::collections::{BTreeMap, BTreeSet};

/// A number of a study, and one of an instance in it.
pub(super) type Place = (u8, u8);
/// What lives in a study: the number of the request that stored it, by instance.
pub(super) type Study = BTreeMap<u8, u64>;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// POST of one instance.
    Create(Place),
    /// PUT of one instance.
    Replace(Place),
    /// DELETE of a study.
    Delete(u8),
    /// The metadata of an instance, from the state.
    See(Place),
    /// The instances of a study, from the search.
    Find(u8),
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It took effect at a position, and can be seen.
    Done(u64),
    /// It took effect at a position; when it can be seen is open.
    Hidden(u64),
    /// It has no effect since something is there, or nothing is; settled with a position.
    Refused(u64),
    /// It has no effect.
    Failed,
    /// It may have taken effect, or may still, or never will.
    Unknown,
    /// What is there.
    Seen(Option<u64>),
    Found(Study),
}

/// One request of one client.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// Its own, and of a store what tells its file from all others.
    pub(super) number: u64,
    /// Whom it asked.
    pub(super) node: usize,
    /// The position that the node had to have passed.
    pub(super) at_least: Option<u64>,
    pub(super) ask: Ask,
    pub(super) told: Told,
    /// When it was sent and when it was answered, by one clock for all.
    pub(super) began: u64,
    pub(super) ended: u64,
}

/// One record of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) chain: [u8; 32],
    pub(super) stamp: i64,
    pub(super) event: Option<Event>,
}

/// What it holds, if it is an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: u128,
    pub(super) valid_until: i64,
    /// The request it came with, if it was a client's, and what that asks; nothing is the archive's own.
    pub(super) asked: Option<(u64, Ask)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Update,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Current,
    Replaced,
    Deleted,
}

/// One row of the change feed, whose number is its place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) action: Action,
    pub(super) place: Place,
    pub(super) time: i64,
    pub(super) state: State,
}

/// What a node has when all is over.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) log: Vec<Entry>,
    pub(super) feed: Vec<Row>,
}

/// What must not be. Operations are named by their numbers, nodes by theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// A node's log is not that of the first node from this position on.
    LogDiffers { node: usize, position: u64 },
    /// A node's feed is not what the log makes, from this row on.
    FeedDiffers { node: usize, row: usize, found: Option<Row>, wanted: Option<Row> },
    /// A row that a follower of the feed was shown is another one, or none, at the end.
    Rewritten { follower: usize, row: usize },
    /// An acknowledged change is not in the log.
    Lost(u64),
    /// An acknowledged change is in the log, and has no effect.
    WithoutEffect(u64),
    /// A change lies elsewhere than was told.
    Elsewhere { operation: u64, told: u64, found: u64 },
    /// A request has more than one effect, or more than one event.
    Twice(u64),
    /// A change has an effect although it was told that it has none.
    EffectAfterAll(u64),
    /// The log holds something that no client asked for in this way.
    Invented(u64),
    /// An answer is older than the node was bound to be.
    Stale { operation: u64, bound: u64 },
    /// An answer says what was never true, or not until it was given.
    NeverTrue(u64),
}

/// What was looked at, for those who want to know whether it was enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) acknowledged: usize,
    pub(super) refused: usize,
    pub(super) failed: usize,
    pub(super) unknown: usize,
    /// Of the unknown ones, those that took effect.
    pub(super) turned_up: usize,
    pub(super) reads: usize,
    /// Reads that carried a position.
    pub(super) bound_reads: usize,
    /// Records of an event that is in the log already; all nodes pass them over.
    pub(super) repeated: usize,
}

/// Everything that is wrong. `followed` is what each of those was shown who read on in the feed.
pub(super) fn check(nodes: &[Node], followed: &[Vec<Row>], operations: &[Operation]) -> Vec<Violation> {
    let Some(first) = nodes.first() else { return Vec::new() };
    let replay = Replay::of(&first.log);
    let mut found = compare(nodes, &replay);
    found.extend(rewritten(followed, &replay));
    found.extend(writes(operations, &replay));
    found.extend(invented(operations, &first.log));
    found.extend(Reads::of(operations, &replay));
    found
}

pub(super) fn count(nodes: &[Node], operations: &[Operation]) -> Counts {
    let replay = Replay::of(&nodes[0].log);
    let mut counts = Counts { repeated: replay.repeated, ..Counts::default() };
    for operation in operations {
        match operation.told {
            Told::Done(_) | Told::Hidden(_) => counts.acknowledged += 1,
            Told::Refused(_) => counts.refused += 1,
            Told::Failed => counts.failed += 1,
            Told::Unknown => {
                counts.unknown += 1;
                counts.turned_up += usize::from(replay.effective(operation.number));
            }
            Told::Seen(_) | Told::Found(_) => {
                counts.reads += 1;
                counts.bound_reads += usize::from(operation.at_least.is_some());
            }
        }
    }
    counts
}

/// What the log makes, decided once more.
struct Replay {
    /// Where the records of each request lie, and whether they have an effect.
    requests: BTreeMap<u64, Vec<(u64, bool)>>,
    /// Records whose event came before.
    repeated: usize,
    feed: Vec<Row>,
    /// What lives in each study from a position on, oldest first.
    studies: BTreeMap<u8, Vec<(u64, Study)>>,
    end: u64,
}

/// What lives now: the row that wrote it, and the request.
type Live = BTreeMap<Place, (usize, u64)>;

impl Replay {
    fn of(log: &[Entry]) -> Self {
        let (requests, feed, studies) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let mut replay = Self { requests, repeated: 0, feed, studies, end: log.len() as u64 };
        let (mut live, mut ids, mut time) = (Live::new(), BTreeSet::new(), i64::MIN);
        for (position, entry) in (0..).zip(log) {
            time = time.max(entry.stamp);
            let Some(event) = &entry.event else { continue };
            if !ids.insert(event.id) {
                replay.repeated += 1;
                continue;
            }
            let Some((request, ask)) = event.asked else { continue };
            let effective = time <= event.valid_until && replay.decide(&mut live, request, ask, time);
            replay.requests.entry(request).or_default().push((position, effective));
            if effective {
                let (Ask::Create((study, _)) | Ask::Replace((study, _)) | Ask::Delete(study)) = ask else {
                    continue;
                };
                let within = live.iter().filter(|(place, _)| place.0 == study);
                let now = within.map(|((_, instance), (_, request))| (*instance, *request)).collect();
                replay.studies.entry(study).or_default().push((position, now));
            }
        }
        replay
    }

    /// Whether a change has an effect; then it is done.
    fn decide(&mut self, live: &mut Live, request: u64, ask: Ask, time: i64) -> bool {
        match ask {
            Ask::Create(place) if live.contains_key(&place) => false,
            Ask::Create(place) | Ask::Replace(place) => {
                let there = live.contains_key(&place);
                let action = if there { Action::Update } else { Action::Create };
                let written = self.row(Row { action, place, time, state: State::Current }, State::Replaced);
                live.insert(place, (written, request));
                true
            }
            Ask::Delete(study) => {
                let mut gone: Vec<(usize, Place)> = Vec::new();
                live.retain(|place, (written, _)| {
                    let stays = place.0 != study;
                    if !stays {
                        gone.push((*written, *place));
                    }
                    stays
                });
                gone.sort_unstable();
                for (_, place) in &gone {
                    let row = Row { action: Action::Delete, place: *place, time, state: State::Deleted };
                    self.row(row, State::Deleted);
                }
                !gone.is_empty()
            }
            Ask::See(_) | Ask::Find(_) => false,
        }
    }

    /// The next row; those of the instance before it are in the state `before` from now on.
    fn row(&mut self, row: Row, before: State) -> usize {
        for earlier in self.feed.iter_mut().filter(|earlier| earlier.place == row.place) {
            earlier.state = before;
        }
        self.feed.push(row);
        self.feed.len() - 1
    }

    /// Where a request has taken effect, or lies in vain.
    fn first(&self, request: u64) -> Option<(u64, bool)> {
        self.requests.get(&request)?.first().copied()
    }

    fn effective(&self, request: u64) -> bool {
        self.requests.get(&request).is_some_and(|records| records.iter().any(|(_, effective)| *effective))
    }

    /// The first position in `from..=to` after which `fits` is so of a study; whether there is one before.
    fn when(&self, study: u8, from: u64, to: u64, fits: impl Fn(&Study) -> bool) -> Result<u64, bool> {
        let (nothing, none) = (Study::new(), Vec::new());
        let changes = self.studies.get(&study).unwrap_or(&none);
        let starts = std::iter::once((0, &nothing)).chain(changes.iter().map(|(start, is)| (*start, is)));
        let ends = changes.iter().map(|(start, _)| *start).chain([u64::MAX]);
        let mut earlier = false;
        for ((start, is), end) in starts.zip(ends) {
            if !fits(is) || start >= end {
                continue;
            }
            if end > from && start.max(from) <= to {
                return Ok(start.max(from));
            }
            earlier |= end <= from;
        }
        Err(earlier)
    }
}

/// Logs with one another, feeds with what the log makes.
fn compare(nodes: &[Node], replay: &Replay) -> Vec<Violation> {
    let mut found = Vec::new();
    let first = &nodes[0].log;
    for (number, node) in nodes.iter().enumerate() {
        let same = first.iter().zip(&node.log).take_while(|(one, other)| one == other).count();
        if same < first.len().max(node.log.len()) {
            found.push(Violation::LogDiffers { node: number, position: same as u64 });
        }
        let row = replay.feed.iter().zip(&node.feed).take_while(|(one, other)| one == other).count();
        if row < replay.feed.len().max(node.feed.len()) {
            let (found_there, wanted) = (node.feed.get(row).cloned(), replay.feed.get(row).cloned());
            found.push(Violation::FeedDiffers { node: number, row, found: found_there, wanted });
        }
    }
    found
}

/// Rows shown under way; only their states may change.
fn rewritten(followed: &[Vec<Row>], replay: &Replay) -> Vec<Violation> {
    let same =
        |one: &Row, other: &Row| (one.action, one.place, one.time) == (other.action, other.place, other.time);
    let mut found = Vec::new();
    for (follower, rows) in followed.iter().enumerate() {
        let row = rows.iter().zip(&replay.feed).take_while(|(one, other)| same(one, other)).count();
        if row < rows.len() {
            found.push(Violation::Rewritten { follower, row });
        }
    }
    found
}

/// What was told of changes.
fn writes(operations: &[Operation], replay: &Replay) -> Vec<Violation> {
    let mut found = Vec::new();
    for operation in operations {
        let number = operation.number;
        if replay.requests.get(&number).is_some_and(|records| records.len() > 1) {
            found.push(Violation::Twice(number));
        }
        let placed = replay.first(number);
        match (&operation.told, placed) {
            (Told::Done(_) | Told::Hidden(_), None) => found.push(Violation::Lost(number)),
            (Told::Done(_) | Told::Hidden(_), Some((_, false))) => {
                found.push(Violation::WithoutEffect(number))
            }
            (Told::Refused(_) | Told::Failed, Some((_, true))) => {
                found.push(Violation::EffectAfterAll(number));
            }
            _ => {}
        }
        if let (Told::Done(told) | Told::Hidden(told) | Told::Refused(told), Some((at, _))) =
            (&operation.told, placed)
            && *told != at
        {
            found.push(Violation::Elsewhere { operation: number, told: *told, found: at });
        }
    }
    found
}

/// What the log says that clients asked, and they did not.
fn invented(operations: &[Operation], log: &[Entry]) -> Vec<Violation> {
    let asked: BTreeMap<u64, Ask> = operations.iter().map(|asked| (asked.number, asked.ask)).collect();
    let requests = log.iter().filter_map(|entry| entry.event.as_ref()?.asked);
    let strange = requests.filter(|(request, ask)| asked.get(request) != Some(ask));
    strange.map(|(request, _)| Violation::Invented(request)).collect()
}

/// What answers with the state or with the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum View {
    State,
    Search,
}

/// Positions that were passed at the end of an operation, in the order of their ends, each with all before it.
#[derive(Default)]
struct Passed(Vec<(u64, u64)>);

impl Passed {
    fn add(&mut self, ended: u64, position: u64) {
        let so_far = self.0.last().map_or(0, |(_, position)| *position);
        self.0.push((ended, position.max(so_far)));
    }

    fn before(&self, began: u64) -> u64 {
        let earlier = self.0.partition_point(|(ended, _)| *ended < began);
        earlier.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

/// Answers that tell what was there, and how far their nodes were bound to be.
struct Reads<'a> {
    replay: &'a Replay,
    /// By node and view: what earlier answers have shown.
    shown: BTreeMap<(usize, View), Passed>,
    /// What was acknowledged anywhere.
    acknowledged: Passed,
    /// Beginnings of changes that took effect, latest first, each with the first position of those behind it.
    to_come: Vec<(u64, u64)>,
}

impl<'a> Reads<'a> {
    fn of(operations: &[Operation], replay: &'a Replay) -> Vec<Violation> {
        let effective = operations.iter().filter_map(|operation| match replay.first(operation.number)? {
            (position, true) => Some((operation.began, position)),
            _ => None,
        });
        let mut to_come: Vec<(u64, u64)> = effective.collect();
        to_come.sort_unstable_by(|one, other| other.cmp(one));
        let mut first = u64::MAX;
        for (_, position) in &mut to_come {
            first = first.min(*position);
            *position = first;
        }
        let mut reads = Self { replay, shown: BTreeMap::new(), acknowledged: Passed::default(), to_come };
        let mut in_order: Vec<&Operation> = operations.iter().collect();
        in_order.sort_by_key(|operation| operation.ended);
        in_order.into_iter().filter_map(|operation| reads.look(operation)).collect()
    }

    /// The last position that something which ended then can know of.
    fn horizon(&self, ended: u64) -> u64 {
        let behind = self.to_come.partition_point(|(began, _)| *began > ended);
        let first = behind.checked_sub(1).map_or(u64::MAX, |last| self.to_come[last].1);
        first.min(self.replay.end).saturating_sub(1)
    }

    fn look(&mut self, operation: &Operation) -> Option<Violation> {
        let Operation { number, node, ask, began, ended, .. } = *operation;
        let to = self.horizon(ended);
        let (view, from, fitting) = match (&operation.told, ask) {
            (Told::Done(position), _) => {
                self.acknowledged.add(ended, *position);
                for view in [View::State, View::Search] {
                    self.shown.entry((node, view)).or_default().add(ended, *position);
                }
                return None;
            }
            (Told::Hidden(position), _) => {
                self.acknowledged.add(ended, *position);
                self.shown.entry((node, View::State)).or_default().add(ended, *position);
                return None;
            }
            // Decided by its place in the log.
            (Told::Refused(_), _) if self.replay.first(number).is_some() => return None,
            // Predicted, with the log's end asked for: all that was acknowledged anywhere is known.
            (Told::Refused(settled), Ask::Create((study, instance))) => {
                let from = self.acknowledged.before(began).max(self.bound(operation, View::State));
                let there = |is: &Study| is.contains_key(&instance);
                (View::State, from, self.replay.when(study, from, to.min(*settled), there))
            }
            (Told::Refused(settled), Ask::Delete(study)) => {
                let from = self.acknowledged.before(began).max(self.bound(operation, View::State));
                (View::State, from, self.replay.when(study, from, to.min(*settled), Study::is_empty))
            }
            (Told::Seen(seen), Ask::See((study, instance))) => {
                let from = self.bound(operation, View::State);
                let fits = |is: &Study| is.get(&instance) == seen.as_ref();
                (View::State, from, self.replay.when(study, from, to, fits))
            }
            (Told::Found(found), Ask::Find(study)) => {
                let from = self.bound(operation, View::Search);
                (View::Search, from, self.replay.when(study, from, to, |is| is == found))
            }
            _ => return None,
        };
        match fitting {
            Ok(position) => {
                self.shown.entry((node, view)).or_default().add(ended, position);
                None
            }
            Err(true) => Some(Violation::Stale { operation: number, bound: from }),
            Err(false) => Some(Violation::NeverTrue(number)),
        }
    }

    /// The least position that the node must have passed when it answers.
    fn bound(&self, operation: &Operation, view: View) -> u64 {
        let shown =
            self.shown.get(&(operation.node, view)).map_or(0, |passed| passed.before(operation.began));
        shown.max(operation.at_least.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two nodes with one log, and what clients were told of it.
    struct Story {
        nodes: Vec<Node>,
        operations: Vec<Operation>,
    }

    fn entry(position: u64, asked: Option<(u64, Ask)>) -> Entry {
        let (stamp, id) = (position as i64, u128::from(position));
        Entry {
            chain: [position as u8; 32],
            stamp,
            event: Some(Event { id, valid_until: stamp + 1000, asked }),
        }
    }

    impl Story {
        /// Nothing is wrong with it.
        fn right() -> Self {
            let place = (1, 1);
            let asks = [(1, Ask::Create(place)), (2, Ask::Replace(place)), (5, Ask::Delete(1))];
            let asks = asks.into_iter().chain([(7, Ask::Create((1, 2)))]);
            let log: Vec<Entry> = std::iter::once(entry(0, None))
                .chain((1..).zip(asks).map(|(position, asked)| entry(position, Some(asked))))
                .collect();
            let row = |action, place, time, state| Row { action, place, time, state };
            let feed = vec![
                row(Action::Create, place, 1, State::Deleted),
                row(Action::Update, place, 2, State::Deleted),
                row(Action::Delete, place, 3, State::Deleted),
                row(Action::Create, (1, 2), 4, State::Current),
            ];
            let mut story = Self { nodes: vec![Node { log, feed }; 2], operations: Vec::new() };
            story.told(0, None, Ask::Create(place), Told::Done(1));
            story.told(1, None, Ask::Replace(place), Told::Done(2));
            story.told(0, Some(2), Ask::Find(1), Told::Found(Study::from([(1, 2)])));
            // Predicted: it is not in the log.
            story.told(0, None, Ask::Create(place), Told::Refused(2));
            story.told(1, None, Ask::Delete(1), Told::Done(3));
            story.told(1, None, Ask::See(place), Told::Seen(None));
            story.told(0, None, Ask::Create((1, 2)), Told::Unknown);
            story.told(0, None, Ask::Replace((1, 2)), Told::Unknown);
            story.told(0, None, Ask::Replace((1, 2)), Told::Failed);
            story
        }

        /// One more operation, after all others.
        fn told(&mut self, node: usize, at_least: Option<u64>, ask: Ask, told: Told) -> &mut Operation {
            let number = self.operations.len() as u64 + 1;
            let (began, ended) = (number * 10, number * 10 + 5);
            self.operations.push(Operation { number, node, at_least, ask, told, began, ended });
            self.operations.last_mut().expect("it was put there")
        }

        fn operation(&mut self, number: u64) -> &mut Operation {
            &mut self.operations[number as usize - 1]
        }

        fn found(&self) -> Vec<Violation> {
            check(&self.nodes, &[], &self.operations)
        }
    }

    #[test]
    fn what_is_right_is_right() {
        let story = Story::right();
        assert_eq!(story.found(), []);
        let counts = count(&story.nodes, &story.operations);
        let wanted = Counts {
            acknowledged: 3,
            refused: 1,
            failed: 1,
            unknown: 2,
            turned_up: 1,
            reads: 2,
            bound_reads: 1,
            repeated: 0,
        };
        assert_eq!(counts, wanted);
    }

    #[test]
    fn logs_and_feeds_that_differ_are_found() {
        let mut story = Story::right();
        story.nodes[1].log[2].chain = [9; 32];
        assert_eq!(story.found(), [Violation::LogDiffers { node: 1, position: 2 }]);
        let mut story = Story::right();
        story.nodes[1].log.pop();
        assert_eq!(story.found(), [Violation::LogDiffers { node: 1, position: 4 }]);

        for alter in [
            |feed: &mut Vec<Row>| feed[1].state = State::Replaced,
            |feed: &mut Vec<Row>| feed[1].action = Action::Create,
            |feed: &mut Vec<Row>| feed[1].place = (1, 3),
            |feed: &mut Vec<Row>| feed[1].time = 1,
            |feed: &mut Vec<Row>| feed.truncate(1),
            |feed: &mut Vec<Row>| feed.swap(1, 2),
        ] {
            let mut story = Story::right();
            alter(&mut story.nodes[1].feed);
            let found = story.found();
            assert!(matches!(found[..], [Violation::FeedDiffers { node: 1, row: 1, .. }]), "{found:?}");
        }
        // The same on all nodes, and still not what the log makes.
        let mut story = Story::right();
        let row = story.nodes[0].feed[3].clone();
        story.nodes.iter_mut().for_each(|node| node.feed.push(row.clone()));
        let found = story.found();
        assert!(matches!(found[..], [Violation::FeedDiffers { row: 4, wanted: None, .. }, _]), "{found:?}");
    }

    #[test]
    fn rows_that_were_shown_and_are_not_there_are_found() {
        let Story { nodes, operations } = Story::right();
        let feed = nodes[0].feed.clone();
        let mut early = feed[..2].to_vec();
        early[1].state = State::Current;
        assert_eq!(check(&nodes, &[feed.clone(), early.clone()], &operations), []);
        early.push(feed[3].clone());
        let rewritten = |row| [Violation::Rewritten { follower: 1, row }];
        assert_eq!(check(&nodes, &[feed.clone(), early], &operations), rewritten(2));
        let more = [&feed[..], &feed[..1]].concat();
        assert_eq!(check(&nodes, &[feed, more], &operations), rewritten(4));
    }

    #[test]
    fn what_was_acknowledged_must_be_there_once_and_where_it_was_told() {
        let mut story = Story::right();
        story.told(0, None, Ask::Replace((2, 1)), Told::Done(5));
        assert_eq!(story.found(), [Violation::Lost(10)]);

        let mut story = Story::right();
        story.operation(2).told = Told::Done(1);
        let elsewhere = Violation::Elsewhere { operation: 2, told: 1, found: 2 };
        assert_eq!(story.found(), [elsewhere]);

        // Twice in the log, as two events of which the second has no effect.
        let mut story = Story::right();
        let mut again = entry(5, Some((7, Ask::Create((1, 2)))));
        story.nodes.iter_mut().for_each(|node| node.log.push(again.clone()));
        assert_eq!(story.found(), [Violation::Twice(7)]);
        // The same event once more is passed over by every node, and must be.
        if let Some(event) = &mut again.event {
            event.id = 4;
        }
        story.nodes.iter_mut().for_each(|node| node.log[5] = again.clone());
        assert_eq!(story.found(), []);
        assert_eq!(count(&story.nodes, &story.operations).repeated, 1);
        let row = Row { action: Action::Update, place: (1, 2), time: 5, state: State::Current };
        story.nodes.iter_mut().for_each(|node| node.feed.push(row.clone()));
        assert!(
            matches!(story.found()[..], [Violation::FeedDiffers { row: 4, .. }, _]),
            "{:?}",
            story.found()
        );
    }

    #[test]
    fn what_was_acknowledged_must_have_its_effect_and_nothing_else_may() {
        // Too late for the fold, and yet acknowledged.
        let mut story = Story::right();
        for node in &mut story.nodes {
            if let Some(event) = &mut node.log[4].event {
                event.valid_until = 3;
            }
            node.feed.pop();
        }
        assert_eq!(story.found(), []);
        story.operation(7).told = Told::Done(4);
        assert_eq!(story.found(), [Violation::WithoutEffect(7)]);
        story.operation(7).told = Told::Failed;
        assert_eq!(story.found(), []);

        for told in [Told::Failed, Told::Refused(4)] {
            let mut story = Story::right();
            story.operation(7).told = told;
            assert_eq!(story.found(), [Violation::EffectAfterAll(7)]);
        }
    }

    #[test]
    fn what_nobody_asked_for_is_found() {
        let mut story = Story::right();
        story.operation(7).ask = Ask::Create((1, 3));
        assert_eq!(story.found(), [Violation::Invented(7)]);
        let mut story = Story::right();
        story.operations.retain(|operation| operation.number != 7);
        assert_eq!(story.found(), [Violation::Invented(7)]);
    }

    #[test]
    fn a_read_that_is_older_than_it_may_be_is_found() {
        let old = Told::Found(Study::from([(1, 1)]));
        // On another node, which was bound to nothing, it may be old.
        let mut story = Story::right();
        story.told(0, None, Ask::Find(1), old.clone());
        let stale = |bound| Violation::Stale { operation: 10, bound };
        assert_eq!(story.found(), [stale(2)], "it had shown more itself");
        story.operation(3).told = old.clone();
        story.operation(3).at_least = None;
        assert_eq!(story.found(), [], "neither is bound to anything");

        let mut story = Story::right();
        story.operation(3).told = old.clone();
        assert_eq!(
            story.found(),
            [Violation::Stale { operation: 3, bound: 2 }],
            "it was bound by its header"
        );

        let mut story = Story::right();
        story.told(1, None, Ask::Find(1), old);
        assert_eq!(story.found(), [stale(3)], "it had acknowledged more itself");

        // What was shown binds only what began later.
        story.operation(10).began = 12;
        assert_eq!(story.found(), []);
    }

    #[test]
    fn a_read_of_what_never_was_or_was_to_come_is_found() {
        let mut story = Story::right();
        story.told(0, None, Ask::See((1, 1)), Told::Seen(Some(3)));
        assert_eq!(story.found(), [Violation::NeverTrue(10)]);
        let mut story = Story::right();
        story.operation(3).told = Told::Found(Study::from([(2, 7)]));
        assert_eq!(story.found(), [Violation::NeverTrue(3)]);
    }

    #[test]
    fn a_refusal_must_be_true_and_know_all_that_was_acknowledged() {
        // It was there once, and its removal was acknowledged elsewhere.
        let mut story = Story::right();
        story.told(0, None, Ask::Create((1, 1)), Told::Refused(4));
        assert_eq!(story.found(), [Violation::Stale { operation: 10, bound: 3 }]);
        // Something is there.
        let mut story = Story::right();
        let deleted = story.told(0, None, Ask::Delete(1), Told::Refused(4));
        deleted.began = 80;
        story.told(0, None, Ask::Delete(2), Told::Refused(4));
        assert_eq!(story.found(), []);
        story.told(0, Some(4), Ask::Delete(1), Told::Refused(4));
        assert_eq!(story.found(), [Violation::Stale { operation: 12, bound: 4 }]);
        let mut story = Story::right();
        story.told(0, None, Ask::Create((1, 9)), Told::Refused(4));
        assert_eq!(story.found(), [Violation::NeverTrue(10)]);
    }
}
