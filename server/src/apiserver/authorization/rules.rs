//! RBAC rules as data: what a rule allows, whether rules cover other rules, and how upstream writes them.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Attributes;

const ALL: &str = "*";

type List = Box<[Box<str>]>;

/// One rule of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// What may be done; `*` for everything.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub verbs: List,
    /// In which API groups.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "<[_]>::is_empty")]
    pub api_groups: List,
    /// With which resources, as `pods`, `pods/log`, `*/scale` or `*`.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "<[_]>::is_empty")]
    pub resources: List,
    /// With which names; empty for all.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "<[_]>::is_empty")]
    pub resource_names: List,
    /// On which paths outside the API, as `/healthz` or `/api/*`.
    #[serde(
        default,
        rename = "nonResourceURLs",
        deserialize_with = "null_is_empty",
        skip_serializing_if = "<[_]>::is_empty"
    )]
    pub non_resource_urls: List,
}

/// Objects written by hand may say `null` where they mean nothing.
fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<List, D::Error> {
    Option::<List>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Rule {
    /// A rule that allows everything on every resource.
    pub fn everything() -> Self {
        Self {
            verbs: list([ALL]),
            api_groups: list([ALL]),
            resources: list([ALL]),
            ..Self::default()
        }
    }

    /// A rule that allows everything on every path.
    pub fn every_path() -> Self {
        Self {
            verbs: list([ALL]),
            non_resource_urls: list([ALL]),
            ..Self::default()
        }
    }

    /// Whether the rule allows what a request wants.
    pub fn allows(&self, wanted: &Attributes) -> bool {
        if !has_or_all(&self.verbs, &wanted.verb) {
            return false;
        }
        if !wanted.is_resource() {
            return self.non_resource_urls.iter().any(|url| path_covers(url, &wanted.path));
        }
        has_or_all(&self.api_groups, &wanted.group)
            && self
                .resources
                .iter()
                .any(|resource| resource_covers(resource, &wanted.resource, &wanted.subresource))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| **name == *wanted.name))
    }

    /// The rule as rules of one verb, one group, one resource and at most one name each.
    fn singles(&self) -> Vec<Rule> {
        let mut out = Vec::new();
        for verb in &self.verbs {
            for url in &self.non_resource_urls {
                out.push(Rule {
                    verbs: list([&**verb]),
                    non_resource_urls: list([&**url]),
                    ..Self::default()
                });
            }
            for group in &self.api_groups {
                for resource in &self.resources {
                    let mut single = Rule {
                        verbs: list([&**verb]),
                        api_groups: list([&**group]),
                        resources: list([&**resource]),
                        ..Self::default()
                    };
                    if self.resource_names.is_empty() {
                        out.push(single);
                        continue;
                    }
                    for name in &self.resource_names {
                        single.resource_names = list([&**name]);
                        out.push(single.clone());
                    }
                }
            }
        }
        out
    }

    /// Whether everything that `single` (see [`Rule::singles`]) allows is allowed by this rule.
    fn covers_single(&self, single: &Rule) -> bool {
        if !has_or_all(&self.verbs, &single.verbs[0]) {
            return false;
        }
        if let [url] = &*single.non_resource_urls {
            return self.non_resource_urls.iter().any(|own| path_covers(own, url));
        }
        let wanted = &single.resources[0];
        let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
        has_or_all(&self.api_groups, &single.api_groups[0])
            && self
                .resources
                .iter()
                .any(|own| own == wanted || resource_covers(own, resource, subresource))
            && (self.resource_names.is_empty()
                || single
                    .resource_names
                    .first()
                    .is_some_and(|name| self.resource_names.contains(name)))
    }
}

/// The parts of `wanted` that `held` does not cover.
pub fn uncovered(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let singles: BTreeSet<_> = wanted.iter().flat_map(Rule::singles).collect();
    singles
        .into_iter()
        .filter(|single| !held.iter().any(|own| own.covers_single(single)))
        .collect()
}

/// Rules with few words: singles about the same resource are joined by their verbs.
pub fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    for rule in rules {
        let simple = rule.resource_names.is_empty() && rule.resources.len() == 1 && rule.api_groups.len() == 1;
        let same = out.iter_mut().find(|have| {
            simple
                && have.api_groups == rule.api_groups
                && have.resources == rule.resources
                && have.resource_names.is_empty()
        });
        match same {
            Some(have) => {
                let mut verbs = std::mem::take(&mut have.verbs).into_vec();
                for verb in rule.verbs {
                    if !verbs.contains(&verb) {
                        verbs.push(verb);
                    }
                }
                have.verbs = verbs.into();
            }
            None => out.push(rule),
        }
    }
    out
}

/// Upstream's short form, as its escalation messages print it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| format!("{name}:{}", quoted(values)))
            .collect();
        write!(f, "{{{}}}", parts.join(", "))
    }
}

/// Strings as `["a" "b"]`.
pub fn quoted<T: AsRef<str>>(values: &[T]) -> String {
    let values: Vec<_> = values.iter().map(|value| format!("{:?}", value.as_ref())).collect();
    format!("[{}]", values.join(" "))
}

