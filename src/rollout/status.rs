//! `rollout status`: says how far a change has come, until it is through.

use std::process::ExitCode;
use std::time::Duration;

use mizzen_api::view::{self, int};
use serde_json::Value;

use super::Workloads;
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
                let kind = resource.kind.clone();
                let mut last = String::new();
                let decide = |object: Option<&Value>| {
                    let Some(object) = object else {
                        return fail("object has been deleted");
                    };
                    let (message, done) = progress(&kind, object)?;
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

/// What there is to say of a workload's rollout, and whether it is through.
fn progress(kind: &str, o: &Value) -> anyhow::Result<(String, bool)> {
    match kind {
        "Deployment" => deployment(o),
        "DaemonSet" => daemon_set(o),
        _ => stateful_set(o),
    }
}

fn observed(o: &Value) -> bool {
    int(o, "/metadata/generation") <= int(o, "/status/observedGeneration")
}

fn deployment(o: &Value) -> anyhow::Result<(String, bool)> {
    let name = view::name(o);
    if !observed(o) {
        return Ok(("Waiting for deployment spec update to be observed...".to_owned(), false));
    }
    if view::condition(o, "Progressing").is_some_and(|c| c["reason"] == "ProgressDeadlineExceeded") {
        return fail(format!("deployment {name:?} exceeded its progress deadline"));
    }
    let wanted = int(o, "/spec/replicas");
    let (all, updated, available) = (
        int(o, "/status/replicas"),
        int(o, "/status/updatedReplicas"),
        int(o, "/status/availableReplicas"),
    );
    let waiting = |what: String| {
        (
            format!("Waiting for deployment {name:?} rollout to finish: {what}..."),
            false,
        )
    };
    Ok(if updated < wanted {
        waiting(format!("{updated} out of {wanted} new replicas have been updated"))
    } else if all > updated {
        waiting(format!("{} old replicas are pending termination", all - updated))
    } else if available < updated {
        waiting(format!("{available} of {updated} updated replicas are available"))
    } else {
        (format!("deployment {name:?} successfully rolled out"), true)
    })
}

fn daemon_set(o: &Value) -> anyhow::Result<(String, bool)> {
    let name = view::name(o);
    if view::text(o, "/spec/updateStrategy/type") == "OnDelete" {
        return fail("rollout status is only available for RollingUpdate strategy type");
    }
    if !observed(o) {
        return Ok(("Waiting for daemon set spec update to be observed...".to_owned(), false));
    }
    let wanted = int(o, "/status/desiredNumberScheduled");
    let (updated, available) = (
        int(o, "/status/updatedNumberScheduled"),
        int(o, "/status/numberAvailable"),
    );
    let waiting = |what: String| {
        (
            format!("Waiting for daemon set {name:?} rollout to finish: {what}..."),
            false,
        )
    };
    Ok(if updated < wanted {
        waiting(format!("{updated} out of {wanted} new pods have been updated"))
    } else if available < wanted {
        waiting(format!("{available} of {wanted} updated pods are available"))
    } else {
        (format!("daemon set {name:?} successfully rolled out"), true)
    })
}

fn stateful_set(o: &Value) -> anyhow::Result<(String, bool)> {
    if view::text(o, "/spec/updateStrategy/type") == "OnDelete" {
        return fail("rollout status is only available for RollingUpdate strategy type");
    }
    if !observed(o) {
        return Ok((
            "Waiting for statefulset spec update to be observed...".to_owned(),
            false,
        ));
    }
    let wanted = int(o, "/spec/replicas");
    let (ready, updated) = (int(o, "/status/readyReplicas"), int(o, "/status/updatedReplicas"));
    if ready < wanted {
        return Ok((format!("Waiting for {} pods to be ready...", wanted - ready), false));
    }
    let partition = int(o, "/spec/updateStrategy/rollingUpdate/partition");
    if partition > 0 {
        return Ok(match updated < wanted - partition {
            true => (
                format!(
                    "Waiting for partitioned roll out to finish: {updated} out of {} new pods have been updated...",
                    wanted - partition
                ),
                false,
            ),
            false => (
                format!("partitioned roll out complete: {updated} new pods have been updated..."),
                true,
            ),
        });
    }
    let revision = |path| view::text(o, path);
    let (current, update) = (revision("/status/currentRevision"), revision("/status/updateRevision"));
    Ok(match update == current {
        true => (
            format!(
                "statefulset rolling update complete {} pods at revision {current}...",
                int(o, "/status/currentReplicas")
            ),
            true,
        ),
        false => (
            format!("waiting for statefulset rolling update to complete {updated} pods at revision {update}..."),
            false,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn progress_is_told_in_kubectls_words() {
        let state = |all: i64, updated: i64, available: i64| {
            let o = json!({"metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 3},
                "status": {"observedGeneration": 2, "replicas": all, "updatedReplicas": updated, "availableReplicas": available}});
            deployment(&o).expect("a state")
        };
        let all = [state(4, 1, 3), state(4, 3, 3), state(3, 3, 2), state(3, 3, 3)]
            .map(|(text, done)| format!("{done} {text}"));
        insta::assert_snapshot!(all.join("\n"), @r#"
        false Waiting for deployment "web" rollout to finish: 1 out of 3 new replicas have been updated...
        false Waiting for deployment "web" rollout to finish: 1 old replicas are pending termination...
        false Waiting for deployment "web" rollout to finish: 2 of 3 updated replicas are available...
        true deployment "web" successfully rolled out
        "#);
        let stuck = json!({"metadata": {"name": "web"}, "status": {"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}});
        let error = deployment(&stuck).expect_err("a failure");
        assert_eq!(error.to_string(), "deployment \"web\" exceeded its progress deadline");
    }
}
