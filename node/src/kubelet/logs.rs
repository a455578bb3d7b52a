//! Container logs on disk: rotated when they grow, removed with their Pod, and linked by the
//! names that log collectors look for.
//!
//! Rotation is looked at only for containers that run, on one slow timer; a look is one `stat`.

use std::fs;
use std::path::{Path, PathBuf};

use super::runtime::Runtime;

/// A log is rotated when it is larger.
const MAX_BYTES: u64 = 10 << 20;
/// How many files a container's log may have, the current one included.
const MAX_FILES: usize = 5;

/// Rotates a container's log if it is due.
pub async fn rotate_if_large(runtime: &Runtime, id: &str, log: &Path) {
    if tokio::fs::metadata(log).await.map(|meta| meta.len()).unwrap_or(0) < MAX_BYTES {
        return;
    }
    let path = log.to_owned();
    let renamed = tokio::task::spawn_blocking(move || rotate(&path)).await;
    match renamed {
        Ok(Ok(fresh)) => {
            if let Err(status) = runtime.reopen_log(id).await {
                tracing::warn!(%status, id, "log not reopened, renaming it back");
                let _ = tokio::fs::rename(fresh, log).await;
            }
        }
        Ok(Err(error)) => tracing::warn!(log = %log.display(), %error, "log not rotated"),
        Err(error) => tracing::warn!(%error, "log not rotated"),
    }
}

/// Renames the log, and removes the oldest of the renamed ones.
fn rotate(log: &Path) -> std::io::Result<PathBuf> {
    let stamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let fresh = PathBuf::from(format!("{}.{stamp}", log.display()));
    fs::rename(log, &fresh)?;
    let prefix = format!("{}.", log.file_name().unwrap_or_default().to_string_lossy());
    let entries = fs::read_dir(log.parent().unwrap_or(Path::new("/")))?.flatten();
    let mut old: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    old.sort();
    let surplus = old.len().saturating_sub(MAX_FILES - 1);
    for path in &old[..surplus] {
        fs::remove_file(path)?;
    }
    Ok(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("0.log");
        for number in 0..6 {
            fs::write(dir.path().join(format!("0.log.2020010{number}-000000")), b"").expect("written");
        }
        fs::write(&log, b"new").expect("written");
        let fresh = rotate(&log).expect("rotated");
        assert_eq!(fs::read(fresh).expect("read"), b"new");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), MAX_FILES - 1);
        assert!(!log.exists());
    }
}
