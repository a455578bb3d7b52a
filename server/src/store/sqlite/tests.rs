//! The engine passes the suite, and what only an engine with a file can be asked.

use std::sync::Arc;

use futures::StreamExt;

use super::*;
use crate::store::Durability;
use crate::store::suite::{World, assert_consistent, everything, key, next_events, store_suite, write};

async fn open() -> World {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("state.db"), SqliteOptions::default()).unwrap();
    World {
        store: Arc::new(store),
        _keep: Box::new(directory),
    }
}

store_suite!(open);

#[tokio::test]
async fn everything_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db/state.db");
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    let mut watch = store.watch("", 2).await.unwrap();
    let first = store.put(write(&key("x"), "1", Expect::Absent)).await.unwrap();
    assert_eq!((first.create_revision, first.mod_revision), (2, 2));
    store.put(write(&key("x"), "2", Expect::Revision(2))).await.unwrap();
    store.delete(&key("x"), Expect::Any).await.unwrap();
    store.put(write(&key("y"), "3", Expect::Absent)).await.unwrap();
    let seen = next_events(&mut watch, 4).await;
    assert_consistent(&seen);
    let states = |store: SqliteStore| async move {
        let mut states = Vec::new();
        for revision in 1..=5 {
            states.push(store.range(everything(Some(revision))).await.unwrap().records);
        }
        states
    };
    let before = states(store).await;
    assert!(matches!(watch.next().await, Some(Err(StoreError::Closed))));
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    assert_eq!(store.revision().await.unwrap(), 5);
    assert_eq!(next_events(&mut store.watch("", 2).await.unwrap(), 4).await, seen);
    assert_eq!(states(store).await, before);
}

fn relaxed(name: &str, value: &str) -> Put {
    Put {
        durability: Durability::Relaxed,
        ..write(&key(name), value, Expect::Any)
    }
}

/// A copy of the store's files as a crash of the process would leave them.
pub(super) fn crashed_copy(from: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // The shared-memory file is SQLite's own, rebuilt by whoever opens first.
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

#[tokio::test]
async fn relaxed_writes_survive_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("state.db"), SqliteOptions::default()).unwrap();
    store.put(write(&key("a"), "0", Expect::Absent)).await.unwrap();
    for round in 0..3 {
        // The file starts over after each synced write; its old content must not come back.
        for number in 0..round + 2 {
            store.put(relaxed("a", &format!("{round}.{number}"))).await.unwrap();
            store.put(relaxed("b", &format!("{round}.{number}"))).await.unwrap();
        }
        let revision = store.revision().await.unwrap();
        let copy = crashed_copy(directory.path());
        let again = SqliteStore::open(&copy.path().join("state.db"), SqliteOptions::default()).unwrap();
        assert_eq!(again.revision().await.unwrap(), revision);
        let count = usize::try_from(revision - 1).unwrap();
        let events = next_events(&mut again.watch("", 2).await.unwrap(), count).await;
        assert_eq!(events, next_events(&mut store.watch("", 2).await.unwrap(), count).await);
        assert_consistent(&events);
        store.put(write(&key("c"), "", Expect::Any)).await.unwrap();
    }
}

#[tokio::test]
async fn more_relaxed_writes_than_fit_go_to_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    let long = "x".repeat(3000);
    for number in 0..300 {
        store.put(relaxed(&(number % 10).to_string(), &long)).await.unwrap();
    }
    for number in 0..3000 {
        store.put(relaxed(&(number % 10).to_string(), "short")).await.unwrap();
    }
    let events = next_events(&mut store.watch("", 2).await.unwrap(), 3300).await;
    assert_consistent(&events);
    let copy = crashed_copy(directory.path());
    let again = SqliteStore::open(&copy.path().join("state.db"), SqliteOptions::default()).unwrap();
    assert_eq!(next_events(&mut again.watch("", 2).await.unwrap(), 3300).await, events);
}

#[tokio::test]
async fn a_crash_of_the_machine_starts_a_new_history() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("state.db"), SqliteOptions::default()).unwrap();
    store.put(write(&key("a"), "kept", Expect::Absent)).await.unwrap();
    store.put(relaxed("a", "lost with the page cache")).await.unwrap();
    let seen = store.revision().await.unwrap();
    let copy = crashed_copy(directory.path());
    let path = copy.path().join("state.db");
    std::fs::write(copy.path().join("state.db-relaxed"), "").unwrap();
    let another_boot = rusqlite::Connection::open(&path).unwrap();
    another_boot
        .execute("UPDATE meta SET value = 'another' WHERE name = 'boot'", [])
        .unwrap();
    drop(another_boot);
    for _ in 0..2 {
        let again = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
        let revision = again.revision().await.unwrap();
        assert!(revision > seen, "no revision that someone may have seen is used again");
        assert_eq!(again.get(&key("a"), None).await.unwrap().unwrap().value, "kept");
        assert!(matches!(
            again.watch("", seen + 1).await.err(),
            Some(StoreError::Compacted { .. })
        ));
        let written = again.put(write(&key("b"), "", Expect::Any)).await.unwrap();
        assert_eq!(written.mod_revision, revision + 1);
        assert_eq!(
            next_events(&mut again.watch("", revision + 1).await.unwrap(), 1).await[0].record,
            written
        );
    }
}

