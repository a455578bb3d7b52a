//! A Job's Pods as its template describes them. Pure.

use serde_json::{Value, json};

use super::facts::FINALIZER;
use crate::controllers::kinds::JobMarks;
use crate::controllers::kinds::batch::Job;
use crate::controllers::template;

const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// A Pod of the Job, with these notes.
pub(super) fn pod(job: &Job, marks: &JobMarks) -> Value {
    let owner = job.metadata.controller_reference("batch/v1", "Job");
    let mut pod = template::pod(job.spec.template.as_deref(), owner);
    let (name, metadata) = (&job.metadata.name, &mut pod["metadata"]);
    metadata["generateName"] = json!(match marks.index {
        Some(index) => format!("{name}-{index}-"),
        None => format!("{name}-"),
    });
    let mut finalizers = metadata["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    metadata["finalizers"] = finalizers.into();
    let Some(index) = marks.index else { return pod };
    let text = index.to_string();
    metadata["annotations"][INDEX] = json!(text);
    metadata["labels"][INDEX] = json!(text);
    if job.spec.backoff_limit_per_index.is_some() {
        metadata["annotations"][FAILURES] = json!(marks.failures.to_string());
        if marks.ignored_failures > 0 {
            metadata["annotations"][IGNORED_FAILURES] = json!(marks.ignored_failures.to_string());
        }
    }
    let spec = &mut pod["spec"];
    if spec["hostname"].as_str().is_none_or(str::is_empty) {
        spec["hostname"] = json!(format!("{name}-{index}"));
    }
    tell_index(spec);
    pod
}

/// Every container finds its index in a variable.
fn tell_index(spec: &mut Value) {
    let field = json!({"name": VARIABLE, "valueFrom": {"fieldRef":
        {"apiVersion": "v1", "fieldPath": format!("metadata.labels['{INDEX}']")}}});
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            let known = container["env"].as_array().into_iter().flatten();
            if known.clone().any(|variable| variable["name"] == VARIABLE) {
                continue;
            }
            let mut env: Vec<Value> = known.cloned().collect();
            env.push(field.clone());
            container["env"] = env.into();
        }
    }
    if spec["initContainers"].is_null()
        && let Some(spec) = spec.as_object_mut()
    {
        spec.remove("initContainers");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_an_index_knows_it() {
        let job: Job = serde_json::from_str(
            r#"{"metadata": {"name": "j", "namespace": "n", "uid": "u"}, "spec": {"backoffLimitPerIndex": 1,
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}}}}"#,
        )
        .expect("a Job");
        let marks = JobMarks {
            index: Some(3),
            failures: 1,
            ignored_failures: 0,
        };
        assert_eq!(
            pod(&job, &marks),
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "generateName": "j-3-",
                    "labels": {"a": "b", INDEX: "3"},
                    "annotations": {INDEX: "3", FAILURES: "1"},
                    "finalizers": [FINALIZER],
                    "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u",
                        "controller": true, "blockOwnerDeletion": true}],
                },
                "spec": {"hostname": "j-3", "containers": [{"name": "c", "env": [{"name": VARIABLE, "valueFrom":
                    {"fieldRef": {"apiVersion": "v1", "fieldPath": format!("metadata.labels['{INDEX}']")}}}]}]},
            })
        );
    }
}
