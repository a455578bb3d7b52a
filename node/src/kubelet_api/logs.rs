//! Container logs, read from the files that the runtime writes in CRI's format.
//!
//! A line of the file is `TIME STREAM TAG TEXT`; tag `P` marks a part of a longer line. Following waits for changes of
//! the file's folder (inotify) and for the end of the container, and steps over to the new file after a rotation.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use notify::{RecursiveMode, Watcher as _};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncSeekExt as _, BufReader};
use tokio::sync::{Notify, mpsc};

use super::Failure;

const BLOCK_BYTES: usize = 64 << 10;
/// What is collected before it is sent on.
const CHUNK_BYTES: usize = 32 << 10;

/// What the client wants to see.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Options {
    pub(super) follow: bool,
    pub(super) previous: bool,
    pub(super) timestamps: bool,
    pub(super) tail_lines: Option<u64>,
    pub(super) since: Option<Timestamp>,
    pub(super) limit_bytes: Option<usize>,
    /// `stdout` or `stderr`; both when `None`.
    pub(super) stream: Option<&'static str>,
}

impl Options {
    /// Reads the query of a log request.
    pub(super) fn parse(query: impl Iterator<Item = (String, String)>, now: Timestamp) -> Result<Self, Failure> {
        let mut options = Self::default();
        for (name, value) in query {
            let bad = || Failure::bad_request(format!("invalid value \"{value}\" for parameter {name}"));
            let yes = matches!(value.as_str(), "true" | "1");
            match name.as_str() {
                "follow" => options.follow = yes,
                "previous" => options.previous = yes,
                "timestamps" => options.timestamps = yes,
                "tailLines" => options.tail_lines = Some(value.parse().map_err(|_| bad())?),
                "limitBytes" => options.limit_bytes = Some(value.parse().map_err(|_| bad())?),
                "sinceSeconds" => {
                    let seconds = value.parse().map_err(|_| bad())?;
                    options.since = now.checked_sub(SignedDuration::from_secs(seconds)).ok();
                }
                "sinceTime" => options.since = Some(value.parse().map_err(|_| bad())?),
                "stream" => match value.as_str() {
                    "Stdout" => options.stream = Some("stdout"),
                    "Stderr" => options.stream = Some("stderr"),
                    "All" | "" => {}
                    _ => return Err(bad()),
                },
                _ => {}
            }
        }
        Ok(options)
    }
}

/// One line of the file.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    time: &'a str,
    stream: &'a str,
    /// Whether the text ends with a line's end.
    full: bool,
    text: &'a [u8],
}

/// Takes a line apart; a broken one is passed over.
fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(fields.next()?).ok();
    let (time, stream, tags) = (word()?, word()?, word()?);
    if !matches!(stream, "stdout" | "stderr") {
        return None;
    }
    Some(Line {
        time,
        stream,
        full: tags.split(':').next() == Some("F"),
        text: fields.next().unwrap_or_default(),
    })
}

/// Turns lines of the file into what the client sees.
struct Printer {
    options: Options,
    left: usize,
    line_start: bool,
    chunk: Vec<u8>,
}

impl Printer {
    fn new(options: Options) -> Self {
        Self {
            left: options.limit_bytes.unwrap_or(usize::MAX),
            options,
            line_start: true,
            chunk: Vec::new(),
        }
    }

    /// Adds one line; `false` when nothing more may be sent.
    fn print(&mut self, line: &[u8]) -> bool {
        let Some(line) = parse(line.strip_suffix(b"\n").unwrap_or(line)) else {
            return true;
        };
        if self.options.stream.is_some_and(|stream| stream != line.stream) {
            return true;
        }
        if let Some(since) = self.options.since {
            if line.time.parse::<Timestamp>().is_ok_and(|time| time < since) {
                return true;
            }
            // Lines are in order: the rest is later too.
            self.options.since = None;
        }
        if self.options.timestamps && self.line_start {
            self.add(line.time.as_bytes());
            self.add(b" ");
        }
        self.add(line.text);
        if line.full {
            self.add(b"\n");
        }
        self.line_start = line.full;
        self.left > 0
    }

