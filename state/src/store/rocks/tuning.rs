//! How RocksDB is set up, for the database and for each keyspace.

use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, LogLevel, Options};

use super::counters;
use crate::store::Keyspace;

/// What a store may use of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RocksOptions {
    /// Blocks, indexes and filters read from disk, over all keyspaces. Filled by use.
    pub block_cache_bytes: usize,
    /// What is kept in memory, over all keyspaces, before it is written out sorted. So much, and
    /// the largest commit, is what a start after a crash has to read at most. Filled by use.
    pub write_buffer_bytes: usize,
    /// Threads for writing out and for compaction.
    pub background_threads: usize,
}

impl Default for RocksOptions {
    fn default() -> RocksOptions {
        RocksOptions {
            block_cache_bytes: 64 << 20,
            write_buffer_bytes: 64 << 20,
            background_threads: 2,
        }
    }
}

const MIB: usize = 1 << 20;

pub(super) fn database(options: &RocksOptions, create: bool) -> Options {
    // What a start reads from the log stays in memory and is written out afterwards: nobody waits
    // for that. Only RocksDB's text form of options knows this one.
    let mut db = Options::default()
        .get_options_from_string("avoid_flush_during_recovery=true")
        .expect("RocksDB knows the option");
    db.create_if_missing(create);
    db.create_missing_column_families(create);
    db.set_db_write_buffer_size(options.write_buffer_bytes);
    // Comes into play where the bound in `log` doesn't reach: entries of a few bytes.
    db.set_max_total_wal_size(options.write_buffer_bytes as u64);
    // Notices a log file that is missing or too short, as in an incomplete copy.
    db.set_track_and_verify_wals_in_manifest(true);
    db.set_max_background_jobs(options.background_threads.max(2) as i32);
    // Keeps start-up independent of the number of files: they are opened, and their statistics
    // read, when needed.
    db.set_max_open_files(256);
    db.set_skip_stats_update_on_db_open(true);
    db.set_bytes_per_sync(MIB as u64);
    db.set_max_manifest_file_size(16 * MIB);
    db.set_log_level(LogLevel::Warn);
    db.set_keep_log_file_num(2);
    db.set_max_log_file_size(MIB);
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    db
}

pub(super) fn families(options: &RocksOptions) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(options.block_cache_bytes);
    let family = |ks: Keyspace| ColumnFamilyDescriptor::new(ks.name(), family(ks, options, &cache));
    let mut families: Vec<_> = Keyspace::ALL.into_iter().map(family).collect();
    // RocksDB insists on this one; it stays empty. After a full disk, commits are let through
    // again when there is room for the largest write buffer of all families, hence its size.
    let mut unused = base();
    unused.set_write_buffer_size(MIB);
    families.push(ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, unused));
    families
}

fn family(ks: Keyspace, options: &RocksOptions, cache: &Cache) -> Options {
    let mut family = base();
    // The bound over all families decides; this one only lets a busy family have most of it.
    family.set_write_buffer_size(options.write_buffer_bytes / 4 * 3);
    family.set_max_write_buffer_number(4);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    match ks {
        Keyspace::Meta | Keyspace::Catalog => family.set_write_buffer_size(MIB),
        Keyspace::State => {
            table.set_bloom_filter(10.0, false);
            table.set_optimize_filters_for_memory(true);
            table.set_block_size(8 << 10);
            compress_older_levels(&mut family);
            // Much of it is deleted before it gets old, and it is read at a start only: merging it
            // a quarter as often is worth more than reading fewer files.
            family.set_level_zero_file_num_compaction_trigger(16);
            family.set_level_zero_slowdown_writes_trigger(40);
            family.set_level_zero_stop_writes_trigger(60);
            family.set_max_bytes_for_level_base(512 * MIB as u64);
        }
        Keyspace::View => {
            table.set_bloom_filter(10.0, false);
            table.set_optimize_filters_for_memory(true);
            table.set_block_size(16 << 10);
            compress_older_levels(&mut family);
            family.set_merge_operator_associative("weir.counter", counters::merge);
            family.set_compaction_filter("weir.counter", counters::filter);
            // A counter that changes at every commit must not be summed from thousands of
            // additions at every read.
            family.set_max_successive_merges(64);
            family.set_periodic_compaction_seconds(24 * 60 * 60);
        }
        // Written in order, read once or twice soon after, and deleted from the front: most of it
        // never reaches an older level.
        Keyspace::Log | Keyspace::Dml => {
            table.set_block_size(64 << 10);
            compress_older_levels(&mut family);
        }
    }
    family.set_block_based_table_factory(&table);
    family
}

/// Reads slow down with every deleted range in a write buffer, which must therefore be written
/// out when it holds many. Only RocksDB's text form of options knows this one.
fn base() -> Options {
    Options::default()
        .get_options_from_string("memtable_max_range_deletions=256")
        .expect("RocksDB knows the option")
}

/// What was just written is likely to be overwritten or deleted before it gets old; compressing
/// it would be work for nothing.
fn compress_older_levels(family: &mut Options) {
    family.set_compression_type(DBCompressionType::Lz4);
    family.set_min_level_to_compress(2);
}
