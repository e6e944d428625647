//! Instances in the order of a value: what a filter or an order on an attribute of instances walks.
//!
//! Layout: `a partition attribute form version -> series id`, one row for each value of a live instance,
//! sorted as the values sort and newest first within one; `h partition attribute fence -> Fence`, how many
//! rows of `a` lie from this fence to the next, so that a far page costs no walk to it. A place (form and
//! version) is written so that places sort as their bytes do; a fence is a place with its bits complemented,
//! so that the first fence at or behind a place is the one it lies behind.
//! Invariant: a fence counts the rows from its place to the next fence's, and names that; it is gone when there
//! are none, and is cut in two in the commit that brings it more than [`MOST_ROWS`]. So the fences, too, follow
//! from the commits alone.
//! Elsewhere: which values an instance has (`attributes`), in which form they are compared (`value`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::attributes::AttributeId;
use super::rows::{Id, damaged, decode, encode, last_number, read};
use crate::base::Partition;
use crate::tables::keys::{Key, after_prefix};
use crate::tables::{self, Batch, Read, Reader};

/// Rows behind one fence.
const MOST_ROWS: u64 = 4_096;
/// The place before all others: no form is empty.
const LOWEST: &[u8] = &[0];
/// Places of fences remembered.
const MOST_HINTS: usize = 100_000;

/// The instances of a partition by their values of one attribute.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByValue<'p> {
    partition: &'p Partition,
    attribute: AttributeId,
}

/// Forms from one to another, both included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Between {
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
}

/// An instance in the order of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Valued {
    pub(super) version: u64,
    pub(super) series: Id,
}

/// What lies behind a fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fence {
    rows: u64,
    /// The place of the next fence.
    next: Option<Vec<u8>>,
}

/// Where fences stood when they were last looked for: to find one again with a look-up. A wrong hint is noticed.
#[derive(Debug, Default)]
pub(super) struct Hints(Mutex<BTreeMap<AttributeId, HashMap<Partition, Places>>>);

type Places = BTreeSet<Vec<u8>>;

type RowIter<'r> = Box<dyn Iterator<Item = Result<tables::Row, tables::Error>> + 'r>;

impl Hints {
    fn nearest(&self, of: ByValue<'_>, place: &[u8]) -> Option<Vec<u8>> {
        let hints = self.0.lock();
        let places = hints.get(&of.attribute)?.get(of.partition)?;
        places.range::<[u8], _>((Bound::Unbounded, Bound::Included(place))).next_back().cloned()
    }

    fn learn(&self, of: ByValue<'_>, place: &[u8]) {
        let mut hints = self.0.lock();
        let places = hints.entry(of.attribute).or_default().entry(of.partition.clone()).or_default();
        if places.len() >= MOST_HINTS {
            places.clear();
        }
        places.insert(place.to_vec());
    }

    fn forget(&self, of: ByValue<'_>, place: &[u8]) {
        let mut hints = self.0.lock();
        let places = hints.get_mut(&of.attribute).and_then(|partitions| partitions.get_mut(of.partition));
        places.map(|places| places.remove(place));
    }
}

/// A form as bytes that hold no zero and sort as the form does.
fn escaped(form: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(form.len() + 1);
    for byte in form.bytes() {
        match byte {
            0 | 1 => bytes.extend([1, byte + 1]),
            _ => bytes.push(byte),
        }
    }
    bytes
}

fn place(form: &str, version: u64) -> Vec<u8> {
    let mut place = escaped(form);
    place.push(0);
    place.extend((!version).to_be_bytes());
    place
}

