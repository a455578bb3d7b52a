//! Rows of who may do what: authentication, authorization, RBAC and certificates.

use super::{CHANGE, Rows};

pub(super) fn rows(r: &mut Rows) {
    r.group("authentication.k8s.io", "v1");
    r.cluster("SelfSubjectReview", "selfsubjectreviews").review();
    r.cluster("TokenReview", "tokenreviews").review();

    r.group("authorization.k8s.io", "v1");
    r.namespaced("LocalSubjectAccessReview", "localsubjectaccessreviews")
        .review();
    r.cluster("SelfSubjectAccessReview", "selfsubjectaccessreviews")
        .review();
    r.cluster("SelfSubjectRulesReview", "selfsubjectrulesreviews").review();
    r.cluster("SubjectAccessReview", "subjectaccessreviews").review();

    r.group("rbac.authorization.k8s.io", "v1");
    r.cluster("ClusterRoleBinding", "clusterrolebindings");
    r.cluster("ClusterRole", "clusterroles");
    r.namespaced("RoleBinding", "rolebindings");
    r.namespaced("Role", "roles");

    r.group("certificates.k8s.io", "v1");
    r.cluster("CertificateSigningRequest", "certificatesigningrequests")
        .short(&["csr"])
        .sub("approval", "CertificateSigningRequest", CHANGE)
        .status()
        .selectable(&[("spec.signerName", "spec.signerName", "")]);
    r.cluster("ClusterTrustBundle", "clustertrustbundles")
        .selectable(&[("spec.signerName", "spec.signerName", "")]);
    r.namespaced("PodCertificateRequest", "podcertificaterequests")
        .status()
        .selectable(&[
            ("spec.signerName", "spec.signerName", ""),
            ("spec.podName", "spec.podName", ""),
            ("spec.nodeName", "spec.nodeName", ""),
        ]);
}
