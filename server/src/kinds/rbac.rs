//! Role, ClusterRole and their bindings. Whether a user may grant what they grant is authorization's matter.

use mizzen_api::object::Object;
use mizzen_api::status::FieldError;
use mizzen_api::validation::{Problems, dns_subdomain, path_segment};

use super::check::{Check, default, each, section};
use super::pod_spec::validate::check_label_selector;
use super::{Context, Strategy};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Strategy of Role and ClusterRole.
pub(super) struct Role;

impl Strategy for Role {
    fn name_problems(&self, name: &str) -> Problems {
        path_segment(name)
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let namespaced = context.resource.namespaced();
        for rule in check.field("rules").items() {
            check_rule(&rule, namespaced);
        }
        for selector in check.field("aggregationRule").field("clusterRoleSelectors").items() {
            check_label_selector(&selector);
        }
        check.finish()
    }
}

fn check_rule(rule: &Check<'_>, namespaced: bool) {
    if rule.field("verbs").is_empty() {
        rule.field("verbs").required("verbs must contain at least one value");
    }
    let urls = rule.field("nonResourceURLs");
    if !urls.is_empty() {
        if namespaced {
            urls.invalid("namespaced rules cannot apply to non-resource URLs");
        }
        if ["apiGroups", "resources", "resourceNames"]
            .iter()
            .any(|name| !rule.field(name).is_empty())
        {
            urls.invalid("rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if rule.field("apiGroups").is_empty() {
        rule.field("apiGroups")
            .required("resource rules must supply at least one api group");
    }
    if rule.field("resources").is_empty() {
        rule.field("resources")
            .required("resource rules must supply at least one resource");
    }
}

/// Strategy of RoleBinding and ClusterRoleBinding.
pub(super) struct Binding;

impl Strategy for Binding {
    fn name_problems(&self, name: &str) -> Problems {
        path_segment(name)
    }

    fn default(&self, _: &Context<'_>, object: &mut Object) {
        let role = section(object, "roleRef");
        if role.get("apiGroup").is_none_or(|group| group == "") {
            role.insert("apiGroup".into(), GROUP.into());
        }
        for subject in each(object, "subjects") {
            if matches!(super::check::text(subject, "kind"), "User" | "Group") {
                default(subject, "apiGroup", GROUP);
            }
        }
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let role = check.field("roleRef");
        role.field("apiGroup").one_of(&[GROUP]);
        let kinds: &[&str] = if context.resource.namespaced() {
            &["ClusterRole", "Role"]
        } else {
            &["ClusterRole"]
        };
        role.field("kind").must_be_one_of(kinds);
        role.field("name").must_obey(path_segment);
        for subject in check.field("subjects").items() {
            subject.field("name").must_exist("");
            let group = subject.field("apiGroup");
            match subject.field("kind").str() {
                "ServiceAccount" => {
                    subject.field("name").obeys(dns_subdomain);
                    if !group.is_empty() {
                        group.one_of(&[""]);
                    }
                    if subject.field("namespace").is_empty() {
                        subject.field("namespace").required("");
                    }
                }
                "User" | "Group" => group.one_of(&[GROUP]),
                _ => subject
                    .field("kind")
                    .must_be_one_of(&["Group", "ServiceAccount", "User"]),
            }
        }
        check.finish()
    }

    fn validate_update(&self, _: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        if !check.field("roleRef").same(&check.beside(old).field("roleRef")) {
            check.field("roleRef").invalid("cannot change roleRef");
        }
        check.finish()
    }
}
