//! Changes of workloads: how far one has come, and what a workload was before.
//!
//! The words are `kubectl rollout`'s.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::action::Refusal;
use crate::view::{self, int, text};

/// How far a change has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// In words.
    pub message: String,
    /// Whether it is through.
    pub done: bool,
    /// Pods of the new template that are there.
    pub updated: i64,
    /// Pods that serve, of whichever template.
    pub available: i64,
    /// Pods that should be there.
    pub wanted: i64,
}

/// What there is to say of a workload's rollout. An error is a rollout that will not come through by itself.
pub fn progress(workload: &Value) -> Result<Progress, Refusal> {
    match text(workload, "/kind") {
        "Deployment" => deployment(workload),
        "DaemonSet" => daemon_set(workload),
        "StatefulSet" => stateful_set(workload),
        other => refuse(format!("no status viewer has been implemented for {other}")),
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}

fn observed(o: &Value) -> bool {
    int(o, "/metadata/generation") <= int(o, "/status/observedGeneration")
}

fn deployment(o: &Value) -> Result<Progress, Refusal> {
    let name = view::name(o);
    let wanted = int(o, "/spec/replicas");
    let (all, updated, available) = (
        int(o, "/status/replicas"),
        int(o, "/status/updatedReplicas"),
        int(o, "/status/availableReplicas"),
    );
    let say = |done: bool, message: String| {
        Ok(Progress {
            message,
            done,
            updated,
            available,
            wanted,
        })
    };
    let waiting = |what: String| {
        say(
            false,
            format!("Waiting for deployment {name:?} rollout to finish: {what}..."),
        )
    };
    if !observed(o) {
        return say(false, "Waiting for deployment spec update to be observed...".to_owned());
    }
    if view::condition(o, "Progressing").is_some_and(|c| c["reason"] == "ProgressDeadlineExceeded") {
        return refuse(format!("deployment {name:?} exceeded its progress deadline"));
    }
    if updated < wanted {
        waiting(format!("{updated} out of {wanted} new replicas have been updated"))
    } else if all > updated {
        waiting(format!("{} old replicas are pending termination", all - updated))
    } else if available < updated {
        waiting(format!("{available} of {updated} updated replicas are available"))
    } else {
        say(true, format!("deployment {name:?} successfully rolled out"))
    }
}

const ON_DELETE: &str = "rollout status is only available for RollingUpdate strategy type";

fn daemon_set(o: &Value) -> Result<Progress, Refusal> {
    let name = view::name(o);
    let wanted = int(o, "/status/desiredNumberScheduled");
    let (updated, available) = (
        int(o, "/status/updatedNumberScheduled"),
        int(o, "/status/numberAvailable"),
    );
    let say = |done: bool, message: String| {
        Ok(Progress {
            message,
            done,
            updated,
            available,
            wanted,
        })
    };
    let waiting = |what: String| {
        say(
            false,
            format!("Waiting for daemon set {name:?} rollout to finish: {what}..."),
        )
    };
    if text(o, "/spec/updateStrategy/type") == "OnDelete" {
        return refuse(ON_DELETE);
    }
    if !observed(o) {
        say(false, "Waiting for daemon set spec update to be observed...".to_owned())
    } else if updated < wanted {
        waiting(format!("{updated} out of {wanted} new pods have been updated"))
    } else if available < wanted {
        waiting(format!("{available} of {wanted} updated pods are available"))
    } else {
        say(true, format!("daemon set {name:?} successfully rolled out"))
    }
}

fn stateful_set(o: &Value) -> Result<Progress, Refusal> {
    if text(o, "/spec/updateStrategy/type") == "OnDelete" {
        return refuse(ON_DELETE);
    }
    let wanted = int(o, "/spec/replicas");
    let (ready, updated) = (int(o, "/status/readyReplicas"), int(o, "/status/updatedReplicas"));
    let say = |done: bool, message: String| {
        Ok(Progress {
            message,
            done,
            updated,
            available: ready,
            wanted,
        })
    };
    if !observed(o) {
        return say(
            false,
            "Waiting for statefulset spec update to be observed...".to_owned(),
        );
    }
    if ready < wanted {
        return say(false, format!("Waiting for {} pods to be ready...", wanted - ready));
    }
    let partition = int(o, "/spec/updateStrategy/rollingUpdate/partition");
    if partition > 0 {
        let due = wanted - partition;
        return match updated < due {
            true => say(
                false,
                format!(
                    "Waiting for partitioned roll out to finish: {updated} out of {due} new pods have been updated..."
                ),
            ),
            false => say(
                true,
                format!("partitioned roll out complete: {updated} new pods have been updated..."),
            ),
        };
    }
    let (current, update) = (text(o, "/status/currentRevision"), text(o, "/status/updateRevision"));
    match update == current {
        true => {
            let replicas = int(o, "/status/currentReplicas");
            say(
                true,
                format!("statefulset rolling update complete {replicas} pods at revision {current}..."),
            )
        }
        false => say(
            false,
            format!("waiting for statefulset rolling update to complete {updated} pods at revision {update}..."),
        ),
    }
}

/// The change that makes the controller replace every Pod.
pub fn restart(workload: &Value, now: Timestamp) -> Result<Value, Refusal> {
    if view::flag(workload, "/spec/paused") {
        return refuse(format!(
            "can't restart paused deployment (run rollout resume first): {}",
            view::name(workload)
        ));
    }
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now).to_string();
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
    Ok(json!({"spec": {"template": {"metadata": {"annotations": annotations}}}}))
}

