//! Our own containerd: configured, started, watched, and adopted again after a restart of Mizzen.
//!
//! Entry point: [`Containerd::run`]. containerd gets its own process group and outlives Mizzen, as the containers
//! outlive containerd: a Mizzen that starts finds it by its socket and carries on. One task supervises: it connects (or
//! starts and then connects), imports the built-in images, reports ready, and holds an event subscription that matches
//! nothing, whose end tells that containerd is gone.
//!
//! Invariant: one containerd per data directory; its root, state and socket are nobody else's.

mod config;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use containerd_client::services::v1::SubscribeRequest;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::tonic::transport::{Channel, Endpoint, Uri};
use hyper_util::rt::TokioIo;
use k8s_cri::v1::StatusRequest;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::images;
use crate::names::Names;
use config::Config;

/// `sun_path` holds 108 bytes with its end; containerd adds `.ttrpc` to the socket's name.
const SOCKET_PATH_MAX: usize = 100;
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two attempts to connect to a containerd that is starting.
const CONNECT_PAUSE: Duration = Duration::from_millis(10);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A containerd that lived this long starts with the shortest pause again.
const STABLE: Duration = Duration::from_secs(60);
const LOG_MAX_BYTES: u64 = 8 << 20;

/// Where containerd is, or shall be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Mizzen's data directory; ours lives under `agent/`.
    pub data_dir: PathBuf,
    /// The socket of somebody else's containerd (`--container-runtime-endpoint`).
    pub endpoint: Option<PathBuf>,
}

impl Settings {
    /// The socket to talk to, ours or the external one.
    pub fn socket(&self) -> PathBuf {
        self.endpoint
            .clone()
            .unwrap_or_else(|| self.state_dir().join("containerd.sock"))
    }

    /// Where containerd keeps what does not outlive a boot.
    pub fn state_dir(&self) -> PathBuf {
        Names::of(&self.data_dir).run.join("containerd")
    }

    /// Where containerd keeps images and snapshots.
    pub fn root_dir(&self) -> PathBuf {
        self.data_dir.join("agent/containerd")
    }

    /// Where the CNI configuration of this node is read from.
    pub fn cni_conf_dir(&self) -> PathBuf {
        self.data_dir.join("agent/etc/cni/net.d")
    }

    fn config_file(&self) -> PathBuf {
        self.data_dir.join("agent/etc/containerd/config.toml")
    }

    fn pid_file(&self) -> PathBuf {
        self.state_dir().join("containerd.pid")
    }

    fn images_dir(&self) -> PathBuf {
        self.data_dir.join("agent/images")
    }
}

/// A connection to a socket, made on first use and again whenever it breaks.
pub fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    // The address is never used: the connector goes to the socket.
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { io::Result::Ok(TokioIo::new(tokio::net::UnixStream::connect(socket).await?)) }
    }))
}

/// The supervisor.
pub struct Containerd {
    settings: Settings,
    ready: watch::Sender<bool>,
}

