//! `mizzen server`: the control plane and, unless disabled, the node agent, in this process.
//!
//! Flags come from the command line, then the environment, then the configuration file; their names are k3s's.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::FutureExt;
use mizzen_node::names::DEFAULT_DATA_DIR;
use mizzen_node::{Agent, AgentConfig, kubelet_api};
use mizzen_server::apiserver::admission::service_addresses::Reservations;
use mizzen_server::apiserver::gates::{self, Gates};
use mizzen_server::apiserver::listener::Listener;
use mizzen_server::apiserver::presence;
use mizzen_server::apiserver::special::CONSOLE;
use mizzen_server::control_plane::{Config, ControlPlane};
use mizzen_server::identity::{MASTERS, User};
use mizzen_server::join::{self, Tokens};
use mizzen_server::leader::{self, Candidate, Start};
use mizzen_server::pki::{self, PeerCertificate, Pki};
use mizzen_server::scheduler::verdicts::Verdicts;
use mizzen_server::scheduler::{self, Scheduler};
use mizzen_server::{bootstrap, controllers};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::node_flags::{self, NodeFlags, supervise};

/// Flags of `mizzen server`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Configuration file: flags as YAML keys; `FILE.d/*.yaml` are read after it
    #[arg(short, long, env = "MIZZEN_CONFIG_FILE", default_value = "/etc/mizzen/config.yaml")]
    pub config: PathBuf,
    /// Folder for all state
    #[arg(short, long, env = "MIZZEN_DATA_DIR", default_value = DEFAULT_DATA_DIR)]
    pub data_dir: PathBuf,
    /// Address that the API listens on
    #[arg(long, env = "MIZZEN_BIND_ADDRESS", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// Port that the API listens on
    #[arg(long, env = "MIZZEN_HTTPS_LISTEN_PORT", default_value_t = 6443)]
    pub https_listen_port: u16,
    /// Address at which the API can be reached by Pods and nodes (default: the node's)
    #[arg(long, env = "MIZZEN_ADVERTISE_ADDRESS")]
    pub advertise_address: Option<IpAddr>,
    /// Further names and addresses for the API's certificate
    #[arg(long, env = "MIZZEN_TLS_SAN", value_delimiter = ',')]
    pub tls_san: Vec<String>,
    /// Addresses for Pods
    #[arg(long, env = "MIZZEN_CLUSTER_CIDR", default_value = "10.42.0.0/16")]
    pub cluster_cidr: ipnet::Ipv4Net,
    /// Addresses for Services
    #[arg(long, env = "MIZZEN_SERVICE_CIDR", default_value = "10.43.0.0/16")]
    pub service_cidr: ipnet::Ipv4Net,
    /// Ports for Services of type NodePort
    #[arg(long, env = "MIZZEN_SERVICE_NODE_PORT_RANGE", default_value = "30000-32767")]
    pub service_node_port_range: String,
    /// Address of the cluster DNS (default: the tenth of the Service addresses)
    #[arg(long, env = "MIZZEN_CLUSTER_DNS")]
    pub cluster_dns: Option<IpAddr>,
    /// Domain of the cluster
    #[arg(long, env = "MIZZEN_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Where the administrator's kubeconfig is written
    #[arg(short = 'o', long, env = "MIZZEN_KUBECONFIG_OUTPUT")]
    pub write_kubeconfig: Option<PathBuf>,
    /// Mode of that file, in octal
    #[arg(long, env = "MIZZEN_KUBECONFIG_MODE", default_value = "600", value_parser = parse_mode)]
    pub write_kubeconfig_mode: u32,
    /// Store to use instead of the embedded one: etcd, as `http(s)://HOST:PORT[,…]`
    #[arg(long, env = "MIZZEN_DATASTORE_ENDPOINT", hide_env_values = true)]
    pub datastore_endpoint: Option<String>,
    /// How to reach it
    #[command(flatten)]
    pub datastore_tls: crate::datastore::Tls,
    /// Do not run the node agent (kubelet, proxy, network, DNS)
    #[arg(long, env = "MIZZEN_DISABLE_AGENT")]
    pub disable_agent: bool,
    /// Do not run the scheduler
    #[arg(long, env = "MIZZEN_DISABLE_SCHEDULER")]
    pub disable_scheduler: bool,
    /// Flags of the scheduler as upstream spells them; `config=FILE` names a KubeSchedulerConfiguration
    #[arg(long, env = "MIZZEN_KUBE_SCHEDULER_ARG", value_delimiter = ',')]
    pub kube_scheduler_arg: Vec<String>,
    /// Do not run the controllers
    #[arg(long, alias = "disable-controller-manager", env = "MIZZEN_DISABLE_CONTROLLERS")]
    pub disable_controllers: bool,
    /// Do not run the cluster DNS
    #[arg(long, env = "MIZZEN_DISABLE_DNS")]
    pub disable_dns: bool,
    /// Do not enforce NetworkPolicies, on any node
    #[arg(long, env = "MIZZEN_DISABLE_NETWORK_POLICY")]
    pub disable_network_policy: bool,
    /// Password that servers and agents join with (default: a random one)
    #[arg(short, long, env = "MIZZEN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// File with that password
    #[arg(long, env = "MIZZEN_TOKEN_FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Password that only agents join with (default: the same)
    #[arg(long, env = "MIZZEN_AGENT_TOKEN", hide_env_values = true)]
    pub agent_token: Option<String>,
    /// File with that password
    #[arg(long, env = "MIZZEN_AGENT_TOKEN_FILE", conflicts_with = "agent_token")]
    pub agent_token_file: Option<PathBuf>,
    /// Flags of the controllers as upstream spells them; `cluster-signing-duration=TIME` is known
    #[arg(long, env = "MIZZEN_KUBE_CONTROLLER_MANAGER_ARG", value_delimiter = ',')]
    pub kube_controller_manager_arg: Vec<String>,
    #[command(flatten)]
    pub node: NodeFlags,
    /// Log more
    #[arg(long, env = "MIZZEN_DEBUG")]
    pub debug: bool,
}

