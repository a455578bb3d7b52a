//! From an action, an object and a dialog's answers to the requests that carry it out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::request::{APPLY, JSON_PATCH, MERGE, STRATEGIC};
use super::{Deed, Method, Request, command};
use crate::console::rollout;
use crate::resource::{Resource, builtin};
use crate::view::{self, list, text};

/// What will be sent, and how to talk about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Requests, in order; each is sent when the one before has succeeded.
    pub requests: Vec<Request>,
    /// What is asked before it is done: `delete pod web-1 in default`.
    pub question: String,
    /// The command line that would do the same.
    pub command: String,
}

/// Why an action cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Refuses, as this error.
pub fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}

/// Answers of a dialog by field name; a field that is missing has its default.
pub type Answers = BTreeMap<String, String>;

/// Plans an action on one object.
///
/// Editing, draining and going back to a revision by number need more than the object: see
/// [`super::drain`] and [`crate::console::rollout`].
pub fn plan(
    what: Deed,
    resource: &Resource,
    object: &Value,
    answers: &Answers,
    now: Timestamp,
) -> Result<Plan, Refusal> {
    let target = Target::new(resource, object, answers);
    match what {
        Deed::Scale => target.scale(),
        Deed::Restart => target.change(
            "restart",
            rollout::restart(object, now)?,
            &["rollout", "restart", &target.slashed()],
        ),
        Deed::Pause => target.change(
            "pause",
            rollout::pause(object)?,
            &["rollout", "pause", &target.slashed()],
        ),
        Deed::Resume => target.change(
            "resume",
            rollout::resume(object)?,
            &["rollout", "resume", &target.slashed()],
        ),
        Deed::SetImage => target.set_image(),
        Deed::Delete => target.delete(),
        Deed::Kill => target.kill(),
        Deed::Cordon => target.change(
            "cordon",
            json!({"spec": {"unschedulable": true}}),
            &["cordon", target.name],
        ),
        // Null removes the field, as it is when a node was never cordoned.
        Deed::Uncordon => target.change(
            "uncordon",
            json!({"spec": {"unschedulable": null}}),
            &["uncordon", target.name],
        ),
        Deed::Trigger => target.trigger(now),
        Deed::Suspend => target.suspend(),
        Deed::Label => target.mark("labels", "label"),
        Deed::Annotate => target.mark("annotations", "annotate"),
        Deed::Edit => refuse("an edit is planned from its text"),
        Deed::Drain => refuse("a drain is planned from the node's Pods"),
        Deed::Rollback => refuse("a rollback is planned from a revision"),
    }
}

/// The plan of a changed object: what an editor gave back replaces it, unless somebody else was faster.
pub fn replace(resource: &Resource, object: &Value) -> Plan {
    let answers = Answers::new();
    let target = Target::new(resource, object, &answers);
    Plan {
        requests: vec![Request::new(Method::Put, resource, target.at(), object.clone())],
        question: target.question("change"),
        command: command(target.namespace, &["edit", &target.slashed()]),
    }
}

/// The plan of an object as a manifest has it, merged by the server with what others own.
pub fn apply(resource: &Resource, object: &Value) -> Plan {
    let answers = Answers::new();
    let target = Target::new(resource, object, &answers);
    Plan {
        requests: vec![Request::patch(APPLY, resource, target.at(), object.clone())],
        question: target.question("apply"),
        command: command(target.namespace, &["apply", "--server-side", "-f", "FILE"]),
    }
}

/// The plan that puts a revision's Pod template back into its workload.
pub fn rollback(resource: &Resource, workload: &Value, revision: &rollout::Revision) -> Result<Plan, Refusal> {
    let answers = Answers::new();
    let target = Target::new(resource, workload, &answers);
    let number = format!("--to-revision={}", revision.number);
    Ok(Plan {
        requests: vec![Request::patch(
            JSON_PATCH,
            resource,
            target.at(),
            rollout::undo(workload, revision)?,
        )],
        question: target.question(&format!("go back to revision {} of", revision.number)),
        command: command(target.namespace, &["rollout", "undo", &target.slashed(), &number]),
    })
}

