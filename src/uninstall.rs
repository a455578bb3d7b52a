//! `mizzen uninstall`: ends everything of ours, and removes exactly what is ours. `killall` is the first half.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use mizzen_node::cleanup::{self, Item, Scope};
use mizzen_node::names::{DEFAULT_DATA_DIR, Names};

use crate::supervise;

/// Remove everything of ours from this machine.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct Args {
    /// Only list what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Data directory of the instance
    #[arg(short, long, env = "MIZZEN_DATA_DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// Names of its services
    #[arg(long, value_delimiter = ',', default_values = ["mizzen", "mizzen-agent"])]
    name: Vec<String>,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode> {
        self.remove_with(uninstall)
    }

    /// Runs `mizzen killall`.
    pub(crate) fn run_killall(self) -> Result<ExitCode> {
        self.remove_with(killall)
    }

    fn remove_with<F: Future<Output = Result<()>>>(self, remove: impl FnOnce(Self) -> F) -> Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(remove(self))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Ends all processes and takes down network, mounts and cgroups; files stay.
async fn killall(args: Args) -> Result<()> {
    let scope = Scope {
        data_dir: args.data_dir.clone(),
        spare: own_processes(),
        paths: Vec::new(),
    };
    remove(&args, &scope, &[]).await
}

/// Also removes the service, the configuration, all data and the program itself.
async fn uninstall(args: Args) -> Result<()> {
    let service_files: Vec<_> = args.name.iter().flat_map(|name| service_files(name)).collect();
    let mut paths = service_files.clone();
    paths.extend(log_folders(&args.data_dir));
    paths.push(args.data_dir.clone());
    paths.push(Names::of(&args.data_dir).run);
    if args.data_dir == Path::new(DEFAULT_DATA_DIR) {
        paths.push("/etc/mizzen".into());
        paths.extend(args.name.iter().map(|name| format!("/var/log/{name}.log").into()));
        // The program goes last: until then it can be run again if something fails.
        paths.extend(std::env::current_exe().ok().filter(|path| installed(path)));
    }
    let scope = Scope {
        data_dir: args.data_dir.clone(),
        spare: own_processes(),
        paths,
    };
    remove(&args, &scope, &service_files).await
}

async fn remove(args: &Args, scope: &Scope, service_files: &[PathBuf]) -> Result<()> {
    let items = cleanup::plan(scope)?;
    if args.dry_run {
        for item in &items {
            println!("would remove {item}");
        }
        return Ok(());
    }
    if !nix::unistd::Uid::effective().is_root() {
        anyhow::bail!("this needs root");
    }
    for name in &args.name {
        stop_service(name, !service_files.is_empty()).await?;
    }
    cleanup::execute(scope, &items, |item| println!("removed {item}")).await?;
    let log_root = Names::of(&scope.data_dir).pod_logs;
    if !scope.paths.is_empty() && std::fs::remove_dir(&log_root).is_ok() {
        println!("removed {}", Item::Path(log_root));
    }
    Ok(())
}

/// Log folders of our Pods, and the folder that holds them, which others may share: it goes when it is empty.
fn log_folders(data_dir: &Path) -> Vec<PathBuf> {
    let root = Names::of(data_dir).pod_logs;
    let ours = |name: &str| {
        name.rsplit_once('_')
            .is_some_and(|(_, uid)| data_dir.join("agent/kubelet/pods").join(uid).exists())
    };
    let entries = std::fs::read_dir(&root).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(ours))
        .collect()
}

async fn stop_service(name: &str, disable: bool) -> Result<()> {
    if Path::new("/run/systemd/system").exists() {
        run("systemctl", &["stop", name]);
        if disable {
            run("systemctl", &["disable", name]);
        }
    } else if Path::new("/sbin/openrc-run").exists() {
        run("rc-service", &[name, "stop"]);
        if disable {
            run("rc-update", &["del", name]);
        }
    }
    let pid_file = PathBuf::from(format!("/run/mizzen/{name}.pid"));
    match supervise::supervisor(&pid_file) {
        Some(pid) => supervise::stop(pid, name).await.context("cannot stop the supervisor"),
        None => Ok(()),
    }
}

/// Runs a service manager's command; that there is no such service is not a failure.
fn run(program: &str, arguments: &[&str]) {
    Command::new(program).args(arguments).output().ok();
}

fn service_files(name: &str) -> Vec<PathBuf> {
    let candidates = [
        format!("/etc/systemd/system/{name}.service"),
        format!("/etc/init.d/{name}"),
    ];
    candidates
        .into_iter()
        .map(PathBuf::from)
        .filter(|path| path.exists())
        .collect()
}

/// Whether the program lies where install.sh puts it, not in somebody's build folder.
fn installed(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with("bin")) && path.file_name().is_some_and(|name| name == "mizzen")
}

/// This process and those that it was started by, which must live to see the end.
fn own_processes() -> Vec<i32> {
    let pid = i32::try_from(std::process::id()).unwrap_or_default();
    vec![pid, nix::unistd::getppid().as_raw()]
}
