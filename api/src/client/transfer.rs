//! Files to and from containers: tar through exec, as kubectl does it.
//!
//! The container needs a `tar`. What comes from a container is not trusted: nothing is written outside the destination,
//! and links that lead out of it are left out.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use kube::Client;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::SyncIoBridge;

use super::exec::{self, Exit, Process, Streams};

/// What is kept of what the other side says when it fails.
const COMPLAINT_MAX_BYTES: u64 = 4096;

/// A container to copy to or from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Namespace.
    pub namespace: String,
    /// Pod.
    pub pod: String,
    /// The container; the Pod's first when `None`.
    pub container: Option<String>,
}

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's answer, or none.
    #[error("{}", super::rest::message(.0))]
    Api(#[from] kube::Error),
    /// A local file.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    File(PathBuf, #[source] io::Error),
    /// The other side's tar.
    #[error("{0}")]
    Remote(String),
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files, folders and links.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Links that lead outside and were left out.
    pub left_out: u64,
}

/// Copies a local file or folder to `to` in a container. When `to` is a folder there, it goes into it.
pub async fn upload(client: &Client, from: &Path, place: &Place, to: &str) -> Result<Copied, Error> {
    let metadata = std::fs::metadata(from).map_err(|error| Error::File(from.to_owned(), error))?;
    let mut to = to.trim_end_matches('/').to_owned();
    if to.is_empty() || is_folder(client, place, &to).await? {
        let name = from
            .canonicalize()
            .map_err(|error| Error::File(from.to_owned(), error))?;
        let name = name.file_name().map(|name| name.to_string_lossy().into_owned());
        to = format!("{to}/{}", name.unwrap_or_default());
    }
    let (parent, name) = to.rsplit_once('/').unwrap_or((".", &to));
    let parent = if parent.is_empty() { "/" } else { parent };
    let command = ["tar", "-xmf", "-", "-C", parent].map(str::to_owned);
    let mut process = start(client, place, &command, true).await?;
    let sink = process.stdin().expect("asked for");
    let (from, name) = (from.to_owned(), PathBuf::from(name));
    let bridge = SyncIoBridge::new(sink);
    let packing = tokio::task::spawn_blocking(move || pack(&from, &name, metadata.is_dir(), bridge));
    let complaint = complaint(&mut process);
    let (packed, complaint) = tokio::join!(packing, complaint);
    let exit = process.exit().await;
    // When the other side gave up, that is why packing failed.
    conclude(exit, &complaint)?;
    packed.expect("packing does not panic")
}

/// Copies `from` in a container to a local path. When that is a folder, it goes into it.
pub async fn download(client: &Client, place: &Place, from: &str, to: &Path) -> Result<Copied, Error> {
    let from = from.trim_end_matches('/');
    let (parent, name) = match from.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((parent, name)) => (parent, name),
        None => (".", from),
    };
    if name.is_empty() || matches!(name, "." | "..") {
        return Err(Error::Remote(format!("cannot copy {from:?}: name a file or folder")));
    }
    let to = match to.is_dir() {
        true => to.join(name),
        false => to.to_owned(),
    };
    let command = ["tar", "-cf", "-", "-C", parent, name].map(str::to_owned);
    let mut process = start(client, place, &command, false).await?;
    let bridge = SyncIoBridge::new(process.stdout().expect("asked for"));
    let root = PathBuf::from(name);
    let unpacking = tokio::task::spawn_blocking(move || unpack(bridge, &root, &to));
    let stderr = process.stderr().expect("asked for");
    let (unpacked, complaint) = tokio::join!(unpacking, hear(stderr));
    let unpacked = unpacked.expect("unpacking does not panic")?;
    conclude(process.exit().await, &complaint)?;
    Ok(unpacked)
}

async fn start(client: &Client, place: &Place, command: &[String], stdin: bool) -> Result<Process, Error> {
    let streams = Streams {
        container: place.container.clone(),
        stdin,
        tty: false,
    };
    Ok(exec::exec(client, (&place.namespace, &place.pod), command, &streams).await?)
}

async fn is_folder(client: &Client, place: &Place, path: &str) -> Result<bool, Error> {
    let command = ["test", "-d", path].map(str::to_owned);
    let mut process = start(client, place, &command, false).await?;
    // Its outputs are of no interest, and must not hold it up.
    let _ = complaint(&mut process).await;
    Ok(process.exit().await == Exit::Code(0))
}

/// What a process complains about, up to a limit. All that it prints is read, so that it is not held up.
async fn complaint(process: &mut Process) -> String {
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let ignored = async {
        if let Some(mut stdout) = stdout {
            let _ = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await;
        }
    };
    let heard = async {
        match stderr {
            Some(stderr) => hear(stderr).await,
            None => String::new(),
        }
    };
    tokio::join!(ignored, heard).1
}

async fn hear(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut start = Vec::new();
    // A stream that breaks off has said what it could.
    let _ = (&mut stream).take(COMPLAINT_MAX_BYTES).read_to_end(&mut start).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&start).into_owned()
}

