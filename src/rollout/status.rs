//! `rollout status`: says how far a change has come, until it is through.

use std::process::ExitCode;
use std::time::Duration;

use mizzen_api::console::rollout::{Progress, progress};
use mizzen_api::view;
use serde_json::Value;

use super::{Workloads, refused};
use crate::cli::error::{Outcome, fail};
use crate::cli::{self, Connect, follow, say, wait_time};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    workloads: Workloads,
    /// Go on until the change is through.
    #[arg(short, long, value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    watch: bool,
    /// How long to wait; 0 is for ever.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = wait_time)]
    timeout: Duration,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        cli::run(self.connect, async |session| {
            let mut outcome = Outcome::default();
            for (resource, object) in self.workloads.find(&session).await? {
                let at = (view::namespace(&object), view::name(&object));
                let mut last = String::new();
                let decide = |object: Option<&Value>| {
                    let Some(object) = object else {
                        return fail("object has been deleted");
                    };
                    let Progress { message, done, .. } = progress(object).map_err(refused)?;
                    if message != last {
                        say(&message)?;
                        last = message;
                    }
                    Ok((done || !self.watch).then_some(()))
                };
                let timeout = (!self.timeout.is_zero()).then_some(self.timeout);
                let result = follow::until(&session, &resource, at, timeout, decide).await;
                outcome.note(match result {
                    Ok(Some(())) => Ok(()),
                    Ok(None) => fail("timed out waiting for the condition"),
                    Err(error) => Err(error),
                });
            }
            Ok(outcome.code())
        })
    }
}