fn complement(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

impl<'p> ByValue<'p> {
    pub(super) fn of(partition: &'p Partition, attribute: AttributeId) -> Self {
        Self { partition, attribute }
    }

    fn prefix(self, kind: u8) -> Key {
        Key::of(kind).text(self.partition.as_str()).bytes(&self.attribute.0.to_be_bytes())
    }

    fn row(self, place: &[u8]) -> Vec<u8> {
        self.prefix(b'a').bytes(place).build()
    }

    fn fence(self, place: &[u8]) -> Vec<u8> {
        self.prefix(b'h').bytes(&complement(place)).build()
    }

    /// An instance with this value came. Nothing is kept of an empty form: such a value is missing.
    pub(super) fn came(
        self,
        batch: &mut Batch<'_>,
        hints: &Hints,
        form: &str,
        valued: Valued,
    ) -> Result<(), tables::Error> {
        if form.is_empty() {
            return Ok(());
        }
        let place = place(form, valued.version);
        batch.put(self.row(&place), encode(&valued.series));
        let (at, mut fence) = match self.fence_of(batch, hints, &place)? {
            Some(found) => found,
            None => {
                let next = self.fences(batch)?.into_iter().next().map(|(next, _)| next);
                (LOWEST.to_vec(), Fence { rows: 0, next })
            }
        };
        fence.rows += 1;
        if fence.rows > MOST_ROWS {
            let kept = fence.rows / 2;
            let behind = usize::try_from(kept).expect("half of some thousand rows");
            let median = self.rows_from(batch, &at).nth(behind);
            let (median, _) = median.ok_or_else(|| damaged("a fence counts more rows than there are"))??;
            let median = median[self.row(&[]).len()..].to_vec();
            let second = Fence { rows: fence.rows - kept, next: fence.next };
            batch.put(self.fence(&median), encode(&second));
            hints.learn(self, &median);
            fence = Fence { rows: kept, next: Some(median) };
        }
        batch.put(self.fence(&at), encode(&fence));
        Ok(())
    }

    /// An instance with this value went.
    pub(super) fn went(
        self,
        batch: &mut Batch<'_>,
        hints: &Hints,
        form: &str,
        version: u64,
    ) -> Result<(), tables::Error> {
        if form.is_empty() {
            return Ok(());
        }
        let place = place(form, version);
        batch.delete(self.row(&place));
        let found = self.fence_of(batch, hints, &place)?;
        let (at, mut fence) = found.ok_or_else(|| damaged("a value was never counted"))?;
        fence.rows -= 1;
        if fence.rows > 0 {
            batch.put(self.fence(&at), encode(&fence));
            return Ok(());
        }
        batch.delete(self.fence(&at));
        hints.forget(self, &at);
        if let Some((before, mut neighbour)) = self.fence_from(batch, Bound::Excluded(&at))? {
            neighbour.next = fence.next;
            batch.put(self.fence(&before), encode(&neighbour));
        }
        Ok(())
    }

    /// The fence that a place lies behind.
    fn fence_of(
        self,
        rows: &impl Read,
        hints: &Hints,
        place: &[u8],
    ) -> Result<Option<(Vec<u8>, Fence)>, tables::Error> {
        if let Some(hint) = hints.nearest(self, place) {
            match read::<Fence>(rows, &self.fence(&hint))? {
                Some(fence) if fence.next.as_deref().is_none_or(|next| place < next) => {
                    return Ok(Some((hint, fence)));
                }
                Some(_) => {}
                None => hints.forget(self, &hint),
            }
        }
        let found = self.fence_from(rows, Bound::Included(place))?;
        if let Some((at, _)) = &found {
            hints.learn(self, at);
        }
        Ok(found)
    }

    /// The last fence up to a place.
    fn fence_from(
        self,
        rows: &impl Read,
        place: Bound<&[u8]>,
    ) -> Result<Option<(Vec<u8>, Fence)>, tables::Error> {
        let (prefix, from) = (self.fence(&[]), place.map(|place| self.fence(place)));
        let from = match &from {
            Bound::Included(from) => Bound::Included(from.as_slice()),
            Bound::Excluded(from) => Bound::Excluded(from.as_slice()),
            Bound::Unbounded => Bound::Unbounded,
        };
        rows.prefix_from(&prefix, from).next().map(|row| self.read_fence(row)).transpose()
    }

    fn read_fence(self, row: Result<tables::Row, tables::Error>) -> Result<(Vec<u8>, Fence), tables::Error> {
        let (key, fence) = row?;
        Ok((complement(&key[self.fence(&[]).len()..]), decode(&fence)?))
    }

    fn rows_from<'r>(
        self,
        rows: &'r impl Read,
        place: &[u8],
    ) -> impl Iterator<Item = Result<tables::Row, tables::Error>> + 'r {
        rows.prefix_from(&self.row(&[]), Bound::Included(&self.row(place)))
    }

    /// All fences in the order of their places.
    fn fences(self, rows: &impl Read) -> Result<Vec<(Vec<u8>, Fence)>, tables::Error> {
        let fences = rows.prefix(&self.fence(&[])).map(|row| self.read_fence(row));
        let mut fences = fences.collect::<Result<Vec<_>, _>>()?;
        fences.reverse();
        Ok(fences)
    }

    /// Between which keys the rows of `between` lie: the first included, the other not.
    fn keys(self, between: &Between) -> (Vec<u8>, Vec<u8>) {
        let from = between.from.as_deref().map(escaped).unwrap_or_default();
        let to = between.to.as_deref().map(|to| [escaped(to), vec![0]].concat()).unwrap_or_default();
        let to = after_prefix(&self.row(&to)).expect("a key begins with a letter");
        (self.row(&from), to)
    }

    /// The instances whose value lies between two forms, by value, newest first within one.
    pub(super) fn walk<'r>(
        self,
        rows: &'r impl Read,
        between: &Between,
    ) -> impl Iterator<Item = Result<Valued, tables::Error>> + 'r {
        let (from, to) = self.keys(between);
        rows.range(Bound::Included(&from), Bound::Excluded(&to)).map(valued)
    }

    /// The same without the first `skip`, which are counted, not walked.
    pub(super) fn walk_from<'r>(
        self,
        rows: &'r impl Read,
        between: &Between,
        skip: u64,
    ) -> Result<impl Iterator<Item = Result<Valued, tables::Error>> + 'r, tables::Error> {
        let (from, to) = self.keys(between);
        Ok(self.behind(rows, &from, &to, skip)?.map(valued))
    }

    /// The same from the greatest value down; those of one value newest first, too.
    pub(super) fn walk_down_from<'r>(
        self,
        rows: &'r Reader<'_>,
        between: &Between,
        skip: u64,
    ) -> Result<impl Iterator<Item = Result<Valued, tables::Error>> + 'r, tables::Error>
    where
        'p: 'r,
    {
        let (from, mut to) = self.keys(between);
        let mut within = 0;
        if skip > 0 {
            let (first, end) = (self.rank_of_key(rows, &from)?, self.rank_of_key(rows, &to)?);
            let row = match (end - first).checked_sub(skip.saturating_add(1)) {
                None => None,
                Some(index) => self.behind(rows, &from, &to, index)?.next().transpose()?,
            };
            // Without it the page is behind the last row.
            to = from.clone();
            if let Some((key, _)) = row {
                let value = value_of(&key)?;
                to = after_prefix(value).expect("a key begins with a letter");
                within = skip - (end - self.rank_of_key(rows, &to)?);
            }
        }
        let mut of_value: Option<RowIter<'r>> = None;
        let mut next = move || -> Result<Option<Valued>, tables::Error> {
            loop {
                if let Some(row) = of_value.as_mut().and_then(Iterator::next) {
                    return valued(row).map(Some);
                }
                let last = rows.range_back(Bound::Included(&from), Bound::Excluded(&to)).next();
                let Some((key, _)) = last.transpose()? else { return Ok(None) };
                let value = value_of(&key)?.to_vec();
                of_value = Some(self.behind(rows, &value, &to, std::mem::take(&mut within))?);
                to = value;
            }
        };
        Ok(std::iter::from_fn(move || next().transpose()))
    }

    /// The rows between two keys without the first `skip`, which are counted.
    fn behind<'r>(
        self,
        rows: &'r impl Read,
        from: &[u8],
        to: &[u8],
        skip: u64,
    ) -> Result<RowIter<'r>, tables::Error> {
        if skip == 0 {
            return Ok(rows.range(Bound::Included(from), Bound::Excluded(to)));
        }
        let mut left = self.rank_of_key(rows, from)?.saturating_add(skip);
        let mut begin = None;
        for (at, fence) in self.fences(rows)? {
            if fence.rows > left {
                begin = Some(self.row(&at));
                break;
            }
            left -= fence.rows;
        }
        // Behind the last row nothing is left.
        let begin = begin.unwrap_or_else(|| to.to_vec());
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        Ok(Box::new(rows.range(Bound::Included(&begin), Bound::Excluded(to)).skip(left)))
    }

    /// How many rows lie before a key. Walks the rows behind one fence.
    fn rank_of_key(self, rows: &impl Read, key: &[u8]) -> Result<u64, tables::Error> {
        let (mut rank, mut last) = (0, None);
        for (at, fence) in self.fences(rows)? {
            let at = self.row(&at);
            if at.as_slice() > key {
                break;
            }
            rank += last.replace((at, fence.rows)).map_or(0, |(_, rows)| rows);
        }
        let Some((begin, _)) = last else { return Ok(0) };
        for row in rows.range(Bound::Included(&begin), Bound::Excluded(key)) {
            row?;
            rank += 1;
        }
        Ok(rank)
    }

    /// How many instances have a value between two forms.
    pub(super) fn count(self, rows: &impl Read, between: &Between) -> Result<u64, tables::Error> {
        let (from, to) = self.keys(between);
        Ok(self.rank_of_key(rows, &to)?.saturating_sub(self.rank_of_key(rows, &from)?))
    }

    /// At least as many as [`Self::count`] says, and at most two fences' rows more; no row is walked.
    pub(super) fn at_most(self, rows: &impl Read, between: &Between) -> Result<u64, tables::Error> {
        let prefix = self.fence(&[]);
        let from = between.from.as_deref().map(escaped).unwrap_or_default();
        // Behind all places of the last form.
        let to = between.to.as_deref().map(|to| [escaped(to), vec![1]].concat());
        let begin = to.as_deref().map_or_else(|| prefix.clone(), |to| self.fence(to));
        let mut sum = 0;
        for row in rows.prefix_from(&prefix, Bound::Included(&begin)) {
            let (at, fence) = self.read_fence(row)?;
            if to.as_ref().is_none_or(|to| at < *to) {
                sum += fence.rows;
            }
            if at <= from {
                break;
            }
        }
        Ok(sum)
    }
}

