//! How the log of commits is kept short.
//!
//! After a crash all of it that isn't written out sorted is read again, at some 100 MB a second,
//! before anything else begins. RocksDB starts writing out by itself, but then takes commits as fast as
//! they come, and the log grows on while the disk and the processors lag behind. So what was
//! committed is counted here, and writing out is begun every so many bytes. Where that is still under way
//! from the last time, the commit that comes to the bound waits for it.

use parking_lot::Mutex;
use rocksdb::{ColumnFamily, FlushOptions};

use super::{Rocks, RocksOptions, classify};
use crate::error::Result;
use crate::store::Keyspace;

/// Memory that is being written out.
const UNDER_WAY: &str = "rocksdb.num-immutable-mem-table";

pub(super) struct Log {
    /// Bytes committed since writing out was last begun.
    bytes: Mutex<usize>,
    bound: usize,
}

impl Log {
    pub(super) fn new(options: &RocksOptions) -> Log {
        Log {
            bytes: Mutex::new(0),
            bound: options.write_buffer_bytes / 2,
        }
    }
}

impl Rocks {
    /// Notes a commit. What is not written out is at most twice the bound and one commit, since
    /// each waits its turn here.
    pub(super) fn bound_log(&self, committed: usize) {
        let mut bytes = self.log.bytes.lock();
        *bytes += committed;
        if *bytes < self.log.bound {
            return;
        }
        *bytes = 0;
        // The commit is durable whatever comes of this; the next one meets the same trouble.
        let _ = self.write_out(self.is_under_way());
    }

    /// Begins to write out what a start has read from the log.
    pub(super) fn shorten_log(&self) {
        let _ = self.write_out(false);
    }

    /// Writes out what is in memory, and waits for that if it is to.
    pub(super) fn write_out(&self, wait: bool) -> Result<()> {
        let families = Keyspace::ALL.map(|ks| self.family(ks));
        let families: Vec<&&ColumnFamily> = families.iter().collect();
        let mut options = FlushOptions::default();
        options.set_wait(wait);
        let flushed = self.db.flush_cfs_opt(&families, &options);
        flushed.map_err(|error| classify(&self.path, error))
    }

    fn is_under_way(&self) -> bool {
        Keyspace::ALL.into_iter().any(|ks| {
            let waiting = self.db.property_int_value_cf(self.family(ks), UNDER_WAY);
            waiting.is_ok_and(|count| count.unwrap_or(0) > 0)
        })
    }
}
