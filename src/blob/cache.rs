//! Recently written and read blocks of files on local disk, in front of a store behind a network.
//!
//! Layout: `{first two digits}/{SHA-256 of the key, 32 digits}.{block number}`, each [`BLOCK_BYTES`] of a
//! file, the last one shorter. The folder may be emptied at any time; what is found there at the start is
//! used again. Blocks are forgotten in the order of their last use.
//!
//! A block is handed out only with the checksums of its chunks, like everything else, and only while the
//! store is known to hold the file: it was asked within the time of trust, and answered with the length and
//! the `ETag` that are recorded. So a file that its owner removed, changed or locked is refused as it is
//! without a cache, at most that time later, and nothing is served while the store does not answer.
//!
//! Invariant: the folder holds no more than its limit, but for the block that is being written.
//! Elsewhere: the checks (`reading`).

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// What is kept and forgotten together: whole chunks.
pub(super) const BLOCK_BYTES: u64 = 1 << 20;

/// Files whose being there is remembered.
const CONFIRMED: usize = 64 * 1024;

/// The settings of a cache.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// Its folder.
    pub folder: PathBuf,
    /// Most bytes in it.
    pub limit_bytes: u64,
    /// How long the store's word that a file is there is taken for true.
    pub trust: Duration,
}

/// A cache of blocks.
#[derive(Debug)]
pub(super) struct Cache {
    settings: CacheSettings,
    state: Mutex<State>,
    next: AtomicU64,
}

/// The first half of the SHA-256 of a key.
type Name = [u8; 16];
type Block = (Name, u32);

#[derive(Debug, Default)]
struct State {
    blocks: HashMap<Block, Entry>,
    /// Blocks by their last use.
    order: BTreeMap<u64, Block>,
    bytes: u64,
    uses: u64,
    confirmed: HashMap<Name, (Instant, Option<String>)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    used: u64,
    bytes: u64,
}

impl State {
    fn insert(&mut self, block: Block, bytes: u64) {
        self.remove(block);
        self.uses += 1;
        self.blocks.insert(block, Entry { used: self.uses, bytes });
        self.order.insert(self.uses, block);
        self.bytes += bytes;
    }

    fn remove(&mut self, block: Block) {
        if let Some(entry) = self.blocks.remove(&block) {
            self.order.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    /// The oldest blocks, which have to go for the rest to fit.
    fn over(&mut self, limit_bytes: u64) -> Vec<Block> {
        let mut over = Vec::new();
        while self.bytes > limit_bytes
            && let Some((_, &block)) = self.order.first_key_value()
        {
            self.remove(block);
            over.push(block);
        }
        over
    }
}

impl Cache {
    /// Opens (creates) the folder and takes over what is there, the oldest first.
    pub(super) fn open(settings: CacheSettings) -> io::Result<Arc<Self>> {
        fs::create_dir_all(&settings.folder)?;
        let mut found: Vec<(SystemTime, Block, u64)> = Vec::new();
        for shelf in fs::read_dir(&settings.folder)? {
            let shelf = shelf?;
            if !shelf.file_type()?.is_dir() {
                continue;
            }
            for entry in fs::read_dir(shelf.path())? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                match block_of(&entry.file_name().to_string_lossy()) {
                    Some(block) => found.push((metadata.modified()?, block, metadata.len())),
                    None if entry.path().extension().is_some_and(|extension| extension == "new") => {
                        fs::remove_file(entry.path())?;
                    }
                    None => {}
                }
            }
        }
        found.sort_unstable();
        let mut state = State::default();
        for (_, block, bytes) in found {
            state.insert(block, bytes);
        }
        let cache = Self { settings, state: Mutex::new(state), next: AtomicU64::new(0) };
        cache.make_room();
        Ok(Arc::new(cache))
    }

    /// The store holds the file of `key`, with this `ETag`.
    pub(super) fn confirm(&self, key: &str, etag: Option<&str>) {
        let mut state = self.state.lock();
        if state.confirmed.len() >= CONFIRMED {
            state.confirmed.clear();
        }
        state.confirmed.insert(name_of(key), (Instant::now(), etag.map(ToOwned::to_owned)));
    }

    /// Whether the store was asked for the file lately; its `ETag` then.
    pub(super) fn confirmed(&self, key: &str) -> Option<Option<String>> {
        let state = self.state.lock();
        let (when, etag) = state.confirmed.get(&name_of(key))?;
        (when.elapsed() < self.settings.trust).then(|| etag.clone())
    }

    /// What was known of the file is not to be used any more.
    pub(super) fn doubt(&self, key: &str) {
        self.state.lock().confirmed.remove(&name_of(key));
    }

    /// Whether a block may be there.
    pub(super) fn has(&self, key: &str, number: u32) -> bool {
        self.state.lock().blocks.contains_key(&(name_of(key), number))
    }

    /// The bytes of a block, unchecked. Blocking.
    pub(super) fn read(&self, key: &str, number: u32) -> Option<Bytes> {
        let block = (name_of(key), number);
        let read = fs::read(self.path(block));
        let mut state = self.state.lock();
        match read {
            Ok(bytes) => {
                if state.blocks.contains_key(&block) {
                    state.insert(block, bytes.len() as u64);
                }
                Some(bytes.into())
            }
            Err(_) => {
                state.remove(block);
                None
            }
        }
    }

    /// A block whose bytes were wrong goes. Blocking.
    pub(super) fn drop_block(&self, key: &str, number: u32) {
        let block = (name_of(key), number);
        self.state.lock().remove(block);
        // It may be gone already.
        drop(fs::remove_file(self.path(block)));
    }

    /// Keeps the whole blocks of `bytes`, which begin at `start`, the beginning of a block, and end at that of
    /// another one or with the file. A disk that does not take them makes the cache useless, and nothing else.
    pub(super) async fn keep(self: &Arc<Self>, key: &str, start: u64, bytes: Bytes) {
        let (cache, key) = (Arc::clone(self), key.to_owned());
        let kept = tokio::task::spawn_blocking(move || cache.write(&key, start, &bytes));
        match kept.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the cache of files does not take anything"),
            Err(error) => tracing::warn!(%error, "the cache of files does not take anything"),
        }
    }

