//! `mizzen supervise`: keeps `mizzen server` running where there is no init system to do it.
//!
//! The command starts itself once more in a session of its own, and that one starts the server, again
//! whenever it ends, until it is asked to stop. Its process id is in `/run/mizzen/NAME.pid`.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

const RESTART_DELAY: Duration = Duration::from_secs(2);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const RUN_DIR: &str = "/run/mizzen";

/// Flags of `mizzen supervise`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Name of the service
    #[arg(long, default_value = "mizzen")]
    name: String,
    /// Where the output of the server goes
    #[arg(long, default_value = "/var/log/mizzen.log")]
    log: PathBuf,
    /// Only say whether it runs
    #[arg(long)]
    status: bool,
    /// Stop it
    #[arg(long)]
    stop: bool,
    /// Be the supervisor instead of starting one
    #[arg(long, hide = true)]
    foreground: bool,
    /// Arguments of `mizzen`
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> Result<ExitCode> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(run(self))?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn run(args: Args) -> Result<()> {
    let pid_file = Path::new(RUN_DIR).join(format!("{}.pid", args.name));
    let running = supervisor(&pid_file);
    match running {
        Some(pid) if args.stop => stop(pid, &args.name).await,
        Some(pid) if args.status => {
            println!("{} is running, supervised by process {pid}", args.name);
            Ok(())
        }
        _ if args.stop => Ok(()),
        _ if args.status => bail!("{} is not running", args.name),
        _ if args.foreground => supervise(&args, &pid_file).await,
        Some(pid) => bail!("{} is running already, supervised by process {pid}", args.name),
        None => detach(&args, &pid_file).await,
    }
}

/// The process in a pid file, if it is alive and a supervisor.
pub fn supervisor(pid_file: &Path) -> Option<Pid> {
    let pid: i32 = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    command
        .split(|&b| b == 0)
        .any(|word| word == b"supervise")
        .then(|| Pid::from_raw(pid))
}

async fn detach(args: &Args, pid_file: &Path) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let log = open_log(&args.log)?;
    let mut child = Command::new(program)
        .args(["supervise", "--foreground", "--name", &args.name, "--log"])
        .arg(&args.log)
        .arg("--")
        .args(&args.arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/")
        .spawn()
        .context("cannot start the supervisor")?;
    let started = async {
        while supervisor(pid_file).is_none() {
            if let Some(status) = child.try_wait()? {
                bail!("the supervisor ended at once ({status}): see {}", args.log.display());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    tokio::time::timeout(STOP_TIMEOUT, started)
        .await
        .context("the supervisor did not start")?
}

async fn supervise(args: &Args, pid_file: &Path) -> Result<()> {
    // Leaves the terminal's session, so that closing it does not end the cluster.
    nix::unistd::setsid().context("cannot start a session")?;
    std::fs::create_dir_all(RUN_DIR).with_context(|| format!("cannot create {RUN_DIR}"))?;
    std::fs::write(pid_file, std::process::id().to_string())
        .with_context(|| format!("cannot write {}", pid_file.display()))?;
    let program = std::env::current_exe()?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    loop {
        let mut child = Command::new(&program)
            .args(&args.arguments)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let asked_to_stop = async {
            tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () }
        };
        tokio::select! {
            status = child.wait() => {
                eprintln!("mizzen ended ({}); starting it again", status?);
                sleep(RESTART_DELAY).await;
            }
            () = asked_to_stop => {
                if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
                    kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
                }
                child.wait().await?;
                std::fs::remove_file(pid_file).ok();
                return Ok(());
            }
        }
    }
}

/// Asks a supervisor to stop, and waits until it has.
pub async fn stop(pid: Pid, name: &str) -> Result<()> {
    kill(pid, Signal::SIGTERM).with_context(|| format!("cannot stop process {pid}"))?;
    let gone = async {
        while Path::new(&format!("/proc/{pid}/stat")).exists() && !zombie(pid) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(STOP_TIMEOUT, gone)
        .await
        .with_context(|| format!("{name} (process {pid}) does not stop"))
}

fn zombie(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('Z'))
    })
}

fn open_log(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))
}
