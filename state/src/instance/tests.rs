//! The data directory and the epoch counter, over restarts, copies and mistakes.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

fn open(path: &Path) -> Result<Arc<Instance>> {
    DataDir::open(path, RocksOptions::default())
}

fn put(instance: &Instance, key: &[u8], value: &[u8]) {
    let mut batch = WriteBatch::new();
    batch.put(Keyspace::State, key, value);
    instance.store().commit(batch).unwrap();
}

fn get(instance: &Instance, key: &[u8]) -> Option<Vec<u8>> {
    instance.store().get(Keyspace::State, key).unwrap()
}

fn refusal(path: &Path) -> Error {
    match open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(status.unwrap().success());
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn new_dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some/data");
    (dir, path)
}

// ---- Epochs --------------------------------------------------------------------------------

#[test]
fn epochs_rise_over_reopening() {
    let (_dir, path) = new_dir();
    let mut last = Epoch::ZERO;
    for round in 0..4 {
        let instance = open(&path).unwrap();
        assert!(instance.last_epoch() >= last);
        for _ in 0..[1, 3, 10_000, 1][round] {
            let epoch = instance.next_epoch();
            assert!(epoch > last, "{epoch} after {last}");
            assert_eq!(instance.last_epoch(), epoch);
            last = epoch;
        }
        put(&instance, b"epoch", &last.0.to_le_bytes());
        assert!(last.0 < 40_000, "the gaps are larger than they need be");
    }
}

#[test]
fn a_new_instance_begins_with_epoch_1() {
    let instance = Instance::memory();
    assert_eq!(instance.last_epoch(), Epoch::ZERO);
    assert_eq!(instance.next_epoch(), Epoch(1));
    assert_eq!(instance.next_epoch(), Epoch(2));
}

/// What is durable never knows a number above the durable bound, whichever commit was the last.
#[test]
fn no_commit_is_durable_without_a_bound_above_its_epoch() {
    let store = Arc::new(MemoryStore::new());
    let instance = Instance::on(store.clone()).unwrap();
    for _ in 0..3 * EPOCH_MARGIN {
        let epoch = instance.next_epoch();
        if epoch.0.is_multiple_of(7) {
            continue;
        }
        put(&instance, b"epoch", &epoch.0.to_le_bytes());
        if epoch.0 % 1_000 == 1 {
            let crashed = Instance::on(Arc::new(store.fork())).unwrap();
            assert!(crashed.next_epoch() > epoch);
            assert_eq!(crashed.id(), instance.id());
        }
    }
}

#[test]
fn epochs_are_given_out_once_by_all_threads() {
    let store = Arc::new(MemoryStore::new());
    let instance = Instance::on(store.clone()).unwrap();
    let given: Vec<Vec<Epoch>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let instance = &instance;
                scope.spawn(move || {
                    let mut given = Vec::new();
                    for _ in 0..5_000 {
                        let epoch = instance.next_epoch();
                        put(instance, &[thread], &epoch.0.to_le_bytes());
                        given.push(epoch);
                    }
                    given
                })
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().unwrap();
        threads.into_iter().map(join).collect()
    });
    for of_one in &given {
        assert!(of_one.is_sorted());
    }
    let all: HashSet<Epoch> = given.iter().flatten().copied().collect();
    assert_eq!(all.len(), 20_000);
    let highest = given.iter().flatten().max().unwrap();
    drop(instance);
    assert!(Instance::on(store).unwrap().next_epoch() > *highest);
}

// ---- The directory -------------------------------------------------------------------------

#[test]
fn a_directory_keeps_its_id_and_its_content() {
    let (_dir, path) = new_dir();
    let first = open(&path).unwrap();
    let id = first.id();
    put(&first, b"k", b"v");
    drop(first);
    let second = open(&path).unwrap();
    assert_eq!(second.id(), id);
    assert_eq!(get(&second, b"k").as_deref(), Some(&b"v"[..]));
    assert_ne!(Instance::memory().id(), id);
    assert_eq!(names(&path), ["store", "weir.json", "weir.lock"]);
}

#[test]
fn a_copy_opens() {
    let (dir, path) = new_dir();
    let instance = open(&path).unwrap();
    let id = instance.id();
    for n in 0..100_u8 {
        put(&instance, &[n], &[n; 5_000]);
        if n == 50 {
            instance.store().flush().unwrap();
        }
    }
    let epoch = instance.next_epoch();
    put(&instance, b"epoch", &epoch.0.to_le_bytes());
    drop(instance);

    let copied = dir.path().join("copy");
    copy(&path, &copied);
    let (original, copied) = (open(&path).unwrap(), open(&copied).unwrap());
    put(&original, b"whose", b"original");
    assert_eq!(copied.id(), id);
    assert!(copied.next_epoch() > epoch);
    for n in 0..100_u8 {
        assert_eq!(get(&copied, &[n]), Some(vec![n; 5_000]));
    }
    assert_eq!(get(&copied, b"whose"), None);
}