/// Names and images of the containers of an object that has any.
pub fn images(object: &Value) -> Vec<(String, String)> {
    let Some(path) = pod_spec(object) else {
        return Vec::new();
    };
    ["initContainers", "containers"]
        .iter()
        .flat_map(|field| list(object, &format!("{path}/{field}")))
        .map(|c| (text(c, "/name").to_owned(), text(c, "/image").to_owned()))
        .collect()
}

/// Where an object holds a Pod's spec.
pub(super) fn pod_spec(object: &Value) -> Option<&'static str> {
    ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec", "/spec"]
        .into_iter()
        .find(|path| !list(object, &format!("{path}/containers")).is_empty())
}

struct Target<'a> {
    resource: &'a Resource,
    object: &'a Value,
    answers: &'a Answers,
    namespace: &'a str,
    name: &'a str,
}

impl<'a> Target<'a> {
    fn new(resource: &'a Resource, object: &'a Value, answers: &'a Answers) -> Self {
        Self {
            resource,
            object,
            answers,
            namespace: view::namespace(object),
            name: view::name(object),
        }
    }

    fn at(&self) -> (&'a str, &'a str) {
        (self.namespace, self.name)
    }

    fn answer(&self, field: &str) -> &str {
        self.answers.get(field).map_or("", |answer| answer.trim())
    }

    /// As commands name the kind: short where that is not mistaken.
    fn kind(&self) -> String {
        let kind = self.resource.kind.to_lowercase();
        match builtin().resolve(&kind) {
            Some(row) if row.group == self.resource.group => kind,
            _ if self.resource.group.is_empty() => kind,
            _ => format!("{kind}.{}", self.resource.group),
        }
    }

    fn slashed(&self) -> String {
        format!("{}/{}", self.kind(), self.name)
    }

    fn question(&self, verb: &str) -> String {
        let place = match self.namespace {
            "" => String::new(),
            namespace => format!(" in {namespace}"),
        };
        format!("{verb} {} {}{place}", self.kind(), self.name)
    }

    fn plan(&self, verb: &str, request: Request, words: &[&str]) -> Plan {
        Plan {
            requests: vec![request],
            question: self.question(verb),
            command: command(self.namespace, words),
        }
    }

    fn change(&self, verb: &str, patch: Value, words: &[&str]) -> Result<Plan, Refusal> {
        let request = Request::patch(STRATEGIC, self.resource, self.at(), patch);
        Ok(self.plan(verb, request, words))
    }

    fn scale(&self) -> Result<Plan, Refusal> {
        let Ok(replicas) = self.answer("replicas").parse::<u32>() else {
            return refuse("replicas must be a number of 0 or more");
        };
        let patch = json!({"spec": {"replicas": replicas}});
        let request = Request::patch(MERGE, self.resource, self.at(), patch).of("scale");
        let words = ["scale", &self.slashed(), &format!("--replicas={replicas}")];
        Ok(self.plan(&format!("scale to {replicas}"), request, &words))
    }

    fn set_image(&self) -> Result<Plan, Refusal> {
        let Some(path) = pod_spec(self.object) else {
            return refuse("it has no containers");
        };
        let mut fields = Map::new();
        let mut words = vec!["set".to_owned(), "image".to_owned(), self.slashed()];
        for field in ["initContainers", "containers"] {
            let mut changed = Vec::new();
            for container in list(self.object, &format!("{path}/{field}")) {
                let name = text(container, "/name");
                let image = self.answer(name);
                if !image.is_empty() && image != text(container, "/image") {
                    changed.push(json!({"name": name, "image": image}));
                    words.push(format!("{name}={image}"));
                }
            }
            if !changed.is_empty() {
                fields.insert(field.to_owned(), changed.into());
            }
        }
        if fields.is_empty() {
            return refuse("no image is changed");
        }
        let patch = path
            .rsplit('/')
            .filter(|part| !part.is_empty())
            .fold(Value::Object(fields), |inner, part| {
                let mut outer = Map::new();
                outer.insert(part.to_owned(), inner);
                outer.into()
            });
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        self.change("set images of", patch, &words)
    }