impl Containerd {
    /// A supervisor that has not done anything yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ready: watch::Sender::new(false),
        }
    }

    /// Tells whether Pods can be run: containerd answers and has the pause image.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Keeps containerd running until `stop`, and leaves it running then.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut backoff = BACKOFF_MIN;
        let mut archives = None;
        loop {
            let started = Instant::now();
            let round = self.round(&mut archives);
            let Some(outcome) = stop.run_until_cancelled(round).await else {
                return Ok(());
            };
            self.ready.send_replace(false);
            if started.elapsed() > STABLE {
                backoff = BACKOFF_MIN;
            }
            match outcome {
                Ok(()) => tracing::warn!(retry = ?backoff, "containerd ended"),
                Err(error) => tracing::error!(retry = ?backoff, "containerd does not work: {error:#}"),
            }
            if stop.run_until_cancelled(tokio::time::sleep(backoff)).await.is_none() {
                return Ok(());
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// One life of containerd: from finding or starting it to its end.
    async fn round(&self, archives: &mut Option<tokio::task::JoinHandle<()>>) -> anyhow::Result<()> {
        let (channel, mut child) = match &self.settings.endpoint {
            Some(socket) => (connect(socket, None).await?, None),
            None => self.own().await?,
        };
        images::import_built_in(channel.clone())
            .await
            .context("importing the built-in images")?;
        self.ready.send_replace(true);
        if archives.is_none() {
            let (channel, folder) = (channel.clone(), self.settings.images_dir());
            *archives = Some(tokio::spawn(async move {
                if let Err(error) = images::import_folder(channel, &folder).await {
                    tracing::error!(folder = %folder.display(), "image archives not imported: {error:#}");
                }
            }));
        }
        match &mut child {
            Some(child) => drop(child.wait().await?),
            None => ended(channel).await?,
        }
        Ok(())
    }

    /// Our own containerd: the one that runs if it has today's configuration, a new one otherwise.
    async fn own(&self) -> anyhow::Result<(Channel, Option<Child>)> {
        let socket = self.settings.socket();
        if socket.as_os_str().len() > SOCKET_PATH_MAX {
            bail!(
                "the data directory's path is too long for a socket under it: {}",
                socket.display()
            );
        }
        let config = self.config()?.render();
        let changed = std::fs::read_to_string(self.settings.config_file()).ok().as_deref() != Some(&config);
        if tokio::net::UnixStream::connect(&socket).await.is_ok() {
            if !changed {
                tracing::info!(socket = %socket.display(), "containerd is running already");
                return Ok((connect(&socket, None).await?, None));
            }
            self.terminate().await?;
        }
        if changed {
            write(&self.settings.config_file(), &config)?;
        }
        let mut child = self.spawn()?;
        let channel = connect(&socket, Some(&mut child))
            .await
            .with_context(|| format!("containerd did not start; its log is {}", self.log_file().display()))?;
        Ok((channel, Some(child)))
    }

    fn config(&self) -> anyhow::Result<Config> {
        let runtime = ["runc", "crun"].iter().find_map(|name| config::find_program(name));
        Ok(Config {
            root: self.settings.root_dir(),
            state: self.settings.state_dir(),
            socket: self.settings.socket(),
            cni_conf_dir: self.settings.cni_conf_dir(),
            cni_bin_dir: config::cni_bin_dir(),
            registry_dir: self.settings.data_dir.join("agent/etc/containerd/certs.d"),
            runtime: runtime.context("neither runc nor crun is installed")?,
            restrict_oom_score_adj: !config::may_lower_oom_score(),
        })
    }

    fn log_file(&self) -> PathBuf {
        self.settings.root_dir().join("containerd.log")
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let program = config::find_program("containerd").context("containerd is not installed")?;
        for dir in [
            self.settings.root_dir(),
            self.settings.state_dir(),
            self.settings.cni_conf_dir(),
        ] {
            std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        }
        let log = log(&self.log_file())?;
        let child = Command::new(&program)
            .arg("--config")
            .arg(self.settings.config_file())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A signal to Mizzen's process group, such as Ctrl-C, is not meant for it.
            .process_group(0)
            .spawn()
            .with_context(|| program.display().to_string())?;
        let pid = child.id().unwrap_or_default();
        std::fs::write(self.settings.pid_file(), format!("{pid}\n"))?;
        tracing::info!(pid, program = %program.display(), "containerd started");
        Ok(child)
    }

    /// Ends a containerd that was started with another configuration; its containers go on.
    async fn terminate(&self) -> anyhow::Result<()> {
        let pid = std::fs::read_to_string(self.settings.pid_file())?
            .trim()
            .parse::<i32>()?;
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let config = self.settings.config_file();
        if !command
            .split(|byte| *byte == 0)
            .any(|word| word == config.as_os_str().as_encoded_bytes())
        {
            bail!(
                "{} is in use, but not by a containerd of ours",
                self.settings.socket().display()
            );
        }
        tracing::info!(pid, "containerd restarts with a new configuration");
        let gone = ended(channel(&self.settings.socket()));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM)?;
        tokio::time::timeout(START_TIMEOUT, gone)
            .await
            .context("containerd does not stop")??;
        // Its sockets close a moment before its database is unlocked; the new one waits for the lock.
        Ok(())
    }
}

/// Waits until containerd's CRI plugin answers; fails when the process that should answer ends.
async fn connect(socket: &Path, mut child: Option<&mut Child>) -> anyhow::Result<Channel> {
    let channel = channel(socket);
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let error = match RuntimeServiceClient::new(channel.clone())
            .status(StatusRequest::default())
            .await
        {
            Ok(_) => return Ok(channel),
            Err(error) => error,
        };
        if let Some(status) = child.as_mut().map(|child| child.try_wait()).transpose()?.flatten() {
            bail!("it ended with {status}");
        }
        if Instant::now() > deadline {
            return Err(error).with_context(|| format!("{} does not answer", socket.display()));
        }
        tokio::time::sleep(CONNECT_PAUSE).await;
    }
}

/// Waits for the end of a containerd that is not our child.
async fn ended(channel: Channel) -> anyhow::Result<()> {
    let nothing = SubscribeRequest {
        filters: vec!["topic==\"/mizzen/none\"".to_owned()],
    };
    let Ok(events) = EventsClient::new(channel).subscribe(nothing).await else {
        return Ok(());
    };
    let mut events = events.into_inner();
    while let Ok(Some(_)) = events.message().await {}
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// Opens the log for appending; one that grew too large becomes the old one.
fn log(path: &Path) -> anyhow::Result<File> {
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > LOG_MAX_BYTES) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| path.display().to_string())
}
