//! What can be done to objects: one table of actions, and the requests that carry them out.
//!
//! An [`Action`] says for which kinds it is, which rights it needs, how dangerous it is and what its
//! dialog asks. [`plan`] turns the answers into [`Request`]s, the words to confirm, and the command line
//! that would do the same. Whoever shows it sends the requests, first with [`Request::dry_run`] where
//! [`Action::previewed`] says that their effect is not obvious.

pub mod drain;
mod plans;
mod request;

use serde_json::Value;

use crate::resource::Resource;
use crate::view;
pub use plans::{Answers, Plan, Refusal, apply, images, plan, refuse, replace, rollback};
pub use request::{Method, Request, command, quote};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Deed {
    /// Change by hand.
    Edit,
    /// Another number of Pods.
    Scale,
    /// Replace all Pods.
    Restart,
    /// Back to an earlier template.
    Rollback,
    /// Other images.
    SetImage,
    /// Let changes gather.
    Pause,
    /// Let gathered changes take effect.
    Resume,
    /// Remove.
    Delete,
    /// Remove at once.
    Kill,
    /// Keep new Pods off.
    Cordon,
    /// Let new Pods in.
    Uncordon,
    /// Move all Pods away.
    Drain,
    /// Run now.
    Trigger,
    /// Run no more, or again.
    Suspend,
    /// Other labels.
    Label,
    /// Other annotations.
    Annotate,
}

/// How much an action may break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Danger {
    /// Can be taken back as easily as it was done.
    Low,
    /// Interrupts what runs.
    Medium,
    /// Cannot be taken back.
    High,
}

/// A right that an action needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Right {
    /// Verb.
    pub verb: &'static str,
    /// API group.
    pub group: String,
    /// Resource.
    pub resource: String,
    /// Subresource; empty for none.
    pub subresource: &'static str,
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match self.subresource {
            "" => Ok(()),
            subresource => write!(f, "/{subresource}"),
        }
    }
}

/// Which kinds an action is for.
#[derive(Clone, Copy, Debug)]
enum Kinds {
    /// All that can be changed.
    Any,
    /// Those with a `scale` subresource.
    Scalable,
    /// These, as `plural` or `plural.group`.
    These(&'static [&'static str]),
}

/// Whose rights count.
#[derive(Clone, Copy, Debug)]
enum Needs {
    /// A verb on the object, or on a subresource of it.
    Own(&'static str, &'static str),
    /// A verb on another resource beside patching the object: group, resource, subresource.
    Also(&'static str, (&'static str, &'static str, &'static str)),
    /// A verb on another resource only.
    Other(&'static str, (&'static str, &'static str, &'static str)),
}

/// A row of the table of actions.
#[derive(Clone, Copy, Debug)]
pub struct Action {
    /// What it does.
    pub what: Deed,
    /// Its name in menus, help and the file of bindings.
    pub name: &'static str,
    /// The key that k9s has for it; empty for none.
    pub key: &'static str,
    /// What it does, in a sentence.
    pub description: &'static str,
    /// How much it may break.
    pub danger: Danger,
    /// Whether its effect is shown before it is done.
    pub previewed: bool,
    kinds: Kinds,
    needs: Needs,
}

const WORKLOADS: Kinds = Kinds::These(&["deployments.apps", "statefulsets.apps", "daemonsets.apps"]);
const IMAGED: Kinds = Kinds::These(&[
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "replicasets.apps",
    "replicationcontrollers",
    "cronjobs.batch",
    "pods",
]);
const PATCH: Needs = Needs::Own("patch", "");

const fn row(
    what: Deed,
    (name, key): (&'static str, &'static str),
    kinds: Kinds,
    needs: Needs,
    danger: Danger,
    description: &'static str,
) -> Action {
    Action {
        what,
        name,
        key,
        description,
        danger,
        previewed: matches!(what, Deed::Edit | Deed::Rollback | Deed::SetImage),
        kinds,
        needs,
    }
}

/// All actions, in the order in which menus show them.
pub const ACTIONS: &[Action] = &[
    row(
        Deed::Edit,
        ("edit", "e"),
        Kinds::Any,
        Needs::Own("update", ""),
        Danger::Low,
        "change it in an editor",
    ),
    row(
        Deed::Scale,
        ("scale", "s"),
        Kinds::Scalable,
        Needs::Own("patch", "scale"),
        Danger::Medium,
        "set the number of Pods",
    ),
    row(
        Deed::Restart,
        ("restart", "r"),
        WORKLOADS,
        PATCH,
        Danger::Medium,
        "replace all Pods, a few at a time",
    ),
    row(
        Deed::Rollback,
        ("rollback", "ctrl-l"),
        Kinds::These(&[
            "replicasets.apps",
            "controllerrevisions.apps",
            "deployments.apps",
            "statefulsets.apps",
            "daemonsets.apps",
        ]),
        PATCH,
        Danger::Medium,
        "put an earlier Pod template back",
    ),
    row(
        Deed::SetImage,
        ("set-image", "i"),
        IMAGED,
        PATCH,
        Danger::Medium,
        "set the images of containers",
    ),
    row(
        Deed::Pause,
        ("pause", ""),
        Kinds::These(&["deployments.apps"]),
        PATCH,
        Danger::Low,
        "let changes gather without effect",
    ),
    row(
        Deed::Resume,
        ("resume", ""),
        Kinds::These(&["deployments.apps"]),
        PATCH,
        Danger::Low,
        "let gathered changes take effect",
    ),
    row(
        Deed::Delete,
        ("delete", "ctrl-d"),
        Kinds::Any,
        Needs::Own("delete", ""),
        Danger::High,
        "remove it",
    ),
    row(
        Deed::Kill,
        ("kill", "ctrl-k"),
        Kinds::These(&["pods"]),
        Needs::Own("delete", ""),
        Danger::High,
        "remove it at once",
    ),
    row(
        Deed::Cordon,
        ("cordon", "c"),
        Kinds::These(&["nodes"]),
        PATCH,
        Danger::Low,
        "keep new Pods off the node",
    ),
    row(
        Deed::Uncordon,
        ("uncordon", "u"),
        Kinds::These(&["nodes"]),
        PATCH,
        Danger::Low,
        "let new Pods onto the node",
    ),
    row(
        Deed::Drain,
        ("drain", "r"),
        Kinds::These(&["nodes"]),
        Needs::Also("create", ("", "pods", "eviction")),
        Danger::High,
        "keep new Pods off the node and move its Pods away",
    ),
    row(
        Deed::Trigger,
        ("trigger", "t"),
        Kinds::These(&["cronjobs.batch"]),
        Needs::Other("create", ("batch", "jobs", "")),
        Danger::Low,
        "run a Job of it now",
    ),
    row(
        Deed::Suspend,
        ("suspend", "s"),
        Kinds::These(&["cronjobs.batch"]),
        PATCH,
        Danger::Low,
        "start no more Jobs, or start them again",
    ),
    row(
        Deed::Label,
        ("label", ""),
        Kinds::Any,
        PATCH,
        Danger::Low,
        "set and remove labels",
    ),
    row(
        Deed::Annotate,
        ("annotate", ""),
        Kinds::Any,
        PATCH,
        Danger::Low,
        "set and remove annotations",
    ),
];

