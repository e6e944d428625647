//! Metadata with a `BulkDataURI` for every element left out of them (`studies.md` §3.6.2).
//!
//! The stored JSON (`json`) is walked once and copied, links come where their elements would stand. It is ours:
//! compact, keys in ascending order, `vr` first. An element of a sequence that is not in the metadata, because
//! it broke a rule, has no link either.
//!
//! Invariant: pieces of about [`PIECE_BYTES`] come out, however long the metadata; no recursion.
//! Elsewhere: which elements are left out (`scan`), the address of an instance (`http::urls`).

use bytes::Bytes;

use super::scan::BulkElement;

/// Length of a piece, give or take an element's link.
const PIECE_BYTES: usize = 64 << 10;
/// Digits of a tag.
const TAG_BYTES: usize = 8;
const SEQUENCE: &[u8] = br#"{"vr":"SQ","Value":["#;

/// Bytes that are no metadata of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata cannot be read beyond byte {0}")]
pub struct Unreadable(pub usize);

/// Metadata on their way out.
#[derive(Debug)]
pub struct Linked {
    json: Bytes,
    at: usize,
    /// What is copied as it is, before anything else is looked at.
    copy_to: usize,
    /// In the order of their dataset's path, then of their tag.
    bulk: Vec<BulkElement>,
    /// What a path is put behind, as it stands inside a JSON string.
    url: String,
    open: Vec<Open>,
    out: Vec<u8>,
}

/// A dataset or a sequence that has begun.
#[derive(Debug)]
enum Open {
    /// `path` is that of its elements up to their tag; `next..end` are its links still to come.
    Dataset { path: String, next: usize, end: usize, empty: bool },
    /// `path` is that of its items up to their number.
    Sequence { path: String, items: u64 },
}

impl Linked {
    /// The metadata `json` of an instance, `bulk` being left out of it; `url` and a path make a link.
    #[must_use]
    pub fn new(json: Bytes, mut bulk: Vec<BulkElement>, url: &str) -> Self {
        bulk.retain(|element| element.length > 0);
        bulk.sort_unstable_by(|a, b| place(a).cmp(&place(b)));
        let url = serde_json::to_string(url).expect("a text always has a JSON form");
        let url = url[1..url.len() - 1].to_owned();
        Self { json, at: 0, copy_to: 0, bulk, url, open: Vec::new(), out: Vec::new() }
    }

    /// The next piece; `None` behind the last.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn next_piece(&mut self) -> Result<Option<Bytes>, Unreadable> {
        while self.out.len() < PIECE_BYTES {
            if self.at < self.copy_to {
                let room = PIECE_BYTES - self.out.len();
                let to = self.copy_to.min(self.at + room);
                self.out.extend_from_slice(&self.json[self.at..to]);
                self.at = to;
            } else if self.at > 0 && self.at == self.json.len() && self.open.is_empty() {
                break;
            } else {
                self.step()?;
            }
        }
        let piece = std::mem::take(&mut self.out);
        Ok((!piece.is_empty()).then(|| piece.into()))
    }

    fn step(&mut self) -> Result<(), Unreadable> {
        let byte = *self.json.get(self.at).ok_or(Unreadable(self.at))?;
        match (self.open.pop(), byte) {
            (None, b'{') if self.at == 0 => self.begin_dataset(String::new()),
            (Some(Open::Sequence { path, items }), b'{') => {
                let items = items + 1;
                let inner = format!("{path}{items}/");
                self.open.push(Open::Sequence { path, items });
                self.begin_dataset(inner);
            }
            (Some(sequence @ Open::Sequence { .. }), b',') => {
                self.put(1);
                self.open.push(sequence);
            }
            (Some(Open::Sequence { .. }), b']') if self.json.get(self.at + 1) == Some(&b'}') => self.put(2),
            // Commas are set with what they stand before.
            (Some(dataset @ Open::Dataset { .. }), b',') => {
                self.at += 1;
                self.open.push(dataset);
            }
            (Some(Open::Dataset { path, next, end, empty }), b'"' | b'}') => {
                let tag = if byte == b'"' { Some(self.tag()?) } else { None };
                let pending = self.bulk[next..end].first().map(|element| place(element).1);
                let comes_first = |link: &str| tag.as_deref().is_none_or(|tag| link < tag);
                if pending.is_some_and(comes_first) {
                    self.put_link(next, empty);
                    self.open.push(Open::Dataset { path, next: next + 1, end, empty: false });
                    return Ok(());
                }
                let Some(tag) = tag else {
                    self.put(1);
                    return Ok(());
                };
                // One that is there needs no link.
                let next = if pending == Some(tag.as_str()) { next + 1 } else { next };
                let inner = format!("{path}{tag}/");
                if !empty {
                    self.out.push(b',');
                }
                self.open.push(Open::Dataset { path, next, end, empty: false });
                self.member(inner)?;
            }
            _ => return Err(Unreadable(self.at)),
        }
        Ok(())
    }

    fn begin_dataset(&mut self, path: String) {
        let next = self.bulk.partition_point(|element| place(element).0 < path.as_str());
        let of_it = self.bulk[next..].partition_point(|element| place(element).0 == path.as_str());
        self.put(1);
        self.open.push(Open::Dataset { path, next, end: next + of_it, empty: true });
    }

    /// The name of the member that begins here.
    fn tag(&self) -> Result<String, Unreadable> {
        let unreadable = Unreadable(self.at);
        let tag = self.json.get(self.at + 1..self.at + 1 + TAG_BYTES).ok_or(unreadable.clone())?;
        std::str::from_utf8(tag).map(str::to_owned).map_err(|_| unreadable)
    }

    /// Copies the member that begins here: the whole, or of a sequence what stands before its items, whose path
    /// begins with `path`.
    fn member(&mut self, path: String) -> Result<(), Unreadable> {
        // The name in its quotes, and the colon.
        let value = self.at + TAG_BYTES + 3;
        if self.json.get(value..).is_some_and(|rest| rest.starts_with(SEQUENCE)) {
            self.copy_to = value + SEQUENCE.len();
            self.open.push(Open::Sequence { path, items: 0 });
        } else {
            self.copy_to = end_of_object(&self.json, value).ok_or(Unreadable(self.at))?;
        }
        Ok(())
    }

    fn put_link(&mut self, number: usize, empty: bool) {
        if !empty {
            self.out.push(b',');
        }
        let element = &self.bulk[number];
        let (_, tag) = place(element);
        let vr = String::from_utf8_lossy(&element.vr);
        let link = format!(r#""{tag}":{{"vr":"{vr}","BulkDataURI":"{}{}"}}"#, self.url, element.path);
        self.out.extend_from_slice(link.as_bytes());
    }

    /// Copies the next bytes.
    fn put(&mut self, bytes: usize) {
        self.out.extend_from_slice(&self.json[self.at..self.at + bytes]);
        self.at += bytes;
    }
}