fn conclude(exit: Exit, complaint: &str) -> Result<(), Error> {
    let complaint = complaint.trim();
    match exit {
        Exit::Code(0) => Ok(()),
        Exit::Code(code) if complaint.is_empty() => Err(Error::Remote(format!(
            "tar in the container ended with exit code {code}"
        ))),
        Exit::Code(_) => Err(Error::Remote(complaint.to_owned())),
        Exit::Failed(reason) => Err(Error::Remote(format!("cannot run tar in the container: {reason}"))),
        Exit::Lost => Err(Error::Remote("the connection was lost".to_owned())),
    }
}

/// Writes a tar of a file or folder, under another name.
fn pack<W>(from: &Path, name: &Path, is_folder: bool, sink: SyncIoBridge<W>) -> Result<Copied, Error>
where
    W: tokio::io::AsyncWrite + Unpin,
{
    let mut builder = tar::Builder::new(sink);
    builder.follow_symlinks(false);
    let mut copied = Copied::default();
    let failed = |error| Error::File(from.to_owned(), error);
    match is_folder {
        true => pack_folder(&mut builder, from, name, &mut copied)?,
        false => {
            let mut file = std::fs::File::open(from).map_err(failed)?;
            copied.bytes = file.metadata().map_err(failed)?.len();
            copied.entries = 1;
            builder.append_file(name, &mut file).map_err(failed)?;
        }
    }
    let mut sink = builder.into_inner().map_err(failed)?;
    sink.flush().and_then(|()| sink.shutdown()).map_err(failed)?;
    Ok(copied)
}

fn pack_folder<W: Write>(
    builder: &mut tar::Builder<W>,
    from: &Path,
    name: &Path,
    copied: &mut Copied,
) -> Result<(), Error> {
    let failed = |error| Error::File(from.to_owned(), error);
    builder.append_dir(name, from).map_err(failed)?;
    copied.entries += 1;
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, name) = (entry.path(), name.join(entry.file_name()));
        let metadata = entry.metadata().map_err(|error| Error::File(path.clone(), error))?;
        if metadata.is_dir() {
            pack_folder(builder, &path, &name, copied)?;
            continue;
        }
        copied.entries += 1;
        copied.bytes += metadata.len();
        builder
            .append_path_with_name(&path, &name)
            .map_err(|error| Error::File(path, error))?;
    }
    Ok(())
}

/// Writes what a tar of `root` holds to `to`, and nowhere else.
fn unpack(source: impl Read, root: &Path, to: &Path) -> Result<Copied, Error> {
    let failed = |error| Error::File(to.to_owned(), error);
    let mut archive = tar::Archive::new(source);
    let mut copied = Copied::default();
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        let Some(target) = destination(&path, root, to) else {
            copied.left_out += 1;
            continue;
        };
        let kind = entry.header().entry_type();
        if kind.is_symlink() || kind.is_hard_link() {
            // A later entry could be written through a link, so none is made.
            copied.left_out += 1;
            continue;
        }
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(|error| Error::File(parent.to_owned(), error))?;
        }
        copied.entries += 1;
        copied.bytes += entry.size();
        match kind.is_dir() {
            true => std::fs::create_dir_all(&target),
            false => entry.unpack(&target).map(drop),
        }
        .map_err(|error| Error::File(target, error))?;
    }
    // A tar may be followed by padding, which the other side wants to get rid of.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(failed)?;
    Ok(copied)
}

/// Where an entry goes; `None` when its name leads elsewhere.
fn destination(path: &Path, root: &Path, to: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix(root).ok()?;
    let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
    plain.then(|| match below.as_os_str().is_empty() {
        true => to.to_owned(),
        false => to.join(below),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_outside_the_destination() {
        let check = |path: &str| destination(Path::new(path), Path::new("etc"), Path::new("/to/here"));
        assert_eq!(check("etc"), Some("/to/here".into()));
        assert_eq!(check("etc/a/b"), Some("/to/here/a/b".into()));
        assert_eq!(check("etc/../../x"), None);
        assert_eq!(check("/etc/x"), None);
        assert_eq!(check("other/x"), None);
    }

    #[test]
    fn a_folder_survives_both_ways() {
        let dir = tempfile::tempdir().expect("a folder");
        let from = dir.path().join("from");
        std::fs::create_dir_all(from.join("deep/er")).expect("folders");
        std::fs::write(from.join("deep/er/file"), b"content").expect("a file");
        std::os::unix::fs::symlink("/etc/passwd", from.join("link")).expect("a link");
        let mut builder = tar::Builder::new(Vec::new());
        builder.follow_symlinks(false);
        let mut packed = Copied::default();
        pack_folder(&mut builder, &from, Path::new("name"), &mut packed).expect("packed");
        let bytes = builder.into_inner().expect("a tar");
        let to = dir.path().join("to");
        let copied = unpack(&bytes[..], Path::new("name"), &to).expect("unpacked");
        assert_eq!(std::fs::read(to.join("deep/er/file")).expect("a file"), b"content");
        assert!(!to.join("link").exists());
        assert_eq!(
            (packed.entries, copied.entries, copied.left_out, copied.bytes),
            (5, 4, 1, 7)
        );
    }
}
