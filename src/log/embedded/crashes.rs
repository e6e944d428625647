//! The proof that a crash at any moment loses nothing that was acknowledged (architecture §7.1, trust §3).
//!
//! A seed makes a history of appends, rolls of tiny segments, marks and restarts. It is played once for every
//! operation it does on the simulated disk, and there everything stops or the disk answers an error. The folder
//! is then opened again, often stopped once more while it recovers, and compared with what had been
//! acknowledged or seen.
//!
//! Invariant: the same seed explores the same crashes.
//! Elsewhere: the disk that forgets (`simdisk`), faults that are no crash (the tests of this folder).

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use uuid::Uuid;

use super::super::{Record, chain};
use super::follow::SegmentReader;
use super::recovery::{self, Opened};
use super::simdisk::{SimDisk, Trouble};
use super::verify::{Finding, Kind, verify};
use super::{OpenError, durable::Durable};
use crate::base::{Position, Stamp};

const LOG: Uuid = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);
/// So small that a history rolls through several.
const SEGMENT_BYTES: u64 = 2_500;

/// How much was explored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// Histories stopped and recovered.
    pub crashes: u64,
    /// Crashes while recovering from another.
    pub second_crashes: u64,
    /// Torn tails cut.
    pub torn: u64,
    /// Records that survived without having been acknowledged.
    pub unacknowledged_kept: u64,
}

/// Explores every crash of the history of each seed.
///
/// # Errors
/// The promise broken, with the seed and the operation at which the history was stopped.
pub fn explore(seeds: impl IntoIterator<Item = u64>) -> Result<Explored, String> {
    let mut explored = Explored::default();
    for seed in seeds {
        let steps = history(seed);
        let undisturbed = World::new(seed);
        let (model, _) =
            undisturbed.play(&steps, Model::default()).map_err(|e| format!("seed {seed}: {e}"))?;
        if model.unknown.is_some() {
            return Err(format!("seed {seed}: an append failed though nothing disturbed it"));
        }
        for stop_at in 0..undisturbed.disk.operations() {
            crash(seed, stop_at, &steps, &mut explored)
                .map_err(|error| format!("seed {seed}, stopped at operation {stop_at}: {error}"))?;
        }
    }
    Ok(explored)
}

#[derive(Clone, Debug)]
enum Step {
    /// Records of these lengths as one block.
    Append(Vec<usize>),
    Mark,
    Close,
    Kill,
}

fn history(seed: u64) -> Vec<Step> {
    let mut random = StdRng::seed_from_u64(seed);
    let steps = random.random_range(2..8);
    let mut one = || match random.random_range(0..10) {
        0 => Step::Mark,
        1 => Step::Close,
        2 => Step::Kill,
        _ => Step::Append(
            (0..random.random_range(1..4))
                .map(|_| {
                    let largest = if random.random_bool(0.1) { 3_000 } else { 700 };
                    random.random_range(0..largest)
                })
                .collect(),
        ),
    };
    (0..steps).map(|_| one()).collect()
}

/// What must be found again.
#[derive(Clone, Default)]
struct Model {
    /// Acknowledged, or seen by a reader.
    seen: Vec<Record>,
    /// Given out by a reader beside the server.
    followed: Vec<Record>,
    /// Records of the one block whose append failed.
    unknown: Option<Vec<Bytes>>,
}

