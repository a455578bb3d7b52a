//! `mizzen cordon`: takes nodes out of scheduling. `uncordon` is its reverse.

use std::process::ExitCode;

use jiff::Timestamp;
use mizzen_api::console::action::{Answers, Deed, plan};
use mizzen_api::resource::Resource;
use mizzen_api::view;
use serde_json::Value;

use crate::cli::chosen::{Object, carry_out, refused};
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
    /// The nodes themselves.
    pub(crate) async fn find(&self, session: &Session) -> anyhow::Result<Vec<Object>> {
        let target = Target {
            resource: session.resource("nodes").await?,
            names: self.names.clone(),
        };
        targets::objects(session, &[target], self.selector.as_deref(), false).await
    }

    /// Makes the nodes unschedulable or schedulable.
    pub(crate) async fn mark(&self, session: &Session, unschedulable: bool) -> anyhow::Result<ExitCode> {
        let mut outcome = Outcome::default();
        for (resource, node) in self.find(session).await? {
            outcome.note(Self::mark_one(session, &resource, &node, unschedulable).await);
        }
        Ok(outcome.code())
    }

    /// Makes a node unschedulable or schedulable, unless it is.
    pub(crate) async fn mark_one(
        session: &Session,
        resource: &Resource,
        node: &Value,
        unschedulable: bool,
    ) -> anyhow::Result<()> {
        let (deed, done) = match unschedulable {
            true => (Deed::Cordon, "cordoned"),
            false => (Deed::Uncordon, "uncordoned"),
        };
        let already = view::flag(node, "/spec/unschedulable") == unschedulable;
        if !already {
            let plan = plan(deed, resource, node, &Answers::new(), Timestamp::now()).map_err(refused)?;
            carry_out(session, plan, false).await?;
        }
        let already = if already { "already " } else { "" };
        Ok(say(format!("{} {already}{done}", display(resource, view::name(node))))?)
    }
}