    fn write(&self, key: &str, start: u64, bytes: &[u8]) -> io::Result<()> {
        let block_bytes = usize::try_from(BLOCK_BYTES).expect("a block fits into memory");
        let first = u32::try_from(start / BLOCK_BYTES).map_err(io::Error::other)?;
        for (number, part) in (first..).zip(bytes.chunks(block_bytes)) {
            let block = (name_of(key), number);
            let path = self.path(block);
            let new = path.with_extension(format!("{}.new", self.next.fetch_add(1, Ordering::Relaxed)));
            if fs::write(&new, part).is_err() {
                // The shelf may not be there, or not any more.
                fs::create_dir_all(path.parent().unwrap_or(&self.settings.folder))?;
                fs::write(&new, part)?;
            }
            fs::rename(&new, &path)?;
            self.state.lock().insert(block, part.len() as u64);
        }
        self.make_room();
        Ok(())
    }

    fn make_room(&self) {
        let over = self.state.lock().over(self.settings.limit_bytes);
        for block in over {
            // It may be gone already.
            drop(fs::remove_file(self.path(block)));
        }
    }

    fn path(&self, (name, number): Block) -> PathBuf {
        let digits = hex::encode(name);
        Path::new(&self.settings.folder).join(&digits[..2]).join(format!("{digits}.{number}"))
    }
}

fn name_of(key: &str) -> Name {
    let digest = Sha256::digest(key);
    *digest.first_chunk().expect("a SHA-256 has 32 bytes")
}

fn block_of(file_name: &str) -> Option<Block> {
    let (name, number) = file_name.split_once('.')?;
    let name = hex::decode(name).ok()?.try_into().ok()?;
    Some((name, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path, limit_bytes: u64) -> Arc<Cache> {
        let trust = Duration::from_secs(30);
        Cache::open(CacheSettings { folder: folder.to_owned(), limit_bytes, trust }).unwrap()
    }

    #[tokio::test]
    async fn what_was_used_last_stays_and_the_limit_holds() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 3000);
        for key in ["a", "b", "c"] {
            cache.keep(key, 0, vec![key.as_bytes()[0]; 1000].into()).await;
        }
        assert_eq!(cache.read("a", 0).unwrap()[..], [b'a'; 1000]);
        cache.keep("d", 0, vec![b'd'; 1000].into()).await;
        assert!(cache.read("b", 0).is_none(), "it was used longest ago");
        for key in ["a", "c", "d"] {
            assert_eq!(cache.read(key, 0).unwrap()[0], key.as_bytes()[0]);
        }
        cache.keep("e", 0, vec![0; 4000].into()).await;
        assert_eq!(cache.state.lock().bytes, 0, "what is larger than the cache is not kept");
    }

    #[tokio::test]
    async fn blocks_are_found_again_after_a_restart_and_after_the_folder_was_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let whole: Bytes = (0..2_500_000u32).map(|at| (at / 7) as u8).collect::<Vec<_>>().into();
        let first = cache(folder.path(), 1 << 30);
        first.keep("k", 0, whole.clone()).await;
        std::fs::write(folder.path().join("notes.txt"), b"somebody's").unwrap();
        let again = cache(folder.path(), 1 << 30);
        assert_eq!(again.state.lock().bytes, whole.len() as u64);
        let parts: Vec<u8> = (0..3).flat_map(|number| again.read("k", number).unwrap()).collect();
        assert!(parts == whole);
        std::fs::remove_dir_all(folder.path()).unwrap();
        assert!(again.has("k", 1) && again.read("k", 1).is_none() && !again.has("k", 1));
        again.keep("k", 1 << 20, whole.slice(1 << 20..2 << 20)).await;
        assert!(again.read("k", 1).unwrap() == whole.slice(1 << 20..2 << 20));
    }

    #[tokio::test(start_paused = true)]
    async fn the_stores_word_is_true_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 1000);
        assert_eq!(cache.confirmed("k"), None);
        cache.confirm("k", Some("e1"));
        assert_eq!(cache.confirmed("k"), Some(Some("e1".to_owned())));
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(cache.confirmed("k"), None);
        cache.confirm("k", None);
        assert_eq!(cache.confirmed("k"), Some(None));
        cache.doubt("k");
        assert_eq!(cache.confirmed("k"), None);
    }
}