/// The path of an element's dataset, and its tag.
fn place(element: &BulkElement) -> (&str, &str) {
    element.path.split_at(element.path.len().saturating_sub(TAG_BYTES))
}

/// Where the object that begins at `at` ends.
fn end_of_object(json: &[u8], at: usize) -> Option<usize> {
    if json.get(at) != Some(&b'{') {
        return None;
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (offset, byte) in json[at..].iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' if !quoted => depth += 1,
            b'}' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + offset + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(path: &str, length: u64) -> BulkElement {
        BulkElement { path: path.to_owned(), vr: *b"OW", offset: 1, length }
    }

    fn linked(json: &str, bulk: &[(&str, u64)]) -> Result<String, Unreadable> {
        let bulk = bulk.iter().map(|(path, length)| element(path, *length)).collect();
        let mut linked = Linked::new(Bytes::copy_from_slice(json.as_bytes()), bulk, "u/");
        let mut whole = Vec::new();
        while let Some(piece) = linked.next_piece()? {
            whole.extend_from_slice(&piece);
        }
        Ok(String::from_utf8(whole).unwrap())
    }

    #[test]
    fn links_stand_where_their_elements_would_at_every_depth() {
        let plain = r#"{"00080018":{"vr":"UI","Value":["1.2"]},"00089215":{"vr":"SQ","Value":[{},{"00080100":{"vr":"SH","Value":["a\"}{"]},"00400000":{"vr":"SQ"}}]},"00100010":{"vr":"PN"}}"#;
        let bulk = [
            ("7FE00010", 8),
            ("00089215/1/00420011", 2),
            ("00080001", 4),
            ("00090001", 0),
            ("00089215/2/00281201", 6),
            ("00089215/10/00281201", 6),
            ("00091001", 3),
        ];
        let link = |tag: &str, path: &str| format!(r#""{tag}":{{"vr":"OW","BulkDataURI":"u/{path}"}}"#);
        let expected = format!(
            r#"{{{},"00080018":{{"vr":"UI","Value":["1.2"]}},"00089215":{{"vr":"SQ","Value":[{{{}}},{{"00080100":{{"vr":"SH","Value":["a\"}}{{"]}},{},"00400000":{{"vr":"SQ"}}}}]}},{},"00100010":{{"vr":"PN"}},{}}}"#,
            link("00080001", "00080001"),
            link("00420011", "00089215/1/00420011"),
            link("00281201", "00089215/2/00281201"),
            link("00091001", "00091001"),
            link("7FE00010", "7FE00010"),
        );
        assert_eq!(linked(plain, &bulk), Ok(expected));
        assert_eq!(linked("{}", &[("7FE00010", 2)]), Ok(format!("{{{}}}", link("7FE00010", "7FE00010"))));
    }

    #[test]
    fn without_bulk_and_however_long_they_stay_as_they_are() {
        let text = "x".repeat(3 * PIECE_BYTES);
        let long = format!(r#"{{"00400000":{{"vr":"UT","Value":["{text}"]}},"00400001":{{"vr":"UT"}}}}"#);
        assert_eq!(linked(&long, &[("00089215/1/7FE00010", 1)]), Ok(long.clone()));
    }

    #[test]
    fn many_links_come_in_pieces() {
        let bulk = (0..20_000).map(|n| element(&format!("{n:08X}"), 1)).collect();
        let mut linked = Linked::new(Bytes::from_static(b"{}"), bulk, "u/");
        let (mut whole, mut longest) = (0, 0);
        while let Some(piece) = linked.next_piece().unwrap() {
            whole += piece.len();
            longest = longest.max(piece.len());
        }
        assert!(whole > 10 * PIECE_BYTES && longest < PIECE_BYTES + 200, "{longest} of {whole}");
    }

    #[test]
    fn what_is_no_metadata_is_refused_where_it_goes_wrong() {
        for (json, at) in [
            ("", 0),
            ("[]", 0),
            ("{", 1),
            (r#"{"0008"#, 1),
            (r#"{"00080018":1}"#, 1),
            (r#"{"00080018":{"vr":"UI""#, 1),
            (r#"{"00089215":{"vr":"SQ","Value":[1]}}"#, 32),
            (r#"{}{}"#, 2),
        ] {
            assert_eq!(linked(json, &[]), Err(Unreadable(at)), "{json}");
        }
    }
}
