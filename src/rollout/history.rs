//! `rollout history`: the revisions of workloads.

use std::process::ExitCode;

use mizzen_api::{view, yaml};

use super::{Workloads, revisions};
use crate::cli::error::{Outcome, fail};
use crate::cli::targets::display;
use crate::cli::{self, Connect, say};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    workloads: Workloads,
    /// Show the Pod template of this revision.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    revision: i64,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        cli::run(self.connect, async |session| {
            let mut outcome = Outcome::default();
            for (resource, object) in self.workloads.find(&session).await? {
                let name = display(&resource, view::name(&object));
                let all = revisions(&session, &object).await?;
                if self.revision == 0 && all.is_empty() {
                    say(format!("{name} \nNo rollout history found."))?;
                    continue;
                }
                if self.revision == 0 {
                    let width = "REVISION".len() + 2;
                    say(format!("{name} \n{:width$}CHANGE-CAUSE", "REVISION"))?;
                    for revision in &all {
                        say(format!("{:<width$}{}", revision.number, revision.cause))?;
                    }
                    say("")?;
                    continue;
                }
                outcome.note(match all.iter().find(|r| r.number == self.revision) {
                    Some(revision) => {
                        let template = yaml::to_string(&revision.template);
                        say(format!("{name} with revision #{}\nPod Template:", revision.number))?;
                        for line in template.lines() {
                            say(format!("  {line}"))?;
                        }
                        Ok(())
                    }
                    None => fail("unable to find the specified revision"),
                });
            }
            Ok(outcome.code())
        })
    }
}