impl Args {
    /// Runs the server until it is asked to stop.
    pub fn run(self) -> Result<ExitCode> {
        crate::logging::start(self.debug);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(serve(self))?;
        Ok(ExitCode::SUCCESS)
    }

    fn node_port_range(&self) -> Result<std::ops::RangeInclusive<u16>> {
        let parse = |text: &str| {
            let (first, last) = text.split_once('-')?;
            Some(first.parse().ok()?..=last.parse().ok()?)
        };
        parse(&self.service_node_port_range).with_context(|| {
            format!(
                "--service-node-port-range={}: expected FIRST-LAST",
                self.service_node_port_range
            )
        })
    }

    /// How the scheduler decides.
    fn scheduler(&self) -> Result<scheduler::Configuration> {
        let mut configuration = scheduler::Configuration::default();
        for flag in &self.kube_scheduler_arg {
            match flag.trim_start_matches('-').split_once('=') {
                Some(("config", file)) => configuration = scheduler::Configuration::read(file.as_ref())?,
                _ => bail!("--kube-scheduler-arg={flag}: only config=FILE is known"),
            }
        }
        Ok(configuration)
    }

    fn service_address(&self, host: u32) -> IpAddr {
        std::net::Ipv4Addr::from(u32::from(self.service_cidr.network()) + host).into()
    }

    fn cluster_dns(&self) -> IpAddr {
        self.cluster_dns.unwrap_or_else(|| self.service_address(10))
    }

    fn join_options(&self) -> Result<join::Options> {
        Ok(join::Options {
            data_dir: self.data_dir.clone(),
            server: node_flags::secret(self.token.as_ref(), self.token_file.as_ref())?,
            agent: node_flags::secret(self.agent_token.as_ref(), self.agent_token_file.as_ref())?,
        })
    }

