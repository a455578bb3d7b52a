//! RBAC: rules by way of bindings, compiled from the watch cache.
//!
//! The index maps each subject to its bindings and is made anew when one of the four resources changed
//! since the last time; objects that did not change are not decoded again.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::resource::Resource;
use parking_lot::RwLock;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::rules::Rule;
use super::{Attributes, Authorizer, Decision};
use crate::cache::{Entry, Reader};
use crate::identity::{self, User};
use crate::store::Revision;

/// API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// The authorizer, and the source of everybody's rules.
pub struct Rbac {
    reader: Arc<dyn Reader>,
    rows: [Arc<Resource>; 4],
    index: RwLock<Arc<Index>>,
}

/// Rules that hold for somebody, and the roles that could not be found while looking.
#[derive(Debug, Default)]
pub struct Resolved {
    /// The rules.
    pub rules: Vec<Rule>,
    /// What went wrong, in upstream's words.
    pub errors: Vec<String>,
}

/// A role that a binding refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    #[serde(default)]
    pub kind: Box<str>,
    /// Name.
    #[serde(default)]
    pub name: Box<str>,
}

#[derive(Debug, Default)]
struct Index {
    versions: [Revision; 4],
    roles: HashMap<Arc<str>, (Revision, Arc<Role>)>,
    bindings: HashMap<Arc<str>, (Revision, Arc<Binding>)>,
    /// Roles by namespace (empty for cluster roles) and name.
    roles_by_name: HashMap<(Box<str>, Box<str>), Arc<Role>>,
    /// Bindings by namespace (empty for cluster role bindings) and subject.
    by_subject: HashMap<Box<str>, HashMap<Subject, Vec<Bound>>>,
}

/// Whom a binding may name, after ServiceAccounts have become the users that they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(Box<str>),
    Group(Box<str>),
}

#[derive(Clone, Debug)]
struct Bound {
    binding: Arc<Binding>,
    /// Which of the binding's subjects matched, for the reason.
    subject: usize,
}

#[derive(Debug, Deserialize)]
struct Role {
    #[serde(default, deserialize_with = "null_is_default")]
    rules: Box<[Rule]>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    #[serde(skip)]
    namespace: Box<str>,
    #[serde(skip)]
    name: Box<str>,
    role_ref: RoleRef,
    #[serde(default, deserialize_with = "null_is_default")]
    subjects: Box<[BindingSubject]>,
}

#[derive(Debug, Deserialize)]
struct BindingSubject {
    #[serde(default)]
    kind: Box<str>,
    #[serde(default)]
    name: Box<str>,
    #[serde(default)]
    namespace: Box<str>,
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

const CLUSTER_ROLES: usize = 0;
const ROLES: usize = 1;
const CLUSTER_BINDINGS: usize = 2;
const BINDINGS: usize = 3;

impl Rbac {
    /// RBAC by what the cache holds.
    pub fn new(reader: Arc<dyn Reader>) -> Self {
        let row = |plural| super::builtin_row(GROUP, plural);
        Self {
            reader,
            rows: ["clusterroles", "roles", "clusterrolebindings", "rolebindings"].map(row),
            index: RwLock::default(),
        }
    }

    /// The rules that hold for a user in a namespace (cluster-wide ones with an empty namespace).
    pub fn rules_for(&self, user: &User, namespace: &str) -> Resolved {
        let mut out = Resolved::default();
        self.visit(user, namespace, |_, role| {
            match role {
                Ok(role) => out.rules.extend_from_slice(&role.rules),
                Err(error) => out.errors.push(error),
            }
            true
        });
        out
    }

    /// The rules of a role that a binding in `namespace` refers to; `None` when it does not exist.
    pub fn role_rules(&self, role: &RoleRef, namespace: &str) -> Option<Vec<Rule>> {
        let index = self.index();
        index.role(role, namespace).map(|role| role.rules.to_vec())
    }

    /// Calls back with every binding that names the user and the role behind it, until told to stop.
    fn visit(&self, user: &User, namespace: &str, mut each: impl FnMut(&Bound, Result<&Role, String>) -> bool) {
        let index = self.index();
        let name = Subject::User(user.name.as_str().into());
        let groups = user.groups.iter().map(|group| Subject::Group(group.as_str().into()));
        let subjects: Vec<_> = std::iter::once(name).chain(groups).collect();
        // Cluster-wide bindings first; an empty namespace has only those.
        let places = ["", namespace];
        let places = if namespace.is_empty() {
            &places[..1]
        } else {
            &places[..]
        };
        for place in places {
            let Some(bindings) = index.by_subject.get(*place) else {
                continue;
            };
            for bound in subjects.iter().filter_map(|subject| bindings.get(subject)).flatten() {
                let reference = &bound.binding.role_ref;
                let role = index.role(reference, place).map(|role| &**role);
                if !each(bound, role.ok_or_else(|| missing(reference))) {
                    return;
                }
            }
        }
    }

