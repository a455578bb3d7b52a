//! `mizzen expose`: makes a Service for what runs.

use std::process::ExitCode;

use mizzen_api::view::{self, list, map, text};
use serde_json::{Map, Value, json};

use crate::cli::error::fail;
use crate::cli::targets::{self, display};
use crate::cli::{self, Connect, Session};
use crate::create::Making;

/// Make a Service for Pods, workloads or another Service.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Object as TYPE NAME or TYPE/NAME.
    #[arg(value_name = "TYPE NAME", required = true)]
    arguments: Vec<String>,
    /// Port of the Service; its Pods' ports without it.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Port of the Pods, by number or name.
    #[arg(long, value_name = "PORT")]
    target_port: Option<String>,
    /// Protocol.
    #[arg(long, value_name = "PROTOCOL", default_value = "TCP")]
    protocol: String,
    /// Name of the Service; the object's without it.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// ClusterIP, NodePort, LoadBalancer.
    #[arg(long = "type", value_name = "TYPE", default_value = "ClusterIP")]
    kind: String,
    /// Cluster address, or None.
    #[arg(long, value_name = "ADDRESS")]
    cluster_ip: Option<String>,
    /// Labels of its Pods, instead of those that the object selects.
    #[arg(long, value_name = "LABELS")]
    selector: Option<String>,
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| self.expose(&session).await)
    }

    async fn expose(&self, session: &Session) -> anyhow::Result<ExitCode> {
        let found = targets::parse(session, &self.arguments).await?;
        for (resource, object) in targets::objects(session, &found, None, false).await? {
            let selector = match &self.selector {
                Some(labels) => pairs(labels)?,
                None => match selected(&resource.kind, &object) {
                    Some(selector) => selector,
                    None => return fail(format!("cannot expose a {}", display(&resource, view::name(&object)))),
                },
            };
            let ports = self.ports(&object)?;
            let name = self.name.as_deref().unwrap_or(view::name(&object));
            let mut spec = json!({"type": self.kind, "selector": selector, "ports": ports});
            if let Some(address) = &self.cluster_ip {
                spec["clusterIP"] = json!(address);
            }
            let mut metadata = json!({"name": name});
            if let Some(labels) = map(&object, "/metadata/labels") {
                metadata["labels"] = json!(labels);
            }
            let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
            self.making.make(session, &service, "exposed").await?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn ports(&self, object: &Value) -> anyhow::Result<Vec<Value>> {
        let target = |port: u16| match &self.target_port {
            Some(target) => target.parse::<u16>().map_or_else(|_| json!(target), |n| json!(n)),
            None => json!(port),
        };
        if let Some(port) = self.port {
            return Ok(vec![
                json!({"port": port, "protocol": self.protocol, "targetPort": target(port)}),
            ]);
        }
        let own = ["/spec/template/spec/containers", "/spec/containers"]
            .iter()
            .flat_map(|path| list(object, path))
            .flat_map(|container| list(container, "/ports"))
            .map(|port| (&port["containerPort"], text(port, "/protocol")))
            .chain(
                list(object, "/spec/ports")
                    .iter()
                    .map(|port| (&port["port"], text(port, "/protocol"))),
            )
            .filter_map(|(port, protocol)| Some((u16::try_from(port.as_u64()?).ok()?, protocol)));
        let mut ports: Vec<_> = own
            .map(|(port, protocol)| json!({"port": port, "protocol": protocol, "targetPort": target(port)}))
            .collect();
        match ports.len() {
            0 => fail("couldn't find port via --port flag or introspection"),
            1 => Ok(ports),
            _ => {
                for (at, port) in ports.iter_mut().enumerate() {
                    port["name"] = json!(format!("port-{}", at + 1));
                }
                Ok(ports)
            }
        }
    }
}

/// Labels of the Pods behind an object.
fn selected(kind: &str, object: &Value) -> Option<Map<String, Value>> {
    let path = match kind {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => "/spec/selector/matchLabels",
        "ReplicationController" | "Service" => "/spec/selector",
        "Pod" => "/metadata/labels",
        _ => return None,
    };
    map(object, path).cloned()
}

fn pairs(text: &str) -> anyhow::Result<Map<String, Value>> {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), json!(value))),
        _ => fail(format!("invalid selector {text:?}, expected key=value,…")),
    };
    text.split(',').map(pair).collect()
}