    /// What agents are told, by the names of `mizzen_node::join::Cluster`.
    fn agent_config(&self, client_ca: &str) -> BTreeMap<&'static str, String> {
        [
            ("clientCA", client_ca.to_owned()),
            ("clusterCIDR", self.cluster_cidr.to_string()),
            ("serviceCIDR", self.service_cidr.to_string()),
            ("clusterDNS", self.cluster_dns().to_string()),
            ("clusterDomain", self.cluster_domain.clone()),
            ("disableDNS", self.disable_dns.to_string()),
            ("disableNetworkPolicy", self.disable_network_policy.to_string()),
        ]
        .into()
    }

    /// How long the certificates that the controllers sign live at most.
    fn signing_duration(&self) -> Result<Option<Duration>> {
        let mut duration = None;
        for flag in &self.kube_controller_manager_arg {
            match flag.trim_start_matches('-').split_once('=') {
                Some(("cluster-signing-duration", text)) => {
                    let span = mizzen_api::duration::parse(text).map_err(anyhow::Error::msg);
                    let span = span.with_context(|| format!("--kube-controller-manager-arg={flag}"))?;
                    duration = Some(Duration::try_from(span)?);
                }
                _ => bail!("--kube-controller-manager-arg={flag}: only cluster-signing-duration=TIME is known"),
            }
        }
        Ok(duration)
    }

    fn kubeconfig(&self) -> PathBuf {
        match &self.write_kubeconfig {
            Some(path) => path.clone(),
            None if self.data_dir == std::path::Path::new(DEFAULT_DATA_DIR) => "/etc/mizzen/mizzen.yaml".into(),
            None => self.data_dir.join("server/cred/admin.kubeconfig"),
        }
    }
}

