//! Where the cluster's state is kept, for `mizzen server`; and `mizzen datastore`, which moves it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use mizzen_node::names::DEFAULT_DATA_DIR;
use mizzen_server::store::Store;
use mizzen_server::store::copy::copy;
use mizzen_server::store::etcd::{EtcdOptions, EtcdStore};
use mizzen_server::store::sqlite::{SqliteOptions, SqliteStore};

/// Flags that say how to reach etcd; k3s's.
#[derive(clap::Args, Clone, Debug)]
pub struct Tls {
    /// CA of the datastore's certificates
    #[arg(long, value_name = "FILE", env = "MIZZEN_DATASTORE_CAFILE")]
    pub datastore_cafile: Option<PathBuf>,
    /// Certificate to show the datastore
    #[arg(long, value_name = "FILE", env = "MIZZEN_DATASTORE_CERTFILE")]
    pub datastore_certfile: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE", env = "MIZZEN_DATASTORE_KEYFILE")]
    pub datastore_keyfile: Option<PathBuf>,
}

/// A store that was opened.
pub struct Datastore {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Whether other servers may use it too.
    pub shared: bool,
}

impl Tls {
    /// Opens the store that an endpoint names; without one, the embedded store of the data directory.
    pub async fn open(&self, endpoint: Option<&str>, data_dir: &Path) -> Result<Datastore> {
        let endpoint = endpoint.unwrap_or_default();
        match endpoint.split_once("://").map_or(endpoint, |(scheme, _)| scheme) {
            "http" | "https" => {
                let options = EtcdOptions {
                    endpoints: endpoint.to_owned(),
                    ca_file: self.datastore_cafile.clone(),
                    cert_file: self.datastore_certfile.clone(),
                    key_file: self.datastore_keyfile.clone(),
                };
                let store = EtcdStore::open(&options).await;
                let store = Arc::new(store.with_context(|| format!("the datastore {} refuses us", shown(endpoint)))?);
                Ok(Datastore { store, shared: true })
            }
            "" | "sqlite" => {
                let path = sqlite_path(endpoint, data_dir);
                let open = move || SqliteStore::open(&path, SqliteOptions::default());
                let store = Arc::new(tokio::task::spawn_blocking(open).await??);
                Ok(Datastore { store, shared: false })
            }
            other => bail!("a datastore of kind {other:?} is not known: expected http(s)://HOST:PORT[,…] or sqlite"),
        }
    }
}

/// `sqlite`, `sqlite://FILE` or nothing.
fn sqlite_path(endpoint: &str, data_dir: &Path) -> PathBuf {
    match endpoint.strip_prefix("sqlite://") {
        Some(path) if !path.is_empty() => path.into(),
        _ => data_dir.join("server/db/state.db"),
    }
}

/// Move a cluster's state between datastores.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Copy a cluster that is stopped: every object, in the order of creation. Revisions are those of the new
    /// datastore, so agents must be restarted after it
    Copy(CopyArgs),
}

#[derive(clap::Args)]
struct CopyArgs {
    /// Where the cluster is: `sqlite` (in the data directory), `sqlite://FILE` or `http(s)://HOST:PORT[,…]`
    #[arg(long, value_name = "DATASTORE")]
    from: String,
    /// Where it shall be, in the same form; nothing may be there yet
    #[arg(long, value_name = "DATASTORE")]
    to: String,
    /// Folder for all state of the server
    #[arg(short, long, env = "MIZZEN_DATA_DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    #[command(flatten)]
    tls: Tls,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        crate::logging::start(false);
        let Command::Copy(args) = self.command;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let count = runtime.block_on(args.copy())?;
        println!(
            "copied {count} objects from {} to {}",
            shown(&args.from),
            shown(&args.to)
        );
        Ok(ExitCode::SUCCESS)
    }
}

impl CopyArgs {
    async fn copy(&self) -> Result<usize> {
        if !self.from.starts_with("http") {
            let path = sqlite_path(&self.from, &self.data_dir);
            ensure!(
                path.exists(),
                "cannot copy from {}: there is no such file",
                path.display()
            );
        }
        let open = async |endpoint: &str, flag: &str| {
            let opened = self.tls.open(Some(endpoint), &self.data_dir).await;
            opened.with_context(|| format!("cannot open {flag} {}", shown(endpoint)))
        };
        let (from, to) = (open(&self.from, "--from").await?, open(&self.to, "--to").await?);
        Ok(copy(&*from.store, &*to.store).await?)
    }
}

/// An endpoint without the password that it may have.
fn shown(endpoint: &str) -> String {
    match (endpoint.split_once("://"), endpoint.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, address))) => format!("{scheme}://…@{address}"),
        _ => endpoint.to_owned(),
    }
}
