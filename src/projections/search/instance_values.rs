//! Instances in the order of a value: what a filter or an order on an attribute of instances walks.
//!
//! Layout: `a partition attribute form version -> series id`, one row for each value of a live instance,
//! sorted as the values sort and newest first within one; `h partition attribute fence -> rows`, how many
//! rows of `a` lie from this fence to the next, so that a far page costs no walk to it. A place (form and
//! version) is written so that places sort as their bytes do; a fence is a place with its bits complemented,
//! so that the first fence at or behind a place is the one it lies behind.
//! Invariant: a fence counts the rows from its place to the next fence's; it is gone when there are none,
//! and is cut in two in the commit that brings it more than [`MOST_ROWS`]. So the fences, too, follow from the commits alone.
//! Elsewhere: which values an instance has (`attributes`), in which form they are compared (`value`).

use std::ops::Bound;

use super::attributes::AttributeId;
use super::rows::{Id, damaged, decode, encode, last_number};
use crate::base::Partition;
use crate::tables::keys::{Key, after_prefix};
use crate::tables::{self, Batch, Read};

/// Rows behind one fence.
const MOST_ROWS: u64 = 4_096;
/// The place before all others: no form is empty.
const LOWEST: &[u8] = &[0];

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
        form: &str,
        valued: Valued,
    ) -> Result<(), tables::Error> {
        if form.is_empty() {
            return Ok(());
        }
        let place = place(form, valued.version);
        batch.put(self.row(&place), encode(&valued.series));
        let (fence, rows) = self.fence_of(batch, &place)?.unwrap_or_else(|| (LOWEST.to_vec(), 0));
        let rows = rows + 1;
        if rows <= MOST_ROWS {
            batch.put(self.fence(&fence), encode(&rows));
            return Ok(());
        }
        let kept = rows / 2;
        let behind = usize::try_from(kept).expect("half of some thousand rows");
        let median = self.rows_from(batch, &fence).nth(behind);
        let (median, _) = median.ok_or_else(|| damaged("a fence counts more rows than there are"))??;
        let median = &median[self.row(&[]).len()..];
        batch.put(self.fence(&fence), encode(&kept));
        batch.put(self.fence(median), encode(&(rows - kept)));
        Ok(())
    }

    /// An instance with this value went.
    pub(super) fn went(self, batch: &mut Batch<'_>, form: &str, version: u64) -> Result<(), tables::Error> {
        if form.is_empty() {
            return Ok(());
        }
        let place = place(form, version);
        batch.delete(self.row(&place));
        match self.fence_of(batch, &place)? {
            Some((fence, rows)) if rows > 1 => batch.put(self.fence(&fence), encode(&(rows - 1))),
            Some((fence, _)) => batch.delete(self.fence(&fence)),
            None => return Err(damaged("a value was never counted")),
        }
        Ok(())
    }

    /// The fence that a place lies behind, with its rows.
    fn fence_of(self, rows: &impl Read, place: &[u8]) -> Result<Option<(Vec<u8>, u64)>, tables::Error> {
        let (prefix, from) = (self.fence(&[]), self.fence(place));
        let Some(row) = rows.prefix_from(&prefix, Bound::Included(&from)).next() else { return Ok(None) };
        let (key, rows) = row?;
        Ok(Some((complement(&key[prefix.len()..]), decode(&rows)?)))
    }

    fn rows_from<'r>(
        self,
        rows: &'r impl Read,
        place: &[u8],
    ) -> impl Iterator<Item = Result<tables::Row, tables::Error>> + 'r {
        rows.prefix_from(&self.row(&[]), Bound::Included(&self.row(place)))
    }

    /// All fences in the order of their places.
    fn fences(self, rows: &impl Read) -> Result<Vec<(Vec<u8>, u64)>, tables::Error> {
        let prefix = self.fence(&[]);
        let fences = rows.prefix(&prefix).map(|row| {
            let (key, rows) = row?;
            Ok((complement(&key[prefix.len()..]), decode(&rows)?))
        });
        let mut fences = fences.collect::<Result<Vec<_>, tables::Error>>()?;
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
    pub(super) fn walk_from<'r, R: Read>(
        self,
        rows: &'r R,
        between: &Between,
        skip: u64,
    ) -> Result<impl Iterator<Item = Result<Valued, tables::Error>> + use<'r, R>, tables::Error> {
        let (from, to) = self.keys(between);
        let mut left = self.rank_of_key(rows, &from)?.saturating_add(skip);
        let mut begin = None;
        for (fence, count) in self.fences(rows)? {
            if count > left {
                begin = Some(self.row(&fence));
                break;
            }
            left -= count;
        }
        // Behind the last row nothing is left.
        let begin = begin.unwrap_or_else(|| to.clone());
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        Ok(rows.range(Bound::Included(&begin), Bound::Excluded(&to)).skip(left).map(valued))
    }

    /// How many rows lie before a key. Walks the rows behind one fence.
    fn rank_of_key(self, rows: &impl Read, key: &[u8]) -> Result<u64, tables::Error> {
        let (mut rank, mut last) = (0, None);
        for (fence, count) in self.fences(rows)? {
            let fence = self.row(&fence);
            if fence.as_slice() > key {
                break;
            }
            rank += last.replace((fence, count)).map_or(0, |(_, count)| count);
        }
        let Some((fence, _)) = last else { return Ok(0) };
        for row in rows.range(Bound::Included(&fence), Bound::Excluded(key)) {
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
        let (from, to) = self.keys(between);
        let mut fences = self.fences(rows)?.into_iter().map(|(fence, count)| (self.row(&fence), count)).peekable();
        let mut sum = 0;
        while let Some((fence, count)) = fences.next() {
            let ends_before = fences.peek().is_some_and(|(next, _)| *next <= from);
            if fence < to && !ends_before {
                sum += count;
            }
        }
        Ok(sum)
    }
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
            between.from.as_ref().is_none_or(|from| from <= form) && between.to.as_ref().is_none_or(|to| form <= to)
        };
        let wanted: Vec<_> = sorted.iter().filter(|(form, _)| within(form)).map(|(_, version)| !version).collect();
        let versions = |walk: Vec<Result<Valued, tables::Error>>| {
            walk.into_iter().map(|row| row.unwrap().version).collect::<Vec<_>>()
        };
        assert_eq!(versions(of.walk(&reader, between).collect()), wanted);
        let far = versions(of.walk_from(&reader, between, skip).unwrap().collect());
        assert_eq!(far, wanted[wanted.len().min(skip as usize)..]);
        let count = of.count(&reader, between).unwrap();
        assert_eq!(count, wanted.len() as u64);
        assert!((count..=count + 2 * MOST_ROWS).contains(&of.at_most(&reader, between).unwrap()));
        let fences = of.fences(&reader).unwrap();
        assert_eq!(fences.iter().map(|(_, rows)| rows).sum::<u64>(), model.len() as u64);
        assert!(fences.iter().all(|(_, rows)| (1..=MOST_ROWS).contains(rows)));
    }

    proptest! {
        #[test]
        fn rows_are_in_the_order_of_values(
            steps in prop::collection::vec((any_form(), 0..20_u64, any::<bool>()), 1..120),
            ranges in prop::collection::vec((0..9_u64, prop::option::of(any_form()), prop::option::of(any_form())), 8),
        ) {
            let (table, partition) = (Table::memory(), Partition::default());
            let (of, mut model) = (ByValue::of(&partition, OF), BTreeSet::new());
            for (at, (form, version, comes)) in steps.into_iter().enumerate() {
                let mut batch = table.batch();
                let key = (form.clone(), version);
                if comes && !model.contains(&key) {
                    of.came(&mut batch, &form, Valued { version, series: 7 }).unwrap();
                    if !form.is_empty() {
                        model.insert(key);
                    }
                } else if model.remove(&key) {
                    of.went(&mut batch, &form, version).unwrap();
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
                of.went(&mut batch, &form, version).unwrap();
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
        for per_batch in [1, 997, 100_000] {
            let (table, mut model) = (Table::memory(), BTreeSet::new());
            let mut batch = table.batch();
            for version in 0..3 * MOST_ROWS {
                of.came(&mut batch, &value(version), Valued { version, series: 1 }).unwrap();
                model.insert((value(version), version));
                if version % 5 == 4 {
                    of.went(&mut batch, &value(version - 3), version - 3).unwrap();
                    model.remove(&(value(version - 3), version - 3));
                }
                if version % per_batch == 0 {
                    table.apply(std::mem::replace(&mut batch, table.batch()).into_changes(), Position(1)).unwrap();
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
