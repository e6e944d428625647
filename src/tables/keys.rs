//! Typed keys: parts that sort as they should, put behind one another.
//!
//! Layout: texts end in a zero byte (no name or UID holds one), numbers are 8 bytes big endian, so the
//! bytes of a key sort as its parts do. [`Key::newest_first`] stores the complement of a number.

/// A key under construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl Key {
    /// A key of the kind `kind`: one letter that every kind of row has for itself.
    #[must_use]
    pub fn of(kind: u8) -> Self {
        Self(vec![kind])
    }

    /// Appends a text.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        debug_assert!(!text.as_bytes().contains(&0), "no text in a key holds a zero byte");
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        self
    }

    /// Appends a number; smaller numbers first.
    #[must_use]
    pub fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// Appends a number; greater numbers first.
    #[must_use]
    pub fn newest_first(self, number: u64) -> Self {
        self.number(!number)
    }

    /// Appends raw bytes of a fixed length.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The finished key or prefix.
    #[must_use]
    pub fn build(self) -> Vec<u8> {
        self.0
    }
}

/// Reads the parts of a key back.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    /// The parts behind the kind.
    #[must_use]
    pub fn of(key: &'a [u8]) -> Self {
        Self(key.get(1..).unwrap_or_default())
    }

    /// The next part as a text.
    pub fn text(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|b| *b == 0)?;
        let text = std::str::from_utf8(&self.0[..end]).ok()?;
        self.0 = &self.0[end + 1..];
        Some(text)
    }

    /// The next part as a number.
    pub fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*number))
    }

    /// The next part as a number stored newest first.
    pub fn newest_first(&mut self) -> Option<u64> {
        self.number().map(|number| !number)
    }

    /// What is left.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// The first key after all that begin with `prefix`; `None` when there is none.
#[must_use]
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
