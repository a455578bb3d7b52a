//! `mizzen demo`: deploys a small application and says how to reach it.

use anyhow::{Context, Result};
use clap::Args;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::{Api, Client};

/// The manifest that is applied: `examples/demo.yaml`.
pub const MANIFEST: &str = include_str!("../examples/demo.yaml");

/// Flags of `mizzen demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {}

/// Where the demo can be reached.
pub async fn describe(client: Client) -> Result<String> {
    let services: Api<Service> = Api::namespaced(client.clone(), "demo");
    let service = services.get("hello").await.context("the demo's Service is not there")?;
    let spec = service.spec.unwrap_or_default();
    let cluster_ip = spec.cluster_ip.unwrap_or_default();
    let port = spec.ports.unwrap_or_default().first().and_then(|port| port.node_port).unwrap_or_default();
    let nodes = Api::<Node>::all(client).list(&kube::api::ListParams::default()).await?;
    let addresses = nodes.items.into_iter().flat_map(|node| node.status.unwrap_or_default().addresses.unwrap_or_default());
    let node_ip = addresses.filter(|a| a.type_ == "InternalIP").map(|a| a.address).next().unwrap_or_default();
    Ok(format!(
        "The demo runs. Try:\n\
         \n  curl http://{cluster_ip}/                       the Service's cluster address: a different Pod each time\
         \n  curl http://{node_ip}:{port}/                   the same on the node's port\
         \n  mizzen get pods -n demo -o wide\
         \n  mizzen logs -n demo deploy/hello -f\
         \n  mizzen scale -n demo deploy/hello --replicas=5\
         \n  mizzen rollout restart -n demo deploy/hello && mizzen rollout status -n demo deploy/hello\
         \n  mizzen delete namespace demo                    when you are done"
    ))
}
