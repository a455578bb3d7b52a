//! Writing a volume's files so that a reader sees all of the old or all of the new: a fresh
//! directory per version, a `..data` link that is swapped, and links from the files' names
//! through it. The layout is upstream's, which programs watch for.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::disk;
use super::payload::Payload;

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// Brings the directory to the payload; writes nothing when it is there already.
///
/// # Errors
/// The path and what the system said.
pub fn write(target: &Path, payload: &Payload, group: Option<u32>) -> Result<(), String> {
    let named = |error: std::io::Error| format!("{}: {error}", target.display());
    let old = fs::read_link(target.join(DATA)).ok();
    if let Some(old) = &old
        && same(&target.join(old), payload)
    {
        return link_names(target, payload).map_err(named);
    }
    let version = jiff::Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string();
    let fresh = target.join(&version);
    write_files(&fresh, payload).map_err(named)?;
    if let Some(group) = group {
        disk::give_to_group(&fresh, group, disk::Access::Read)?;
    }
    let next = target.join(DATA_NEXT);
    remove(&next).map_err(named)?;
    symlink(&version, &next).map_err(named)?;
    fs::rename(&next, target.join(DATA)).map_err(named)?;
    link_names(target, payload).map_err(named)?;
    if let Some(old) = old {
        let _ = fs::remove_dir_all(target.join(old));
    }
    Ok(())
}

fn write_files(fresh: &Path, payload: &Payload) -> std::io::Result<()> {
    fs::create_dir(fresh)?;
    fs::set_permissions(fresh, fs::Permissions::from_mode(0o755))?;
    for (path, file) in payload {
        let full = fresh.join(path);
        if let Some(parent) = full.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&full, &file.data)?;
        // After writing, so that the process' mask does not matter.
        fs::set_permissions(&full, fs::Permissions::from_mode(file.mode))?;
    }
    Ok(())
}

/// Whether the version in `dir` is the payload.
fn same(dir: &Path, payload: &Payload) -> bool {
    fn count(dir: &Path) -> usize {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 })
            .sum()
    }
    count(dir) == payload.len()
        && payload
            .iter()
            .all(|(path, file)| fs::read(dir.join(path)).is_ok_and(|data| data == file.data))
        && dir.is_dir()
}

/// Makes the visible names, and removes those that are no longer there.
fn link_names(target: &Path, payload: &Payload) -> std::io::Result<()> {
    let names: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &names {
        match symlink(Path::new(DATA).join(name), target.join(name)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    for entry in fs::read_dir(target)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !names.contains(&*name) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::volumes::payload::File;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |data: &str| File {
            data: data.into(),
            mode: 0o640,
        };
        files
            .iter()
            .map(|(path, data)| ((*path).to_owned(), file(data)))
            .collect()
    }

    #[test]
    fn versions_swap_atomically_and_old_names_go() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = dir.path();
        write(target, &payload(&[("a", "1"), ("d/b", "2")]), None).expect("written");
        assert_eq!(fs::read_to_string(target.join("a")).expect("a"), "1");
        assert_eq!(fs::read_to_string(target.join("d/b")).expect("b"), "2");
        assert_eq!(
            fs::metadata(target.join("a")).expect("a").permissions().mode() & 0o777,
            0o640
        );
        let first = fs::read_link(target.join(DATA)).expect("a link");

        write(target, &payload(&[("a", "1"), ("d/b", "2")]), None).expect("written");
        assert_eq!(
            fs::read_link(target.join(DATA)).expect("a link"),
            first,
            "nothing changed, nothing written"
        );

        write(target, &payload(&[("a", "3")]), None).expect("written");
        assert_eq!(fs::read_to_string(target.join("a")).expect("a"), "3");
        assert!(!target.join("d").exists() && !target.join(first).exists());
    }
}
