//! The lake as a folder: a staged file gets its key, durably.
//!
//! The name is linked first and everything is fsynced after, because one journal commit then covers file,
//! name and new folders. So a power loss may leave a torn file under a key that was never acknowledged; no
//! event names such a key, and the sweep removes it.
//!
//! Invariant: when a file is placed, its bytes, its name and every folder above it are durable.
//! Invariant: a name that is there is never replaced: it is made by a hard link, which fails then.
//! Invariant: a folder counts as durable only after an fsync of its parent that began when it was there, so
//! two uploads into one new folder need not know of each other.
//! Elsewhere: reads, listing and deletes (`object_store`, by `blob`).

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::staging::{Area, AtRest, StagedFile};
use super::{Error, key_of, said};

/// Files and folders being made durable at once, over all requests.
const PLACING: usize = 32;

/// Of them, those of one request.
const PLACING_PER_REQUEST: usize = 16;

/// Staged files kept open until they are placed; more are fsynced and closed when they are complete.
const KEPT_OPEN: usize = 256;

/// Folders remembered as durable.
const REMEMBERED_FOLDERS: usize = 2 * 1024;

/// A lake in a local folder, and the staging folder beside it.
#[derive(Debug)]
pub(super) struct Disk {
    lake: LocalFileSystem,
    root: PathBuf,
    area: Area,
    placing: Arc<Semaphore>,
    durable: Mutex<HashSet<PathBuf>>,
}

impl Disk {
    /// Opens or creates both folders and clears the staging folder.
    pub(super) fn open(root: &Path, staging: &Path) -> Result<Self, Error> {
        let failed = |path: &Path, error: &io::Error| Error::of_io(&path.display().to_string(), error);
        fs::create_dir_all(root).map_err(|error| failed(root, &error))?;
        let at_rest = AtRest::Kept(Arc::new(Semaphore::new(KEPT_OPEN)));
        let area = Area::open(staging, at_rest).map_err(|error| failed(staging, &error))?;
        let root = root.canonicalize().map_err(|error| failed(root, &error))?;
        let device = |path: &Path| fs::metadata(path).map(|m| m.dev()).map_err(|error| failed(path, &error));
        if device(&root)? != device(staging)? {
            let (staging, root) = (staging.display(), root.display());
            return Err(Error::Unavailable(format!("{staging} must lie on the file system of {root}")));
        }
        for folder in [root.as_path()].into_iter().chain(root.parent()) {
            sync_folder(folder).map_err(|error| failed(folder, &error))?;
        }
        let lake = LocalFileSystem::new_with_prefix(&root).map_err(|error| said::error("", &error))?;
        Ok(Self {
            lake: lake.with_fsync(true),
            root,
            area,
            placing: Arc::new(Semaphore::new(PLACING)),
            durable: Mutex::default(),
        })
    }

    /// The same folder as an object store, for everything but placing.
    pub(super) fn lake(&self) -> &LocalFileSystem {
        &self.lake
    }

    /// Where the file under `key` lies.
    pub(super) fn path(&self, key: &str) -> Result<PathBuf, Error> {
        self.path_of(&key_of(key)?)
    }

    fn path_of(&self, key: &Key) -> Result<PathBuf, Error> {
        self.lake.path_to_filesystem(key).map_err(|error| said::error(key.as_ref(), &error))
    }

    /// Whether the root folder is still there. It is never made anew while the archive runs: that would
    /// write beside a file system that has been unmounted.
    pub(super) fn root_is_there(&self) -> bool {
        self.root.is_dir()
    }

    /// Where files wait for their key.
    pub(super) fn area(&self) -> &Area {
        &self.area
    }

    /// Places one file, in one job.
    pub(super) async fn place(self: &Arc<Self>, staged: StagedFile, key: &Key) -> Result<(), Error> {
        let path = self.path_of(key)?;
        let disk = Arc::clone(self);
        let placed = self.job(move || {
            let linked = disk.link_synced(staged, &path)?;
            disk.sync(&linked).inspect_err(|_| linked.undo())
        });
        placed.await.map_err(|error| Error::of_io(key.as_ref(), &error))
    }