#[tokio::test]
async fn a_second_store_on_the_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    assert_refused(
        &path,
        "cannot open [DIR]/state.db: another process has it open; stop that one or use another data directory",
    );
    store.put(write(&key("a"), "", Expect::Absent)).await.unwrap();
    drop(store);
    SqliteStore::open(&path, SqliteOptions::default()).unwrap();
}

fn assert_refused(path: &Path, expect: &str) {
    let Err(error) = SqliteStore::open(path, SqliteOptions::default()) else {
        panic!("it opened")
    };
    let directory = path.parent().unwrap().to_str().unwrap();
    assert_eq!(error.to_string().replace(directory, "[DIR]"), expect);
}

#[tokio::test]
async fn damaged_files_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    for number in 0..200 {
        store
            .put(write(&key(number), &"x".repeat(500), Expect::Absent))
            .await
            .unwrap();
    }
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let damaged = |from: usize, with: u8| {
        let mut content = whole.clone();
        content[from..from + 100].fill(with);
        content
    };
    let damage = "the file is damaged: stop the server, keep a copy of the file and restore a backup";
    let foreign = {
        let path = directory.path().join("foreign.db");
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE a (b); PRAGMA user_version = 7")
            .unwrap();
        std::fs::read(path).unwrap()
    };
    let mut newer = whole.clone();
    newer[60..64].copy_from_slice(&9_i32.to_be_bytes());
    let table = [
        (
            damaged(0, b'?'),
            format!("cannot open [DIR]/state.db: file is not a database; {damage}"),
        ),
        (
            damaged(4096 * 9, 0xff),
            format!("cannot read [DIR]/state.db: database disk image is malformed; {damage}"),
        ),
        (
            whole[..4096 * 5].to_vec(),
            format!("cannot open [DIR]/state.db: database disk image is malformed; {damage}"),
        ),
        (
            foreign,
            "cannot open [DIR]/state.db: it is some other program's database".to_owned(),
        ),
        (
            newer,
            "cannot open [DIR]/state.db: it has format 9, this version knows format 1; use the version that wrote it"
                .to_owned(),
        ),
    ];
    for (content, expect) in table {
        std::fs::write(&path, &content).unwrap();
        assert_refused(&path, &expect);
        assert_eq!(
            std::fs::read(&path).unwrap().len(),
            content.len(),
            "what is left to rescue is left alone"
        );
    }
    std::fs::write(&path, &whole).unwrap();
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    assert_eq!(store.range(everything(None)).await.unwrap().records.len(), 200);
}

