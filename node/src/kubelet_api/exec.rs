//! exec: one more process in a running container, through containerd's task service.
//!
//! The process is the container's own process specification with another command. Its input and outputs are FIFOs,
//! which give what CRI's streaming lacks: input that ends while output goes on. A client that goes away takes its
//! process with it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::BytesMut;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    CloseIoRequest, DeleteProcessRequest, ExecProcessRequest, GetContainerRequest, KillRequest, ResizePtyRequest,
    StartRequest, WaitRequest,
};
use prost_types::Any;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tonic::transport::Channel;

use super::remote::{Output, Streams, Wanted, exited, failed};
use crate::images::store::namespaced;

const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
const BUFFER_BYTES: usize = 32 << 10;
/// How long outputs may stay open after the process ended: a child in the background may hold them for ever.
const DRAIN: Duration = Duration::from_secs(2);

/// One exec: its container, and where its FIFOs are.
struct Exec {
    containerd: Channel,
    container: String,
    id: String,
    fifos: tempdir::FifoDir,
}

/// Runs a command and carries its streams; the last thing that the client gets is its status.
pub(super) async fn run(containerd: Channel, state_dir: PathBuf, container: String, wanted: Wanted, streams: Streams) {
    let output = streams.output.clone();
    let status = match execute(containerd, state_dir, container, wanted, streams).await {
        Ok(code) => exited(code),
        Err(error) => failed(&format!("error executing command in container: {error:#}")),
    };
    let _ = output.send(Output::Status(status)).await;
}

async fn execute(
    containerd: Channel,
    state_dir: PathBuf,
    container: String,
    wanted: Wanted,
    streams: Streams,
) -> anyhow::Result<u32> {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let fifos = tempdir::FifoDir::new(state_dir.join(format!("exec-{id}")))?;
    let exec = Exec {
        containerd,
        container,
        id,
        fifos,
    };
    let input = wanted.stdin.then(|| exec.fifos.writer("stdin")).transpose()?;
    let stdout = exec.fifos.reader("stdout")?;
    let stderr = (!wanted.tty).then(|| exec.fifos.reader("stderr")).transpose()?;
    exec.create(&wanted).await?;
    let result = exec.carry(input, stdout, stderr, streams).await;
    let request = DeleteProcessRequest {
        container_id: exec.container.clone(),
        exec_id: exec.id.clone(),
    };
    let _ = exec.tasks().delete_process(namespaced(request)).await;
    result
}

