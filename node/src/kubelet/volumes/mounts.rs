//! A container's mounts: its volume mounts (with sub-paths that cannot escape the volume), the
//! hosts file and the termination message file.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use k8s_cri::v1::{Mount, MountPropagation};
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};

use super::{VolumePaths, disk};
use crate::kubelet::env;

/// What a container's mounts are made from.
pub struct Sources {
    /// Where the Pod's volumes are.
    pub volumes: VolumePaths,
    /// The Pod's directory.
    pub pod_dir: PathBuf,
    /// The hosts file, unless the container brings its own.
    pub etc_hosts: PathBuf,
    /// The file behind the termination message path.
    pub termination_file: PathBuf,
    /// The container's environment, for `subPathExpr`.
    pub env: Vec<(String, String)>,
}

/// The container's mounts. Blocks.
///
/// # Errors
/// What keeps the container from being made.
pub fn build(container: &Container, sources: &Sources) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    let mut brings_hosts = false;
    for (index, volume_mount) in container.volume_mounts.iter().flatten().enumerate() {
        brings_hosts |= volume_mount.mount_path == "/etc/hosts";
        mounts.push(volume(container, volume_mount, index, sources)?);
    }
    if !brings_hosts {
        mounts.push(plain("/etc/hosts", &sources.etc_hosts));
    }
    mounts.push(plain(
        crate::kubelet::config::termination_path(container),
        &sources.termination_file,
    ));
    Ok(mounts)
}

/// The container with every mount read-only whose volume is a claim that the Pod may only read.
#[must_use]
pub fn restricted(container: &Container, pod: &Pod) -> Container {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let read_only: Vec<&str> = volumes
        .filter(|volume| {
            let claim = volume.persistent_volume_claim.as_ref();
            claim.is_some_and(|claim| claim.read_only == Some(true))
        })
        .map(|volume| &*volume.name)
        .collect();
    let mut container = container.clone();
    for own in container.volume_mounts.iter_mut().flatten() {
        if read_only.contains(&&*own.name) {
            own.read_only = Some(true);
        }
    }
    container
}

fn plain(container_path: &str, host_path: &Path) -> Mount {
    Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.to_string_lossy().into_owned(),
        ..Default::default()
    }
}

fn volume(container: &Container, own: &VolumeMount, index: usize, sources: &Sources) -> Result<Mount, String> {
    let root = sources.volumes.get(&own.name).ok_or_else(|| {
        format!(
            "volume \"{}\" of container \"{}\" is not mounted",
            own.name, container.name
        )
    })?;
    let sub_path = match (&own.sub_path, &own.sub_path_expr) {
        (_, Some(expression)) if !expression.is_empty() => expand_sub_path(expression, &sources.env)?,
        (Some(path), _) => path.clone(),
        _ => String::new(),
    };
    let host_path = if sub_path.is_empty() {
        root.clone()
    } else {
        let place = sources
            .pod_dir
            .join("volume-subpaths")
            .join(&own.name)
            .join(&container.name)
            .join(index.to_string());
        bind_sub_path(root, &sub_path, &place).map_err(|error| {
            format!(
                "failed to prepare subPath for volumeMount \"{}\" of container \"{}\": {error}",
                own.name, container.name
            )
        })?
    };
    if !host_path.exists() && fs::symlink_metadata(&host_path).is_err() {
        // A hostPath without a type is made by the runtime as a directory, as everywhere.
        fs::create_dir_all(&host_path).map_err(|error| disk::named(&host_path, error))?;
    }
    let propagation = match own.mount_propagation.as_deref() {
        Some("Bidirectional") => MountPropagation::PropagationBidirectional,
        Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
        _ => MountPropagation::PropagationPrivate,
    };
    let container_path = if own.mount_path.starts_with('/') {
        own.mount_path.clone()
    } else {
        format!("/{}", own.mount_path)
    };
    Ok(Mount {
        container_path,
        host_path: host_path.to_string_lossy().into_owned(),
        readonly: own.read_only == Some(true),
        propagation: propagation as i32,
        ..Default::default()
    })
}

fn expand_sub_path(expression: &str, env: &[(String, String)]) -> Result<String, String> {
    let values: HashMap<String, String> = env.iter().cloned().collect();
    let expanded = env::expand(expression, &values);
    if expanded.contains("$(") {
        return Err(format!("missing value for {expression:?}"));
    }
    let path = Path::new(&expanded);
    if path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("subPath {expanded:?} must be a relative path without '..'"));
    }
    Ok(expanded)
}

/// Binds a path inside the volume to a place of ours. The kernel resolves it beneath the volume,
/// and what is bound is the opened thing: no link, however swapped, leads outside.
fn bind_sub_path(root: &Path, sub_path: &str, place: &Path) -> Result<PathBuf, String> {
    let how = |flags: OFlag| {
        OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH)
    };
    let open = |dir: &OwnedFd, path: &Path| openat2(dir, path, how(OFlag::O_PATH));
    let base = nix::fcntl::open(
        root,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| disk::named(root, error))?;
    let mut so_far = PathBuf::new();
    let mut opened = None;
    for part in Path::new(sub_path)
        .components()
        .filter(|part| !matches!(part, Component::CurDir))
    {
        let parent = if so_far.as_os_str().is_empty() {
            None
        } else {
            Some(so_far.clone())
        };
        so_far.push(part);
        if open(&base, &so_far).is_err_and(|error| error == nix::Error::ENOENT) {
            let dir = match &parent {
                Some(parent) => open(&base, parent).map_err(|error| disk::named(parent, error))?,
                None => base.try_clone().map_err(|error| disk::named(root, error))?,
            };
            mkdirat(&dir, Path::new(part.as_os_str()), Mode::from_bits_truncate(0o750))
                .map_err(|error| disk::named(&so_far, error))?;
        }
        opened = Some(open(&base, &so_far).map_err(|error| disk::named(&so_far, error))?);
    }
    let opened = opened.unwrap_or(base);
    let source = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    make_place(place, fs::metadata(&source).is_ok_and(|meta| meta.is_dir()))?;
    mount(Some(&source), place, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|error| disk::named(place, error))?;
    Ok(place.to_owned())
}

fn make_place(place: &Path, directory: bool) -> Result<(), String> {
    let named = |error: std::io::Error| disk::named(place, error);
    if disk::is_mount_point(place) {
        umount2(place, MntFlags::MNT_DETACH).map_err(|error| disk::named(place, error))?;
    }
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).map_err(named)?;
    }
    match fs::symlink_metadata(place) {
        Ok(meta) if meta.is_dir() == directory => return Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir(place).map_err(named)?,
        Ok(_) => fs::remove_file(place).map_err(named)?,
        Err(_) => {}
    }
    if directory {
        fs::create_dir(place).map_err(named)
    } else {
        fs::write(place, b"").map_err(named)
    }
}
