//! Generators of roles and their bindings.

use serde_json::{Value, json};

use crate::cli::error::fail;

const GROUP: &str = "rbac.authorization.k8s.io";

#[derive(clap::Args)]
pub(super) struct Role {
    /// Name of the role.
    name: String,
    /// Verbs that it allows.
    #[arg(
        long,
        value_name = "VERB",
        value_delimiter = ',',
        required_unless_present = "aggregation_rule"
    )]
    verb: Vec<String>,
    /// Resources that it is about, as RESOURCE[.GROUP][/SUBRESOURCE].
    #[arg(long, value_name = "RESOURCE", value_delimiter = ',')]
    resource: Vec<String>,
    /// Names of the objects that it is about.
    #[arg(long, value_name = "NAME")]
    resource_name: Vec<String>,
    /// Paths outside the resources that it is about (ClusterRoles only).
    #[arg(long = "non-resource-url", value_name = "PATH", value_delimiter = ',')]
    non_resource_url: Vec<String>,
    /// Labels of the ClusterRoles that it gathers (ClusterRoles only).
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    aggregation_rule: Vec<String>,
}

impl Role {
    pub(super) fn object(&self, kind: &str) -> anyhow::Result<Value> {
        let mut object = json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": self.name}});
        if kind == "Role" && !(self.non_resource_url.is_empty() && self.aggregation_rule.is_empty()) {
            return fail("paths and aggregation rules are for cluster roles");
        }
        if !self.aggregation_rule.is_empty() {
            let mut labels = serde_json::Map::new();
            for rule in &self.aggregation_rule {
                let (key, value) = super::pair(rule, "aggregation rule")?;
                labels.insert(key.to_owned(), value.into());
            }
            object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
            object["rules"] = json!([]);
            return Ok(object);
        }
        if self.resource.is_empty() && self.non_resource_url.is_empty() {
            return fail("at least one resource must be specified");
        }
        // Resources of one group share a rule.
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for text in &self.resource {
            let (name, group) = split(text);
            match groups.iter_mut().find(|(g, _)| *g == group) {
                Some((_, resources)) => resources.push(name),
                None => groups.push((group, vec![name])),
            }
        }
        let mut rules: Vec<Value> = Vec::new();
        for (group, resources) in groups {
            let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": self.verb});
            if !self.resource_name.is_empty() {
                rule["resourceNames"] = json!(self.resource_name);
            }
            rules.push(rule);
        }
        if !self.non_resource_url.is_empty() {
            rules.push(json!({"nonResourceURLs": self.non_resource_url, "verbs": self.verb}));
        }
        object["rules"] = Value::Array(rules);
        Ok(object)
    }
}

/// `deployments.apps/scale` → (`deployments/scale`, `apps`); a built-in name finds its group by itself.
fn split(text: &str) -> (String, String) {
    let (resource, subresource) = text.split_once('/').unwrap_or((text, ""));
    let (name, group) = match mizzen_api::resource::builtin().resolve(resource) {
        Some(row) => (row.plural.to_string(), row.group.to_string()),
        None => match resource.split_once('.') {
            Some((name, group)) => (name.to_owned(), group.to_owned()),
            None => (resource.to_owned(), String::new()),
        },
    };
    match subresource {
        "" => (name, group),
        subresource => (format!("{name}/{subresource}"), group),
    }
}

#[derive(clap::Args)]
pub(super) struct Binding {
    /// Name of the binding.
    name: String,
    /// ClusterRole that is granted.
    #[arg(long = "clusterrole", value_name = "NAME", required_unless_present = "role")]
    cluster_role: Option<String>,
    /// Role that is granted (RoleBindings only).
    #[arg(long, value_name = "NAME", conflicts_with = "cluster_role")]
    role: Option<String>,
    /// Users who get it.
    #[arg(long, value_name = "NAME")]
    user: Vec<String>,
    /// Groups that get it.
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
    /// Service accounts that get it, as NAMESPACE:NAME.
    #[arg(long = "serviceaccount", value_name = "NAMESPACE:NAME")]
    service_account: Vec<String>,
}

impl Binding {
    pub(super) fn object(&self, kind: &str) -> anyhow::Result<Value> {
        let (role_kind, role) = match (&self.role, &self.cluster_role) {
            (Some(_), _) if kind == "ClusterRoleBinding" => {
                return fail("a ClusterRoleBinding grants a ClusterRole: use --clusterrole");
            }
            (Some(role), _) => ("Role", role),
            (None, Some(role)) => ("ClusterRole", role),
            (None, None) => return fail("exactly one of clusterrole or role must be specified"),
        };
        let person = |kind: &str, name: &String| json!({"apiGroup": GROUP, "kind": kind, "name": name});
        let mut subjects: Vec<Value> = self.user.iter().map(|name| person("User", name)).collect();
        subjects.extend(self.group.iter().map(|name| person("Group", name)));
        for text in &self.service_account {
            let Some((namespace, name)) = text.split_once(':') else {
                return fail("serviceaccount must be <namespace>:<name>");
            };
            subjects.push(json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}));
        }
        Ok(json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": self.name},
            "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role}, "subjects": subjects,
        }))
    }
}