/// The row of an action.
pub fn action(what: Deed) -> &'static Action {
    ACTIONS
        .iter()
        .find(|row| row.what == what)
        .expect("every action has a row")
}

/// The actions for objects of a resource.
pub fn actions(resource: &Resource) -> impl Iterator<Item = &'static Action> + '_ {
    ACTIONS.iter().filter(|action| action.is_for(resource))
}

impl Action {
    /// Whether objects of a resource can have it done to them.
    pub fn is_for(&self, resource: &Resource) -> bool {
        let served = match self.needs {
            Needs::Own(verb, "") => resource.allows(verb),
            _ => true,
        };
        served
            && match self.kinds {
                Kinds::Any => true,
                Kinds::Scalable => resource.subresource("scale").is_some(),
                Kinds::These(names) => names.contains(&&*resource.qualified_name()),
            }
    }

    /// The rights that it needs.
    pub fn rights(&self, resource: &Resource) -> Vec<Right> {
        let own = |verb, subresource| Right {
            verb,
            group: resource.group.to_string(),
            // A revision is put back into its workload.
            resource: resource.plural.to_string(),
            subresource,
        };
        let other = |verb, (group, resource, subresource): (&str, &str, &'static str)| Right {
            verb,
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource,
        };
        match self.needs {
            Needs::Own(verb, subresource) => vec![own(verb, subresource)],
            Needs::Also(verb, of) => vec![own("patch", ""), other(verb, of)],
            Needs::Other(verb, of) => vec![other(verb, of)],
        }
    }
}

/// What a field of a dialog takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A whole number.
    Number,
    /// Text.
    Text,
    /// One of these.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Toggle,
}

/// A field of an action's dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// By what the answers name it.
    pub name: String,
    /// What it asks.
    pub label: String,
    /// What it takes.
    pub input: Input,
    /// What it holds at first.
    pub default: String,
}

fn field(name: &str, label: &str, input: Input, default: impl Into<String>) -> Field {
    Field {
        name: name.to_owned(),
        label: label.to_owned(),
        input,
        default: default.into(),
    }
}

/// How children of a deleted object are treated, upstream's default first.
pub const PROPAGATION: &[&str] = &["Background", "Foreground", "Orphan"];

/// What the dialog of an action asks, before it is done to an object. Several objects share the answers
/// of the first.
pub fn fields(what: Deed, object: &Value) -> Vec<Field> {
    match what {
        Deed::Scale => {
            let replicas = view::int_opt(object, "/spec/replicas").unwrap_or(1);
            vec![field("replicas", "replicas", Input::Number, replicas.to_string())]
        }
        Deed::SetImage => plans::images(object)
            .into_iter()
            .map(|(container, image)| field(&container, &container, Input::Text, image))
            .collect(),
        Deed::Delete => vec![
            field(
                "propagation",
                "what it owns",
                Input::Choice(PROPAGATION),
                PROPAGATION[0],
            ),
            field("grace", "seconds to end (empty: its own)", Input::Text, ""),
            field("force", "do not wait for the node", Input::Toggle, "false"),
        ],
        Deed::Drain => vec![
            field("ignore-daemonsets", "leave Pods of DaemonSets", Input::Toggle, "true"),
            field(
                "delete-emptydir-data",
                "lose data of emptyDir volumes",
                Input::Toggle,
                "false",
            ),
            field("force", "also Pods that nothing replaces", Input::Toggle, "false"),
            field("grace", "seconds to end (empty: their own)", Input::Text, ""),
        ],
        Deed::Trigger => vec![field("name", "name of the Job", Input::Text, "")],
        Deed::Label => vec![field("changes", "key=value to set, key- to remove", Input::Text, "")],
        Deed::Annotate => vec![field("changes", "key=value to set, key- to remove", Input::Text, "")],
        Deed::Rollback if view::text(object, "/kind") != "ReplicaSet" && object["kind"] != "ControllerRevision" => {
            vec![field("revision", "revision (0: the one before)", Input::Number, "0")]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