    fn index(&self) -> Arc<Index> {
        let versions = [0, 1, 2, 3].map(|at| self.reader.last_change(&self.rows[at]));
        let index = self.index.read().clone();
        if index.versions == versions {
            return index;
        }
        // Several requests may do this at once after a change; each result is right.
        let index = Arc::new(self.compile(&index, versions));
        *self.index.write() = index.clone();
        index
    }

    /// The versions were read before the objects: a change in between shows in the next comparison.
    fn compile(&self, old: &Index, versions: [Revision; 4]) -> Index {
        let mut new = Index {
            versions,
            ..Index::default()
        };
        for at in [CLUSTER_ROLES, ROLES] {
            for entry in self.reader.list(&self.rows[at], None) {
                let Some(role) = reuse(&old.roles, &entry, |role: Role, _| role) else {
                    continue;
                };
                let name = (entry.namespace.clone(), entry.name.clone());
                new.roles_by_name.insert(name, role.clone());
                new.roles.insert(entry.key.clone(), (entry.revision, role));
            }
        }
        for at in [CLUSTER_BINDINGS, BINDINGS] {
            for entry in self.reader.list(&self.rows[at], None) {
                let name = |mut binding: Binding, entry: &Entry| {
                    binding.namespace = entry.namespace.clone();
                    binding.name = entry.name.clone();
                    binding
                };
                let Some(binding) = reuse(&old.bindings, &entry, name) else {
                    continue;
                };
                let place = new.by_subject.entry(entry.namespace.clone()).or_default();
                for (subject, key) in binding.subjects.iter().map(|s| s.key(&binding.namespace)).enumerate() {
                    if let Some(key) = key {
                        let binding = binding.clone();
                        place.entry(key).or_default().push(Bound { binding, subject });
                    }
                }
                new.bindings.insert(entry.key.clone(), (entry.revision, binding));
            }
        }
        new
    }
}

/// The decoded object: the one of last time if the entry did not change. What cannot be decoded grants
/// nothing.
fn reuse<T: DeserializeOwned>(
    old: &HashMap<Arc<str>, (Revision, Arc<T>)>,
    entry: &Entry,
    finish: impl FnOnce(T, &Entry) -> T,
) -> Option<Arc<T>> {
    if let Some((revision, object)) = old.get(&entry.key)
        && *revision == entry.revision
    {
        return Some(object.clone());
    }
    serde_json::from_slice(&entry.json)
        .inspect_err(|error| tracing::warn!(key = %entry.key, "cannot read an RBAC object: {error}"))
        .ok()
        .map(|object| Arc::new(finish(object, entry)))
}

impl Index {
    fn role(&self, reference: &RoleRef, namespace: &str) -> Option<&Arc<Role>> {
        let namespace = match &*reference.kind {
            "ClusterRole" => "",
            "Role" if !namespace.is_empty() => namespace,
            _ => return None,
        };
        self.roles_by_name.get(&(namespace.into(), reference.name.clone()))
    }
}

impl BindingSubject {
    fn key(&self, binding_namespace: &str) -> Option<Subject> {
        match &*self.kind {
            "User" => Some(Subject::User(self.name.clone())),
            "Group" => Some(Subject::Group(self.name.clone())),
            "ServiceAccount" => {
                let namespace = if self.namespace.is_empty() {
                    binding_namespace
                } else {
                    &self.namespace
                };
                (!namespace.is_empty()).then(|| Subject::User(identity::service_account(namespace, &self.name).into()))
            }
            _ => None,
        }
    }
}

fn missing(reference: &RoleRef) -> String {
    format!(
        "{}.{GROUP} {:?} not found",
        reference.kind.to_lowercase(),
        reference.name
    )
}

/// Upstream's reason, which `kubectl auth can-i` and audit logs show.
fn reason(bound: &Bound) -> String {
    let Bound { binding, subject } = bound;
    let (kind, name) = if binding.namespace.is_empty() {
        ("ClusterRoleBinding", binding.name.to_string())
    } else {
        ("RoleBinding", format!("{}/{}", binding.name, binding.namespace))
    };
    let subject = &binding.subjects[*subject];
    let who = match &*subject.kind {
        "ServiceAccount" => format!("{}/{}", subject.name, subject.namespace),
        _ => subject.name.to_string(),
    };
    format!(
        "RBAC: allowed by {kind} {name:?} of {} {:?} to {} {who:?}",
        binding.role_ref.kind, binding.role_ref.name, subject.kind
    )
}

#[async_trait]
impl Authorizer for Rbac {
    async fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        let mut errors = Vec::new();
        let mut allowed = None;
        self.visit(user, &attributes.namespace, |bound, role| {
            match role {
                Ok(role) if role.rules.iter().any(|rule| rule.allows(attributes)) => allowed = Some(reason(bound)),
                Ok(_) => {}
                Err(error) => errors.push(error),
            }
            allowed.is_none()
        });
        match allowed {
            Some(reason) => Decision::Allow(reason),
            None if errors.is_empty() => Decision::NoOpinion(String::new()),
            None => Decision::NoOpinion(format!("RBAC: {}", super::aggregate(&errors))),
        }
    }
}

#[cfg(test)]
mod tests;
