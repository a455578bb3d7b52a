//! Rows of `networking.k8s.io` and `discovery.k8s.io`.

use super::Rows;

pub(super) fn rows(r: &mut Rows) {
    r.group("networking.k8s.io", "v1");
    r.cluster("IngressClass", "ingressclasses");
    r.namespaced("Ingress", "ingresses")
        .short(&["ing"])
        .stored_at("ingress")
        .status();
    r.cluster("IPAddress", "ipaddresses").short(&["ip"]);
    r.namespaced("NetworkPolicy", "networkpolicies").short(&["netpol"]);
    r.cluster("ServiceCIDR", "servicecidrs").status();

    r.group("discovery.k8s.io", "v1");
    r.namespaced("EndpointSlice", "endpointslices");
}