struct World {
    disk: SimDisk,
    folder: PathBuf,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self { disk: SimDisk::seeded(seed), folder: PathBuf::from("/log"), seed }
    }

    fn open(&self, model: &Model) -> Result<Opened, OpenError> {
        // A view may have passed all that could be seen.
        let cursors = [Position(model.seen.len() as u64)];
        let opened = recovery::open(Arc::new(self.disk.clone()), &self.folder, SEGMENT_BYTES, LOG, &cursors)?;
        if self.disk.has_halted() {
            // Writing an index failed, which alone hinders nobody.
            return Err(OpenError::Io { path: self.folder.clone(), what: "stopped at its end".to_owned() });
        }
        Ok(opened)
    }

    /// Plays a history until its end or until everything stops, which the second value says.
    fn play(&self, steps: &[Step], mut model: Model) -> Result<(Model, bool), String> {
        let mut follower = SegmentReader::on(Arc::new(self.disk.clone()), &self.folder, Position(0));
        let mut opened = match self.open(&model) {
            Ok(opened) => opened,
            Err(OpenError::Io { .. }) => return Ok((model, true)),
            Err(error) => return Err(error.to_string()),
        };
        for (number, step) in steps.iter().enumerate() {
            let stopped = match step {
                Step::Append(lengths) => self.append(&mut opened, number, lengths, &mut model)?,
                Step::Mark => opened.writer.mark().is_err(),
                Step::Close | Step::Kill => {
                    let stopped = matches!(step, Step::Close) && opened.writer.mark().is_err();
                    if !stopped {
                        drop(opened);
                        self.disk.end_process();
                        opened = match self.open(&model) {
                            Ok(opened) => opened,
                            Err(OpenError::Io { .. }) => return Ok((model, true)),
                            Err(error) => return Err(error.to_string()),
                        };
                        self.check(&opened.durable, &mut model)?;
                    }
                    stopped
                }
            };
            if stopped || self.disk.has_halted() {
                return Ok((model, true));
            }
            model.followed.extend(follower.read(usize::MAX).map_err(|error| error.to_string())?);
        }
        Ok((model, false))
    }

    /// Appends a block; answers whether that failed.
    fn append(
        &self,
        opened: &mut Opened,
        number: usize,
        lengths: &[usize],
        model: &mut Model,
    ) -> Result<bool, String> {
        let mut random = StdRng::seed_from_u64(self.seed ^ ((number as u64) << 32) ^ model.seen.len() as u64);
        let mut records = Vec::new();
        for length in lengths {
            let mut bytes = vec![0; *length];
            random.fill_bytes(&mut bytes);
            // The clock is set back now and then.
            let stamp = Stamp(number as i64 * 100 - random.random_range(0..300));
            records.push((stamp, Bytes::from(bytes)));
        }
        let bytes: Vec<_> = records.iter().map(|(_, bytes)| bytes.clone()).collect();
        let before = opened.durable.tail();
        if opened.writer.append_block(records).is_err() {
            if opened.durable.tail() != before {
                return Err("readers see an append that failed".to_owned());
            }
            model.unknown = Some(bytes);
            return Ok(true);
        }
        let new = opened
            .durable
            .batch(before, Position(u64::MAX), usize::MAX)
            .map_err(|error| format!("what was just acknowledged: {error}"))?;
        if new.iter().map(|record| &record.bytes).ne(&bytes) {
            return Err("what was just acknowledged reads otherwise".to_owned());
        }
        model.seen.extend(new);
        Ok(false)
    }

    /// Compares what is there with what must be, and takes it for seen.
    fn check(&self, durable: &Durable, model: &mut Model) -> Result<u64, String> {
        if durable.log() != LOG {
            return Err(format!("the log is called {}", durable.log()));
        }
        let records = durable
            .batch(Position(0), durable.tail(), usize::MAX)
            .map_err(|error| format!("reading all: {error}"))?;
        for seen in [&model.seen, &model.followed] {
            if records.get(..seen.len()) != Some(seen) {
                let same = records.iter().zip(seen).take_while(|(a, b)| a == b).count();
                return Err(format!("of {} records seen only {same} are there as they were", seen.len()));
            }
        }
        let more = &records[model.seen.len()..];
        let unknown = model.unknown.take().unwrap_or_default();
        if !more.is_empty() && more.iter().map(|record| &record.bytes).ne(&unknown) {
            return Err(format!("{} records are there that nobody appended so", more.len()));
        }
        let kept = more.len() as u64;
        let (mut chain, mut stamp) = (chain::START, Stamp(i64::MIN));
        for (number, record) in records.iter().enumerate() {
            chain = chain::link(&chain, record.stamp, &record.bytes);
            let right = record.position == Position(number as u64) && record.chain == chain;
            if !right || record.stamp < stamp || durable.get(record.position).as_ref() != Ok(record) {
                return Err(format!("position {number} is not right"));
            }
            stamp = record.stamp;
        }
        let mut problems = Vec::new();
        verify(&self.disk, &self.folder, &mut |finding| {
            if !matches!(finding, Finding::Segment { .. } | Finding::Problem { kind: Kind::Index, .. }) {
                problems.push(finding);
            }
        })
        .map_err(|error| error.to_string())?;
        if !problems.is_empty() {
            return Err(format!("verify finds {problems:?}"));
        }
        model.seen = records;
        Ok(kept)
    }
}

/// Plays a history up to one operation, and recovers.
fn crash(seed: u64, stop_at: u64, steps: &[Step], explored: &mut Explored) -> Result<(), String> {
    let world = World::new(seed);
    let mut random = StdRng::seed_from_u64(seed.wrapping_mul(31) ^ stop_at);
    // Most stop there, some meet an error of the disk and have to stop by themselves.
    let trouble = |random: &mut StdRng| if random.random_bool(0.25) { Trouble::Error } else { Trouble::Halt };
    world.disk.trouble_at(stop_at, trouble(&mut random));
    let (mut model, stopped) = world.play(steps, Model::default())?;
    if !stopped && !steps.is_empty() && world.disk.operations() <= stop_at {
        return Err("the same history did fewer operations".to_owned());
    }
    explored.crashes += 1;
    // Rounds of recovery, in all but the last two of which everything may stop again.
    for round in 0..5 {
        if random.random_bool(0.3) && round < 4 {
            world.disk.kill();
        } else {
            world.disk.power_cycle();
        }
        if round < 3 && random.random_bool(0.7) {
            let operation = world.disk.operations() + random.random_range(0..8);
            world.disk.trouble_at(operation, trouble(&mut random));
        }
        let mut opened = match world.open(&model) {
            Ok(opened) => opened,
            Err(OpenError::Io { .. }) if round < 3 => {
                explored.second_crashes += 1;
                continue;
            }
            Err(error) => return Err(format!("in round {round}: {error}")),
        };
        explored.torn += u64::from(opened.report.torn.is_some());
        explored.unacknowledged_kept +=
            world.check(&opened.durable, &mut model).map_err(|error| format!("in round {round}: {error}"))?;
        // The last round only looks, so that what the one before showed must have been durable by then.
        if round < 3 {
            world.append(&mut opened, 1000 + round, &[300, 20], &mut model)?;
        }
    }
    Ok(())
}
