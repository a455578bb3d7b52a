//! `rollout undo`: puts an earlier Pod template back.

use std::process::ExitCode;

use http::Method;
use mizzen_api::view;
use serde_json::{Value, json};

use super::{Revision, Workloads, revisions};
use crate::cli::error::{Outcome, fail};
use crate::cli::targets::display;
use crate::cli::{self, Call, Connect, say};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    workloads: Workloads,
    /// The revision to go back to; 0 is the one before the present.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    to_revision: i64,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        cli::run(self.connect, async |session| {
            let mut outcome = Outcome::default();
            for (resource, object) in self.workloads.find(&session).await? {
                let name = view::name(&object);
                let change = async {
                    if view::flag(&object, "/spec/paused") {
                        return fail(format!(
                            "you cannot rollback a paused deployment; resume it first with 'mizzen rollout resume {}' and try again",
                            display(&resource, name)
                        ));
                    }
                    let all = revisions(&session, &object).await?;
                    let template = restored(choose(&all, self.to_revision)?);
                    let shown = display(&resource, name);
                    if same(&template, &object["spec"]["template"]) {
                        let number = self.to_revision;
                        return Ok(say(format!(
                            "{shown} skipped rollback (current template already matches revision {number})"
                        ))?);
                    }
                    // The whole template is replaced: what the change added must go.
                    let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
                    let call = Call::to(Method::PATCH, &resource, view::namespace(&object), name)
                        .query("fieldManager", "mizzen")
                        .body("application/json-patch+json", &patch);
                    session.call(call).await?;
                    Ok(say(format!("{shown} rolled back"))?)
                };
                outcome.note(change.await);
            }
            Ok(outcome.code())
        })
    }
}

/// The revision that was asked for: by number, or the last but one.
fn choose(all: &[Revision], number: i64) -> anyhow::Result<&Revision> {
    let found = match number {
        0 => all.len().checked_sub(2).and_then(|at| all.get(at)),
        number => all.iter().find(|r| r.number == number),
    };
    match (found, number) {
        (Some(revision), _) => Ok(revision),
        (None, 0) => fail("no rollout history found for deployment"),
        (None, number) => fail(format!("unable to find specified revision {number} in history")),
    }
}

/// A ReplicaSet's template without the label that tells it from its siblings.
fn restored(revision: &Revision) -> Value {
    let mut template = revision.template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    if let Some(fields) = template.as_object_mut() {
        // ControllerRevisions mark how their data is to be applied.
        fields.remove("$patch");
    }
    template
}

fn same(a: &Value, b: &Value) -> bool {
    let tidy = |value: &Value| {
        let mut value = value.clone();
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("creationTimestamp");
        }
        value
    };
    tidy(a) == tidy(b)
}
