//! Service: types, ports and policies. Addresses and node ports are allocated by admission.

use mizzen_api::object::Object;
use serde_json::{Value, json};

use super::check::{default, each, existing, section, text};
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
}
