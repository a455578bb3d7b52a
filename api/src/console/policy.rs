//! Who may do what: rules of roles as lines that can be read, and whom bindings bind.

use std::collections::BTreeMap;

use serde_json::Value;

use super::rights::{Rights, Rule};
use crate::view::{list, text};

/// Verbs with a column of their own, with its heading.
pub const VERBS: [(&str, &str); 8] = [
    ("GET", "get"),
    ("LIST", "list"),
    ("WATCH", "watch"),
    ("CREATE", "create"),
    ("PATCH", "patch"),
    ("UPDATE", "update"),
    ("DELETE", "delete"),
    ("DEL-ALL", "deletecollection"),
];

/// What may be done with one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Resource, with its subresource as `pods/log`; `*` for all; a path of the server.
    pub resource: String,
    /// Group; `*` for all.
    pub group: String,
    /// Names that it is limited to; empty for none.
    pub names: String,
    /// Which of [`VERBS`] are allowed.
    pub verbs: [bool; VERBS.len()],
    /// Verbs beside those.
    pub others: String,
    /// What grants it; empty where there is but one.
    pub from: String,
}

impl Line {
    fn allow(&mut self, verb: &str) {
        for (allowed, (_, known)) in self.verbs.iter_mut().zip(VERBS) {
            *allowed |= verb == "*" || verb == known;
        }
        let known = VERBS.iter().any(|(_, known)| *known == verb);
        if !known && self.others.split(' ').all(|other| other != verb) {
            let gap = if self.others.is_empty() { "" } else { " " };
            self.others.push_str(gap);
            self.others.push_str(verb);
        }
    }
}

/// Rules as lines: one for each resource, names and source, by resource.
pub fn lines<'a>(rules: impl IntoIterator<Item = (&'a Rule, &'a str)>) -> Vec<Line> {
    let mut lines: BTreeMap<(String, String, String, String), Line> = BTreeMap::new();
    for (rule, from) in rules {
        let names = rule.resource_names.join(",");
        let resources = rule
            .api_groups
            .iter()
            .flat_map(|group| rule.resources.iter().map(move |r| (r.as_str(), group.as_str())));
        let paths = rule.non_resource_urls.iter().map(|path| (path.as_str(), ""));
        for (resource, group) in resources.chain(paths) {
            let key = (resource.to_owned(), group.to_owned(), names.clone(), from.to_owned());
            let line = lines.entry(key).or_insert_with(|| Line {
                resource: resource.to_owned(),
                group: group.to_owned(),
                names: names.clone(),
                from: from.to_owned(),
                ..Line::default()
            });
            rule.verbs.iter().for_each(|verb| line.allow(verb));
        }
    }
    lines.into_values().collect()
}

/// The rules of a role.
pub fn rules_of(role: &Value) -> Vec<Rule> {
    let rules = role.get("rules").cloned().unwrap_or_default();
    serde_json::from_value(rules).unwrap_or_default()
}

impl Rights {
    /// What one may do, as lines.
    pub fn lines(&self) -> Vec<Line> {
        lines(self.rules.iter().chain(&self.paths).map(|rule| (rule, "")))
    }
}

/// A role that a binding refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl RoleRef {
    /// Reads a binding.
    pub fn of(binding: &Value) -> Self {
        Self {
            kind: text(binding, "/roleRef/kind").to_owned(),
            name: text(binding, "/roleRef/name").to_owned(),
        }
    }
}

/// Whom a binding binds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A user.
    User(String),
    /// A group.
    Group(String),
    /// A service account: namespace and name.
    Account(String, String),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(name) => write!(f, "u:{name}"),
            Self::Group(name) => write!(f, "g:{name}"),
            Self::Account(namespace, name) => write!(f, "s:{namespace}:{name}"),
        }
    }
}

impl std::str::FromStr for Subject {
    type Err = String;

    /// As k9s writes it: `u:jane`, `g:admins`, `s:shop:default`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once(':').unwrap_or(("", ""));
        match (kind, name.split_once(':')) {
            (_, _) if name.is_empty() => {}
            ("u", _) => return Ok(Self::User(name.to_owned())),
            ("g", _) => return Ok(Self::Group(name.to_owned())),
            ("s", Some((namespace, name))) => return Ok(Self::Account(namespace.to_owned(), name.to_owned())),
            _ => {}
        }
        Err(format!("{text:?} is nobody: say u:USER, g:GROUP or s:NAMESPACE:NAME"))
    }
}

impl Subject {
    /// Reads one of a binding's subjects. An account without a namespace is of the binding's.
    fn of(subject: &Value, namespace: &str) -> Option<Self> {
        let name = text(subject, "/name").to_owned();
        let own = text(subject, "/namespace");
        let namespace = if own.is_empty() { namespace } else { own };
        match text(subject, "/kind") {
            "User" => Some(Self::User(name)),
            "Group" => Some(Self::Group(name)),
            "ServiceAccount" => Some(Self::Account(namespace.to_owned(), name)),
            _ => None,
        }
    }

    /// Whether what binds `other` binds this one too: it, or a group that everybody of its sort is in.
    pub fn is_in(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Account(namespace, name), Self::User(user)) => {
                *user == format!("system:serviceaccount:{namespace}:{name}")
            }
            (Self::Account(namespace, _), Self::Group(group)) => {
                matches!(group.as_str(), "system:serviceaccounts" | "system:authenticated")
                    || *group == format!("system:serviceaccounts:{namespace}")
            }
            (Self::User(user), Self::Group(group)) if user != "system:anonymous" => group == "system:authenticated",
            _ => self == other,
        }
    }
}

/// Whom a binding binds.
pub fn subjects(binding: &Value) -> Vec<Subject> {
    let namespace = text(binding, "/metadata/namespace");
    let all = list(binding, "/subjects").iter();
    all.filter_map(|subject| Subject::of(subject, namespace)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(lines: &[Line]) -> String {
        let line = |line: &Line| {
            let verbs: String = line.verbs.iter().map(|on| if *on { '✓' } else { '·' }).collect();
            let fields = [
                &line.resource,
                &line.group,
                &line.names,
                &verbs,
                &line.others,
                &line.from,
            ];
            fields.map(String::as_str).join("|")
        };
        lines.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn rules_become_a_line_for_each_resource() {
        let role = json!({"rules": [
            {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["watch", "proxy"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"], "verbs": ["*"]},
            {"nonResourceURLs": ["/healthz"], "verbs": ["get"]},
        ]});
        let rules = rules_of(&role);
        insta::assert_snapshot!(shown(&lines(rules.iter().map(|rule| (rule, "")))), @"
        /healthz|||✓·······||
        deployments|apps|web|✓✓✓✓✓✓✓✓|*|
        pods|||✓✓✓·····|proxy|
        pods/log|||✓✓······||
        ");
    }

    #[test]
    fn everybody_is_in_some_groups() {
        let account: Subject = "s:shop:jane".parse().expect("an account");
        let binding = json!({"metadata": {"namespace": "shop"}, "subjects": [
            {"kind": "ServiceAccount", "name": "jane"},
            {"kind": "Group", "name": "system:serviceaccounts:shop"},
            {"kind": "User", "name": "jane"},
        ]});
        let bound: Vec<_> = subjects(&binding).iter().map(|s| account.is_in(s)).collect();
        assert_eq!(bound, [true, true, false]);
        let user: Subject = "u:jane".parse().expect("a user");
        assert!(user.is_in(&Subject::Group("system:authenticated".to_owned())));
        assert!("jane".parse::<Subject>().is_err());
        assert_eq!(account.to_string(), "s:shop:jane");
    }
}
