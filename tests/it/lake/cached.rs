//! The cache in front of a store: quick, safe to delete, and never trusted over what the store says.

use super::faults::large;
use super::{file, folder, health, paths, stored};
use crate::kit::dicom::red_triangle;
use crate::kit::folder::{files, name};
use crate::kit::proxy::Fault;
use crate::kit::stores::Far;

const LARGE: &str = "/v2/studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.6";

/// How often the store was asked for bytes of files since the last look.
fn gets(far: &Far) -> usize {
    far.proxy.lines().iter().filter(|line| line.starts_with("GET ") && line.contains(".dcm")).count()
}

#[test]
fn what_was_written_or_read_is_not_asked_for_again() {
    for far in Far::each() {
        let (folder, data) = folder();
        let cache = folder.path().join("cache");
        let flags = ["--blob-cache", name(&cache), "--blob-cache-size", "40MiB"];
        let process = far.serve(&data, &flags);
        let whole = large("1.2.3.4.6", 20);
        stored(&process, &whole);
        gets(&far);
        assert!(file(&process, LARGE).bytes() == whole);
        assert_eq!(gets(&far), 0, "it was just written");
        std::fs::remove_dir_all(&cache).expect("it is there");
        assert!(file(&process, LARGE).bytes() == whole);
        assert_eq!(gets(&far), 6, "the cache was emptied");
        assert!(file(&process, LARGE).bytes() == whole);
        assert_eq!(gets(&far), 0, "it was just read");
        // Wrong bytes in the cache are no answer.
        for block in files(&cache) {
            let mut bytes = std::fs::read(&block).expect("a block");
            bytes[77] ^= 1;
            std::fs::write(&block, bytes).expect("it is written");
        }
        assert!(file(&process, LARGE).bytes() == whole);
        assert_eq!(gets(&far), 6);
        drop(process);
        let process = far.serve(&data, &flags);
        assert!(file(&process, LARGE).bytes() == whole);
        assert_eq!(gets(&far), 0, "it is used again after a restart");
        // More than it holds: what was used longest ago goes.
        for uid in ["1.2.3.4.7", "1.2.3.4.8"] {
            stored(&process, &large(uid, 20));
        }
        let kept: u64 = files(&cache).iter().map(|path| path.metadata().expect("a block").len()).sum();
        assert!((20 << 20..=40 << 20).contains(&kept), "{kept}");
        assert!(file(&process, LARGE).bytes() == whole);
    }
}

#[test]
fn the_store_says_what_is_there_not_the_cache() {
    for far in Far::each() {
        let (folder, data) = folder();
        let cache = folder.path().join("cache");
        let flags = ["--blob-cache", name(&cache), "--blob-cache-trust", "0s"];
        let process = far.serve(&data, &flags);
        let whole = large("1.2.3.4.6", 2);
        stored(&process, &whole);
        let key = paths(&process).remove(0);
        let mut other = whole.clone();
        other[1_500_000] ^= 1;
        far.put(&key, other);
        assert_eq!(file(&process, LARGE).status, 424, "changed");
        far.remove(&key);
        assert_eq!(file(&process, LARGE).status, 424, "removed");
        far.put(&key, whole.clone());
        assert!(file(&process, LARGE).bytes() == whole);
        far.proxy.always(Fault::Answer(403, "AccessDenied"));
        assert_eq!(file(&process, LARGE).status, 424, "refused");
        far.proxy.always(Fault::Answer(503, "ServerBusy"));
        assert_eq!(file(&process, LARGE).status, 503, "it does not answer");
        far.proxy.heal();
        assert!(file(&process, LARGE).bytes() == whole);
        assert_ne!(health(&process).0, 0);
        stored(&process, &red_triangle().part10());
    }
}
