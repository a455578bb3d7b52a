//! Services.

use serde_json::Value;

use super::Subject;
use super::writer::Writer;
use crate::table::{join_host_port, some_of};
use crate::view::{self, int, list, map, scalar, text, text_or};

pub(super) fn service(subject: &Subject<'_>, out: &mut Writer) {
    let s = subject.object;
    let or_none = |path: &str| match view::join(s, path, ",") {
        joined if joined.is_empty() => view::NONE.to_owned(),
        joined => joined,
    };
    let set = |out: &mut Writer, title: &str, value: String| {
        if !value.is_empty() {
            out.line(0, format!("{title}:\t{value}"));
        }
    };
    let field = |name: &str| text(s, &format!("/spec/{name}")).to_owned();
    subject.heading(out);
    subject.labels_and_annotations(out);
    out.line(0, format!("Selector:\t{}", view::labels(map(s, "/spec/selector"))));
    out.line(0, format!("Type:\t{}", field("type")));
    set(out, "IP Family Policy", field("ipFamilyPolicy"));
    out.line(0, format!("IP Families:\t{}", or_none("/spec/ipFamilies")));
    out.line(0, format!("IP:\t{}", field("clusterIP")));
    out.line(0, format!("IPs:\t{}", or_none("/spec/clusterIPs")));
    set(out, "External IPs", view::join(s, "/spec/externalIPs", ","));
    set(out, "Desired LoadBalancer IP", field("loadBalancerIP"));
    set(out, "External Name", field("externalName"));
    set(out, "LoadBalancer Ingress", ingress(s));
    for port in list(s, "/spec/ports") {
        let name = text_or(port, "/name", "<unset>");
        let protocol = text(port, "/protocol");
        out.line(0, format!("Port:\t{name}\t{}/{protocol}", int(port, "/port")));
        out.line(0, format!("TargetPort:\t{}/{protocol}", scalar(&port["targetPort"])));
        set(out, "AppProtocol", text(port, "/appProtocol").to_owned());
        if int(port, "/nodePort") != 0 {
            out.line(0, format!("NodePort:\t{name}\t{}/{protocol}", int(port, "/nodePort")));
        }
        let slices = subject.related("endpointslices.discovery.k8s.io");
        out.line(0, format!("Endpoints:\t{}", endpoints(slices, text(port, "/name"))));
    }
    out.line(0, format!("Session Affinity:\t{}", field("sessionAffinity")));
    set(out, "External Traffic Policy", field("externalTrafficPolicy"));
    set(out, "Internal Traffic Policy", field("internalTrafficPolicy"));
    if int(s, "/spec/healthCheckNodePort") != 0 {
        out.line(
            0,
            format!("HealthCheck NodePort:\t{}", int(s, "/spec/healthCheckNodePort")),
        );
    }
    set(
        out,
        "LoadBalancer Source Ranges",
        view::join(s, "/spec/loadBalancerSourceRanges", ","),
    );
    set(out, "Traffic Distribution", field("trafficDistribution"));
    subject.events(out);
}

fn ingress(service: &Value) -> String {
    let one = |i: &Value| match (text(i, "/ip"), text(i, "/ipMode")) {
        ("", _) => text(i, "/hostname").to_owned(),
        (ip, "") => ip.to_owned(),
        (ip, mode) => format!("{ip} ({mode})"),
    };
    let all: Vec<_> = list(service, "/status/loadBalancer/ingress").iter().map(one).collect();
    all.join(", ")
}

/// Ready addresses with the port of this name, at most three.
fn endpoints(slices: &[Value], port_name: &str) -> String {
    let mut all = Vec::new();
    for slice in slices {
        let ports = list(slice, "/ports");
        let numbers = ports
            .iter()
            .filter(|p| text(p, "/name") == port_name)
            .filter_map(|p| view::int_opt(p, "/port"));
        for number in numbers {
            // Readiness that nobody states counts as ready.
            let ready = |e: &&Value| e.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true);
            for endpoint in list(slice, "/endpoints").iter().filter(ready) {
                let addresses = list(endpoint, "/addresses");
                all.extend(addresses.iter().map(|a| join_host_port(&scalar(a), number)));
            }
        }
    }
    some_of(all.into_iter(), if slices.is_empty() { view::NONE } else { "" })
}
