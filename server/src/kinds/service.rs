//! Service: types, ports and policies. Addresses and node ports are allocated by admission.

use mizzen_api::object::Object;
use mizzen_api::status::FieldError;
use mizzen_api::validation::{self, dns_label, dns_subdomain, port_name, port_number};
use serde_json::{Value, json};

use super::check::{Check, default, each, existing, section, text};
use super::pod_spec::validate::check_labels;
use super::{Context, Strategy};

/// Strategy of Service.
pub(super) struct Service;

impl Strategy for Service {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        let spec = section(object, "spec");
        default(spec, "sessionAffinity", "None");
        default(spec, "type", "ClusterIP");
        match text(spec, "sessionAffinity") {
            "ClientIP" => default(
                section(section(spec, "sessionAffinityConfig"), "clientIP"),
                "timeoutSeconds",
                10800,
            ),
            _ => drop(spec.remove("sessionAffinityConfig")),
        }
        for port in each(spec, "ports") {
            default(port, "protocol", "TCP");
            let number = port.get("port").cloned().unwrap_or_default();
            if port
                .get("targetPort")
                .is_none_or(|p| p.is_null() || *p == json!(0) || *p == json!(""))
            {
                port.insert("targetPort".into(), number);
            }
        }
        let kind = text(spec, "type").to_owned();
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            default(spec, "externalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            default(spec, "allocateLoadBalancerNodePorts", true);
        }
        if kind != "ExternalName" {
            default(spec, "internalTrafficPolicy", "Cluster");
        }
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        object.insert("status".into(), json!({"loadBalancer": {}}));
    }

    fn prepare_update(&self, _: &Context<'_>, object: &mut Object, old: &Object) {
        // A client that does not know what was allocated keeps it.
        let Some(old_spec) = old.get("spec").and_then(Value::as_object) else {
            return;
        };
        let Some(spec) = existing(object, "spec") else { return };
        // What only the type needed that the Service no longer has goes with it, unless it was changed too.
        for (name, needed) in TYPE_FIELDS {
            if needed(old_spec) && !needed(spec) && spec.get(name) == old_spec.get(name) {
                spec.remove(name);
            }
        }
        if text(spec, "type") == "ExternalName" || text(old_spec, "type") == "ExternalName" {
            return;
        }
        for name in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if let Some(value) = old_spec
                .get(name)
                .filter(|_| spec.get(name).is_none_or(|v| v.is_null() || v == ""))
            {
                spec.insert(name.into(), value.clone());
            }
        }
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        if context.subresource.is_empty() {
            check_spec(&check.field("spec"));
        }
        for ingress in check.field("status").field("loadBalancer").field("ingress").items() {
            ingress.field("ip").obeys(validation::ip);
            ingress.field("hostname").obeys(dns_subdomain);
        }
        check.finish()
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let (new, old) = (check.field("spec"), check.beside(old).field("spec"));
        let external = |spec: &Check<'_>| spec.field("type").str() == "ExternalName";
        if context.subresource.is_empty() && !external(&new) && !external(&old) {
            let ips = new.field("clusterIPs");
            let before = old.field("clusterIPs");
            if before.exists() && !ips.same(&before) {
                ips.items().take(1).for_each(|ip| ip.invalid("may not change once set"));
            }
        }
        check.finish()
    }
}

/// A field that some types have, and whether a Service of this spec does.
type TypeField = (&'static str, fn(&Object) -> bool);

const TYPE_FIELDS: [TypeField; 3] = [
    ("externalTrafficPolicy", is_exposed),
    ("allocateLoadBalancerNodePorts", is_balanced),
    ("loadBalancerClass", is_balanced),
];

fn is_balanced(spec: &Object) -> bool {
    text(spec, "type") == "LoadBalancer"
}

fn is_exposed(spec: &Object) -> bool {
    let external = spec.get("externalIPs").and_then(Value::as_array);
    matches!(text(spec, "type"), "LoadBalancer" | "NodePort") || external.is_some_and(|ips| !ips.is_empty())
}

fn check_spec(spec: &Check<'_>) {
    let (kind, ports) = (spec.field("type"), spec.field("ports"));
    let headless = spec.field("clusterIP").str() == "None";
    kind.must_be_one_of(&["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    match kind.str() {
        "ExternalName" => {
            let name = spec.field("externalName");
            if name.must_exist("") {
                name.problems(dns_subdomain(name.str().strip_suffix('.').unwrap_or(name.str())));
            }
        }
        "LoadBalancer" | "NodePort" if headless => {
            spec.field("clusterIPs").items().take(1).for_each(|ip| {
                ip.invalid(format!("may not be set to 'None' for {} services", kind.str()));
            });
        }
        _ => {}
    }
    if ports.is_empty() && !headless && kind.str() != "ExternalName" {
        ports.required("");
    }
    check_ports(&ports, kind.str());
    check_labels(&spec.field("selector"));
    spec.field("sessionAffinity").must_be_one_of(&["ClientIP", "None"]);
    let timeout = spec
        .field("sessionAffinityConfig")
        .field("clientIP")
        .field("timeoutSeconds");
    if timeout.int().is_some_and(|n| !(1..=86400).contains(&n)) {
        timeout.invalid("must be greater than 0 && less than 86400");
    }
    spec.field("externalIPs")
        .items()
        .for_each(|ip| ip.obeys(validation::ip));
    spec.field("internalTrafficPolicy").one_of(&["Cluster", "Local"]);
    let external_policy = spec.field("externalTrafficPolicy");
    let exposed = matches!(kind.str(), "LoadBalancer" | "NodePort") || !spec.field("externalIPs").is_empty();
    if external_policy.exists() && !exposed {
        external_policy.invalid("may only be set for externally-accessible services");
    } else {
        external_policy.one_of(&["Cluster", "Local"]);
    }
    spec.field("ipFamilyPolicy")
        .one_of(&["PreferDualStack", "RequireDualStack", "SingleStack"]);
    if spec.field("ipFamilyPolicy").str() == "RequireDualStack" {
        spec.field("ipFamilyPolicy")
            .invalid("this cluster is not configured for dual-stack services");
    }
    for family in spec.field("ipFamilies").items() {
        if family.str() == "IPv6" {
            family.invalid("not configured on this cluster");
        }
        family.one_of(&["IPv4", "IPv6"]);
    }
}

fn check_ports(ports: &Check<'_>, kind: &str) {
    let several = ports.items().count() > 1;
    let mut taken = Vec::new();
    for port in ports.items() {
        let name = port.field("name");
        if several {
            name.must_exist("");
        }
        name.obeys(dns_label);
        let number = port.field("port");
        number.problems(port_number(number.int().unwrap_or_default()));
        port.field("protocol").must_be_one_of(&["SCTP", "TCP", "UDP"]);
        let target = port.field("targetPort");
        match target.value() {
            Some(Value::String(name)) => target.problems(port_name(name)),
            Some(value) => target.problems(port_number(value.as_i64().unwrap_or_default())),
            None => {}
        }
        if kind == "ClusterIP" && port.field("nodePort").int().is_some_and(|n| n != 0) {
            port.field("nodePort")
                .forbidden("may not be used when `type` is 'ClusterIP'");
        }
        let key = (number.int(), port.field("protocol").str());
        if taken.contains(&key) {
            let value = json!({"port": key.0, "protocol": key.1});
            port.report(FieldError::duplicate(port.path(), value));
        }
        taken.push(key);
    }
    ports.unique("name");
}
