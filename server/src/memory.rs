//! How much memory the machine has, and how much of it queries may take.

use std::fs;

/// Queries take this part of the machine's memory unless told otherwise.
const PART: u64 = 4;
/// Taken for the machine's where nothing tells it.
const UNKNOWN: u64 = 4 << 30;

/// What all queries may take together, in bytes, where nothing is said.
pub fn for_queries() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(total);
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse().ok());
    let most = [machine, group].into_iter().flatten().min();
    most.unwrap_or(UNKNOWN) / PART
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Bytes as they are written: `512 MiB`.
pub fn readable(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 10 << 30 => format!("{} GiB", bytes >> 30),
        bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        bytes => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_where_linux_tells_it() {
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16_777_216));
        assert_eq!(total("nothing"), None);
        assert!(for_queries() > 0);
        assert_eq!(readable(512 << 20), "512 MiB");
    }
}