fn list<const N: usize>(values: [&str; N]) -> List {
    values.into_iter().map(Box::from).collect()
}

fn has_or_all(values: &[Box<str>], wanted: &str) -> bool {
    values.iter().any(|value| **value == *ALL || **value == *wanted)
}

fn resource_covers(rule: &str, resource: &str, subresource: &str) -> bool {
    match rule.split_once('/') {
        _ if rule == ALL => true,
        Some((ALL, sub)) => !subresource.is_empty() && sub == subresource,
        Some((base, sub)) => base == resource && sub == subresource,
        None => rule == resource && subresource.is_empty(),
    }
}

fn path_covers(rule: &str, path: &str) -> bool {
    rule == path || rule.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(value: serde_json::Value) -> Vec<Rule> {
        serde_json::from_value(value).unwrap()
    }

    fn wants(line: &str) -> Attributes {
        let words: Vec<_> = line.split(' ').collect();
        if words[1].starts_with('/') {
            return Attributes {
                verb: words[0].into(),
                path: words[1].into(),
                ..Attributes::default()
            };
        }
        let (resource, subresource) = words[2].split_once('/').unwrap_or((words[2], ""));
        Attributes {
            verb: words[0].into(),
            group: words[1].trim_matches('-').into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: words.get(3).copied().unwrap_or_default().into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn a_rule_allows_what_it_says_and_no_more() {
        let pods = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
        let log = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]}]);
        let named = json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"]}]);
        let scale = json!([{"verbs": ["get"], "apiGroups": ["*"], "resources": ["*/scale"]}]);
        let paths = json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]}]);
        let mut all = serde_json::to_value([Rule::everything()]).unwrap();
        for (rule, line, expect) in [
            (&pods, "get - pods", true),
            (&pods, "get - pods x", true),
            (&pods, "list - pods", false),
            (&pods, "get apps pods", false),
            (&pods, "get - pods/log", false),
            (&pods, "get - nodes", false),
            (&pods, "get /pods", false),
            (&log, "get - pods", false),
            (&log, "get - pods/log x", true),
            (&named, "delete - secrets a", true),
            (&named, "delete - secrets b", false),
            (&named, "list - secrets", false),
            (&named, "create - secrets", false),
            (&scale, "get apps deployments/scale", true),
            (&scale, "get apps deployments", false),
            (&scale, "update apps deployments/scale", false),
            (&paths, "get /healthz", true),
            (&paths, "get /healthz/etcd", false),
            (&paths, "get /api/v1", true),
            (&paths, "get /api", false),
            (&paths, "post /healthz", false),
            (&paths, "get - pods", false),
            (&all, "get apps deployments/scale", true),
            (&all, "get /healthz", false),
        ] {
            let [rule] = &rules(rule.clone())[..] else {
                panic!("one rule")
            };
            assert_eq!(rule.allows(&wants(line)), expect, "{rule} {line}");
        }
        all[0]["resources"] = json!(null);
        assert!(!rules(all)[0].allows(&wants("get - pods")), "null allows nothing");
    }

    #[test]
    fn what_is_not_covered_is_told_in_upstreams_words() {
        let check = |held, wanted, expect: &str| {
            let missing = compact(uncovered(&rules(held), &rules(wanted)));
            let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
            assert_eq!(missing.join("\n"), expect);
        };
        let read = json!([{"verbs": ["get", "list"], "apiGroups": ["", "apps"], "resources": ["pods", "pods/log"]}]);
        check(read.clone(), read.clone(), "");
        check(
            read.clone(),
            json!([{"verbs": ["get", "watch", "delete"], "apiGroups": [""], "resources": ["pods"], "resourceNames": []}]),
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete" "watch"]}"#,
        );
        check(
            json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"]}]),
            json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a", "b"]},
                   {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]),
            "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}\n{APIGroups:[\"\"], Resources:[\"secrets\"], ResourceNames:[\"b\"], Verbs:[\"get\"]}",
        );
        check(
            read.clone(),
            json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["get"], "nonResourceURLs": ["*"]}]),
            "{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n{NonResourceURLs:[\"*\"], Verbs:[\"get\"]}",
        );
        check(
            serde_json::to_value([Rule::everything(), Rule::every_path()]).unwrap(),
            json!([{"verbs": ["*", "x"], "apiGroups": ["*"], "resources": ["*", "a/b", "*/scale"]}, {"verbs": ["get"], "nonResourceURLs": ["/a/*"]}]),
            "",
        );
        check(
            json!([{"verbs": ["get"], "nonResourceURLs": ["/a/*"]}]),
            json!([{"verbs": ["get"], "nonResourceURLs": ["/a/b", "/a*", "/a"]}]),
            "{NonResourceURLs:[\"/a\"], Verbs:[\"get\"]}\n{NonResourceURLs:[\"/a*\"], Verbs:[\"get\"]}",
        );
    }
}
