//! Files staged, placed, read and removed: on disk, in memory and over a store that fails.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use futures_util::future::join_all;
use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

use super::faulty::{Faulty, PutFault, ReadFault};
use super::*;

/// A lake in a temporary folder.
struct Local {
    blobs: Blobs,
    folder: TempDir,
}

impl Local {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_local(&folder.path().join("lake"), &folder.path().join("staging")).unwrap();
        Self { blobs, folder }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join("lake").join(key)
    }

    fn staged_names(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.path().join("staging")).unwrap();
        names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }
}

/// Bytes in which no two chunks are alike.
fn pattern(length: usize) -> Vec<u8> {
    static PERIOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
        (0..1_000_003u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
    });
    let mut bytes = PERIOD.repeat(length.div_ceil(PERIOD.len()));
    bytes.truncate(length);
    bytes
}

async fn stage(blobs: &Blobs, bytes: &[u8], piece: usize) -> Staged {
    let mut staging = blobs.stage().await.unwrap();
    for piece in bytes.chunks(piece.max(1)) {
        staging.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    staging.finish().await.unwrap()
}

fn expected(staged: &Staged, key: &str) -> Expected {
    Expected {
        key: key.to_owned(),
        length_bytes: staged.length_bytes,
        sha256: staged.sha256,
        chunks: staged.chunks.clone().into(),
        etag: None,
    }
}

async fn store(blobs: &Blobs, key: &str, bytes: &[u8]) -> Expected {
    let staged = stage(blobs, bytes, 100_000).await;
    let expected = expected(&staged, key);
    blobs.place(staged, key).await.unwrap();
    expected
}

/// What comes out before the stream ends, and how it ends.
async fn drain(
    pieces: Result<BoxStream<'static, Result<Bytes, Error>>, Error>,
) -> (Vec<u8>, Result<(), Error>) {
    let mut all = Vec::new();
    match pieces {
        Err(error) => (all, Err(error)),
        Ok(mut pieces) => {
            while let Some(piece) = pieces.next().await {
                match piece {
                    Ok(bytes) => all.extend_from_slice(&bytes),
                    Err(error) => return (all, Err(error)),
                }
            }
            (all, Ok(()))
        }
    }
}

async fn read(blobs: &Blobs, file: &Expected, range: Range<u64>) -> Result<Vec<u8>, Error> {
    let (bytes, end) = drain(blobs.read(file, range).await).await;
    end.map(|()| bytes)
}

fn is_changed(error: &Error) -> bool {
    matches!(error, Error::Changed { .. })
}

#[tokio::test]
async fn a_file_comes_back_as_it_came_with_its_digest_and_sums() {
    let local = Local::open();
    for blobs in [local.blobs.clone(), Blobs::in_memory()] {
        for length in [0, 1, 131_071, 131_072, 131_073, 1_048_576, 3_000_000] {
            let bytes = pattern(length);
            let key = format!("a/b/{length}.dcm");
            let staged = stage(&blobs, &bytes, 70_001).await;
            assert_eq!(staged.length_bytes, length as u64);
            assert_eq!(staged.sha256, <[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(&bytes)));
            let sums: Vec<u32> = bytes.chunks(131_072).map(crc32c::crc32c).collect();
            assert_eq!(staged.chunks, sums);

            let file = expected(&staged, &key);
            blobs.place(staged, &key).await.unwrap();
            assert_eq!(read(&blobs, &file, 0..length as u64).await.unwrap(), bytes);
            blobs.check(&file).await.unwrap();
            blobs.verify(&file).await.unwrap();
        }
    }
    assert_eq!(std::fs::read(local.path("a/b/1.dcm")).unwrap(), pattern(1));
    assert_eq!(local.blobs.staged_bytes(), 0);
}

#[tokio::test]
async fn pieces_of_any_size_make_the_same_file() {
    let local = Local::open();
    let bytes = pattern(2_300_000);
    let whole = stage(&local.blobs, &bytes, bytes.len()).await;
    for piece in [1_000, 16_384, 999_999] {
        let staged = stage(&local.blobs, &bytes, piece).await;
        assert_eq!(expected(&staged, "k").sha256, whole.sha256);
        assert_eq!(staged.chunks, whole.chunks);
    }
}

#[tokio::test]
async fn a_flipped_byte_in_any_chunk_is_noticed_and_no_wrong_byte_comes_out() {
    // Longer than what is checked whole, so that later windows break the stream instead.
    let local = Local::open();
    let bytes = pattern(9 * 1024 * 1024 + 77);
    let file = store(&local.blobs, "f", &bytes).await;
    let length = bytes.len() as u64;
    for chunk in 0..bytes.len().div_ceil(131_072) {
        let at = (chunk * 131_072 + 4_711).min(bytes.len() - 1);
        let mut wrong = bytes.clone();
        wrong[at] ^= 0x10;
        std::fs::write(local.path("f"), &wrong).unwrap();

        let (seen, end) = drain(local.blobs.read(&file, 0..length).await).await;
        assert!(is_changed(&end.unwrap_err()), "chunk {chunk}");
        assert!(seen.len() <= at && seen[..] == bytes[..seen.len()], "chunk {chunk}");
        let around = at as u64 / 131_072 * 131_072;
        let one = local.blobs.read(&file, around..(around + 10).min(length)).await;
        assert!(one.is_err_and(|error| is_changed(&error)), "chunk {chunk}");
    }
    assert!(is_changed(&local.blobs.verify(&file).await.unwrap_err()));

    // A range that does not touch the damage is still served.
    let mut wrong = bytes.clone();
    wrong[0] ^= 1;
    std::fs::write(local.path("f"), &wrong).unwrap();
    assert_eq!(read(&local.blobs, &file, 131_072..131_080).await.unwrap(), bytes[131_072..131_080]);
}

#[tokio::test]
async fn a_short_long_replaced_or_missing_file_is_never_served() {
    let local = Local::open();
    let bytes = pattern(300_000);
    let file = store(&local.blobs, "f", &bytes).await;
    let longer = [&bytes[..], b"more"].concat();
    for (other, by_length) in [
        (bytes[..299_999].to_vec(), true),
        (longer, true),
        (Vec::new(), true),
        (pattern(300_001)[1..].to_vec(), false),
    ] {
        std::fs::write(local.path("f"), &other).unwrap();
        for range in [0..300_000, 0..1, 299_999..300_000] {
            assert!(is_changed(&read(&local.blobs, &file, range).await.unwrap_err()));
        }
        assert_eq!(local.blobs.check(&file).await.is_err(), by_length);
        assert!(is_changed(&local.blobs.verify(&file).await.unwrap_err()));
    }
    std::fs::remove_file(local.path("f")).unwrap();
    let missing = Error::Missing { key: "f".into() };
    assert_eq!(read(&local.blobs, &file, 0..1).await.unwrap_err(), missing);
    assert_eq!(read(&local.blobs, &file, 0..0).await.unwrap_err(), missing);
    assert_eq!(local.blobs.check(&file).await.unwrap_err(), missing);
    assert_eq!(local.blobs.verify(&file).await.unwrap_err(), missing);
    std::fs::create_dir(local.path("f")).unwrap();
    assert!(read(&local.blobs, &file, 0..1).await.is_err());
}

#[tokio::test]
async fn empty_ranges_are_served_and_impossible_ones_are_not() {
    let local = Local::open();
    let file = store(&local.blobs, "f", &pattern(1_000)).await;
    for at in [0, 1, 1_000] {
        assert!(read(&local.blobs, &file, at..at).await.unwrap().is_empty());
    }
    assert!(read(&local.blobs, &file, 0..1_001).await.is_err());
    let uncovered = Expected { chunks: Arc::new([]), ..file };
    assert!(read(&local.blobs, &uncovered, 0..10).await.is_err());
}

#[tokio::test]
async fn a_long_range_comes_in_windows_and_whole() {
    let local = Local::open();
    let bytes = pattern(13 * 1024 * 1024 + 5);
    let end = bytes.len() as u64;
    for (blobs, window) in [(local.blobs.clone(), 1 << 20), (Blobs::in_memory(), 4 << 20)] {
        let file = store(&blobs, "f", &bytes).await;
        for range in [0..end, 131_071..end, 1_000_000..end - 1_000_000, 0..9 * 1024 * 1024] {
            let pieces: Vec<Bytes> =
                blobs.read(&file, range.clone()).await.unwrap().map(Result::unwrap).collect().await;
            assert!(pieces.iter().all(|piece| piece.len() <= window));
            assert!(pieces.concat() == bytes[range.start as usize..range.end as usize], "{range:?}");
        }
        blobs.verify(&file).await.unwrap();
        let other = Expected { sha256: [0; 32], ..file };
        assert!(is_changed(&blobs.verify(&other).await.unwrap_err()));
    }
}

#[tokio::test]
async fn a_file_cut_while_it_is_read_ends_the_stream() {
    let local = Local::open();
    let bytes = pattern(12 * 1024 * 1024);
    let file = store(&local.blobs, "f", &bytes).await;
    let pieces = local.blobs.read(&file, 0..file.length_bytes).await;
    let opened = std::fs::OpenOptions::new().write(true).open(local.path("f")).unwrap();
    opened.set_len(5 * 1024 * 1024).unwrap();
    let (seen, end) = drain(pieces).await;
    assert!(is_changed(&end.unwrap_err()));
    assert_eq!(seen[..], bytes[..seen.len()]);
}

#[tokio::test]
async fn nothing_is_overwritten() {
    let local = Local::open();
    for blobs in [local.blobs.clone(), Blobs::in_memory()] {
        let file = store(&blobs, "a/f", b"first").await;
        let second = stage(&blobs, b"other", 9).await;
        assert!(matches!(blobs.place(second, "a/f").await, Err(Error::Refused { .. })));
        assert_eq!(read(&blobs, &file, 0..5).await.unwrap(), b"first");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_want_one_key_one_wins() {
    let local = Local::open();
    for round in 0..20 {
        let key = format!("r{round}/s/f");
        let texts = [b"left!".as_slice(), b"right".as_slice()];
        let mut placing = Vec::new();
        for text in texts {
            let (blobs, key, staged) = (local.blobs.clone(), key.clone(), stage(&local.blobs, text, 9).await);
            placing.push(tokio::spawn(async move { blobs.place(staged, &key).await }));
        }
        let results: Vec<_> = join_all(placing).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        let winner = texts[usize::from(results[1].is_ok())];
        assert_eq!(std::fs::read(local.path(&key)).unwrap(), winner);
    }
    assert!(local.staged_names().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_place_into_the_same_new_folders() {
    let local = Local::open();
    let mut placing = Vec::new();
    for number in 0..64 {
        let (blobs, staged) = (local.blobs.clone(), stage(&local.blobs, &[number], 1).await);
        let key = format!("p/{}/{}/{number}", number / 32, number / 4);
        placing.push(tokio::spawn(async move { blobs.place(staged, &key).await }));
    }
    for placed in join_all(placing).await {
        placed.unwrap().unwrap();
    }
    let found: Vec<_> = local.blobs.list("p").collect().await;
    assert_eq!(found.len(), 64);
    assert!(found.iter().all(|entry| entry.as_ref().is_ok_and(|(_, length)| *length == 1)));
}

#[tokio::test]
async fn a_batch_answers_for_each_file() {
    let local = Local::open();
    store(&local.blobs, "p/taken", b"x").await;
    let mut files = Vec::new();
    for key in ["p/1/a", "p/1/b", "p/taken", "p/../x", "p/2/c", "p/1/a"] {
        files.push((stage(&local.blobs, key.as_bytes(), 99).await, key.to_owned()));
    }
    let results = local.blobs.place_all(files).await;
    let well: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(well[1..5], [true, false, false, true]);
    // The same key twice in one batch: one of them wins.
    assert_ne!(well[0], well[5]);
    assert_eq!(std::fs::read(local.path("p/1/b")).unwrap(), b"p/1/b");
    assert_eq!(std::fs::read(local.path("p/taken")).unwrap(), b"x");
    assert_eq!(local.blobs.staged_bytes(), 0);
}

#[tokio::test]
async fn folders_removed_by_somebody_are_made_again() {
    let local = Local::open();
    store(&local.blobs, "p/s/1", b"x").await;
    std::fs::remove_dir_all(local.path("p")).unwrap();
    store(&local.blobs, "p/s/2", b"y").await;
    assert_eq!(std::fs::read(local.path("p/s/2")).unwrap(), b"y");
}

#[tokio::test]
async fn a_lake_that_is_gone_is_not_made_anew() {
    let local = Local::open();
    let lake = Lake { workspace: "w".into(), service: "s".into() };
    local.blobs.probe(&lake, Uuid::nil()).await.unwrap();
    let staged = stage(&local.blobs, b"x", 1).await;
    std::fs::remove_dir_all(local.folder.path().join("lake")).unwrap();
    assert!(matches!(local.blobs.place(staged, "p/f").await, Err(Error::Missing { .. })));
    assert!(matches!(local.blobs.probe(&lake, Uuid::nil()).await, Err(Error::Missing { .. })));
    assert!(!local.folder.path().join("lake").exists());
}

#[tokio::test]
async fn a_probe_leaves_nothing_behind() {
    let local = Local::open();
    let lake = Lake { workspace: "w".into(), service: "s".into() };
    for blobs in [local.blobs.clone(), Blobs::in_memory()] {
        blobs.probe(&lake, Uuid::nil()).await.unwrap();
        assert_eq!(blobs.list("AHDS").count().await, 0);
    }
    let faulty = Faulty::new();
    faulty.plan_reads(ReadFault::Refused);
    let blobs = Blobs::over(faulty.clone());
    assert!(matches!(blobs.probe(&lake, Uuid::nil()).await, Err(Error::Refused { .. })));
    assert_eq!(blobs.list("AHDS").count().await, 0);
}

#[tokio::test]
async fn what_an_earlier_process_left_in_staging_is_removed() {
    let local = Local::open();
    let staging = local.folder.path().join("staging");
    std::fs::write(staging.join("0000000000000007.staged"), b"left").unwrap();
    std::fs::write(staging.join("notes.txt"), b"somebody's").unwrap();
    let again = Blobs::open_local(&local.folder.path().join("lake"), &staging).unwrap();
    assert_eq!(local.staged_names(), ["notes.txt"]);
    store(&again, "f", b"x").await;
}

/// Waits for the blocking pool: what was queued there before has run when this answers.
async fn blocking_pool_is_idle(local: &Local) {
    while !local.staged_names().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_staged_file_that_is_dropped_leaves_nothing() {
    let local = Local::open();
    let staged = stage(&local.blobs, &pattern(10), 3).await;
    assert_eq!(local.staged_names().len(), 1);
    assert_eq!(local.blobs.staged_bytes(), 10);
    drop(staged);
    let mut half = local.blobs.stage().await.unwrap();
    half.write(pattern(2_000_000).into()).await.unwrap();
    drop(half);
    drop(local.blobs.stage().await.unwrap());
    blocking_pool_is_idle(&local).await;
    while local.blobs.staged_bytes() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn many_parts_in_staging_do_not_hold_many_files_open() {
    let local = Local::open();
    let mut files = Vec::new();
    for number in 0..400 {
        files.push((stage(&local.blobs, &[1, 2, 3], 3).await, format!("p/{number}")));
    }
    let links = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    let staging = local.folder.path().join("staging");
    assert!(links.filter(|path| path.starts_with(&staging)).count() <= 256);
    assert!(local.blobs.place_all(files).await.iter().all(Result::is_ok));
    assert_eq!(local.blobs.list("p").count().await, 400);
}

#[tokio::test]
async fn removing_is_final_and_may_be_repeated() {
    let local = Local::open();
    for blobs in [local.blobs.clone(), Blobs::in_memory()] {
        let file = store(&blobs, "p/f", b"x").await;
        blobs.remove("p/f").await.unwrap();
        blobs.remove("p/f").await.unwrap();
        assert!(matches!(blobs.check(&file).await, Err(Error::Missing { .. })));
        assert_eq!(blobs.list("p").count().await, 0);
    }
    assert_eq!(local.blobs.list("nowhere").count().await, 0);
}

#[test]
fn a_full_disk_is_told_from_a_broken_one() {
    let full = io::Error::from(ErrorKind::StorageFull);
    assert!(matches!(Error::of_io("k", &full), Error::Full(_)));
    assert!(matches!(Error::of_staging(&full), Error::Full(_)));
    assert!(matches!(Error::of_io("k", &io::Error::other("disk on fire")), Error::Unavailable(_)));
    let denied = io::Error::from(ErrorKind::PermissionDenied);
    assert!(matches!(Error::of_io("k", &denied), Error::Refused { .. }));
    assert!(matches!(Error::of_staging(&denied), Error::Unavailable(_)));
    let wrapped = object_store::Error::Generic { store: "x", source: Box::new(denied) };
    assert!(matches!(said::error("k", &wrapped), Error::Refused { .. }));
}

#[tokio::test]
async fn a_staging_folder_that_fails_fails_the_upload() {
    let local = Local::open();
    std::fs::remove_dir_all(local.folder.path().join("staging")).unwrap();
    let mut staging = local.blobs.stage().await.unwrap();
    staging.write(pattern(1_500_000).into()).await.unwrap();
    assert!(matches!(staging.write(pattern(1_500_000).into()).await, Err(Error::Unavailable(_))));
    assert!(matches!(staging.finish().await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn reads_without_room_go_on_in_small_windows_and_give_the_same_bytes() {
    let bytes = pattern(3_000_000);
    let local = Local::open();
    for blobs in [local.blobs.clone(), Blobs::in_memory()] {
        let file = store(&blobs, "z", &bytes).await;
        let mut open = Vec::new();
        let mut cramped = 0;
        for _ in 0..200 {
            let mut pieces = blobs.read(&file, 100..2_999_999).await.unwrap();
            let first = pieces.next().await.unwrap().unwrap();
            cramped += usize::from(first.len() <= 256 << 10);
            open.push((first, pieces));
        }
        assert!((100..130).contains(&cramped), "256 MiB have room for 89 of 200 files: {cramped}");
        for (first, pieces) in open {
            let (rest, ended) = drain(Ok(pieces)).await;
            ended.unwrap();
            assert!([&first[..], &rest].concat() == bytes[100..2_999_999]);
        }
        let (whole, ended) = drain(blobs.read(&file, 0..3_000_000).await).await;
        ended.unwrap();
        assert!(whole == bytes);
        let mut again = blobs.read(&file, 0..3_000_000).await.unwrap();
        assert_eq!(again.next().await.unwrap().unwrap().len(), 3_000_000, "the room is free again");
    }
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn ranges_of_a_deflated_dataset_are_inflated() {
    let dataset: Vec<u8> = (0..3_500_000u32).flat_map(|n| (n / 7 % 1_000).to_le_bytes()).collect();
    let file_bytes = [&pattern(333)[..], &deflated(&dataset), b"\0"].concat();
    let local = Local::open();
    for blobs in [local.blobs.clone(), Blobs::in_memory()] {
        let file = store(&blobs, "z", &file_bytes).await;
        let end = dataset.len() as u64;
        for range in [0..end, 0..1, 5..5, 1_048_570..1_048_580, 9_999_999..10_000_123, end - 1..end] {
            let (bytes, ended) = drain(blobs.inflating(&file, 333).read(range.clone()).await).await;
            ended.unwrap();
            assert_eq!(bytes, dataset[range.start as usize..range.end as usize], "{range:?}");
        }
        // One place after the other, forwards, over the last byte again, and back.
        let inflated = blobs.inflating(&file, 333);
        for range in [3..9, 9..1_048_576, 1_048_575..1_048_580, 2_000_000..5_000_000, 0..4, end - 1..end] {
            let (bytes, ended) = drain(inflated.read(range.clone()).await).await;
            ended.unwrap();
            assert_eq!(bytes, dataset[range.start as usize..range.end as usize], "{range:?}");
        }
        assert!(inflated.read(end..end + 1).await.is_err());
        assert!(inflated.read(0..1).await.is_ok(), "a range that is not there spoils nothing");
        let (_, beyond) = drain(blobs.inflating(&file, 333).read(end - 5..end + 1).await).await;
        assert!(is_changed(&beyond.unwrap_err()));
        let (_, wrong) = drain(blobs.inflating(&file, 334).read(0..end).await).await;
        assert!(wrong.is_err());
        let (_, at_end) = drain(blobs.inflating(&file, file.length_bytes).read(0..1).await).await;
        assert!(is_changed(&at_end.unwrap_err()));
    }
}

#[tokio::test]
async fn faults_are_met_as_planned_and_a_crash_forgets_what_was_not_acknowledged() {
    let faulty = Faulty::new();
    let blobs = Blobs::over(faulty.clone());
    faulty.plan_puts([PutFault::None, PutFault::Before, PutFault::Unacknowledged, PutFault::Full]);
    let mut files = Vec::new();
    for key in ["kept", "before", "doubtful", "full", "after"] {
        let staged = stage(&blobs, key.as_bytes(), 99).await;
        files.push(expected(&staged, key));
        let placed = blobs.place(staged, key).await;
        assert_eq!(placed.is_ok(), ["kept", "after"].contains(&key), "{key}");
        assert_eq!(matches!(placed, Err(Error::Full(_))), key == "full");
    }
    assert_eq!(blobs.list("").count().await, 3);
    faulty.crash().await;
    assert_eq!(blobs.list("").count().await, 2);
    assert_eq!(read(&blobs, &files[0], 0..4).await.unwrap(), b"kept");

    faulty.plan_reads(ReadFault::Unavailable);
    assert!(matches!(read(&blobs, &files[0], 0..4).await, Err(Error::Unavailable(_))));
    faulty.plan_reads(ReadFault::BreaksAfter(2));
    assert!(matches!(read(&blobs, &files[0], 0..4).await, Err(Error::Unavailable(_))));
    faulty.plan_reads(ReadFault::None);
    faulty.replace("kept", Bytes::from_static(b"kepT")).await;
    assert!(is_changed(&read(&blobs, &files[0], 0..4).await.unwrap_err()));
    for other in ["kep", "", "kept longer"] {
        faulty.replace("kept", other.into()).await;
        assert!(is_changed(&read(&blobs, &files[0], 0..4).await.unwrap_err()), "{other}");
        assert!(is_changed(&read(&blobs, &files[0], 4..4).await.unwrap_err()), "{other}");
        assert!(is_changed(&blobs.check(&files[0]).await.unwrap_err()), "{other}");
    }
    faulty.lose("kept").await;
    assert!(matches!(read(&blobs, &files[0], 0..4).await, Err(Error::Missing { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_range_equals_the_slice(
        length in 0usize..11_000_000, ends in any::<(u32, u32)>(), memory in any::<bool>()
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let local = Local::open();
            let blobs = if memory { Blobs::in_memory() } else { local.blobs.clone() };
            let bytes = pattern(length);
            let file = store(&blobs, "f", &bytes).await;
            let at = |end: u32| u64::from(end) * length as u64 / u64::from(u32::MAX);
            let (from, to) = (at(ends.0.min(ends.1)), at(ends.0.max(ends.1)));
            let found = read(&blobs, &file, from..to).await.unwrap();
            assert!(found == bytes[from as usize..to as usize], "{from}..{to} of {length}");
        });
    }
}