async fn serve(args: Args) -> Result<()> {
    let stop = CancellationToken::new();
    let host = node_flags::host_name()?;
    let node_name = args.node.name(&args.data_dir)?;
    let node_ip = args.node.ip()?;
    let mut components = JoinSet::new();

    // The port is taken before anything is changed, so that a second server on it fails at once.
    let address = (args.bind_address, args.https_listen_port);
    let socket = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {}:{}", address.0, address.1))?;

    let endpoint = args.datastore_endpoint.as_deref();
    let datastore = args.datastore_tls.open(endpoint, &args.data_dir).await?;
    let mut join_options = args.join_options()?;
    if datastore.shared {
        let password = join::server_password(&join_options)?;
        pki::shared::share(&*datastore.store, &args.data_dir, &password).await?;
        join_options.server.get_or_insert(password);
    }
    let server_url = format!("https://127.0.0.1:{}", args.https_listen_port);
    let pki = Arc::new(Pki::open(&pki::Options {
        data_dir: args.data_dir.clone(),
        names: args
            .tls_san
            .iter()
            .filter(|san| san.parse::<IpAddr>().is_err())
            .cloned()
            .chain([host.clone()])
            .collect(),
        addresses: args
            .tls_san
            .iter()
            .filter_map(|san| san.parse().ok())
            .chain([node_ip])
            .chain(args.advertise_address)
            .collect(),
        service_address: args.service_address(1),
        cluster_domain: args.cluster_domain.clone(),
        server_url: server_url.clone(),
    })?);
    let tokens = Tokens::open(&join_options, pki.server_ca().pem())?;
    let gates = gates::Options {
        token_keys: pki.token_keys(),
        issuer: format!("https://kubernetes.default.svc.{}", args.cluster_domain),
        server_url: format!(
            "https://{}:{}",
            args.advertise_address.unwrap_or(node_ip),
            args.https_listen_port
        ),
        root_ca_pem: pki.server_ca().pem().to_owned(),
        join_tokens: Arc::new(tokens),
        service_network: args.service_cidr,
        node_ports: args.node_port_range()?,
        reservations: datastore.shared.then(|| Reservations(datastore.store.clone())),
    };
    let config = Config {
        store: datastore.store.clone(),
        gates: Box::new(move |cache| Gates::new(cache.clone(), gates)),
        kubelet_tls: Some(pki.kubelet_client_config()?),
    };
    let plane = ControlPlane::start(config, stop.child_token()).await?;
    plane.server().serve_dashboard(crate::dashboard::assets());
    let advertised = SocketAddr::new(args.advertise_address.unwrap_or(node_ip), args.https_listen_port);
    let apiserver = plane.client(User::new("system:apiserver", [MASTERS]));
    let options = bootstrap::Options {
        server: advertised,
        alone: !datastore.shared,
        service_address: args.service_address(1),
        client_ca_pem: pki.client_ca().pem().to_owned(),
        request_header_ca_pem: pki.request_header_ca().pem().to_owned(),
        agents: args.agent_config(pki.client_ca().pem()),
        node: match args.disable_agent {
            true => None,
            false => Some((
                node_name.clone(),
                join::hash(&mizzen_node::join::password(&args.data_dir)?),
            )),
        },
        network_policy: !args.disable_network_policy,
    };
    // Nobody is let in before the rules by which they are let in exist.
    bootstrap::run(apiserver.clone(), &options)
        .await
        .context("cannot set up the cluster's own objects")?;
    let listener = Listener {
        socket,
        tls: pki.server_config()?,
        trust: pki.client_trust()?,
    };
    components.spawn(listener.serve(plane.router(), stop.child_token()));
    components.spawn(pki.clone().run(stop.child_token()));
    pki.write_admin_kubeconfig(&args.kubeconfig(), args.write_kubeconfig_mode, &server_url)?;

    if datastore.shared && !advertised.ip().is_loopback() {
        let presence = presence::run(datastore.store, apiserver.clone(), advertised, stop.child_token());
        components.spawn(presence);
    }
    // Several servers elect one that does the work.
    let candidate = |name| Candidate {
        client: apiserver.clone(),
        name,
        identity: format!("{host}_{}", uuid::Uuid::new_v4()),
    };
    let start = |components: &mut JoinSet<Result<()>>, name, start: Start| -> Result<()> {
        let stop = stop.child_token();
        match datastore.shared {
            true => drop(components.spawn(leader::lead(candidate(name), start, stop))),
            false => drop(components.spawn(start(stop)?)),
        }
        Ok(())
    };

    if !args.disable_controllers {
        let plane = plane.clone();
        let clients: controllers::Clients = Arc::new(move |account| {
            plane.client(match account {
                None => User::new("system:kube-controller-manager", []),
                Some(account) => User::new(
                    format!("system:serviceaccount:kube-system:{account}"),
                    ["system:serviceaccounts", "system:serviceaccounts:kube-system"],
                ),
            })
        });
        let config = controllers::Config {
            root_ca_pem: pki.server_ca().pem().to_owned(),
            cluster_cidr: Some(args.cluster_cidr),
            signers: Some(pki.signers()),
            signing_duration: args.signing_duration()?,
        };
        let run = move |stop| {
            let manager = controllers::Manager::new(clients.clone(), config.clone());
            Ok(manager.run(stop).boxed())
        };
        start(&mut components, "kube-controller-manager", Box::new(run))?;
    }
    if !args.disable_scheduler {
        let client = plane.client(User::new("system:kube-scheduler", []));
        let verdicts = Arc::<Verdicts>::default();
        plane.server().compute(CONSOLE, "schedulingverdicts", verdicts.clone());
        let (args, host) = (args.clone(), host.clone());
        let run = move |stop| {
            let scheduler = Scheduler::new(client.clone(), &host).configured(args.scheduler()?);
            Ok(scheduler.telling(verdicts.clone()).run(stop).boxed())
        };
        start(&mut components, "kube-scheduler", Box::new(run))?;
    }
    if !args.disable_agent {
        let client = plane.client(User::new(format!("system:node:{node_name}"), ["system:nodes"]));
        let proxy_client = plane.client(User::new("system:kube-proxy", []));
        let config = agent(&args, &node_name, node_ip, &pki)?;
        components.spawn(Agent::new(config, client, proxy_client).run(stop.child_token()));
    }
    tracing::info!("serving on {}:{}", args.bind_address, args.https_listen_port);
    supervise(components, &stop).await
}

/// What the node agent is told of the flags.
fn agent(args: &Args, node_name: &str, node_ip: IpAddr, pki: &Pki) -> Result<AgentConfig> {
    let certificates = pki.node(node_name, &[node_ip])?;
    let trust = pki.client_trust()?;
    Ok(AgentConfig {
        cluster_cidr: args.cluster_cidr,
        service_cidr: args.service_cidr,
        dns: !args.disable_dns,
        network_policy: !args.disable_network_policy,
        kubelet_trust: Some(kubelet_api::Trust {
            tls: pki.kubelet_server_config(&certificates)?,
            identify: Arc::new(move |chain| match trust.identify(Some(chain)) {
                PeerCertificate::Trusted(user, _) => Some(user.groups.clone()),
                _ => None,
            }),
        }),
        cluster_dns: vec![args.cluster_dns()],
        cluster_domain: args.cluster_domain.clone(),
        ..args.node.config(node_name, node_ip, &args.data_dir)?
    })
}

fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).map_err(|_| format!("{text:?} is not a file mode: expected octal digits such as 644"))
}
