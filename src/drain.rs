//! `mizzen drain`: moves all Pods away from nodes.

use std::process::ExitCode;
use std::time::Duration;

use http::Method;
use mizzen_api::client::rest::{is_not_found, message};
use mizzen_api::console::action::Request;
use mizzen_api::console::action::drain::{self, Options};
use mizzen_api::resource::Resource;
use mizzen_api::view::{self, list};
use serde_json::Value;

use crate::cli::chosen::{call, refused};
use crate::cli::error::{Outcome, fail};
use crate::cli::targets::display;
use crate::cli::{self, Call, Connect, Session, follow, say, tell, wait_time};
use crate::cordon::Nodes;

/// How long an eviction waits that a disruption budget forbids, as kubectl does.
const EVICT_AGAIN: Duration = Duration::from_secs(5);
/// Answer of the server to an eviction that would break a budget.
const TOO_MANY_REQUESTS: u16 = 429;

/// Keep new Pods off nodes, and move those that are there away.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    nodes: Nodes,
    /// Leave Pods of DaemonSets, which would come back at once.
    #[arg(long)]
    ignore_daemonsets: bool,
    /// Also Pods whose emptyDir volumes are lost.
    #[arg(long)]
    delete_emptydir_data: bool,
    /// Also Pods that nothing replaces.
    #[arg(long)]
    force: bool,
    /// Seconds that Pods get to end, instead of their own.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = -1)]
    grace_period: i64,
    /// Only Pods with these labels.
    #[arg(long, value_name = "LABELS")]
    pod_selector: Option<String>,
    /// How long to wait; 0 is for ever.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = wait_time)]
    timeout: Duration,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| {
            let mut outcome = Outcome::default();
            for (resource, node) in self.nodes.find(&session).await? {
                outcome.note(self.drain(&session, &resource, &node).await);
            }
            Ok(outcome.code())
        })
    }

    async fn drain(&self, session: &Session, nodes: &Resource, node: &Value) -> anyhow::Result<()> {
        let name = view::name(node);
        let pods = session.resource("pods").await?;
        let of_node = Call::to(Method::GET, &pods, "", "")
            .query("fieldSelector", format!("spec.nodeName={name}"))
            .query_opt("labelSelector", self.pod_selector.as_deref());
        let found = session.call(of_node).await?;
        let options = Options {
            ignore_daemonsets: self.ignore_daemonsets,
            delete_emptydir_data: self.delete_emptydir_data,
            force: self.force,
            grace: u32::try_from(self.grace_period).ok(),
        };
        // Cordoned even when the drain is refused, as kubectl does.
        Nodes::mark_one(session, nodes, node, true).await?;
        let plan = drain::plan(nodes, node, list(&found, "/items"), options);
        let plan = plan.map_err(|why| {
            refused(mizzen_api::console::action::Refusal(format!(
                "unable to drain node {name:?}: {why}"
            )))
        })?;
        for (pod, why) in &plan.staying {
            tell(format!("Warning: ignoring {pod}: {why}"));
        }
        for (pod, why) in &plan.warnings {
            tell(format!("Warning: deleting {pod}: {why}"));
        }
        let draining = async {
            let each = plan
                .evictions
                .into_iter()
                .map(|(pod, request)| evict(session, &pods, name, pod, request));
            futures::future::try_join_all(each).await
        };
        match self.timeout {
            Duration::ZERO => drop(draining.await?),
            timeout => match tokio::time::timeout(timeout, draining).await {
                Ok(drained) => drop(drained?),
                Err(_) => return fail(format!("drain did not complete within {timeout:?}")),
            },
        }
        Ok(say(format!("{} drained", display(nodes, name)))?)
    }
}

/// Evicts a Pod as soon as its budget allows, and waits until it is gone.
async fn evict(session: &Session, pods: &Resource, node: &str, pod: String, request: Request) -> anyhow::Result<()> {
    let (namespace, name) = pod.split_once('/').unwrap_or_default();
    say(format!("evicting pod {pod}"))?;
    loop {
        let Err(error) = session.call(call(request.clone())?).await else {
            break;
        };
        match error.downcast_ref::<kube::Error>() {
            Some(error) if is_not_found(error) => return Ok(()),
            Some(kube::Error::Api(status)) if status.code == TOO_MANY_REQUESTS => {
                let why = error.downcast_ref().map(message).unwrap_or_default();
                tell(format!(
                    "error when evicting pods/{name:?} -n {namespace:?} (will retry after 5s): {why}"
                ));
                tokio::time::sleep(EVICT_AGAIN).await;
            }
            _ => return Err(error),
        }
    }
    // Another Pod may take its name, on another node.
    let gone = |pod: Option<&Value>| {
        let stays = pod.is_some_and(|pod| view::text(pod, "/spec/nodeName") == node);
        Ok((!stays).then_some(()))
    };
    follow::until(session, pods, (namespace, name), None, gone).await?;
    Ok(say(format!("pod/{name} evicted"))?)
}
