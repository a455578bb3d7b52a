//! Volumes and the kernel: directories, tmpfs, owners, checks of host paths, removal.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::Gid;

/// A volume in memory.
pub struct Tmpfs {
    /// Its size in bytes; half of the memory if not said.
    pub size: Option<i64>,
}

/// What a group may do with a volume.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    Read,
    /// Read and write it.
    Write,
}

/// Makes the volume's directory, in memory if asked, once. True when it was not there before.
///
/// # Errors
/// The path and what the system said.
pub fn directory(path: &Path, tmpfs: Option<Tmpfs>) -> Result<bool, String> {
    let fresh = !path.exists();
    fs::create_dir_all(path).map_err(|error| named(path, error))?;
    let Some(Tmpfs { size }) = tmpfs else { return Ok(fresh) };
    if !fresh && is_mount_point(path) {
        return Ok(false);
    }
    let options = size.map(|size| format!("size={size}"));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, options.as_deref()).map_err(|error| named(path, error))?;
    // tmpfs starts with the sticky bit set, unlike a directory of ours.
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(|error| named(path, error))?;
    Ok(true)
}

/// Whether something is mounted exactly here.
#[must_use]
pub fn is_mount_point(path: &Path) -> bool {
    mount_points().iter().any(|point| point == path)
}

fn mount_points() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let paths = text.lines().filter_map(|line| line.split(' ').nth(4));
    paths
        .map(|path| PathBuf::from(path.replace("\\040", " ").replace("\\134", "\\")))
        .collect()
}

/// Lets everybody write, and hands the volume to the group if there is one.
///
/// # Errors
/// The path and what the system said.
pub fn open_to_all(path: &Path, group: Option<u32>) -> Result<(), String> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).map_err(|error| named(path, error))?;
    group.map_or(Ok(()), |group| give_to_group(path, group, Access::Write))
}

/// Hands a tree to a group: new files inherit it, and it may read or write everything.
///
/// # Errors
/// The path and what the system said.
pub fn give_to_group(path: &Path, group: u32, access: Access) -> Result<(), String> {
    let meta = fs::symlink_metadata(path).map_err(|error| named(path, error))?;
    if meta.is_symlink() {
        return Ok(());
    }
    nix::unistd::chown(path, None, Some(Gid::from_raw(group))).map_err(|error| named(path, error))?;
    let mut mode = meta.mode() | if access == Access::Read { 0o440 } else { 0o660 };
    if meta.is_dir() {
        mode |= 0o2110;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777)).map_err(|error| named(path, error))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path).map_err(|error| named(path, error))?.flatten() {
            give_to_group(&entry.path(), group, access)?;
        }
    }
    Ok(())
}

/// Checks or makes what a `hostPath` volume names.
///
/// # Errors
/// What is there instead.
pub fn check_host_path(path: &Path, kind: &str) -> Result<(), String> {
    let meta = fs::metadata(path);
    let fails = |what: &str| Err(format!("hostPath type check failed: {} is not {what}", path.display()));
    let found = |test: fn(&fs::Metadata) -> bool| meta.as_ref().is_ok_and(test);
    match kind {
        "" => Ok(()),
        "DirectoryOrCreate" if meta.is_err() => fs::create_dir_all(path).map_err(|error| named(path, error)),
        "DirectoryOrCreate" | "Directory" if found(fs::Metadata::is_dir) => Ok(()),
        "DirectoryOrCreate" | "Directory" => fails("a directory"),
        "FileOrCreate" if meta.is_err() => fs::write(path, b"").map_err(|error| named(path, error)),
        "FileOrCreate" | "File" if found(fs::Metadata::is_file) => Ok(()),
        "FileOrCreate" | "File" => fails("a file"),
        "Socket" if found(|meta| meta.file_type().is_socket()) => Ok(()),
        "Socket" => fails("a socket file"),
        "CharDevice" if found(|meta| meta.file_type().is_char_device()) => Ok(()),
        "CharDevice" => fails("a character device"),
        "BlockDevice" if found(|meta| meta.file_type().is_block_device()) => Ok(()),
        "BlockDevice" => fails("a block device"),
        other => Err(format!("hostPath type {other} is not known")),
    }
}

/// Unmounts everything below a directory, then removes it. Never removes through a mount.
///
/// # Errors
/// The path and what the system said.
pub fn remove_tree(path: &Path) -> Result<(), String> {
    let mut points: Vec<PathBuf> = mount_points()
        .into_iter()
        .filter(|point| point.starts_with(path))
        .collect();
    points.sort();
    for point in points.into_iter().rev() {
        umount2(&point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).map_err(|error| named(&point, error))?;
    }
    if mount_points().iter().any(|point| point.starts_with(path)) {
        return Err(format!("{}: something is still mounted below", path.display()));
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(named(path, error)),
        _ => Ok(()),
    }
}

pub(super) fn named(path: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}