/// The change that lets changes gather.
pub fn pause(workload: &Value) -> Result<Value, Refusal> {
    pausable(workload)?;
    match view::flag(workload, "/spec/paused") {
        true => refuse(format!("deployments.apps {:?} is already paused", view::name(workload))),
        false => Ok(json!({"spec": {"paused": true}})),
    }
}

/// The change that lets gathered changes take effect.
pub fn resume(workload: &Value) -> Result<Value, Refusal> {
    pausable(workload)?;
    match view::flag(workload, "/spec/paused") {
        true => Ok(json!({"spec": {"paused": null}})),
        false => refuse(format!("deployments.apps {:?} is not paused", view::name(workload))),
    }
}

fn pausable(workload: &Value) -> Result<(), Refusal> {
    match workload["kind"] == "Deployment" {
        true => Ok(()),
        false => refuse("only deployments can be paused and resumed"),
    }
}

/// A past template of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Its number.
    pub number: i64,
    /// Why it came to be, if somebody wrote that down.
    pub cause: String,
    /// Name of the object that keeps it.
    pub name: String,
    /// The Pod template.
    pub template: Value,
}

/// The resource that keeps the revisions of a workload.
pub fn kept_in(workload: &Value) -> &'static str {
    match workload["kind"] == "Deployment" {
        true => "replicasets.apps",
        false => "controllerrevisions.apps",
    }
}

/// The revisions of a workload, oldest first, among objects of the resource that [`kept_in`] names.
pub fn revisions(workload: &Value, kept: &[Value]) -> Vec<Revision> {
    let deployment = workload["kind"] == "Deployment";
    let uid = text(workload, "/metadata/uid");
    let owned = |o: &&Value| view::controller(o).is_some_and(|c| text(c, "/uid") == uid);
    let mut revisions: Vec<_> = kept.iter().filter(owned).map(|o| revision(deployment, o)).collect();
    revisions.sort_by_key(|r| r.number);
    revisions
}

fn revision(deployment: bool, kept: &Value) -> Revision {
    let (number, template) = match deployment {
        true => {
            let number = text(kept, "/metadata/annotations/deployment.kubernetes.io~1revision");
            (number.parse().unwrap_or(0), "/spec/template")
        }
        false => (int(kept, "/revision"), "/data/spec/template"),
    };
    let cause = text(kept, "/metadata/annotations/kubernetes.io~1change-cause");
    Revision {
        number,
        cause: if cause.is_empty() { view::NONE } else { cause }.to_owned(),
        name: view::name(kept).to_owned(),
        template: kept.pointer(template).cloned().unwrap_or_default(),
    }
}

