//! Takes away what Mizzen put on this host, and nothing else.
//!
//! Entry points: [`plan`], which finds what is there, and [`execute`], which removes it. What is ours is
//! told by name or by place: processes by the paths in their command lines and by descent from our shims,
//! mounts and files by lying in our directories, links, tables and cgroups by [`Names`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, umount2};
use nix::net::if_::if_nametoindex;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::names::Names;
use crate::network;

/// How long killed processes may take to go.
const KILL_TIMEOUT: Duration = Duration::from_secs(20);

/// Something of ours on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A process.
    Process {
        /// Its id.
        pid: i32,
        /// Its command line, shortened.
        command: String,
    },
    /// A mount point.
    Mount(PathBuf),
    /// A network link.
    Link(String),
    /// An nftables table.
    Table(String),
    /// A cgroup.
    Cgroup(PathBuf),
    /// A file or folder.
    Path(PathBuf),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, command } => write!(f, "process {pid} ({command})"),
            Self::Mount(path) => write!(f, "mount {}", path.display()),
            Self::Link(name) => write!(f, "link {name}"),
            Self::Table(name) => write!(f, "nftables table {name}"),
            Self::Cgroup(path) => write!(f, "cgroup {}", path.display()),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Which instance, and how much of it.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Process ids to spare: ours.
    pub spare: Vec<i32>,
    /// Files and folders to remove as well.
    pub paths: Vec<PathBuf>,
}

/// What there is of this instance, in the order in which it goes.
pub fn plan(scope: &Scope) -> Result<Vec<Item>> {
    let names = Names::of(&scope.data_dir);
    let directories = [scope.data_dir.clone(), names.run.clone(), names.pod_logs.clone()];
    let mut items = processes(&directories[..2], &scope.spare);
    items.extend(mounts(&directories)?.into_iter().map(Item::Mount));
    let links = [&names.overlay, &names.bridge];
    let present = links.into_iter().filter(|name| if_nametoindex(name.as_str()).is_ok());
    items.extend(present.cloned().map(Item::Link));
    if has_table(&names.table) {
        items.push(Item::Table(names.table.clone()));
    }
    items.extend(cgroups(&names.cgroup)?.into_iter().map(Item::Cgroup));
    let wanted = scope.paths.iter().filter(|path| path.symlink_metadata().is_ok());
    items.extend(wanted.cloned().map(Item::Path));
    Ok(items)
}

/// Removes everything that [`plan`] found; says each thing as it goes.
pub async fn execute(scope: &Scope, items: &[Item], mut say: impl FnMut(&Item)) -> Result<()> {
    let (processes, rest): (Vec<_>, Vec<_>) = items.iter().partition(|item| matches!(item, Item::Process { .. }));
    for item in &processes {
        say(item);
    }
    kill_all(scope).await?;
    // Containers that ended may have left mounts and cgroups that were not there when the plan was made.
    let now = plan(scope)?;
    for item in now.iter().chain(rest.into_iter().filter(|item| !now.contains(item))) {
        match item {
            Item::Process { .. } => continue,
            Item::Mount(path) => match umount2(path, MntFlags::MNT_DETACH) {
                Ok(()) => {}
                // It went together with the one that it lay upon.
                Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot unmount {}", path.display())),
            },
            Item::Link(_) | Item::Table(_) => {
                network::remove(&network::Settings::new("", &scope.data_dir)).await?;
            }
            Item::Cgroup(path) => remove_emptying_cgroup(path).await?,
            Item::Path(path) => match remove_path(path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot remove {}", path.display())),
            },
        }
        say(item);
    }
    Ok(())
}

/// Kills until nothing is left: a process may have started another while it was being listed.
async fn kill_all(scope: &Scope) -> Result<()> {
    let names = Names::of(&scope.data_dir);
    let directories = [scope.data_dir.clone(), names.run];
    let gone = async {
        loop {
            let left = processes(&directories, &scope.spare);
            if left.is_empty() {
                return;
            }
            for item in left {
                if let Item::Process { pid, .. } = item {
                    kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(KILL_TIMEOUT, gone).await {
        Ok(()) => Ok(()),
        Err(_) => bail!("processes do not end: {:?}", processes(&directories, &scope.spare)),
    }
}

struct Process {
    parent: i32,
    arguments: Vec<String>,
    dead: bool,
}

fn all_processes() -> BTreeMap<i32, Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let read = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command's name, in parentheses, may hold anything; what follows is plain.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let arguments = command.split(|b| *b == 0).filter(|a| !a.is_empty());
        let arguments = arguments.map(|a| String::from_utf8_lossy(a).into_owned()).collect();
        Some(Process {
            parent,
            arguments,
            dead: state == "Z" || state == "X",
        })
    };
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, read(pid)?))).collect()
}