/// A key without the version at its end: the beginning of the keys of all rows with its value.
fn value_of(key: &[u8]) -> Result<&[u8], tables::Error> {
    let value = key.split_last_chunk::<8>().map(|(value, _)| value);
    value.ok_or_else(|| damaged("a key is too short"))
}

fn valued(row: Result<tables::Row, tables::Error>) -> Result<Valued, tables::Error> {
    let (key, series) = row?;
    Ok(Valued { version: last_number(&key)?, series: decode(&series)? })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::base::Position;
    use crate::tables::Table;

    const OF: AttributeId = AttributeId(300);

    fn any_form() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => "[ab\u{0}\u{1}\u{2}é]{1,3}",
            1 => Just("a".to_owned()),
            1 => Just(String::new()),
        ]
    }

    /// What the rows must say, from a sorted set of all.
    fn check(table: &Table, model: &BTreeSet<(String, u64)>, skip: u64, between: &Between) {
        let (reader, partition) = (table.reader(), Partition::default());
        let of = ByValue::of(&partition, OF);
        // Newest first within a value.
        let mut sorted: Vec<_> = model.iter().map(|(form, version)| (form.clone(), !*version)).collect();
        sorted.sort_unstable();
        let within = |form: &String| {
            between.from.as_ref().is_none_or(|from| from <= form)
                && between.to.as_ref().is_none_or(|to| form <= to)
        };
        let wanted: Vec<_> =
            sorted.iter().filter(|(form, _)| within(form)).map(|(_, version)| !version).collect();
        let versions = |walk: Vec<Result<Valued, tables::Error>>| {
            walk.into_iter().map(|row| row.unwrap().version).collect::<Vec<_>>()
        };
        assert_eq!(versions(of.walk(&reader, between).collect()), wanted);
        let far = versions(of.walk_from(&reader, between, skip).unwrap().collect());
        assert_eq!(far, wanted[wanted.len().min(skip as usize)..]);
        let mut down: Vec<_> = sorted.iter().filter(|(form, _)| within(form)).collect();
        down.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
        let down: Vec<_> = down.into_iter().skip(skip as usize).map(|(_, version)| !version).collect();
        assert_eq!(versions(of.walk_down_from(&reader, between, skip).unwrap().collect()), down);
        let count = of.count(&reader, between).unwrap();
        assert_eq!(count, wanted.len() as u64);
        assert!((count..=count + 2 * MOST_ROWS).contains(&of.at_most(&reader, between).unwrap()));
        let fences = of.fences(&reader).unwrap();
        assert_eq!(fences.iter().map(|(_, fence)| fence.rows).sum::<u64>(), model.len() as u64);
        assert!(fences.iter().all(|(_, fence)| (1..=MOST_ROWS).contains(&fence.rows)));
        let next: Vec<_> = fences.iter().map(|(_, fence)| fence.next.clone()).collect();
        let places = fences.into_iter().map(|(place, _)| Some(place));
        assert_eq!(next, places.skip(1).chain([None]).take(next.len()).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn rows_are_in_the_order_of_values(
            steps in prop::collection::vec((any_form(), 0..20_u64, any::<bool>()), 1..120),
            ranges in prop::collection::vec((0..9_u64, prop::option::of(any_form()), prop::option::of(any_form())), 8),
        ) {
            let (table, partition) = (Table::memory(), Partition::default());
            let (of, mut model) = (ByValue::of(&partition, OF), BTreeSet::new());
            let mut hints = Hints::default();
            for (at, (form, version, comes)) in steps.into_iter().enumerate() {
                if at % 7 == 6 {
                    hints = Hints::default();
                }
                let mut batch = table.batch();
                let key = (form.clone(), version);
                if comes && !model.contains(&key) {
                    of.came(&mut batch, &hints, &form, Valued { version, series: 7 }).unwrap();
                    if !form.is_empty() {
                        model.insert(key);
                    }
                } else if model.remove(&key) {
                    of.went(&mut batch, &hints, &form, version).unwrap();
                }
                table.apply(batch.into_changes(), Position(at as u64)).unwrap();
            }
            for (skip, from, to) in ranges {
                let empty = from.as_ref().zip(to.as_ref()).is_some_and(|(from, to)| from > to);
                let between = Between { from, to: to.filter(|_| !empty) };
                check(&table, &model, skip, &between);
            }
            for (form, version) in model {
                let mut batch = table.batch();
                of.went(&mut batch, &hints, &form, version).unwrap();
                table.apply(batch.into_changes(), Position(0)).unwrap();
            }
            prop_assert_eq!(table.dump().unwrap().len(), 1, "nothing is left but the cursor");
        }
    }

    #[test]
    fn fences_are_cut_in_two_and_do_not_depend_on_batches() {
        let partition = Partition::default();
        let of = ByValue::of(&partition, OF);
        let value = |version: u64| format!("{:03}", version.wrapping_mul(2_654_435_761) % 700);
        let mut dumps = Vec::new();
        // Those of one table say nothing of another.
        let hints = Hints::default();
        for per_batch in [1, 997, 100_000] {
            let (table, mut model) = (Table::memory(), BTreeSet::new());
            let mut batch = table.batch();
            for version in 0..3 * MOST_ROWS {
                of.came(&mut batch, &hints, &value(version), Valued { version, series: 1 }).unwrap();
                model.insert((value(version), version));
                if version % 5 == 4 {
                    of.went(&mut batch, &hints, &value(version - 3), version - 3).unwrap();
                    model.remove(&(value(version - 3), version - 3));
                }
                if version % per_batch == 0 {
                    table
                        .apply(std::mem::replace(&mut batch, table.batch()).into_changes(), Position(1))
                        .unwrap();
                }
            }
            table.apply(batch.into_changes(), Position(1)).unwrap();
            assert!(of.fences(&table.reader()).unwrap().len() > 2);
            let between = Between { from: Some("100".to_owned()), to: Some("555".to_owned()) };
            for skip in [0, 1, 4_000, 9_000, u64::MAX] {
                check(&table, &model, skip, &between);
                check(&table, &model, skip, &Between::default());
            }
            dumps.push(table.dump().unwrap());
        }
        assert!(dumps.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
