//! `mizzen rollout`: follows, repeats, stops and takes back changes of workloads.

mod history;
mod status;
mod undo;

use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use mizzen_api::resource::Resource;
use mizzen_api::view;
use serde_json::{Value, json};

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
            Action::Restart(args) => args.run(restart, "restarted"),
            Action::Pause(args) => args.run(pause, "paused"),
            Action::Resume(args) => args.run(resume, "resumed"),
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
    fn run(self, patch: fn(&Value) -> anyhow::Result<Value>, done: &str) -> anyhow::Result<ExitCode> {
        cli::run(self.connect, async |session| {
            let mut outcome = Outcome::default();
            for (resource, object) in self.workloads.find(&session).await? {
                let at = (view::namespace(&object), view::name(&object));
                let change = async {
                    session.merge(&resource, at, &patch(&object)?).await?;
                    Ok(say(format!("{} {done}", display(&resource, at.1)))?)
                };
                outcome.note(change.await);
            }
            Ok(outcome.code())
        })
    }
}

/// A changed template makes the controller replace every Pod.
fn restart(object: &Value) -> anyhow::Result<Value> {
    if view::flag(object, "/spec/paused") {
        return fail(format!(
            "can't restart paused deployment (run rollout resume first): {}",
            view::name(object)
        ));
    }
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
    Ok(json!({"spec": {"template": {"metadata": {"annotations": annotations}}}}))
}

fn pause(object: &Value) -> anyhow::Result<Value> {
    pausable(object)?;
    match view::flag(object, "/spec/paused") {
        true => fail(format!("deployments.apps {:?} is already paused", view::name(object))),
        false => Ok(json!({"spec": {"paused": true}})),
    }
}

fn resume(object: &Value) -> anyhow::Result<Value> {
    pausable(object)?;
    match view::flag(object, "/spec/paused") {
        true => Ok(json!({"spec": {"paused": null}})),
        false => fail(format!("deployments.apps {:?} is not paused", view::name(object))),
    }
}

fn pausable(object: &Value) -> anyhow::Result<()> {
    match object["kind"] == "Deployment" {
        true => Ok(()),
        false => fail("only deployments can be paused and resumed"),
    }
}

/// A past template of a workload.
struct Revision {
    number: i64,
    cause: String,
    /// The Pod template.
    template: Value,
}

/// The revisions of a workload, oldest first: from a Deployment's ReplicaSets, or from the
/// ControllerRevisions of the others.
async fn revisions(session: &Session, workload: &Value) -> anyhow::Result<Vec<Revision>> {
    let deployment = workload["kind"] == "Deployment";
    let kept = if deployment {
        "replicasets.apps"
    } else {
        "controllerrevisions.apps"
    };
    let resource = session.resource(kept).await?;
    let uid = view::text(workload, "/metadata/uid");
    let listed = session.list(&resource, view::namespace(workload), None).await?;
    let owned = |o: &&Value| view::controller(o).is_some_and(|c| view::text(c, "/uid") == uid);
    let cause_path = "/metadata/annotations/kubernetes.io~1change-cause";
    let mut revisions: Vec<_> = listed
        .iter()
        .filter(owned)
        .map(|o| Revision {
            number: match deployment {
                true => view::text(o, "/metadata/annotations/deployment.kubernetes.io~1revision")
                    .parse()
                    .unwrap_or(0),
                false => view::int(o, "/revision"),
            },
            cause: view::text_or(o, cause_path, view::NONE).to_owned(),
            template: o
                .pointer(if deployment {
                    "/spec/template"
                } else {
                    "/data/spec/template"
                })
                .cloned()
                .unwrap_or_default(),
        })
        .collect();
    revisions.sort_by_key(|r| r.number);
    Ok(revisions)
}