    fn delete(&self) -> Result<Plan, Refusal> {
        let propagation = match self.answer("propagation") {
            "" => super::PROPAGATION[0],
            answer => match super::PROPAGATION.iter().find(|p| **p == answer) {
                Some(propagation) => propagation,
                None => return refuse(format!("no propagation {answer}")),
            },
        };
        let force = self.answer("force") == "true";
        let grace = match (self.answer("grace"), force) {
            ("", false) => None,
            ("", true) => Some(0),
            (seconds, _) => match seconds.parse::<u32>() {
                Ok(seconds) => Some(seconds),
                Err(_) => return refuse("grace must be a number of seconds"),
            },
        };
        let mut words = vec!["delete".to_owned(), self.kind(), self.name.to_owned()];
        if propagation != super::PROPAGATION[0] {
            words.push(format!("--cascade={}", propagation.to_lowercase()));
        }
        if let Some(seconds) = grace {
            words.push(format!("--grace-period={seconds}"));
        }
        // kubectl takes a grace period of 0 only with --force.
        if force || grace == Some(0) {
            words.push("--force".to_owned());
        }
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        Ok(self.plan("delete", self.deletion(propagation, grace), &words))
    }

    fn kill(&self) -> Result<Plan, Refusal> {
        let request = self.deletion(super::PROPAGATION[0], Some(1));
        Ok(self.plan("kill", request, &["delete", &self.kind(), self.name, "--now"]))
    }

    /// Only the object that was seen is deleted, not another that took its name since.
    fn deletion(&self, propagation: &str, grace: Option<u32>) -> Request {
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation});
        if let Some(seconds) = grace {
            options["gracePeriodSeconds"] = seconds.into();
        }
        let uid = text(self.object, "/metadata/uid");
        if !uid.is_empty() {
            options["preconditions"] = json!({"uid": uid});
        }
        Request::new(Method::Delete, self.resource, self.at(), options)
    }

    fn trigger(&self, now: Timestamp) -> Result<Plan, Refusal> {
        let Some(jobs) = builtin().resolve("jobs.batch") else {
            return refuse("no Jobs are known");
        };
        let name = match self.answer("name") {
            // The name of a Job is a label of its Pods.
            "" => format!("{}-manual-{}", cut(self.name, 44), now.as_second()),
            name => name.to_owned(),
        };
        let template = &self.object["spec"]["jobTemplate"];
        let mut annotations = view::map(template, "/metadata/annotations")
            .cloned()
            .unwrap_or_default();
        annotations.insert("cronjob.kubernetes.io/instantiate".to_owned(), "manual".into());
        let mut metadata = json!({"name": name, "namespace": self.namespace, "annotations": annotations,
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": self.name,
                "uid": text(self.object, "/metadata/uid"), "controller": true}]});
        if let Some(labels) = view::map(template, "/metadata/labels") {
            metadata["labels"] = labels.clone().into();
        }
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]});
        let request = Request::new(Method::Post, jobs, (self.namespace, ""), job);
        let words = ["create", "job", &name, &format!("--from=cronjob/{}", self.name)];
        Ok(self.plan("run", request, &words))
    }

    fn suspend(&self) -> Result<Plan, Refusal> {
        let suspend = !view::flag(self.object, "/spec/suspend");
        let patch = json!({"spec": {"suspend": suspend}});
        let verb = if suspend { "suspend" } else { "resume" };
        let text = patch.to_string();
        self.change(verb, patch, &["patch", &self.slashed(), "-p", &text])
    }

    /// `a=1 b-`: as `kubectl label --overwrite`.
    fn mark(&self, field: &str, verb: &str) -> Result<Plan, Refusal> {
        let mut entries = Map::new();
        let kind = self.kind();
        let mut words = vec![verb, &kind, self.name];
        let changes = self.answer("changes");
        for change in changes.split_whitespace() {
            match (change.split_once('='), change.strip_suffix('-')) {
                (Some((key, value)), _) if !key.is_empty() => entries.insert(key.to_owned(), value.into()),
                (None, Some(key)) if !key.is_empty() => entries.insert(key.to_owned(), Value::Null),
                _ => return refuse(format!("{change} is neither key=value nor key-")),
            };
            words.push(change);
        }
        if entries.is_empty() {
            return refuse("nothing is changed");
        }
        words.push("--overwrite");
        let patch = json!({"metadata": {field: entries}});
        let request = Request::patch(MERGE, self.resource, self.at(), patch);
        Ok(self.plan(verb, request, &words))
    }
}

fn cut(text: &str, most: usize) -> &str {
    text.get(..most).unwrap_or(text)
}
