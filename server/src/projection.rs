//! The small forms in which controllers and the scheduler keep objects: the dozen fields they read.
//!
//! A projection is a serde struct around [`Meta`]; unknown fields are skipped while reading. It is never
//! written back: writers read the live object, change it and replace it ([`update`]).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use mizzen_api::client::reflector::Projection;
use mizzen_api::client::rest::{self, Gvr, Rest};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::{Value, json};

/// A projection of one served resource.
pub trait Watched: Projection {
    /// Where its objects are found.
    const AT: Gvr<'static>;
    /// Field selector of the objects that are watched; empty for all.
    const FIELDS: &'static str = "";
    /// Label selector of the objects that are watched; empty for all.
    const LABELS: &'static str = "";
}

/// Makes a struct with a field `metadata: Meta<_>` the projection of a resource.
macro_rules! projection {
    ($type:ty, $group:literal, $version:literal, $plural:literal $(, fields: $fields:literal)? $(, labels: $labels:literal)?) => {
        impl mizzen_api::client::reflector::Projection for $type {
            fn namespace(&self) -> &str {
                &self.metadata.namespace
            }
            fn name(&self) -> &str {
                &self.metadata.name
            }
            fn resource_version(&self) -> &str {
                &self.metadata.resource_version
            }
            fn controller_uid(&self) -> &str {
                self.metadata.controller().map_or("", |owner| &owner.uid)
            }
        }
        impl $crate::projection::Watched for $type {
            const AT: mizzen_api::client::rest::Gvr<'static> =
                mizzen_api::client::rest::Gvr::new($group, $version, $plural);
            $(const FIELDS: &'static str = $fields;)?
            $(const LABELS: &'static str = $labels;)?
        }
    };
}
pub(crate) use projection;

/// Metadata as loops read it; `A` is what they read of annotations ([`Labels`] for all of them).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, bound = "A: Default + Deserialize<'de>")]
pub struct Meta<A = NoAnnotations> {
    /// Name.
    pub name: Box<str>,
    /// Namespace; empty for cluster scope.
    pub namespace: Box<str>,
    /// Unique id of this incarnation.
    pub uid: Box<str>,
    /// Revision of the object.
    pub resource_version: Box<str>,
    /// Raised by every change of the spec.
    pub generation: i64,
    /// Labels, sorted.
    pub labels: Labels,
    /// What is read of the annotations.
    pub annotations: A,
    /// When the object was created.
    pub creation_timestamp: Option<Timestamp>,
    /// Set once deletion was asked for.
    pub deletion_timestamp: Option<Timestamp>,
    /// Owners.
    pub owner_references: Box<[Owner]>,
    /// What holds up the deletion.
    pub finalizers: Box<[Box<str>]>,
}

impl<A> Meta<A> {
    /// The owner that manages this object.
    pub fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// Whether this owner manages the object.
    pub fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|owner| &*owner.uid == uid)
    }

    /// Whether deletion was asked for.
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// A reference for Events.
    pub fn reference(&self, api_version: &str, kind: &str) -> ObjectReference {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        ObjectReference {
            api_version: some(api_version),
            kind: some(kind),
            namespace: some(&self.namespace),
            name: some(&self.name),
            uid: some(&self.uid),
            resource_version: some(&self.resource_version),
            field_path: None,
        }
    }

    /// The owner reference of a child that this object manages.
    pub fn controller_reference(&self, api_version: &str, kind: &str) -> Value {
        json!({
            "apiVersion": api_version, "kind": kind, "name": self.name, "uid": self.uid,
            "controller": true, "blockOwnerDeletion": true,
        })
    }
}

/// An owner reference.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// Group and version of the owner.
    pub api_version: Box<str>,
    /// Kind of the owner.
    pub kind: Box<str>,
    /// Name of the owner.
    pub name: Box<str>,
    /// Unique id of the owner.
    pub uid: Box<str>,
    /// Whether it manages the object.
    pub controller: bool,
    /// Whether foreground deletion of the owner waits for the object.
    pub block_owner_deletion: bool,
}

/// Annotations that nobody reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAnnotations;

impl<'de> Deserialize<'de> for NoAnnotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Labels or annotations: pairs sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// All pairs in order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (&**k, &**v))
    }

    /// As an owned map, to be changed and written.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let sorted: BTreeMap<&str, &str> = pairs.into_iter().collect();
        Self(sorted.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Option::<BTreeMap<Box<str>, Box<str>>>::deserialize(deserializer)?;
        Ok(Self(map.unwrap_or_default().into_iter().collect()))
    }
}

/// A label selector as it stands in specs.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    match_labels: Labels,
    match_expressions: Box<[Requirement]>,
}

