//! Rules of the generic path that hold for some kinds, as tables.

use mizzen_api::resource::Resource;

/// Kinds that a PUT creates when they do not exist, as upstream.
const CREATED_BY_UPDATE: &[(&str, &str)] = &[
    ("", "endpoints"),
    ("", "events"),
    ("", "limitranges"),
    ("", "services"),
    ("coordination.k8s.io", "leases"),
    ("events.k8s.io", "events"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
];

/// Kinds whose updates must name the resourceVersion that they start from.
const CONDITIONAL_ONLY: &[(&str, &str)] = &[
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("coordination.k8s.io", "leases"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
    ("node.k8s.io", "runtimeclasses"),
    ("policy", "poddisruptionbudgets"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "volumeattachments"),
];

/// Kinds whose `metadata.generation` counts changes of what is desired.
const COUNTING_GENERATIONS: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "replicationcontrollers"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apps", "daemonsets"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
    ("discovery.k8s.io", "endpointslices"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceslices"),
    ("storage.k8s.io", "csidrivers"),
];

/// Kinds whose dependents outlive them unless the deletion says otherwise.
const ORPHANING: &[(&str, &str)] = &[("", "replicationcontrollers"), ("batch", "jobs")];

/// Kinds whose deletion answers with the object instead of a Status.
const ANSWERING_DELETED: &[(&str, &str)] = &[
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("networking.k8s.io", "ingressclasses"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
];

fn is_in(table: &[(&str, &str)], resource: &Resource) -> bool {
    table.binary_search(&(&*resource.group, &*resource.plural)).is_ok()
}

/// Whether a PUT may create the object.
pub fn created_by_update(resource: &Resource) -> bool {
    is_in(CREATED_BY_UPDATE, resource)
}

/// Whether a PUT may leave out the resourceVersion.
pub fn updates_unconditionally(resource: &Resource) -> bool {
    !is_in(CONDITIONAL_ONLY, resource)
}

/// Whether `metadata.generation` is kept.
pub fn counts_generations(resource: &Resource) -> bool {
    is_in(COUNTING_GENERATIONS, resource)
}

/// Whether a deletion that says nothing about dependents leaves them.
pub fn orphans_by_default(resource: &Resource) -> bool {
    is_in(ORPHANING, resource)
}

/// Whether a deletion answers with the object.
pub fn answers_deleted(resource: &Resource) -> bool {
    is_in(ANSWERING_DELETED, resource)
}
