//! Rows of the API server's own extension points, flow control, and what our consoles read.

use super::Rows;

pub(super) fn rows(r: &mut Rows) {
    r.group("apiregistration.k8s.io", "v1");
    r.cluster("APIService", "apiservices")
        .extends_api()
        .stored_at("apiregistration.k8s.io/apiservices")
        .status();

    r.group("apiextensions.k8s.io", "v1");
    r.cluster("CustomResourceDefinition", "customresourcedefinitions")
        .short(&["crd", "crds"])
        .extends_api()
        .stored_at("apiextensions.k8s.io/customresourcedefinitions")
        .status();

    r.group("admissionregistration.k8s.io", "v1");
    r.cluster("MutatingAdmissionPolicy", "mutatingadmissionpolicies")
        .extends_api();
    r.cluster("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
        .extends_api();
    r.cluster("MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
        .extends_api();
    r.cluster("ValidatingAdmissionPolicy", "validatingadmissionpolicies")
        .extends_api()
        .status();
    r.cluster("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
        .extends_api();
    r.cluster("ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
        .extends_api();

    r.group("flowcontrol.apiserver.k8s.io", "v1");
    r.cluster("FlowSchema", "flowschemas").status();
    r.cluster("PriorityLevelConfiguration", "prioritylevelconfigurations")
        .status();

    r.group("storagemigration.k8s.io", "v1");
    r.cluster("StorageVersionMigration", "storageversionmigrations")
        .status();

    r.group("metrics.k8s.io", "v1beta1");
    r.cluster("NodeMetrics", "nodes").computed();
    r.namespaced("PodMetrics", "pods").computed();

    r.group("console.mizzen.io", "v1alpha1");
    r.namespaced("SchedulingVerdict", "schedulingverdicts").computed();
}