    fn add(&mut self, bytes: &[u8]) {
        let length = bytes.len().min(self.left);
        self.left -= length;
        self.chunk.extend_from_slice(&bytes[..length]);
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.chunk).into()
    }
}

/// Where the last `lines` full lines begin, with the parts that belong to the first of them.
fn tail_offset(file: &mut std::fs::File, lines: u64) -> io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    let (mut start, mut rest, mut seen) = (end, Vec::new(), 0);
    let mut block = vec![0; BLOCK_BYTES];
    while start > 0 {
        let length = start.min(BLOCK_BYTES as u64);
        start -= length;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block[..length as usize])?;
        // `rest` is the beginning of a line that this block begins further before.
        let mut text = block[..length as usize].to_vec();
        text.append(&mut rest);
        let mut line_end = text.len();
        while let Some(newline) = text[..line_end.saturating_sub(1)]
            .iter()
            .rposition(|byte| *byte == b'\n')
        {
            let full = parse(&text[newline + 1..line_end]).is_some_and(|line| line.full);
            if full && seen == lines {
                return Ok(start + line_end as u64);
            }
            seen += u64::from(full);
            line_end = newline + 1;
        }
        text.truncate(line_end);
        rest = text;
    }
    let full = parse(&rest).is_some_and(|line| line.full);
    Ok(if full && seen == lines { rest.len() as u64 } else { 0 })
}

/// Sends a log to the client until its end, or, when following, until `ended` and nothing is left.
pub(super) async fn send(
    path: PathBuf,
    options: Options,
    ended: impl Future<Output = ()>,
    sink: mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let changed = Arc::new(Notify::new());
    // Watching begins before reading, so that nothing is missed in between.
    let _watcher = options.follow.then(|| watch(&path, changed.clone())).transpose()?;
    let mut file = File::open(&path).await?;
    if let Some(lines) = options.tail_lines {
        let mut blocking = file.into_std().await;
        let (offset, blocking) =
            tokio::task::spawn_blocking(move || tail_offset(&mut blocking, lines).map(|offset| (offset, blocking)))
                .await
                .map_err(io::Error::other)??;
        file = File::from_std(blocking);
        file.seek(SeekFrom::Start(offset)).await?;
    }
    let follow = options.follow;
    let mut inode = file.metadata().await?.ino();
    let mut reader = BufReader::with_capacity(BLOCK_BYTES, file);
    let mut printer = Printer::new(options);
    let mut ended = std::pin::pin!(ended);
    let mut over = !follow;
    let mut line = Vec::new();
    if printer.left == 0 {
        return Ok(());
    }
    loop {
        let length = reader.read_until(b'\n', &mut line).await?;
        if line.ends_with(b"\n") {
            let more = printer.print(&line);
            line.clear();
            if !more {
                let _ = sink.send(Ok(printer.take())).await;
                return Ok(());
            }
            if printer.chunk.len() < CHUNK_BYTES && reader.buffer().contains(&b'\n') {
                continue;
            }
        }
        if !printer.chunk.is_empty() && sink.send(Ok(printer.take())).await.is_err() {
            return Ok(());
        }
        if length > 0 {
            continue;
        }
        // All that the file has was read.
        if let Some(next) = rotated(&path, inode).await {
            inode = next.metadata().await?.ino();
            reader = BufReader::with_capacity(BLOCK_BYTES, next);
            line.clear();
            continue;
        }
        if over {
            return Ok(());
        }
        tokio::select! {
            () = changed.notified() => {}
            // One more round: what was written last may not have been read.
            () = &mut ended => over = true,
            () = sink.closed() => return Ok(()),
        }
    }
}

/// The file that took the place of the one being read.
async fn rotated(path: &Path, inode: u64) -> Option<File> {
    let metadata = tokio::fs::metadata(path).await.ok()?;
    if metadata.ino() == inode {
        return None;
    }
    File::open(path).await.ok()
}

fn watch(path: &Path, changed: Arc<Notify>) -> io::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            changed.notify_one();
        }
    })
    .map_err(io::Error::other)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    watcher
        .watch(folder, RecursiveMode::NonRecursive)
        .map_err(io::Error::other)?;
    Ok(watcher)
}

#[cfg(test)]
mod tests;
