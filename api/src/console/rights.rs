//! What one may do, as the server's SelfSubjectRulesReview says.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::action::{Action, Right};
use crate::resource::Resource;

/// What one may do in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Those of paths that are no resources.
    #[serde(default)]
    pub paths: Vec<Rule>,
    /// Whether the server could not name all of them.
    pub incomplete: bool,
}

/// Verbs on resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    /// Verbs; `*` for all.
    pub verbs: Vec<String>,
    /// Groups; `*` for all.
    pub api_groups: Vec<String>,
    /// Resources, with subresources as `pods/log`; `*` for all.
    pub resources: Vec<String>,
    /// Names; empty for all.
    pub resource_names: Vec<String>,
    /// Paths of the server that are no resources.
    #[serde(rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
}

impl Rights {
    /// The first right that an action needs and that is not there.
    pub fn missing(&self, action: &Action, resource: &Resource) -> Option<Right> {
        let mut rights = action.rights(resource).into_iter();
        rights.find(|right| !self.has(right))
    }

    /// Whether a right is there.
    pub fn has(&self, right: &Right) -> bool {
        let resource = match right.subresource {
            "" => right.resource.clone(),
            subresource => format!("{}/{subresource}", right.resource),
        };
        self.allow(right.verb, &right.group, &resource)
    }

    /// Reads the status of a SelfSubjectRulesReview.
    pub fn read(review: &Value) -> Self {
        let rules = |path: &str| {
            let rules = review.pointer(path).cloned().unwrap_or_default();
            serde_json::from_value(rules).unwrap_or_default()
        };
        Self {
            rules: rules("/status/resourceRules"),
            paths: rules("/status/nonResourceRules"),
            incomplete: review.pointer("/status/incomplete").is_some_and(|v| v == true),
        }
    }

    /// Whether a verb is allowed on a resource (`pods/log` for a subresource). Unsure is yes: the server decides.
    pub fn allow(&self, verb: &str, group: &str, resource: &str) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|v| v == "*" || v == wanted);
        let subresource = resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
        self.incomplete
            || self.rules.iter().any(|rule| {
                has(&rule.verbs, verb)
                    && has(&rule.api_groups, group)
                    && (has(&rule.resources, resource)
                        || subresource.as_deref().is_some_and(|sub| has(&rule.resources, sub)))
            })
    }
}
