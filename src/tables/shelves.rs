//! Shelves: small neighbouring rows that lie in sled as one.
//!
//! sled pays for each row, and splits a page after sixteen of them, however small. Rows of a kind whose keys
//! end in something that counts on, are therefore kept together: those whose keys differ only in the last
//! bytes. Layout of a shelf's value: for each row the end of its key ([`Shelf::tail_bytes`]), the length of its
//! value (u32, little endian), its value; sorted by key.
//! Invariant: a shelf's own key is not greater than the keys on it, and shelves sort as their rows do; a shelf
//! without rows is not there.
//! Elsewhere: which kinds lie on shelves (each table's [`super::Format`]); nobody else sees them.

use std::cmp::Ordering;

use super::Row;

/// How the rows of one kind lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shelf {
    /// The kind: the first byte of the keys.
    pub kind: u8,
    /// So many bytes at the end of a key may differ on a shelf.
    pub tail_bytes: usize,
    /// Of the first of them, only the bits that are not set here; the set ones are leading ones.
    pub mask: u8,
}

/// Rows as they change: the end of the key, and the new value or none.
pub(super) type TailChange = (Vec<u8>, Option<Vec<u8>>);

impl Shelf {
    /// The shelf of a row and the end of the row's key; none for a key too short to be one of a row.
    pub(super) fn split<'k>(&self, key: &'k [u8]) -> Option<(Vec<u8>, &'k [u8])> {
        let at = key.len().checked_sub(self.tail_bytes)?;
        let (head, tail) = key.split_at(at);
        let mut shelf = head.to_vec();
        shelf.push(tail.first()? & self.mask);
        Some((shelf, tail))
    }

    /// The value of one row.
    pub(super) fn find<'v>(&self, value: &'v [u8], tail: &[u8]) -> Result<Option<&'v [u8]>, Broken> {
        for entry in self.entries(value) {
            let (found, value) = entry?;
            match found.cmp(tail) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(Some(value)),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// All rows of a shelf, ascending.
    pub(super) fn rows(&self, shelf: &[u8], value: &[u8]) -> Result<Vec<Row>, Broken> {
        let head = shelf.split_last().map(|(_, head)| head).unwrap_or_default();
        self.entries(value)
            .map(|entry| entry.map(|(tail, value)| ([head, tail].concat(), value.to_vec())))
            .collect()
    }

    /// The shelf's value after `changes`, which are sorted; empty when no row is left.
    pub(super) fn changed(&self, value: &[u8], changes: Vec<TailChange>) -> Result<Vec<u8>, Broken> {
        let added: usize =
            changes.iter().filter_map(|(tail, value)| Some(tail.len() + 4 + value.as_ref()?.len())).sum();
        let mut whole = Vec::with_capacity(value.len() + added);
        let mut stored = self.entries(value).peekable();
        for (tail, new) in changes {
            while let Some((kept, value)) =
                stored.next_if(|entry| entry.as_ref().map_or(true, |e| e.0 < &tail[..])).transpose()?
            {
                push(&mut whole, kept, value);
            }
            stored.next_if(|entry| entry.as_ref().is_ok_and(|entry| entry.0 == tail));
            if let Some(new) = new {
                push(&mut whole, &tail, &new);
            }
        }
        for entry in stored {
            let (kept, value) = entry?;
            push(&mut whole, kept, value);
        }
        Ok(whole)
    }

    fn entries<'v>(&self, value: &'v [u8]) -> impl Iterator<Item = Result<Entry<'v>, Broken>> + use<'v> {
        let (mut rest, tail_bytes) = (value, self.tail_bytes);
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let entry = take(rest, tail_bytes);
            rest = entry.as_ref().map_or(&[][..], |(_, rest)| rest);
            Some(entry.map(|(entry, _)| entry))
        })
    }
}

/// The bytes of a shelf are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// The end of a row's key, and the row's value.
type Entry<'v> = (&'v [u8], &'v [u8]);

/// The first entry, and what follows it.
fn take(bytes: &[u8], tail_bytes: usize) -> Result<(Entry<'_>, &[u8]), Broken> {
    let (tail, rest) = bytes.split_at_checked(tail_bytes).ok_or(Broken)?;
    let (length, rest) = rest.split_first_chunk().ok_or(Broken)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Broken)?;
    let (value, rest) = rest.split_at_checked(length).ok_or(Broken)?;
    Ok(((tail, value), rest))
}

fn push(whole: &mut Vec<u8>, tail: &[u8], value: &[u8]) {
    let length = u32::try_from(value.len()).expect("rows are far below 4 GiB");
    whole.extend_from_slice(tail);
    whole.extend_from_slice(&length.to_le_bytes());
    whole.extend_from_slice(value);
}
