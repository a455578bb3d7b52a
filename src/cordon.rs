//! `mizzen cordon`: takes nodes out of scheduling. `uncordon` is its reverse.

use std::process::ExitCode;

use mizzen_api::view;
use serde_json::json;

use crate::cli::error::Outcome;
use crate::cli::targets::{self, Target, display};
use crate::cli::{self, Connect, Session, say};

/// Keep new Pods off nodes.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    nodes: Nodes,
    #[command(flatten)]
    connect: Connect,
}

/// Which nodes.
#[derive(clap::Args)]
pub(crate) struct Nodes {
    /// Names of the nodes.
    #[arg(value_name = "NODE", required_unless_present = "selector")]
    names: Vec<String>,
    /// Nodes with these labels.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        cli::run(self.connect, async |session| self.nodes.mark(&session, true).await)
    }
}

impl Nodes {
    /// Makes the nodes unschedulable or schedulable.
    pub(crate) async fn mark(self, session: &Session, unschedulable: bool) -> anyhow::Result<ExitCode> {
        let done = if unschedulable { "cordoned" } else { "uncordoned" };
        let target = Target {
            resource: session.resource("nodes").await?,
            names: self.names,
        };
        let nodes = targets::objects(session, &[target], self.selector.as_deref(), false).await?;
        let mut outcome = Outcome::default();
        for (resource, node) in &nodes {
            let name = view::name(node);
            let change = async {
                let already = view::flag(node, "/spec/unschedulable") == unschedulable;
                if !already {
                    // Null removes the field, as it is when a node was never cordoned.
                    let value = unschedulable.then_some(true);
                    let patch = json!({"spec": {"unschedulable": value}});
                    session.merge(resource, ("", name), &patch).await?;
                }
                let already = if already { "already " } else { "" };
                Ok(say(format!("{} {already}{done}", display(resource, name)))?)
            };
            outcome.note(change.await);
        }
        Ok(outcome.code())
    }
}