    /// Places many files: several at a time, each folder fsynced once. Answers in their order.
    pub(super) async fn place_all(self: &Arc<Self>, files: Vec<(StagedFile, Key)>) -> Vec<Result<(), Error>> {
        let linked: Vec<(Key, io::Result<Linked>)> = stream::iter(files)
            .map(|(staged, key)| async move {
                let linked = self.link_and_sync(staged, &key).await;
                (key, linked)
            })
            .buffered(PLACING_PER_REQUEST)
            .collect()
            .await;

        let all: Vec<&Linked> = linked.iter().filter_map(|(_, linked)| linked.as_ref().ok()).collect();
        let folders: BTreeSet<PathBuf> = all.iter().flat_map(|linked| linked.folders()).collect();
        let unsynced: Vec<(PathBuf, io::Error)> = stream::iter(folders)
            .map(|folder| async move {
                let synced = folder.clone();
                self.job(move || sync_folder(&synced)).await.err().map(|error| (folder, error))
            })
            .buffer_unordered(PLACING_PER_REQUEST)
            .filter_map(std::future::ready)
            .collect()
            .await;

        let result = |(key, linked): (Key, io::Result<Linked>)| {
            let linked = linked.map_err(|error| Error::of_io(key.as_ref(), &error))?;
            let folders = linked.folders();
            if let Some((_, error)) = unsynced.iter().find(|(folder, _)| folders.contains(folder)) {
                linked.undo();
                return Err(Error::of_io(key.as_ref(), error));
            }
            self.remember(&linked);
            Ok(())
        };
        linked.into_iter().map(result).collect()
    }

    async fn link_and_sync(self: &Arc<Self>, staged: StagedFile, key: &Key) -> io::Result<Linked> {
        let path = self.lake.path_to_filesystem(key)?;
        let disk = Arc::clone(self);
        self.job(move || disk.link_synced(staged, &path)).await
    }

    /// Runs `work` on the blocking pool, within the bound on placing.
    async fn job<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let permit = Arc::clone(&self.placing).acquire_owned().await.map_err(io::Error::other)?;
        let job = tokio::task::spawn_blocking(move || {
            let result = work();
            // Held by the job, not by the request, which may be gone before the job ends.
            drop(permit);
            result
        });
        job.await.map_err(io::Error::other)?
    }

    /// Gives the file its name in the lake and makes its bytes durable. The name in staging goes either way.
    fn link_synced(&self, staged: StagedFile, path: &Path) -> io::Result<Linked> {
        let linked = self.link(&staged, path);
        let synced = linked.and_then(|linked| match staged.sync() {
            Ok(()) => Ok(linked),
            Err(error) => {
                linked.undo();
                Err(error)
            }
        });
        staged.remove();
        synced
    }

    /// Links the file under its name in the lake, in folders that are made where they are missing.
    fn link(&self, staged: &StagedFile, path: &Path) -> io::Result<Linked> {
        let folder = path.parent().unwrap_or(&self.root).to_owned();
        let mut new_folders = self.make_folders(&folder)?;
        let mut result = fs::hard_link(staged.path(), path);
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            // A folder that was remembered has been removed by somebody.
            self.forget(&folder);
            new_folders = self.make_folders(&folder)?;
            result = fs::hard_link(staged.path(), path);
        }
        result.map(|()| Linked { path: path.to_owned(), folder, new_folders })
    }

    /// Makes the missing folders down to `folder`; answers those not known to be durable.
    fn make_folders(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut unknown = Vec::new();
        {
            let durable = self.durable.lock();
            let above = folder.ancestors().take_while(|above| *above != self.root);
            unknown.extend(above.take_while(|above| !durable.contains(*above)).map(Path::to_owned));
        }
        for folder in unknown.iter().rev() {
            match fs::create_dir(folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(unknown)
    }

    /// Makes a name and the folders above it durable.
    fn sync(&self, linked: &Linked) -> io::Result<()> {
        for folder in linked.folders() {
            sync_folder(&folder)?;
        }
        self.remember(linked);
        Ok(())
    }

    fn remember(&self, linked: &Linked) {
        if linked.new_folders.is_empty() {
            return;
        }
        let mut durable = self.durable.lock();
        if durable.len() + linked.new_folders.len() > REMEMBERED_FOLDERS {
            durable.clear();
        }
        durable.extend(linked.new_folders.iter().cloned());
    }

    fn forget(&self, folder: &Path) {
        let mut durable = self.durable.lock();
        for above in folder.ancestors().take_while(|above| *above != self.root) {
            durable.remove(above);
        }
    }
}

/// A name in the lake that is not durable yet.
#[derive(Debug)]
struct Linked {
    path: PathBuf,
    folder: PathBuf,
    /// Folders above the name that are not known to be durable.
    new_folders: Vec<PathBuf>,
}

impl Linked {
    /// What must be fsynced for the name to be durable: its folder, and the parents of the new folders.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let parents = self.new_folders.iter().filter_map(|folder| folder.parent().map(Path::to_owned));
        std::iter::once(self.folder.clone()).chain(parents).collect()
    }

    fn undo(&self) {
        // Left behind, it is a file that no event names: the sweep removes it.
        drop(fs::remove_file(&self.path));
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
