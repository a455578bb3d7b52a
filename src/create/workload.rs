//! Generators of what runs and of what leads to it.

use serde_json::{Value, json};

use crate::cli::error::fail;

#[derive(clap::Args)]
pub(super) struct Deployment {
    /// Name of the Deployment.
    name: String,
    /// Image; given several times, a container each.
    #[arg(long, value_name = "IMAGE", required = true)]
    image: Vec<String>,
    /// How many Pods.
    #[arg(short, long, value_name = "COUNT", default_value_t = 1)]
    replicas: u32,
    /// Port that the container listens on.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Command to run, after --.
    #[arg(last = true)]
    command: Vec<String>,
}

impl Deployment {
    pub(super) fn object(&self) -> anyhow::Result<Value> {
        let labels = json!({"app": self.name});
        let mut containers: Vec<Value> = Vec::new();
        for image in &self.image {
            let mut container = json!({"name": container_name(image), "image": image});
            if let Some(port) = self.port {
                container["ports"] = json!([{"containerPort": port}]);
            }
            if !self.command.is_empty() {
                container["command"] = json!(self.command);
            }
            containers.push(container);
        }
        if self.image.len() > 1 && !self.command.is_empty() {
            return fail("cannot specify multiple --image options and command");
        }
        Ok(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": self.name, "labels": labels},
            "spec": {"replicas": self.replicas, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}}},
        }))
    }
}

/// `registry/path/name:tag@digest` → `name`.
fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let name = last.split([':', '@']).next().unwrap_or(last);
    name.to_lowercase().replace(['_', '.'], "-")
}

#[derive(clap::Args)]
pub(super) struct Job {
    /// Name of the Job.
    name: String,
    /// Image.
    #[arg(long, value_name = "IMAGE", required_unless_present = "from")]
    image: Option<String>,
    /// CronJob to run once, as cronjob/NAME.
    #[arg(long, value_name = "CRONJOB", conflicts_with = "image")]
    from: Option<String>,
    /// Command to run, after --.
    #[arg(last = true)]
    command: Vec<String>,
}

impl Job {
    /// Name of the CronJob to run once.
    pub(super) fn from(&self) -> anyhow::Result<Option<&str>> {
        let Some(from) = &self.from else { return Ok(None) };
        match from.split_once('/') {
            Some(("cronjob" | "cronjobs" | "cj" | "cronjob.batch" | "cronjobs.batch", name)) if !name.is_empty() => {
                Ok(Some(name))
            }
            _ => fail(format!("--from={from}: expected cronjob/NAME")),
        }
    }

    pub(super) fn object(&self) -> anyhow::Result<Value> {
        let Some(image) = &self.image else {
            return fail("--from needs a server to read the CronJob from");
        };
        Ok(json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": self.name},
            "spec": {"template": pod_template(&self.name, image, &self.command, "Never")},
        }))
    }

    /// The Job that a CronJob would make, now.
    pub(super) fn of(&self, cron: &Value) -> Value {
        let template = &cron["spec"]["jobTemplate"];
        let mut metadata = json!({"name": self.name, "annotations": template["metadata"]["annotations"]});
        metadata["annotations"]["cronjob.kubernetes.io/instantiate"] = json!("manual");
        if let Some(labels) = template["metadata"].get("labels") {
            metadata["labels"] = labels.clone();
        }
        metadata["ownerReferences"] = json!([{"apiVersion": "batch/v1", "kind": "CronJob",
            "name": cron["metadata"]["name"], "uid": cron["metadata"]["uid"], "controller": true}]);
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
    }
}

#[derive(clap::Args)]
pub(super) struct CronJob {
    /// Name of the CronJob.
    name: String,
    /// Image.
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// When to run, in cron's syntax.
    #[arg(long, value_name = "SCHEDULE")]
    schedule: String,
    /// Restart policy of the Pods.
    #[arg(long, value_name = "POLICY", default_value = "OnFailure")]
    restart: String,
    /// Command to run, after --.
    #[arg(last = true)]
    command: Vec<String>,
}

impl CronJob {
    pub(super) fn object(&self) -> Value {
        let template = pod_template(&self.name, &self.image, &self.command, &self.restart);
        json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": self.name},
            "spec": {"schedule": self.schedule,
                "jobTemplate": {"metadata": {"name": self.name}, "spec": {"template": template}}},
        })
    }
}

fn pod_template(name: &str, image: &str, command: &[String], restart: &str) -> Value {
    let mut container = json!({"name": name, "image": image});
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    json!({"spec": {"containers": [container], "restartPolicy": restart}})
}

#[derive(clap::Args)]
pub(super) struct Service {
    #[command(subcommand)]
    kind: ServiceKind,
}

#[derive(clap::Subcommand)]
enum ServiceKind {
    /// Reached inside the cluster.
    #[command(name = "clusterip")]
    ClusterIp(Ports),
    /// Reached on a port of every node.
    #[command(name = "nodeport")]
    NodePort(Ports),
    /// Reached at an address outside the cluster.
    #[command(name = "loadbalancer")]
    LoadBalancer(Ports),
    /// Another name for something outside.
    #[command(name = "externalname")]
    ExternalName(External),
}

#[derive(clap::Args)]
struct Ports {
    /// Name of the Service.
    name: String,
    /// PORT or PORT:TARGET-PORT.
    #[arg(long, value_name = "PORT")]
    tcp: Vec<String>,
    /// Cluster address, or None.
    #[arg(long = "clusterip", value_name = "ADDRESS")]
    cluster_ip: Option<String>,
    /// Port on the nodes.
    #[arg(long, value_name = "PORT")]
    node_port: Option<u16>,
}

#[derive(clap::Args)]
struct External {
    /// Name of the Service.
    name: String,
    /// The outside name.
    #[arg(long, value_name = "NAME")]
    external_name: String,
}

impl Service {
    pub(super) fn object(&self) -> anyhow::Result<Value> {
        let (kind, ports) = match &self.kind {
            ServiceKind::ClusterIp(ports) => ("ClusterIP", ports),
            ServiceKind::NodePort(ports) => ("NodePort", ports),
            ServiceKind::LoadBalancer(ports) => ("LoadBalancer", ports),
            ServiceKind::ExternalName(external) => {
                let spec = json!({"type": "ExternalName", "externalName": external.external_name, "selector": {"app": external.name}});
                return Ok(service(&external.name, &spec));
            }
        };
        let mut spec = json!({"type": kind, "selector": {"app": ports.name}, "ports": ports.list()?});
        if let Some(address) = &ports.cluster_ip {
            spec["clusterIP"] = json!(address);
        }
        Ok(service(&ports.name, &spec))
    }
}

fn service(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

impl Ports {
    fn list(&self) -> anyhow::Result<Vec<Value>> {
        if self.tcp.is_empty() && self.cluster_ip.as_deref() != Some("None") {
            return fail("at least one tcp port specifier must be provided");
        }
        let mut ports = Vec::new();
        for text in &self.tcp {
            let (port, target) = text.split_once(':').unwrap_or((text, text));
            let Ok(number) = port.parse::<u16>() else {
                return fail(format!("invalid port {text:?}"));
            };
            let target = target.parse::<u16>().map_or_else(|_| json!(target), |n| json!(n));
            let mut entry =
                json!({"name": text.replace(':', "-"), "port": number, "protocol": "TCP", "targetPort": target});
            if let Some(node_port) = self.node_port {
                entry["nodePort"] = json!(node_port);
            }
            ports.push(entry);
        }
        Ok(ports)
    }
}