#[test]
fn a_copy_of_an_incomplete_store_is_refused() {
    let (dir, path) = new_dir();
    let instance = open(&path).unwrap();
    put(&instance, b"k", b"v");
    instance.store().flush().unwrap();
    put(&instance, b"l", b"v");
    drop(instance);
    let copied = dir.path().join("copy");
    copy(&path, &copied);
    fs::remove_file(copied.join("store/CURRENT")).unwrap();
    let error = refusal(&copied);
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert_eq!(get(&open(&path).unwrap(), b"l").as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_directory_in_use_is_refused_with_the_holder() {
    let (_dir, path) = new_dir();
    let instance = open(&path).unwrap();
    let error = refusal(&path);
    assert!(
        matches!(&error, Error::Locked { directory, pid } if *directory == path && *pid == Some(std::process::id())),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "{text}");

    // Whoever still holds the store still has the directory.
    let store = instance.store().clone();
    drop(instance);
    assert!(matches!(refusal(&path), Error::Locked { .. }));
    drop(store);
    open(&path).unwrap();
}

const OTHER_PROCESS: &str = "WEIR_TEST_OPEN";

#[test]
fn a_directory_in_use_is_refused_to_another_process() {
    if let Some(path) = std::env::var_os(OTHER_PROCESS) {
        println!("refused: {}", refusal(Path::new(&path)));
        return;
    }
    let (_dir, path) = new_dir();
    let instance = open(&path).unwrap();
    let name = "instance::tests::a_directory_in_use_is_refused_to_another_process";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(OTHER_PROCESS, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let expected = format!(
        "refused: data directory {} is in use by another process (pid {})",
        path.display(),
        std::process::id()
    );
    assert!(text.contains(&expected), "{text}");
    put(&instance, b"k", b"v");
}

#[test]
fn a_foreign_directory_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for foreign in ["notes.txt", "store", ".git"] {
        let path = dir.path().join(foreign.trim_start_matches('.'));
        fs::create_dir_all(path.join("sub")).unwrap();
        fs::rename(path.join("sub"), path.join(foreign)).unwrap();
        let error = refusal(&path);
        assert!(
            matches!(&error, Error::ForeignDirectory { directory, found } if *directory == path && found == foreign),
            "{error:?}"
        );
        assert_eq!(names(&path), [foreign]);
    }
}

#[test]
fn an_empty_directory_or_file_system_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    open(dir.path()).unwrap();
    open(dir.path()).unwrap();
}

#[test]
fn a_path_that_can_not_be_a_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "text").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = refusal(&path);
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_directory_without_permission_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write anyway, and then there is nothing to refuse.
    if fs::write(closed.join("probe"), "").is_ok() {
        fs::remove_file(closed.join("probe")).unwrap();
        return;
    }
    let error = refusal(&closed);
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("ermission"), "{error}");
}

#[test]
fn an_unknown_format_is_refused() {
    let (_dir, path) = new_dir();
    drop(open(&path).unwrap());
    let marker = path.join("weir.json");
    let text = fs::read_to_string(&marker).unwrap();
    // Whatever else a later format says.
    fs::write(&marker, r#"{"format":2,"identity":[1,2]}"#).unwrap();
    let error = refusal(&path);
    assert!(
        matches!(&error, Error::FormatVersion { found: 2, supported: 1, what } if what.contains(path.to_str().unwrap())),
        "{error:?}"
    );
    fs::write(&marker, text).unwrap();
    open(&path).unwrap();
}

#[test]
fn a_damaged_marker_is_refused() {
    let (_dir, path) = new_dir();
    drop(open(&path).unwrap());
    let marker = path.join("weir.json");
    let text = fs::read_to_string(&marker).unwrap();
    for damaged in ["", "{}", "[]", &text[..text.len() / 2], &text.replace('-', "?")] {
        fs::write(&marker, damaged).unwrap();
        let error = refusal(&path);
        assert!(matches!(error, Error::Corrupt { .. }), "{damaged:?}: {error:?}");
    }
    fs::remove_file(&marker).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, Error::ForeignDirectory { .. }), "{error:?}");
}

#[test]
fn a_directory_that_lost_its_store_does_not_begin_anew() {
    let (dir, path) = new_dir();
    drop(open(&path).unwrap());
    fs::remove_dir_all(path.join("store")).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    // Nor does it take another's.
    let other = dir.path().join("other");
    drop(open(&other).unwrap());
    let _ = fs::remove_dir_all(path.join("store"));
    copy(&other.join("store"), &path.join("store"));
    let error = refusal(&path);
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
}

#[test]
fn a_first_start_that_was_cut_short_is_made_good() {
    let (_dir, path) = new_dir();
    drop(open(&path).unwrap());
    let ready = fs::read_to_string(path.join("weir.json")).unwrap();
    let unready = ready.replace("true", "false");
    assert_ne!(ready, unready);
    let id = open(&path).unwrap().id();

    // After the store got its id.
    fs::write(path.join("weir.json"), &unready).unwrap();
    assert_eq!(open(&path).unwrap().id(), id);
    assert_eq!(fs::read_to_string(path.join("weir.json")).unwrap(), ready);
    // Before there was a store.
    fs::write(path.join("weir.json"), &unready).unwrap();
    fs::remove_dir_all(path.join("store")).unwrap();
    assert_eq!(open(&path).unwrap().id(), id);
    // Before there was a marker.
    fs::remove_dir_all(path.join("store")).unwrap();
    fs::rename(path.join("weir.json"), path.join("weir.json.new")).unwrap();
    assert_ne!(open(&path).unwrap().id(), id);
}