/// The revision that was asked for: by number, or with 0 the last but one.
pub fn choose(all: &[Revision], number: i64) -> Result<&Revision, Refusal> {
    let found = match number {
        0 => all.len().checked_sub(2).and_then(|at| all.get(at)),
        number => all.iter().find(|r| r.number == number),
    };
    match (found, number) {
        (Some(revision), _) => Ok(revision),
        (None, 0) => refuse("no rollout history found for deployment"),
        (None, number) => refuse(format!("unable to find specified revision {number} in history")),
    }
}

impl Revision {
    /// The template as it is put back: without the label that tells a ReplicaSet from its siblings.
    pub fn restored(&self) -> Value {
        let mut template = self.template.clone();
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove("pod-template-hash");
        }
        if let Some(fields) = template.as_object_mut() {
            // ControllerRevisions mark how their data is to be applied.
            fields.remove("$patch");
        }
        template
    }

    /// Whether a workload has this template now.
    pub fn is_current(&self, workload: &Value) -> bool {
        tidy(&self.restored()) == tidy(&workload["spec"]["template"])
    }
}

fn tidy(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
    }
    template
}

/// The JSON patch that puts a revision back: all of the template is replaced, for what the change added
/// must go.
pub fn undo(workload: &Value, revision: &Revision) -> Result<Value, Refusal> {
    if view::flag(workload, "/spec/paused") {
        return refuse("you cannot rollback a paused deployment; resume it first and try again");
    }
    if revision.is_current(workload) {
        return refuse(format!("current template already matches revision {}", revision.number));
    }
    Ok(json!([{"op": "replace", "path": "/spec/template", "value": revision.restored()}]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_kubectls_words() {
        let state = |all: i64, updated: i64, available: i64| {
            let o = json!({"kind": "Deployment", "metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 3},
                "status": {"observedGeneration": 2, "replicas": all, "updatedReplicas": updated, "availableReplicas": available}});
            progress(&o).expect("a state")
        };
        let all = [state(4, 1, 3), state(4, 3, 3), state(3, 3, 2), state(3, 3, 3)]
            .map(|p| format!("{} {}", p.done, p.message));
        insta::assert_snapshot!(all.join("\n"), @r#"
        false Waiting for deployment "web" rollout to finish: 1 out of 3 new replicas have been updated...
        false Waiting for deployment "web" rollout to finish: 1 old replicas are pending termination...
        false Waiting for deployment "web" rollout to finish: 2 of 3 updated replicas are available...
        true deployment "web" successfully rolled out
        "#);
        let stuck = json!({"kind": "Deployment", "metadata": {"name": "web"},
            "status": {"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}});
        let error = progress(&stuck).expect_err("a failure");
        assert_eq!(error.to_string(), "deployment \"web\" exceeded its progress deadline");
    }

    #[test]
    fn revisions_come_in_order_and_are_chosen_by_number() {
        let set = |number: &str, owner: &str| {
            json!({"metadata": {"name": format!("web-{number}"), "annotations": {"deployment.kubernetes.io/revision": number},
                "ownerReferences": [{"uid": owner, "controller": true}]}, "spec": {"template": {"n": number}}})
        };
        let workload = json!({"kind": "Deployment", "metadata": {"uid": "u"}, "spec": {"template": {"n": "10"}}});
        let all = revisions(&workload, &[set("10", "u"), set("9", "u"), set("2", "other")]);
        assert_eq!(all.iter().map(|r| r.number).collect::<Vec<_>>(), [9, 10]);
        assert_eq!(choose(&all, 0).map(|r| r.number), Ok(9));
        assert_eq!(choose(&all, 10).map(|r| r.is_current(&workload)), Ok(true));
        assert_eq!(
            choose(&all, 2).map_err(|e| e.to_string()),
            Err("unable to find specified revision 2 in history".to_owned())
        );
        assert_eq!(
            choose(&all[..1], 0).map_err(|e| e.to_string()),
            Err("no rollout history found for deployment".to_owned())
        );
    }
}
