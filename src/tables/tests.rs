//! Tables in memory and on disk keep the same promises.

use super::keys::{Key, Parts};
use super::*;
use proptest::prelude::*;

fn tables() -> (tempfile::TempDir, Vec<Table>) {
    let folder = tempfile::tempdir().unwrap();
    let on = |engine| {
        let keeping = Keeping { engine, cache_bytes: 1 << 20 };
        Table::open(&folder.path().join(format!("{engine:?}")), "test-1", Uuid::nil(), keeping).unwrap()
    };
    let tables = vec![Table::memory(), on(Engine::Fjall), on(Engine::Sled)];
    (folder, tables)
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

fn put(table: &Table, key: &[u8], value: &[u8], cursor: Position) {
    let mut batch = table.batch();
    batch.put(key.to_vec(), value.to_vec());
    table.apply(batch.into_changes(), cursor).unwrap();
}

#[test]
fn what_a_reader_shows_stays_and_no_writer_waits_for_it() {
    let (_folder, mut tables) = tables();
    tables.pop();
    for table in tables {
        put(&table, b"a1", b"old", Position(1));
        let held = table.reader();
        // Enough to be written out and merged several times.
        for number in 0..6_000_u16 {
            put(&table, b"a1", b"new", Position(2 + u64::from(number)));
            put(&table, &[b'a', b'2', number as u8], &[0; 4_000], Position(2 + u64::from(number)));
        }
        table.flush().unwrap();
        assert_eq!(held.get(b"a1").unwrap(), Some(b"old".to_vec()));
        assert_eq!(held.cursor().unwrap(), Position(1));
        assert_eq!(held.prefix(b"a").count(), 1);
        assert_eq!(held.last(b"a").unwrap().unwrap().1, b"old");
        assert_eq!(held.digest(b"a").unwrap(), {
            let other = Table::memory();
            put(&other, b"a1", b"old", Position(9));
            other.reader().digest(b"a").unwrap()
        });
        assert_eq!(table.reader().get(b"a1").unwrap(), Some(b"new".to_vec()));
        assert_eq!(table.reader().prefix(b"a").count(), 257);
    }
}

#[test]
fn a_writer_of_sled_waits_for_readers() {
    let (_folder, mut tables) = tables();
    let table = tables.pop().unwrap();
    put(&table, b"a", b"old", Position(1));
    std::thread::scope(|scope| {
        let held = table.reader();
        let writer = scope.spawn(|| put(&table, b"a", b"new", Position(2)));
        assert_eq!(held.get(b"a").unwrap(), Some(b"old".to_vec()));
        assert_eq!(held.cursor().unwrap(), Position(1));
        assert!(!writer.is_finished());
        drop(held);
        writer.join().unwrap();
    });
    assert_eq!(table.reader().get(b"a").unwrap(), Some(b"new".to_vec()));
}

#[test]
fn another_format_log_or_engine_is_told_and_begun_again() {
    for (engine, other) in [(Engine::Fjall, Engine::Sled), (Engine::Sled, Engine::Fjall)] {
        let folder = tempfile::tempdir().unwrap();
        let keeping = Keeping::by(engine);
        let open = |name, log, keeping| Table::open(folder.path(), name, log, keeping).map(drop);
        open("test-1", Uuid::nil(), keeping).unwrap();
        for (name, log) in [("test-2", Uuid::nil()), ("test-1", Uuid::max())] {
            let refused = open(name, log, keeping);
            assert!(matches!(refused, Err(Error::Foreign { .. })), "{refused:?}");
        }
        let other = Keeping { engine: other, ..keeping };
        let refused = open("test-1", Uuid::nil(), other);
        assert!(refused.unwrap_err().to_string().contains("kept by another engine"));
        let (_, why) = Table::open_or_begin_again(folder.path(), "test-1", Uuid::nil(), other).unwrap();
        assert!(why.is_some());
        let (_, why) = Table::open_or_begin_again(folder.path(), "test-1", Uuid::nil(), other).unwrap();
        assert_eq!(why, None);
    }
}

#[test]
fn rows_outlive_a_restart() {
    for engine in [Engine::Fjall, Engine::Sled] {
        let folder = tempfile::tempdir().unwrap();
        let keeping = Keeping::by(engine);
        let open = || Table::open(folder.path(), "test-1", Uuid::nil(), keeping).unwrap();
        let table = open();
        for number in 0..100_u8 {
            let mut batch = table.batch();
            batch.put(vec![b'r', number], vec![number; 100]);
            batch.delete(vec![b'r', number / 2]);
            table.apply(batch.into_changes(), Position(u64::from(number))).unwrap();
        }
        let before = table.dump().unwrap();
        table.flush().unwrap();
        drop(table);
        assert_eq!(open().dump().unwrap(), before);
    }
}

/// Keys of some kinds, many of them the same.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![0..40_u64, (1_u64 << 40)..(1_u64 << 40) + 20];
    (prop::sample::select(b"rstu".to_vec()), "[ab]{0,2}", number)
        .prop_map(|(kind, text, number)| Key::of(kind).text(&text).number(number).build())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn all_engines_hold_what_a_sorted_map_holds(
        batches in prop::collection::vec(prop::collection::vec((any_key(), prop::option::of(0..9_usize)), 1..30), 1..8),
        ranges in prop::collection::vec((any_key(), 1..12_usize, any_key(), any::<bool>()), 1..20),
    ) {
        let (_folder, tables) = tables();
        let mut model = BTreeMap::new();
        let mut moments = Vec::new();
        for (number, changes) in batches.into_iter().enumerate() {
            let mut batches: Vec<_> = tables.iter().map(Table::batch).collect();
            for (key, value) in changes {
                let value = value.map(|length| vec![number as u8; length]);
                for batch in &mut batches {
                    match &value {
                        Some(value) => batch.put(key.clone(), value.clone()),
                        None => batch.delete(key.clone()),
                    }
                }
                match value {
                    Some(value) => drop(model.insert(key, value)),
                    None => drop(model.remove(&key)),
                }
            }
            for batch in &batches {
                let seen: Vec<_> = batch.range(Bound::Included(b"r"), Bound::Excluded(b"v")).map(Result::unwrap).collect();
                prop_assert_eq!(&seen, &model.clone().into_iter().collect::<Vec<_>>());
            }
            let changes: Vec<_> = batches.into_iter().map(Batch::into_changes).collect();
            for (table, changes) in tables.iter().zip(changes) {
                table.apply(changes, Position(number as u64)).unwrap();
            }
            // Of sled's none may be held while the next batch is written.
            moments.extend(tables[..2].iter().map(|table| (table.reader(), model.clone())));
        }
        for (reader, model) in moments {
            let seen: Vec<_> = reader.range(Bound::Included(b"r"), Bound::Excluded(b"v")).map(Result::unwrap).collect();
            prop_assert_eq!(seen, model.into_iter().collect::<Vec<_>>());
        }
        for (key, length, other, excluded) in ranges {
            let from = &key[..length.min(key.len())];
            let from = if excluded { Bound::Excluded(from) } else { Bound::Included(from) };
            let to = Bound::Excluded(&other[..]);
            let bounds = (from.map(<[u8]>::to_vec), to.map(<[u8]>::to_vec));
            let wanted: Vec<_> = if is_empty(&bounds) {
                Vec::new()
            } else {
                model.range(bounds).map(|(key, value)| (key.clone(), value.clone())).collect()
            };
            for table in &tables {
                let reader = table.reader();
                prop_assert_eq!(reader.get(&key).unwrap(), model.get(&key).cloned());
                let seen: Vec<_> = reader.range(from, to).map(Result::unwrap).collect();
                prop_assert_eq!(&seen, &wanted);
                let mut back: Vec<_> = reader.range_back(from, to).map(Result::unwrap).collect();
                back.reverse();
                prop_assert_eq!(&back, &wanted);
            }
        }
    }

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
