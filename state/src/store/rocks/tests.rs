//! What only the store on disk can get wrong: damage, disks that are full, what stays behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::store::Keyspace::{Meta, State, View};
use crate::store::decode_counter;

fn open(dir: &Path) -> Result<RocksStore> {
    RocksStore::open(dir, RocksOptions::default())
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

fn filled(dir: &Path) {
    let store = open(dir).unwrap();
    let mut batch = WriteBatch::new();
    for n in 0..10_000_u32 {
        batch.put(State, &n.to_be_bytes(), &n.to_le_bytes());
    }
    store.commit(batch).unwrap();
    store.flush().unwrap();
    // Written by compaction, so that nothing is left in the log of commits.
    store.compact();
}

#[test]
fn a_store_that_must_exist_and_does_not_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let error = RocksStore::open_existing(&path, RocksOptions::default()).err();
    assert!(matches!(error, Some(Error::Corrupt { .. })), "{error:?}");
}

#[test]
fn a_path_that_is_a_file_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "text").unwrap();
    for path in [path.clone(), path.join("below")] {
        let error = open(&path).err().unwrap();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_second_opening_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path()).unwrap();
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
}

#[test]
fn a_damaged_table_file_is_an_error_and_never_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    for path in files(dir.path(), "sst") {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 4;
        bytes[middle] ^= 0x55;
        fs::write(&path, bytes).unwrap();
    }
    let read = open(dir.path()).and_then(|store| {
        let entries: Result<Vec<_>> = store.scan(State, b"", None).collect();
        entries.map(|entries| entries.len())
    });
    assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
}

#[test]
fn a_missing_table_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    for path in files(dir.path(), "sst") {
        fs::remove_file(path).unwrap();
    }
    let read = open(dir.path()).and_then(|store| store.get(State, &7_u32.to_be_bytes()));
    assert!(
        matches!(read, Err(Error::Corrupt { .. } | Error::Io { .. })),
        "{read:?}"
    );
}

#[test]
fn a_commit_that_was_cut_off_within_its_log_is_gone_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for n in 0..3_u8 {
        let mut batch = WriteBatch::new();
        batch.put(State, &[n], &[n; 1_000]);
        batch.put(View, &[n], &[n; 1_000]);
        store.commit(batch).unwrap();
    }
    let [log] = &files(dir.path(), "log")[..] else {
        panic!("one log was expected");
    };
    // What a loss of power may leave of the last write.
    let bytes = fs::read(log).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let cut = bytes[..end - 500].to_vec();
    let torn = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, torn.path().join(path.file_name().unwrap())).unwrap();
    }
    fs::write(torn.path().join(log.file_name().unwrap()), cut).unwrap();

    let store = open(torn.path()).unwrap();
    let found = |ks| {
        let keys = store.scan(ks, b"", None).map(|entry| entry.unwrap().0);
        keys.collect::<Vec<_>>()
    };
    assert_eq!(found(State), [[0], [1]]);
    assert_eq!(found(View), [[0], [1]]);
}

#[test]
fn counters_that_came_to_zero_leave_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for delta in [1, -1] {
        let mut batch = WriteBatch::new();
        for n in 0..1_000_u32 {
            batch.add(View, &n.to_be_bytes(), delta);
        }
        batch.put(View, b"kept", &counters::tag_counter(0));
        store.commit(batch).unwrap();
        store.flush().unwrap();
        store.compact();
    }
    let stored = || {
        let rocks = &store.rocks;
        let mut raw = rocks.db.raw_iterator_cf(rocks.family(View));
        raw.seek_to_first();
        let mut keys = Vec::new();
        while let Some(key) = raw.key() {
            keys.push(key.to_vec());
            raw.next();
        }
        keys
    };
    // The filter isn't shown what this compaction merged, but what the next one finds.
    let mut options = rocksdb::CompactOptions::default();
    options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
    let rocks = &store.rocks;
    rocks
        .db
        .compact_range_cf_opt(rocks.family(View), None::<&[u8]>, None::<&[u8]>, &options);
    assert_eq!(stored(), [b"kept"]);
    assert_eq!(
        store.get(View, b"kept").unwrap().as_deref(),
        Some(&counters::tag_counter(0)[..])
    );
}

#[test]
fn a_damaged_counter_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let rocks = &store.rocks;
    for (key, stored) in [(&b"tag"[..], &[9, 1, 2][..]), (b"short", &[1, 2]), (b"none", &[])] {
        rocks.db.put_cf(rocks.family(View), key, stored).unwrap();
        let read = store.get(View, key);
        assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
    }
    let entries: Result<Vec<_>> = store.scan(View, b"", None).collect();
    assert!(matches!(entries, Err(Error::Corrupt { .. })));
    // Neither is it taken for 0 when something is added.
    let mut batch = WriteBatch::new();
    batch.add(View, b"tag", 1);
    store.commit(batch).unwrap();
    let read = store.get(View, b"tag");
    assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
}

#[test]
fn one_hot_counter_is_read_quickly() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for _ in 0..200 {
        let mut batch = WriteBatch::new();
        for _ in 0..1_000 {
            batch.add(View, b"n", 1);
        }
        store.commit(batch).unwrap();
    }
    let begun = Instant::now();
    for _ in 0..100 {
        let value = store.get(View, b"n").unwrap().unwrap();
        assert_eq!(decode_counter(&value).unwrap(), 200_000);
    }
    // Summing 200,000 additions each time would take seconds.
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(500), "{took:?}");
}