/// One condition on a key, of labels or of node fields.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Hash)]
#[serde(default)]
pub struct Requirement {
    /// Key of the label or path of the field.
    pub key: Box<str>,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, and for nodes `Gt`, `Lt`.
    pub operator: Box<str>,
    /// Values compared with.
    pub values: Box<[Box<str>]>,
}

impl Requirement {
    /// Whether a value (or its absence) meets the condition; an unknown operator never does.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = || value.is_some_and(|v| self.values.iter().any(|w| **w == *v));
        let compared = |is: fn(&i64, &i64) -> bool| {
            let left = value.and_then(|v| v.parse().ok());
            let right = self.values.first().and_then(|v| v.parse().ok());
            left.zip(right).is_some_and(|(l, r)| is(&l, &r))
        };
        match &*self.operator {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => compared(i64::gt),
            "Lt" => compared(i64::lt),
            _ => false,
        }
    }
}

impl LabelSelector {
    /// A selector of equalities, as ReplicationController and Service write it.
    pub fn equalities(labels: Labels) -> Self {
        Self {
            match_labels: labels,
            match_expressions: Box::default(),
        }
    }

    /// The labels that must be equal.
    pub fn match_labels(&self) -> &Labels {
        &self.match_labels
    }

    /// The selector with further conditions.
    #[must_use]
    pub fn and(mut self, more: impl IntoIterator<Item = Requirement>) -> Self {
        self.match_expressions = self.match_expressions.into_iter().chain(more).collect();
        self
    }

    /// The selector of what both select.
    #[must_use]
    pub fn and_all(self, other: &Self) -> Self {
        let equal = other.match_labels.iter().map(|(key, value)| Requirement {
            key: key.into(),
            operator: "In".into(),
            values: [value.into()].into(),
        });
        self.and(equal.chain(other.match_expressions.iter().cloned()))
    }

    /// Whether nothing is asked for: such a selector matches everything.
    pub fn is_empty(&self) -> bool {
        self.match_labels.0.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether labels meet every condition.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(k, v)| labels.get(k) == Some(v))
            && self.match_expressions.iter().all(|r| r.matches(labels.get(&r.key)))
    }
}

/// Replaces an object, or a subresource of it, by what `change` makes of its live state.
///
/// `revision` is the one that the caller decided upon; another live revision is a conflict, as it would
/// be had the caller held the whole object. Nothing is written when `change` changes nothing.
pub async fn update<A>(
    rest: &Rest,
    at: &Gvr<'_>,
    meta: &Meta<A>,
    subresource: &str,
    change: impl FnOnce(&mut Value),
) -> rest::Result<()> {
    let live: Option<Value> = rest.get(at, &meta.namespace, &meta.name).await?;
    let Some(live) = live else { return Ok(()) };
    if live["metadata"]["resourceVersion"].as_str() != Some(&*meta.resource_version) {
        return Err(conflict(at, &meta.name));
    }
    let mut wanted = live.clone();
    change(&mut wanted);
    if wanted == live {
        return Ok(());
    }
    rest.replace::<IgnoredAny>(at, (&meta.namespace, &meta.name), subresource, &wanted)
        .await
        .map(drop)
}

/// Writes the status of an object that was `seen` with another one; nothing when it is the same.
pub async fn write_status<A, S: PartialEq + serde::Serialize>(
    rest: &Rest,
    at: &Gvr<'_>,
    (meta, seen): (&Meta<A>, &S),
    status: &S,
) -> rest::Result<()> {
    if status == seen {
        return Ok(());
    }
    update(rest, at, meta, "status", |live| {
        live["status"] = serde_json::json!(status)
    })
    .await
}

fn conflict(at: &Gvr<'_>, name: &str) -> kube::Error {
    let message = format!("{} {name:?} changed since it was read", at.plural);
    kube::Error::Api(kube::core::Status::failure(&message, "Conflict").with_code(409).boxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: Value, labels: &[(&str, &str)], expect: bool) {
        let selector: LabelSelector = serde_json::from_value(selector).expect("a selector");
        assert_eq!(
            selector.matches(&labels.iter().copied().collect()),
            expect,
            "{selector:?}"
        );
    }

    #[test]
    fn selectors_match_as_upstream() {
        let all = [("app", "web"), ("tier", "front")];
        check(json!({}), &all, true);
        check(json!({"matchLabels": {"app": "web"}}), &all, true);
        check(json!({"matchLabels": {"app": "db"}}), &all, false);
        check(
            json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "web"]}]}),
            &all,
            true,
        );
        check(
            json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["a"]}]}),
            &all,
            true,
        );
        check(
            json!({"matchExpressions": [{"key": "x", "operator": "Exists"}]}),
            &all,
            false,
        );
        check(
            json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}),
            &all,
            true,
        );
    }
}