impl Exec {
    fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.containerd.clone())
    }

    async fn create(&self, wanted: &Wanted) -> anyhow::Result<()> {
        let request = namespaced(GetContainerRequest {
            id: self.container.clone(),
        });
        let container = ContainersClient::new(self.containerd.clone())
            .get(request)
            .await
            .map_err(plain)?;
        let spec = container
            .into_inner()
            .container
            .and_then(|container| container.spec)
            .unwrap_or_default();
        let spec: Value = serde_json::from_slice(&spec.value).context("the container's specification")?;
        let process = process(&spec, wanted);
        let request = ExecProcessRequest {
            container_id: self.container.clone(),
            exec_id: self.id.clone(),
            stdin: if wanted.stdin {
                self.fifos.path("stdin")
            } else {
                String::new()
            },
            stdout: self.fifos.path("stdout"),
            stderr: if wanted.tty {
                String::new()
            } else {
                self.fifos.path("stderr")
            },
            terminal: wanted.tty,
            spec: Some(Any {
                type_url: PROCESS_TYPE.to_owned(),
                value: process.to_string().into_bytes(),
            }),
        };
        self.tasks().exec(namespaced(request)).await.map_err(plain)?;
        Ok(())
    }

    /// Starts the process and carries bytes until it ended and its outputs are empty.
    async fn carry(
        &self,
        input: Option<pipe::Sender>,
        stdout: pipe::Receiver,
        stderr: Option<pipe::Receiver>,
        streams: Streams,
    ) -> anyhow::Result<u32> {
        let Streams {
            stdin,
            resize,
            output,
            gone,
        } = streams;
        let request = StartRequest {
            container_id: self.container.clone(),
            exec_id: self.id.clone(),
        };
        self.tasks().start(namespaced(request)).await.map_err(plain)?;
        let outputs = async {
            let stdout = read(stdout, &output, Output::Stdout);
            match stderr {
                Some(stderr) => _ = tokio::join!(stdout, read(stderr, &output, Output::Stderr)),
                None => stdout.await,
            }
        };
        let mut outputs = std::pin::pin!(outputs);
        let mut drained = false;
        let side = async {
            tokio::join!(self.feed(input, stdin), self.resize(resize));
        };
        let mut side = std::pin::pin!(side);
        let mut side_done = false;
        let mut ended = std::pin::pin!(self.ended());
        let code = loop {
            tokio::select! {
                code = &mut ended => break code?,
                () = &mut outputs, if !drained => drained = true,
                () = &mut side, if !side_done => side_done = true,
                () = gone.cancelled() => {
                    self.kill().await;
                    return Err(anyhow!("the client is gone"));
                }
            }
        };
        if !drained {
            let _ = tokio::time::timeout(DRAIN, outputs).await;
        }
        Ok(code)
    }

    async fn ended(&self) -> anyhow::Result<u32> {
        let request = WaitRequest {
            container_id: self.container.clone(),
            exec_id: self.id.clone(),
        };
        Ok(self
            .tasks()
            .wait(namespaced(request))
            .await
            .map_err(plain)?
            .into_inner()
            .exit_status)
    }

    /// Carries the client's input; its end is the process's end of input.
    async fn feed(&self, input: Option<pipe::Sender>, mut stdin: mpsc::Receiver<bytes::Bytes>) {
        let Some(mut input) = input else { return };
        while let Some(bytes) = stdin.recv().await {
            if input.write_all(&bytes).await.is_err() {
                return;
            }
        }
        drop(input);
        let request = CloseIoRequest {
            container_id: self.container.clone(),
            exec_id: self.id.clone(),
            stdin: true,
        };
        let _ = self.tasks().close_io(namespaced(request)).await;
    }

    async fn resize(&self, mut sizes: mpsc::Receiver<super::remote::Size>) {
        while let Some(size) = sizes.recv().await {
            let request = ResizePtyRequest {
                container_id: self.container.clone(),
                exec_id: self.id.clone(),
                width: size.width.into(),
                height: size.height.into(),
            };
            let _ = self.tasks().resize_pty(namespaced(request)).await;
        }
    }

    async fn kill(&self) {
        let request = KillRequest {
            container_id: self.container.clone(),
            exec_id: self.id.clone(),
            signal: nix::libc::SIGKILL as u32,
            all: false,
        };
        if self.tasks().kill(namespaced(request)).await.is_ok() {
            let _ = tokio::time::timeout(DRAIN, self.ended()).await;
        }
    }
}

/// The container's process with another command.
fn process(spec: &Value, wanted: &Wanted) -> Value {
    let mut process = spec["process"].clone();
    process["args"] = json!(wanted.command);
    process["terminal"] = json!(wanted.tty);
    if wanted.tty
        && let Some(env) = process["env"].as_array_mut()
        && !env
            .iter()
            .any(|entry| entry.as_str().is_some_and(|entry| entry.starts_with("TERM=")))
    {
        env.push(json!("TERM=xterm"));
    }
    process
}

async fn read(mut pipe: pipe::Receiver, output: &mpsc::Sender<Output>, wrap: fn(bytes::Bytes) -> Output) {
    let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
    while pipe.read_buf(&mut buffer).await.is_ok_and(|length| length > 0) {
        if output.send(wrap(buffer.split().freeze())).await.is_err() {
            return;
        }
        buffer.reserve(BUFFER_BYTES);
    }
}

/// containerd's own words, without the transport's.
fn plain(status: tonic::Status) -> anyhow::Error {
    anyhow!("{}", status.message())
}

/// FIFOs in a folder of their own.
mod tempdir {
    use super::*;
    use std::os::unix::fs::DirBuilderExt as _;

    pub(super) struct FifoDir(PathBuf);

    impl FifoDir {
        pub(super) fn new(path: PathBuf) -> io::Result<Self> {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
            Ok(Self(path))
        }

        pub(super) fn path(&self, name: &str) -> String {
            self.0.join(name).to_string_lossy().into_owned()
        }

        /// The end that reads; it sees the end when containerd's shim, which opens the other, has closed it.
        pub(super) fn reader(&self, name: &str) -> io::Result<pipe::Receiver> {
            let path = self.make(name)?;
            pipe::OpenOptions::new().open_receiver(path)
        }

        /// The end that writes, before there is a reader.
        pub(super) fn writer(&self, name: &str) -> io::Result<pipe::Sender> {
            let path = self.make(name)?;
            pipe::OpenOptions::new().read_write(true).open_sender(path)
        }

        fn make(&self, name: &str) -> io::Result<PathBuf> {
            let path = self.0.join(name);
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR)?;
            Ok(path)
        }
    }

    impl Drop for FifoDir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
