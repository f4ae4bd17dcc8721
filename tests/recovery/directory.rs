//! A data directory while no server has it: copied, and read for how far it has come.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use weir_state::{DataDir, RocksOptions, pipelines};

/// Copies a directory with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("the folder") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a copy of a file");
        }
    }
}

/// By partition, the offset below which no pipeline, running or stopped, will read again.
pub fn positions(data: &Path) -> BTreeMap<i32, i64> {
    let instance = DataDir::open(data, RocksOptions::default()).expect("the copy opens");
    let records = pipelines::load(instance.store().as_ref()).expect("pipeline records");
    let sources = || records.iter().flat_map(|record| record.positions.values());
    if sources().any(BTreeMap::is_empty) {
        // One has not begun.
        return BTreeMap::new();
    }
    let splits = sources().flatten();
    let mut positions = BTreeMap::new();
    for (split, progress) in splits {
        let partition = split.rsplit(':').next().and_then(|number| number.parse().ok());
        let lowest = positions
            .entry(partition.expect("topic:partition"))
            .or_insert(progress.position);
        *lowest = progress.position.min(*lowest);
    }
    positions
}
