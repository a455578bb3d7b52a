//! `rollout undo`: puts an earlier Pod template back.

use std::process::ExitCode;

use http::Method;
use mizzen_api::console::rollout::{choose, undo};
use mizzen_api::view;

use super::{Workloads, refused, revisions};
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
                    let revision = choose(&all, self.to_revision).map_err(refused)?;
                    let shown = display(&resource, name);
                    if revision.is_current(&object) {
                        let number = self.to_revision;
                        return Ok(say(format!(
                            "{shown} skipped rollback (current template already matches revision {number})"
                        ))?);
                    }
                    let patch = undo(&object, revision).map_err(refused)?;
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
