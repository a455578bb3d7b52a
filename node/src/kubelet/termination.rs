//! Termination messages: what a container leaves behind when it ends.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::runtime::Instance;

/// The longest message that goes into the status.
const MESSAGE_BYTES: u64 = 4096;
/// The most of the log that stands in for the message.
const LOG_BYTES: u64 = 2048;
/// See [`LOG_BYTES`].
const LOG_LINES: usize = 80;

/// Replaces the runtime's message by the container's own, if it left one.
pub async fn fill_message(instance: &mut Instance) {
    let Some((path, logs_on_error)) = instance.termination.clone() else {
        return;
    };
    let mut message = tail(&path, MESSAGE_BYTES).await.unwrap_or_default();
    if message.is_empty() && logs_on_error && instance.exit_code != 0 {
        let log = tail(Path::new(&instance.log_path), 4 * LOG_BYTES)
            .await
            .unwrap_or_default();
        message = log_text(&log);
    }
    if !message.is_empty() {
        instance.message = message;
    }
}

async fn tail(path: &Path, limit: u64) -> std::io::Result<String> {
    let mut file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    file.seek(std::io::SeekFrom::Start(length.saturating_sub(limit)))
        .await?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of a CRI log, without its prefix of time, stream and tag.
fn log_text(log: &str) -> String {
    let mut text = String::new();
    for line in log.lines() {
        let mut fields = line.splitn(4, ' ');
        let (Some(_), Some("stdout" | "stderr"), Some(tag)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        text.push_str(fields.next().unwrap_or_default());
        if tag == "F" {
            text.push('\n');
        }
    }
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let text = lines[lines.len().saturating_sub(LOG_LINES)..].concat();
    let mut start = text
        .len()
        .saturating_sub(usize::try_from(LOG_BYTES).unwrap_or(usize::MAX));
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_lose_their_prefix() {
        let log = "rtial line\n2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:00Z stderr P tw\n2026-01-01T00:00:00Z stderr F o\n";
        assert_eq!(log_text(log), "one\ntwo\n");
    }
}
