//! How much an idle cluster writes to disk: a process of its own, since the kernel counts by process.

use std::time::Duration;

use mizzen_server::store::sqlite::{SqliteOptions, SqliteStore};
use mizzen_server::store::{Durability, Expect, Put, Store as _};

/// The whole process is idle at 1 KiB/s at most; a Lease every 10 s is what there is to write.
#[tokio::test]
async fn heartbeats_hardly_touch_the_disk() {
    const HEARTBEATS: u64 = 360;
    const APART: Duration = Duration::from_secs(10);
    // Beside the build: the temporary directory may be memory.
    let beside = std::env::current_exe()
        .expect("a path")
        .parent()
        .expect("a folder")
        .to_owned();
    let directory = tempfile::tempdir_in(beside).expect("a folder");
    let store = SqliteStore::open(&directory.path().join("state.db"), SqliteOptions::default()).expect("opens");
    let written = || -> u64 {
        let io = std::fs::read_to_string("/proc/self/io").expect("counters");
        let line = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "))
            .expect("a counter");
        line.parse().expect("a number")
    };
    let relaxed_file = std::fs::File::open(directory.path().join("state.db-relaxed")).expect("a file");
    let put = |key: &str, value: String| Put {
        key: key.into(),
        value: value.into(),
        expect: Expect::Any,
        ttl: None,
        durability: Durability::Relaxed,
    };
    let before = written();
    for number in 0..HEARTBEATS {
        store.put(put("lease", "l".repeat(450))).await.expect("written");
        if number % 30 == 0 {
            store.put(put("status", "s".repeat(8 << 10))).await.expect("written");
        }
        // The kernel writes back less often than this.
        relaxed_file.sync_data().expect("synced");
    }
    let per_second = (written() - before) / (HEARTBEATS * APART.as_secs());
    println!("an hour of heartbeats writes {per_second} bytes/s at most");
    assert!(per_second < 640, "idle heartbeats write {per_second} bytes/s");
}
