//! Files that hold keys: written whole or not at all, and never readable by others in between.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of private files.
pub const PRIVATE: u32 = 0o600;

/// Makes a directory, and its parents, that only we may enter.
pub fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(told("make directory", path))
}

/// Puts `content` at `path` in one step: after a crash the file is the old one or the new one.
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    try_write(path, content, mode).map_err(told("write", path))
}

/// The content of a file; `None` when there is none.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(told("read", path)(error)),
    }
}

/// The permission bits of a file.
pub fn mode(path: &Path) -> io::Result<u32> {
    let metadata = fs::metadata(path).map_err(told("read", path))?;
    Ok(metadata.permissions().mode() & 0o777)
}

/// The error, with what was to be done.
fn told(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot {doing} {}: {error}", path.display()))
}

fn try_write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let directory = path
        .parent()
        .ok_or_else(|| io::Error::other("the path has no directory"))?;
    // Two processes must not share the temporary name; a leftover of a dead one may be replaced.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let result = write_and_rename(Path::new(&temporary), path, content, mode);
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result?;
    File::open(directory)?.sync_all()
}

fn write_and_rename(temporary: &Path, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(PRIVATE)
        .open(temporary)?;
    // Also corrects a leftover's mode and undoes the umask, before anything secret is in the file.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let nested = directory.path().join("a/b");
        private_directory(&nested).unwrap();
        let path = nested.join("key");
        assert_eq!(read(&path).unwrap(), None);
        for (content, mode) in [("one", PRIVATE), ("two", 0o644)] {
            write(&path, content.as_bytes(), mode).unwrap();
            assert_eq!(read(&path).unwrap().as_deref(), Some(content));
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
        assert_eq!(fs::read_dir(&nested).unwrap().count(), 1, "no temporary file stays");
        assert_eq!(fs::metadata(&nested).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