/// A small file system in memory; gone with the value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount(bytes: usize) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={bytes}");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(
            Some("none"),
            directory.path(),
            Some("tmpfs"),
            flags,
            Some(options.as_str()),
        )
        .ok()?;
        Some(Self(directory))
    }

    fn set_read_only(&self, read_only: bool) {
        let mut flags = nix::mount::MsFlags::MS_REMOUNT;
        flags.set(nix::mount::MsFlags::MS_RDONLY, read_only);
        nix::mount::mount(None::<&str>, self.0.path(), None::<&str>, flags, None::<&str>).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a failing test still holds the store open.
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_room() {
    let Some(disk) = SmallDisk::mount(4 << 20) else {
        return eprintln!("skipped: mounting is not allowed here");
    };
    let path = disk.0.path().join("state.db");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    let mut watch = store.watch("", 2).await.unwrap();
    let mut kept = Vec::new();
    let error = loop {
        let put = write(
            &key(format_args!("{:05}", kept.len())),
            &"x".repeat(2000),
            Expect::Absent,
        );
        match store.put(put).await {
            Ok(record) => kept.push(record),
            Err(error) => break error,
        }
    };
    insta::assert_snapshot!(
        error.to_string().replace(disk.0.path().to_str().unwrap(), "[DIR]"),
        @"cannot write [DIR]/state.db: database or disk is full; the disk is full: free some space, writes then work again by themselves"
    );
    // Reads, watches and heartbeats do not mind.
    assert_eq!(store.range(everything(None)).await.unwrap().records, kept);
    let heartbeat = store.put(relaxed("z", "alive")).await.unwrap();
    assert_eq!(
        heartbeat.mod_revision,
        kept.last().unwrap().mod_revision + 1,
        "refused writes take no revision"
    );
    assert!(store.delete(&key("00000"), Expect::Any).await.is_err());
    kept.push(heartbeat);

    std::fs::remove_file(&ballast).unwrap();
    kept.push(
        store
            .put(write(&key("zz"), "room again", Expect::Absent))
            .await
            .unwrap(),
    );
    let events = next_events(&mut watch, kept.len()).await;
    assert_consistent(&events);
    assert_eq!(store.range(everything(None)).await.unwrap().records, kept);
    drop((store, watch));
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    assert_eq!(store.range(everything(None)).await.unwrap().records, kept);
    assert_eq!(
        next_events(&mut store.watch("", 2).await.unwrap(), kept.len()).await,
        events
    );
}

#[tokio::test]
async fn a_read_only_directory_is_refused() {
    let Some(disk) = SmallDisk::mount(4 << 20) else {
        return eprintln!("skipped: mounting is not allowed here");
    };
    let path = disk.0.path().join("db/state.db");
    disk.set_read_only(true);
    let hint = "Read-only file system (os error 30); check that the directory can be written";
    assert_refused(&path, &format!("cannot create [DIR]: {hint}"));
    disk.set_read_only(false);
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    let written = store.put(write(&key("a"), "1", Expect::Absent)).await.unwrap();
    drop(store);
    disk.set_read_only(true);
    assert_refused(&path, &format!("cannot open [DIR]/state.db-relaxed: {hint}"));
    disk.set_read_only(false);
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    assert_eq!(store.get(&key("a"), None).await.unwrap(), Some(written));
}

/// Rewrites a few keys many times over.
async fn overwrite(store: &SqliteStore, bytes: usize) {
    let value = "x".repeat(2000);
    for number in 0..bytes / value.len() {
        store.put(write(&key(number % 10), &value, Expect::Any)).await.unwrap();
    }
}

#[tokio::test]
async fn history_and_file_stay_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let options = SqliteOptions {
        history_bytes: 1 << 20,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(&path, options.clone()).unwrap();
    let size = || std::fs::metadata(&path).unwrap().len();
    overwrite(&store, 4 << 20).await;
    let early = size();
    overwrite(&store, 12 << 20).await;
    let late = size();
    assert!(late <= early.max(4 << 20), "the file grew from {early} to {late} bytes");
    let oldest = match store.range(everything(Some(2))).await {
        Err(StoreError::Compacted { oldest }) => oldest,
        other => panic!("history was not compacted: {other:?}"),
    };
    let current = store.revision().await.unwrap();
    let history = (current - oldest) * 2000;
    assert!((700_000..1_100_000).contains(&history), "{history} bytes of history");
    assert_eq!(store.range(everything(Some(oldest))).await.unwrap().records.len(), 10);
    drop(store);
    let store = SqliteStore::open(&path, options).unwrap();
    assert!(
        matches!(store.watch("", oldest - 1).await.err(), Some(StoreError::Compacted { oldest: told }) if told == oldest)
    );
    assert_eq!(store.revision().await.unwrap(), current);
}

#[tokio::test]
async fn room_comes_back_after_a_burst() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    overwrite(&store, 12 << 20).await;
    let burst = std::fs::metadata(&path).unwrap().len();
    store.compact(store.revision().await.unwrap()).await.unwrap();
    // Tidying goes on while nothing is written; the checkpoint that cuts the file comes with closing at the latest.
    let reader = rusqlite::Connection::open(&path).unwrap();
    let pages = || {
        reader
            .pragma_query_value(None, "page_count", |row| row.get::<_, u64>(0))
            .unwrap()
    };
    let (before, deadline) = (pages(), std::time::Instant::now() + Duration::from_secs(60));
    while pages() >= before / 2 {
        assert!(
            std::time::Instant::now() < deadline,
            "{} of {before} pages stay",
            pages()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(reader);
    drop(store);
    let after = std::fs::metadata(&path).unwrap().len();
    assert!(after < burst / 2, "the file kept {after} of {burst} bytes");
}

#[tokio::test]
async fn history_ends_with_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let options = SqliteOptions {
        history_time: Duration::from_millis(300),
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(&path, options).unwrap();
    store.put(write(&key("a"), "0", Expect::Any)).await.unwrap();
    let began = std::time::Instant::now();
    let mut last_readable = began;
    loop {
        store.put(relaxed("a", "again")).await.unwrap();
        match store.get(&key("a"), Some(2)).await {
            Ok(_) => last_readable = std::time::Instant::now(),
            Err(StoreError::Compacted { .. }) => break,
            Err(error) => panic!("{error}"),
        }
        assert!(began.elapsed() < Duration::from_secs(20), "history does not end");
    }
    assert!(
        last_readable - began > Duration::from_millis(200),
        "history ended too early"
    );
}
