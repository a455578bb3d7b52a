//! Which Pods a drain moves, which it leaves, and why it may not begin: kubectl's rules.

use serde_json::{Value, json};

use super::plans::{Answers, Refusal};
use super::{Deed, Method, Request, command, plans};
use crate::resource::{Resource, builtin};
use crate::view::{self, has, list, text};

/// What is drained and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Leave Pods of DaemonSets, which would come back at once.
    pub ignore_daemonsets: bool,
    /// Also Pods whose emptyDir volumes are lost.
    pub delete_emptydir_data: bool,
    /// Also Pods that nothing replaces.
    pub force: bool,
    /// Seconds to end, instead of the Pods' own.
    pub grace: Option<u32>,
}

impl Options {
    /// From the answers of the dialog.
    pub fn read(answers: &Answers) -> Result<Self, Refusal> {
        let on = |field: &str| answers.get(field).is_some_and(|answer| answer == "true");
        let grace = match answers.get("grace").map(|a| a.trim()) {
            None | Some("") => None,
            Some(seconds) => match seconds.parse() {
                Ok(seconds) => Some(seconds),
                Err(_) => return plans::refuse("grace must be a number of seconds"),
            },
        };
        Ok(Self {
            ignore_daemonsets: on("ignore-daemonsets"),
            delete_emptydir_data: on("delete-emptydir-data"),
            force: on("force"),
            grace,
        })
    }

    /// The command line that would do the same.
    pub fn command(&self, node: &str) -> String {
        let flag = |on: bool, flag: &'static str| if on { flag } else { "" };
        let grace = self
            .grace
            .map(|seconds| format!("--grace-period={seconds}"))
            .unwrap_or_default();
        command(
            "",
            &[
                "drain",
                node,
                flag(self.ignore_daemonsets, "--ignore-daemonsets"),
                flag(self.delete_emptydir_data, "--delete-emptydir-data"),
                flag(self.force, "--force"),
                &grace,
            ],
        )
    }
}

/// What becomes of one Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is evicted.
    Evict,
    /// It is evicted, and this is lost or noteworthy.
    EvictDespite(&'static str),
    /// It stays.
    Stay(&'static str),
    /// The drain may not begin because of it.
    Refuse(&'static str),
}

/// What becomes of a Pod of the node.
pub fn fate(pod: &Value, options: Options) -> Fate {
    if has(pod, "/metadata/annotations/kubernetes.io~1config.mirror") {
        return Fate::Stay("a static Pod");
    }
    let finished = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
    let controller = view::controller(pod);
    if controller.is_some_and(|c| c["kind"] == "DaemonSet") && !finished {
        return match options.ignore_daemonsets {
            true => Fate::Stay("of a DaemonSet"),
            false => Fate::Refuse("of a DaemonSet (leave Pods of DaemonSets)"),
        };
    }
    if finished {
        return Fate::Evict;
    }
    let local = list(pod, "/spec/volumes").iter().any(|v| has(v, "/emptyDir"));
    match (local, controller.is_some()) {
        (true, _) if !options.delete_emptydir_data => Fate::Refuse("has local storage (lose data of emptyDir volumes)"),
        (_, false) if !options.force => Fate::Refuse("nothing replaces it (also Pods that nothing replaces)"),
        (_, false) => Fate::EvictDespite("nothing replaces it"),
        (true, true) => Fate::EvictDespite("its local data is lost"),
        (false, true) => Fate::Evict,
    }
}

/// A drain that can begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Drain {
    /// Takes the node out of scheduling.
    pub cordon: Request,
    /// Pods to evict, each with its request. An answer of 429 means to try again: a budget forbids it now.
    pub evictions: Vec<(String, Request)>,
    /// Pods that stay, and why.
    pub staying: Vec<(String, &'static str)>,
    /// Pods that go, and what that costs.
    pub warnings: Vec<(String, &'static str)>,
    /// The command line that would do the same.
    pub command: String,
}

/// Plans the drain of a node with these Pods.
pub fn plan(nodes: &Resource, node: &Value, pods: &[Value], options: Options) -> Result<Drain, Refusal> {
    let cordon = plans::plan(Deed::Cordon, nodes, node, &Answers::new(), jiff::Timestamp::UNIX_EPOCH)?;
    let mut drain = Drain {
        cordon: cordon
            .requests
            .into_iter()
            .next()
            .ok_or_else(|| Refusal("nothing to send".to_owned()))?,
        evictions: Vec::new(),
        staying: Vec::new(),
        warnings: Vec::new(),
        command: options.command(view::name(node)),
    };
    let mut refused = Vec::new();
    for pod in pods {
        let name = format!("{}/{}", view::namespace(pod), view::name(pod));
        match fate(pod, options) {
            Fate::Refuse(why) => refused.push(format!("{name}: {why}")),
            Fate::Stay(why) => drain.staying.push((name, why)),
            Fate::Evict => drain.evictions.push((name, evict(pod, options.grace)?)),
            Fate::EvictDespite(why) => {
                drain.warnings.push((name.clone(), why));
                drain.evictions.push((name, evict(pod, options.grace)?));
            }
        }
    }
    match refused.is_empty() {
        true => Ok(drain),
        false => plans::refuse(format!("cannot drain: {}", refused.join("; "))),
    }
}

/// The request that evicts a Pod.
pub fn evict(pod: &Value, grace: Option<u32>) -> Result<Request, Refusal> {
    let Some(pods) = builtin().resolve("pods") else {
        return plans::refuse("no Pods are known");
    };
    let at = (view::namespace(pod), view::name(pod));
    let mut eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": at.1, "namespace": at.0}, "deleteOptions": {}});
    if let Some(seconds) = grace {
        eviction["deleteOptions"]["gracePeriodSeconds"] = seconds.into();
    }
    let mut request = Request::new(Method::Post, pods, at, eviction).of("eviction");
    request.query.clear();
    Ok(request)
}
