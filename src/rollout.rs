//! `mizzen rollout`: follows, repeats, stops and takes back changes of workloads.

mod history;
mod status;
mod undo;

use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use mizzen_api::console::action::Refusal;
use mizzen_api::console::rollout::{self, Revision};
use mizzen_api::resource::Resource;
use mizzen_api::view;
use serde_json::Value;

use crate::cli::chosen::refused;
use crate::cli::error::{Outcome, fail};
use crate::cli::manifest::Files;
use crate::cli::targets::{self, display};
use crate::cli::{self, Connect, Session, say};

/// Follow and steer changes of Deployments, DaemonSets and StatefulSets.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Wait until the newest change is through.
    Status(status::Args),
    /// List revisions, or show one.
    History(history::Args),
    /// Go back to an earlier revision.
    Undo(undo::Args),
    /// Replace all Pods.
    Restart(Simple),
    /// Let changes gather without effect.
    Pause(Simple),
    /// Let gathered changes take effect.
    Resume(Simple),
}

/// Which workloads.
#[derive(clap::Args)]
pub(crate) struct Workloads {
    /// Workloads as TYPE NAME… or TYPE/NAME….
    #[arg(value_name = "TYPE NAME")]
    arguments: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// Workloads with these labels.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
}

#[derive(clap::Args)]
struct Simple {
    #[command(flatten)]
    workloads: Workloads,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Status(args) => args.run(),
            Action::History(args) => args.run(),
            Action::Undo(args) => args.run(),
            Action::Restart(args) => args.run(|o| rollout::restart(o, Timestamp::now()), "restarted"),
            Action::Pause(args) => args.run(rollout::pause, "paused"),
            Action::Resume(args) => args.run(rollout::resume, "resumed"),
        }
    }
}

impl Workloads {
    async fn find(&self, session: &Session) -> anyhow::Result<Vec<(Arc<Resource>, Value)>> {
        let mut names = self.arguments.clone();
        for manifest in self.files.read_if_any()? {
            let resource = session.resource_of(&manifest.object).await?;
            names.push(format!(
                "{}/{}",
                resource.qualified_name(),
                view::name(&manifest.object)
            ));
        }
        let targets = targets::parse(session, &names).await?;
        for target in &targets {
            if !matches!(&*target.resource.kind, "Deployment" | "DaemonSet" | "StatefulSet") {
                return fail(format!(
                    "no rollouter has been implemented for {:?}",
                    target.resource.kind
                ));
            }
        }
        targets::objects(session, &targets, self.selector.as_deref(), true).await
    }
}

impl Simple {
    fn run(self, patch: fn(&Value) -> Result<Value, Refusal>, done: &str) -> anyhow::Result<ExitCode> {
        cli::run(self.connect, async |session| {
            let mut outcome = Outcome::default();
            for (resource, object) in self.workloads.find(&session).await? {
                let at = (view::namespace(&object), view::name(&object));
                let change = async {
                    session.merge(&resource, at, &patch(&object).map_err(refused)?).await?;
                    Ok(say(format!("{} {done}", display(&resource, at.1)))?)
                };
                outcome.note(change.await);
            }
            Ok(outcome.code())
        })
    }
}

/// The revisions of a workload, oldest first.
async fn revisions(session: &Session, workload: &Value) -> anyhow::Result<Vec<Revision>> {
    let resource = session.resource(rollout::kept_in(workload)).await?;
    let kept = session.list(&resource, view::namespace(workload), None).await?;
    Ok(rollout::revisions(workload, &kept))
}