/// Our processes: those that name our directories and are programs of ours or of the runtime, and all that
/// descends from a shim of ours.
fn processes(directories: &[PathBuf], spare: &[i32]) -> Vec<Item> {
    let all = all_processes();
    let names_us = |process: &Process| {
        process.arguments.iter().skip(1).any(|argument| {
            let value = argument.split_once('=').map_or(argument.as_str(), |(_, value)| value);
            directories
                .iter()
                .any(|directory| Path::new(value).starts_with(directory))
        })
    };
    let program = |process: &Process| {
        let first = process.arguments.first().map(String::as_str).unwrap_or_default();
        Path::new(first)
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned()
    };
    let is_shim = |process: &Process| program(process).starts_with("containerd-shim") && names_us(process);
    let is_root = |process: &Process| match program(process).as_str() {
        "containerd" | "runc" | "crun" => names_us(process),
        "mizzen" => serves(process, directories),
        _ => is_shim(process),
    };
    let descends = |mut pid: i32| {
        for _ in 0..all.len() {
            let Some(process) = all.get(&pid) else { return false };
            if is_shim(process) {
                return true;
            }
            pid = process.parent;
        }
        false
    };
    let ours = all
        .iter()
        .filter(|(pid, process)| !process.dead && !spare.contains(pid) && (is_root(process) || descends(**pid)));
    ours.map(|(pid, process)| Item::Process {
        pid: *pid,
        command: shorten(&process.arguments.join(" ")),
    })
    .collect()
}

/// Whether a `mizzen` process is the server (or its supervisor) of the instance in these directories.
fn serves(process: &Process, directories: &[PathBuf]) -> bool {
    let arguments = &process.arguments;
    if !arguments
        .iter()
        .skip(1)
        .take(1)
        .any(|command| matches!(command.as_str(), "server" | "supervise"))
    {
        return false;
    }
    let flag = arguments
        .iter()
        .position(|a| a == "--data-dir" || a == "-d")
        .and_then(|at| arguments.get(at + 1));
    let joined = arguments.iter().find_map(|a| a.strip_prefix("--data-dir="));
    let data_dir = joined
        .or(flag.map(String::as_str))
        .unwrap_or(crate::names::DEFAULT_DATA_DIR);
    directories.iter().any(|directory| directory == Path::new(data_dir))
}

fn shorten(command: &str) -> String {
    match command.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &command[..at]),
        None => command.to_owned(),
    }
}

/// Mount points below the directories, the innermost first.
fn mounts(directories: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let mut ours: Vec<_> = points
        .filter(|point| directories.iter().any(|d| point.starts_with(d)))
        .collect();
    ours.reverse();
    Ok(ours)
}

/// Undoes the octal escapes of mountinfo.
fn unescape(text: &str) -> PathBuf {
    let replaced = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    PathBuf::from(
        replaced
            .iter()
            .fold(text.to_owned(), |text, (from, to)| text.replace(from, to)),
    )
}

fn has_table(name: &str) -> bool {
    let output = std::process::Command::new("nft").args(["list", "tables"]).output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    text.lines().any(|line| line.split_whitespace().last() == Some(name))
}

/// Our cgroup in every hierarchy that has it.
fn cgroups(name: &str) -> Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    let hierarchies = table
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4));
    let mut found: Vec<_> = hierarchies
        .map(|mount| unescape(mount).join(name))
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// Removes a cgroup whose last processes may still be on their way out: the kernel says busy until they are.
async fn remove_emptying_cgroup(path: &Path) -> Result<()> {
    let removed = async {
        loop {
            match remove_cgroup(path) {
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                done => return done,
            }
        }
    };
    let outcome = tokio::time::timeout(KILL_TIMEOUT, removed).await;
    outcome
        .unwrap_or_else(|_| Err(std::io::ErrorKind::ResourceBusy.into()))
        .with_context(|| format!("cannot remove cgroup {}", path.display()))
}

fn remove_cgroup(path: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(_) => return Ok(()),
    };
    for entry in entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        remove_cgroup(&entry.path())?;
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove_path(path: &Path) -> std::io::Result<()> {
    match path.symlink_metadata()?.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(command: &str) -> Process {
        Process {
            parent: 1,
            arguments: command.split(' ').map(str::to_owned).collect(),
            dead: false,
        }
    }

    #[test]
    fn servers_are_told_apart_by_their_data_directory() {
        let usual = [PathBuf::from("/var/lib/mizzen")];
        let other = [PathBuf::from("/srv/a")];
        for (command, of_usual, of_other) in [
            ("mizzen server", true, false),
            ("mizzen server --data-dir /srv/a", false, true),
            ("mizzen supervise --foreground -- server --data-dir=/srv/a", false, true),
            ("mizzen get pods", false, false),
        ] {
            assert_eq!(serves(&process(command), &usual), of_usual, "{command}");
            assert_eq!(serves(&process(command), &other), of_other, "{command}");
        }
    }

    #[test]
    fn mountinfo_is_unescaped() {
        assert_eq!(unescape("/a\\040b\\134"), PathBuf::from("/a b\\"));
    }
}
