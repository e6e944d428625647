//! Tables in memory and on disk keep the same promises.

use super::keys::{Key, Parts};
use super::*;
use proptest::prelude::*;

fn tables() -> (tempfile::TempDir, Vec<Table>) {
    let folder = tempfile::tempdir().unwrap();
    let sled = Table::open(&folder.path().join("t"), "test-1", Uuid::nil(), 1 << 20).unwrap();
    (folder, vec![Table::memory(), sled])
}

#[test]
fn a_batch_sees_itself_and_a_reader_sees_whole_batches() {
    let (_folder, tables) = tables();
    for table in tables {
        let mut batch = table.batch();
        batch.put(b"a1".to_vec(), b"x".to_vec());
        batch.put(b"a3".to_vec(), b"z".to_vec());
        assert_eq!(batch.get(b"a1").unwrap(), Some(b"x".to_vec()));
        assert_eq!(table.reader().get(b"a1").unwrap(), None);
        table.apply(batch.into_changes(), Position(4)).unwrap();

        let mut batch = table.batch();
        batch.put(b"a2".to_vec(), b"y".to_vec());
        batch.delete(b"a3".to_vec());
        let seen: Vec<_> = batch.prefix(b"a").map(|row| row.unwrap().0).collect();
        assert_eq!(seen, [b"a1".to_vec(), b"a2".to_vec()]);
        assert_eq!(table.reader().last(b"a").unwrap().unwrap().0, b"a3");
        assert_eq!(table.cursor().unwrap(), Position(4));
    }
}

#[test]
fn another_format_or_log_is_foreign() {
    let folder = tempfile::tempdir().unwrap();
    drop(Table::open(folder.path(), "view-1", Uuid::nil(), 1 << 20).unwrap());
    for (format, log) in [("view-2", Uuid::nil()), ("view-1", Uuid::max())] {
        let refused = Table::open(folder.path(), format, log, 1 << 20).map(drop);
        assert!(matches!(refused, Err(Error::Foreign { .. })), "{refused:?}");
    }
}

proptest! {
    #[test]
    fn keys_sort_as_their_parts(a in "[0-9.]{0,8}", b in "[0-9.]{0,8}", m: u64, n: u64) {
        let key = |text: &str, number| Key::of(b'k').text(text).newest_first(number).build();
        let wanted = (a.as_str(), !m).cmp(&(b.as_str(), !n));
        prop_assert_eq!(key(&a, m).cmp(&key(&b, n)), wanted);
        let bytes = key(&a, m);
        let mut parts = Parts::of(&bytes);
        prop_assert_eq!(parts.text(), Some(a.as_str()));
        prop_assert_eq!(parts.newest_first(), Some(m));
    }
}
