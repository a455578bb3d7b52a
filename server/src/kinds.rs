//! What kinds know about themselves: defaults, validation, and rules of status, a file per kind.
//!
//! The pipeline treats every kind alike; where a kind differs, its [`Strategy`] says so and only so.
//! A kind with nothing to say has no file.

use mizzen_api::object::Object;
use mizzen_api::resource::Resource;
use mizzen_api::status::FieldError;
use mizzen_api::validation::{self, Problems};

/// What a strategy may know about the request that it serves.
#[derive(Debug)]
pub struct Context<'a> {
    /// Row of the kind.
    pub resource: &'a Resource,
    /// Subresource through which the change comes (`status`, …), empty for the object itself.
    pub subresource: &'a str,
}

/// The ways in which a kind differs from the ordinary one. Every method does nothing unless overridden.
///
/// Objects come decoded, with unknown fields gone and types checked against the schema.
pub trait Strategy: Send + Sync {
    /// What is wrong with a name (for `generateName`, without the separator at its end).
    fn name_problems(&self, name: &str) -> Problems {
        validation::dns_subdomain(name)
    }

    /// Fills in defaults. Runs on every object read from a client, before admission.
    fn default(&self, _context: &Context<'_>, _object: &mut Object) {}

    /// Brings a new object into its first state (drops what clients may not set).
    fn prepare_create(&self, _context: &Context<'_>, _object: &mut Object) {}

    /// Carries over from `old` what this write may not change.
    fn prepare_update(&self, _context: &Context<'_>, _object: &mut Object, _old: &Object) {}

    /// What is wrong with the object by itself.
    fn validate(&self, _context: &Context<'_>, _object: &Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// What is wrong with the change from `old`, beside what [`Strategy::validate`] finds.
    fn validate_update(&self, _context: &Context<'_>, _object: &Object, _old: &Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// Warnings for the client (`Warning` headers).
    fn warnings(&self, _context: &Context<'_>, _object: &Object) -> Vec<String> {
        Vec::new()
    }

    /// Changes what is marked as being deleted (a Namespace's phase).
    fn prepare_delete(&self, _object: &mut Object) {}

    /// The grace period with which this object is deleted, in seconds, when the client asked for
    /// `requested`; `None` when the kind has no graceful deletion.
    fn deletion_grace_seconds(&self, _object: &Object, _requested: Option<i64>) -> Option<i64> {
        None
    }
}

mod autoscaler;
mod budget;
mod certificate;
pub mod check;
mod config_map;
mod cron_job;
mod endpoints;
mod event;
pub mod job;
mod lease;
mod limit_range;
pub mod metadata;
mod namespace;
mod node;
mod pod;
mod pod_spec;
mod rbac;
mod resource_quota;
pub mod rules;
mod secret;
mod service;
mod sets;
mod storage;
mod workload;

/// The strategies: which rows have one.
const STRATEGIES: &[(&str, &str, &dyn Strategy)] = &[
    ("", "ConfigMap", &config_map::ConfigMap),
    ("", "Endpoints", &endpoints::Endpoints),
    ("", "Event", &event::Event),
    ("", "LimitRange", &limit_range::LimitRange),
    ("", "Namespace", &namespace::Namespace),
    ("", "Node", &node::Node),
    ("", "PersistentVolume", &storage::Volume),
    ("", "PersistentVolumeClaim", &storage::Claim),
    ("", "Pod", &pod::Pod),
    ("", "ReplicationController", &workload::ReplicationController),
    ("", "ResourceQuota", &resource_quota::ResourceQuota),
    ("", "Secret", &secret::Secret),
    ("", "Service", &service::Service),
    ("apps", "ControllerRevision", &sets::ControllerRevision),
    ("apps", "DaemonSet", &sets::DaemonSet),
    ("apps", "Deployment", &workload::Deployment),
    ("apps", "ReplicaSet", &workload::ReplicaSet),
    ("apps", "StatefulSet", &sets::StatefulSet),
    (
        "autoscaling",
        "HorizontalPodAutoscaler",
        &autoscaler::HorizontalPodAutoscaler,
    ),
    ("batch", "CronJob", &cron_job::CronJob),
    ("batch", "Job", &job::Job),
    (
        "certificates.k8s.io",
        "CertificateSigningRequest",
        &certificate::CertificateSigningRequest,
    ),
    ("coordination.k8s.io", "Lease", &lease::Lease),
    ("discovery.k8s.io", "EndpointSlice", &endpoints::EndpointSlice),
    ("events.k8s.io", "Event", &event::Event),
    ("policy", "PodDisruptionBudget", &budget::PodDisruptionBudget),
    ("rbac.authorization.k8s.io", "ClusterRole", &rbac::Role),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", &rbac::Binding),
    ("rbac.authorization.k8s.io", "Role", &rbac::Role),
    ("rbac.authorization.k8s.io", "RoleBinding", &rbac::Binding),
    ("storage.k8s.io", "StorageClass", &storage::StorageClass),
];

struct Ordinary;

impl Strategy for Ordinary {}

/// The strategy of a kind; an ordinary one for kinds without rules of their own.
pub fn strategy(resource: &Resource) -> &'static dyn Strategy {
    STRATEGIES
        .iter()
        .find(|(group, kind, _)| *kind == resource.kind && *group == resource.group)
        .map_or(&Ordinary, |(_, _, strategy)| *strategy)
}

#[cfg(test)]
mod tests;
