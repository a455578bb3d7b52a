//! Commands in containers, and attaching to what runs there, over WebSocket (`v5.channel.k8s.io`, else v4).
//!
//! A [`Process`] owns the connection: dropping it cuts it off. Its streams can be taken out, each once, and used from
//! other tasks; the end of input is told to the other side (v5), and [`Process::exit`] tells how it ended, after all
//! output was delivered.

use futures::SinkExt as _;
use futures::channel::mpsc::Sender;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, AttachedProcess, TerminalSize};
use kube::{Api, Client};
use tokio::io::{AsyncRead, AsyncWrite};

/// What is kept of a stream whose reader is slower than the network.
const BUFFER_BYTES: usize = 64 << 10;

/// What to be connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// The container; the Pod's first when `None`.
    pub container: Option<String>,
    /// Its input.
    pub stdin: bool,
    /// A terminal, which joins both outputs into one.
    pub tty: bool,
}

impl Streams {
    fn parameters(&self) -> AttachParams {
        let parameters = AttachParams {
            container: self.container.clone(),
            ..AttachParams::default()
        };
        parameters
            .stdin(self.stdin)
            .stdout(true)
            .stderr(!self.tty)
            .tty(self.tty)
            .max_stdin_buf_size(BUFFER_BYTES)
            .max_stdout_buf_size(BUFFER_BYTES)
            .max_stderr_buf_size(BUFFER_BYTES)
    }
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(u8),
    /// It could not be run, for this reason.
    Failed(String),
    /// The connection ended before the process did.
    Lost,
}

/// Runs a command in a container.
pub async fn exec(
    client: &Client,
    (namespace, pod): (&str, &str),
    command: &[String],
    streams: &Streams,
) -> kube::Result<Process> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let inner = api.exec(pod, command, &streams.parameters()).await?;
    Ok(Process { inner })
}

/// Connects to what a container runs.
pub async fn attach(client: &Client, (namespace, pod): (&str, &str), streams: &Streams) -> kube::Result<Process> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let inner = api.attach(pod, &streams.parameters()).await?;
    Ok(Process { inner })
}

/// A process that somebody is connected to.
pub struct Process {
    inner: AttachedProcess,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").finish_non_exhaustive()
    }
}

impl Process {
    /// Its input; shutting it down ends it.
    pub fn stdin(&mut self) -> Option<impl AsyncWrite + Send + Unpin + use<>> {
        self.inner.stdin()
    }

    /// Its output. Whoever does not read it stops the process sooner or later.
    pub fn stdout(&mut self) -> Option<impl AsyncRead + Send + Unpin + use<>> {
        self.inner.stdout()
    }

    /// Its second output, unless there is a terminal.
    pub fn stderr(&mut self) -> Option<impl AsyncRead + Send + Unpin + use<>> {
        self.inner.stderr()
    }

    /// The size of its terminal.
    pub fn size(&mut self) -> Option<Size> {
        self.inner.terminal_size().map(|to| Size { to })
    }

    /// How it ended. Resolves after the streams that were taken were given everything.
    pub fn exit(&mut self) -> impl Future<Output = Exit> + Send + use<> {
        let status = self.inner.take_status();
        async move {
            match status {
                Some(status) => Exit::read(status.await.as_ref()),
                None => Exit::Lost,
            }
        }
    }
}

/// The size of a process's terminal.
#[derive(Debug)]
pub struct Size {
    to: Sender<TerminalSize>,
}

impl Size {
    /// Sets it; `false` when the process is gone.
    pub async fn set(&mut self, width: u16, height: u16) -> bool {
        self.to.send(TerminalSize { width, height }).await.is_ok()
    }
}

impl Exit {
    /// Reads a final status.
    fn read(status: Option<&Status>) -> Self {
        let Some(status) = status else {
            return Self::Lost;
        };
        if status.status.as_deref() == Some("Success") {
            return Self::Code(0);
        }
        let causes = status.details.iter().flat_map(|d| d.causes.iter().flatten());
        let code = causes
            .filter(|_| status.reason.as_deref() == Some("NonZeroExitCode"))
            .find(|c| c.reason.as_deref() == Some("ExitCode"))
            .and_then(|c| c.message.as_deref()?.parse().ok());
        match code {
            Some(code) => Self::Code(code),
            None => Self::Failed(
                status
                    .message
                    .clone()
                    .unwrap_or_else(|| "no reason was given".to_owned()),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn exits_are_read_from_statuses() {
        let read = |status| Exit::read(Some(&serde_json::from_value(status).expect("a status")));
        assert_eq!(read(json!({"status": "Success"})), Exit::Code(0));
        let seven = json!({"status": "Failure", "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": "7"}]}});
        assert_eq!(read(seven), Exit::Code(7));
        let failed = json!({"status": "Failure", "reason": "InternalError", "message": "no such file"});
        assert_eq!(read(failed), Exit::Failed("no such file".into()));
        assert_eq!(Exit::read(None), Exit::Lost);
    }
}