// ---- A full disk, and one that fails ---------------------------------------------------------

/// Where a test that runs itself again is to write.
const PLACE: &str = "WEIR_TEST_PLACE";
const FILE_LIMIT: &str = "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\"";

/// Runs a test again by this command, to write in `dir`.
fn again(mut command: Command, test: &str, dir: &Path) {
    let output = command
        .arg(std::env::current_exe().unwrap())
        .args([&format!("store::rocks::tests::{test}"), "--exact", "--nocapture"])
        .env(PLACE, dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

/// Runs itself again on a file system of a few MB, if mounting one is allowed.
#[test]
fn a_full_disk_is_a_clear_error_and_nothing_is_lost() {
    if let Some(dir) = std::env::var_os(PLACE) {
        return write_until_full(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=32m none \"$DIR\"";
    let namespace = ["-U", "-r", "-m", "sh", "-c"];
    let script = |text: &str| {
        let mut command = Command::new("unshare");
        command.args(namespace).arg(text).env("DIR", dir.path());
        command
    };
    if script(mount).output().is_ok_and(|done| done.status.success()) {
        let command = script(&format!("{mount} && exec \"$0\" \"$@\""));
        again(command, "a_full_disk_is_a_clear_error_and_nothing_is_lost", dir.path());
    }
}

/// Runs itself again under a limit on the size of files: a failure that RocksDB doesn't get over.
#[test]
fn a_write_that_fails_otherwise_closes_the_store_until_it_is_opened_anew() {
    if let Some(dir) = std::env::var_os(PLACE) {
        return write_until_closed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", FILE_LIMIT]);
    let name = "a_write_that_fails_otherwise_closes_the_store_until_it_is_opened_anew";
    again(command, name, dir.path());
    // Outside of the limit.
    let store = RocksStore::open_existing(&dir.path().join("store"), small_buffers()).unwrap();
    let n = store.get(Meta, b"n").unwrap().unwrap();
    let n = u32::from_be_bytes(n.try_into().unwrap());
    // What failed is there whole or not at all.
    let told = fs::read_to_string(dir.path().join("told"))
        .unwrap()
        .parse::<u32>()
        .unwrap();
    assert!(n == told || n == told + 1, "{n} for {told}");
    check(&store, n);
    commit(&store, n + 1).unwrap();
    check(&store, n + 1);
}

fn small_buffers() -> RocksOptions {
    RocksOptions {
        write_buffer_bytes: 4 << 20,
        ..RocksOptions::default()
    }
}

fn commit(store: &RocksStore, n: u32) -> Result<()> {
    // Noise, so that compression doesn't help.
    let mut seed = n;
    let noise = (0..1 << 16).map(|_| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    });
    let mut batch = WriteBatch::new();
    batch.put(Meta, b"n", &n.to_be_bytes());
    batch.put(State, &n.to_be_bytes(), &noise.collect::<Vec<u8>>());
    batch.add(View, b"commits", 1);
    batch.put(Keyspace::Log, &n.to_be_bytes(), b"");
    store.commit(batch)
}

/// The store has commits up to this one, each whole.
fn check(store: &RocksStore, n: u32) {
    let last = store.get(Meta, b"n").unwrap().unwrap();
    assert_eq!(last, n.to_be_bytes());
    for ks in [State, Keyspace::Log] {
        let keys = store.scan(ks, b"", None).map(|entry| entry.unwrap().0);
        let expected = (1..=n).map(|n| n.to_be_bytes().to_vec());
        assert!(keys.eq(expected), "{ks} is not that of commit {n}");
    }
    let commits = store.get(View, b"commits").unwrap().unwrap();
    assert_eq!(decode_counter(&commits).unwrap(), i64::from(n));
}

/// Commits until one fails: how many didn't, and why that one did.
fn commit_until_error(store: &RocksStore) -> (u32, Error) {
    let failed = (1..1_000).find_map(|n| commit(store, n).err().map(|error| (n - 1, error)));
    let (n, error) = failed.expect("64 MB don't go into 32");
    assert!(n > 0);
    (n, error)
}

fn write_until_full(dir: &Path) {
    let filler = dir.join("filler");
    fs::write(&filler, vec![1; 16 << 20]).unwrap();
    let dir = dir.join("store");
    let store = RocksStore::open(&dir, small_buffers()).unwrap();
    let (mut n, error) = commit_until_error(&store);
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
    assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
    check(&store, n);

    fs::remove_file(&filler).unwrap();
    let begun = Instant::now();
    while let Err(error) = commit(&store, n + 1) {
        assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
        check(&store, n);
        assert!(begun.elapsed() < Duration::from_secs(60), "{error}");
        std::thread::sleep(Duration::from_millis(200));
    }
    n += 1;
    check(&store, n);
    drop(store);
    check(&RocksStore::open_existing(&dir, small_buffers()).unwrap(), n);
}

fn write_until_closed(dir: &Path) {
    let path = dir.join("store");
    let store = RocksStore::open(&path, small_buffers()).unwrap();
    let (n, error) = commit_until_error(&store);
    let says = error.to_string();
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
    assert!(
        says.contains(path.to_str().unwrap()) && says.contains("start Weir again"),
        "{says}"
    );
    // It stays so, and can be read.
    let error = commit(&store, n + 1).unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
    check(&store, n);
    fs::write(dir.join("told"), n.to_string()).unwrap();
}
