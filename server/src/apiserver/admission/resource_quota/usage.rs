//! What an object uses of the resources that quotas limit. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::quantity::{Format, Quantity};
use mizzen_api::resource::Resource;
use serde_json::Value;

/// Amounts by resource.
pub(super) type Amounts = BTreeMap<String, Quantity>;

/// Resources that every container has to name when a quota limits them.
const ENFORCED: [&str; 6] = [
    "cpu",
    "limits.cpu",
    "limits.memory",
    "memory",
    "requests.cpu",
    "requests.memory",
];
const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";

fn one() -> Quantity {
    Quantity::new(1, Format::DecimalSi)
}

/// What an object uses.
pub(super) fn of(resource: &Resource, object: &Object) -> Amounts {
    let mut amounts = Amounts::new();
    amounts.insert(format!("count/{}", resource.qualified_name()), one());
    if !resource.group.is_empty() {
        return amounts;
    }
    match &*resource.plural {
        "pods" => add_pod(object, &mut amounts),
        "services" => add_service(object, &mut amounts),
        "persistentvolumeclaims" => add_claim(object, &mut amounts),
        plural @ ("configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas") => {
            amounts.insert(plural.to_owned(), one());
        }
        _ => {}
    }
    amounts
}

/// Which kinds use a resource: group and plural.
pub(super) fn kinds_of(name: &str) -> Option<(&str, &str)> {
    if let Some(counted) = name.strip_prefix("count/") {
        return Some(match counted.split_once('.') {
            Some((plural, group)) => (group, plural),
            None => ("", counted),
        });
    }
    Some(match name {
        "configmaps"
        | "secrets"
        | "replicationcontrollers"
        | "resourcequotas"
        | "services"
        | "persistentvolumeclaims"
        | "pods" => ("", name),
        "services.nodeports" | "services.loadbalancers" => ("", "services"),
        "requests.storage" | "storage" => ("", "persistentvolumeclaims"),
        name if name.contains(CLASS_SUFFIX) => ("", "persistentvolumeclaims"),
        _ => ("", "pods"),
    })
}

/// Whether an update can change what an object uses.
pub(super) fn follows_updates(resource: &Resource) -> bool {
    resource.group.is_empty() && matches!(&*resource.plural, "services" | "persistentvolumeclaims")
}

fn at<'a>(object: &'a Object, pointer: &str) -> &'a Value {
    let (field, rest) = pointer[1..].split_once('/').unwrap_or((&pointer[1..], ""));
    let value = object.get(field).unwrap_or(&Value::Null);
    match rest {
        "" => value,
        rest => value.pointer(&format!("/{rest}")).unwrap_or(&Value::Null),
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Whether a Pod uses anything still.
fn is_running(pod: &Object) -> bool {
    !matches!(at(pod, "/status/phase").as_str(), Some("Succeeded" | "Failed")) && !is_overdue(pod)
}

/// Whether a Pod should be gone, and its node does not say so: what replaces it is not kept out (upstream's rule).
fn is_overdue(pod: &Object) -> bool {
    let due = at(pod, "/metadata/deletionTimestamp").as_str();
    let due: Option<Timestamp> = due.and_then(|due| due.parse().ok());
    let grace = at(pod, "/metadata/deletionGracePeriodSeconds").as_i64().unwrap_or(0);
    due.is_some_and(|due| due + SignedDuration::from_secs(grace) < Timestamp::now())
}

fn add_pod(pod: &Object, amounts: &mut Amounts) {
    if !is_running(pod) {
        return;
    }
    amounts.insert("pods".into(), one());
    for (name, amount) in requested(pod, "requests") {
        let plain = matches!(&*name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
        if plain {
            amounts.insert(name.clone(), amount);
        }
        amounts.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in requested(pod, "limits") {
        if matches!(&*name, "cpu" | "memory" | "ephemeral-storage") {
            amounts.insert(format!("limits.{name}"), amount);
        }
    }
}

/// What a Pod asks for at its most: its containers and sidecars together, or any init container with the
/// sidecars before it; what the Pod itself asks for overrides; then overhead.
pub(super) fn requested(pod: &Object, side: &str) -> Amounts {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let of = |container: &Value| read(&container["resources"][side]);
    let list = |name: &str| spec[name].as_array().map_or(&[][..], Vec::as_slice);
    let mut running = Amounts::new();
    list("containers")
        .iter()
        .for_each(|container| add(&mut running, of(container)));
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in list("initContainers") {
        let needs = of(container);
        let mut peak = sidecars.clone();
        add(&mut peak, needs.clone());
        raise(&mut starting, peak.clone());
        if container["restartPolicy"] == "Always" {
            add(&mut running, needs);
            sidecars = peak;
        }
    }
    raise(&mut running, starting);
    running.extend(read(&spec["resources"][side]));
    let overhead = read(&spec["overhead"]);
    // Without a limit there is none to add to.
    let counted = overhead
        .into_iter()
        .filter(|(name, _)| side == "requests" || running.contains_key(name));
    let counted: Amounts = counted.collect();
    add(&mut running, counted);
    running
}

fn read(amounts: &Value) -> Amounts {
    let entries = amounts.as_object().into_iter().flatten();
    entries
        .filter_map(|(name, value)| Some((name.clone(), quantity(value)?)))
        .collect()
}

/// Amounts as they stand in an object.
pub(super) fn amounts(object: &Object, pointer: &str) -> Amounts {
    read(at(object, pointer))
}

/// Adds amounts.
pub(super) fn add(sum: &mut Amounts, more: Amounts) {
    for (name, amount) in more {
        *sum.entry(name).or_insert(Quantity::ZERO) += amount;
    }
}

/// Raises amounts to what they are at least.
pub(super) fn raise(amounts: &mut Amounts, least: Amounts) {
    for (name, amount) in least {
        let known = amounts.entry(name).or_insert(amount);
        *known = (*known).max(amount);
    }
}

fn add_service(service: &Object, amounts: &mut Amounts) {
    amounts.insert("services".into(), one());
    let ports = at(service, "/spec/ports").as_array().map_or(0, Vec::len);
    let ports = Quantity::new(i64::try_from(ports).unwrap_or(i64::MAX), Format::DecimalSi);
    match at(service, "/spec/type").as_str() {
        Some("NodePort") => drop(amounts.insert("services.nodeports".into(), ports)),
        Some("LoadBalancer") => {
            if at(service, "/spec/allocateLoadBalancerNodePorts") != &Value::Bool(false) {
                amounts.insert("services.nodeports".into(), ports);
            }
            amounts.insert("services.loadbalancers".into(), one());
        }
        _ => {}
    }
}

fn add_claim(claim: &Object, amounts: &mut Amounts) {
    let annotated = claim.metadata().and_then(|m| {
        m.get("annotations")?
            .get("volume.beta.kubernetes.io/storage-class")?
            .as_str()
    });
    let class = annotated.or_else(|| at(claim, "/spec/storageClassName").as_str());
    let mut put = |name: &str, amount| {
        amounts.insert(name.to_owned(), amount);
        if let Some(class) = class.filter(|class| !class.is_empty()) {
            amounts.insert(format!("{class}{CLASS_SUFFIX}{name}"), amount);
        }
    };
    put("persistentvolumeclaims", one());
    if let Some(storage) = quantity(at(claim, "/spec/resources/requests/storage")) {
        put("requests.storage", storage);
    }
}

/// Resources that a quota limits and that containers of a Pod leave open, in upstream's words.
pub(super) fn left_open(pod: &Object, limited: &Amounts) -> Option<String> {
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for list in ["/spec/containers", "/spec/initContainers"] {
        for container in at(pod, list).as_array().into_iter().flatten() {
            for name in ENFORCED.iter().filter(|name| limited.contains_key(**name)) {
                let (side, resource) = name.split_once('.').unwrap_or(("requests", name));
                if container["resources"][side].get(resource).is_none_or(Value::is_null) {
                    missing
                        .entry(name)
                        .or_default()
                        .push(container["name"].as_str().unwrap_or_default());
                }
            }
        }
    }
    if missing.is_empty() {
        return None;
    }
    let parts = missing.into_iter().map(|(name, mut containers)| {
        containers.sort_unstable();
        format!("{name} for: {}", containers.join(","))
    });
    Some(format!("must specify {}", parts.collect::<Vec<_>>().join("; ")))
}

/// Whether a quota's scopes take in an object.
pub(super) fn in_scope(quota: &Object, resource: &Resource, object: &Object) -> bool {
    let scopes = at(quota, "/spec/scopes").as_array().into_iter().flatten();
    let plain = scopes
        .filter_map(Value::as_str)
        .map(|scope| (scope, "Exists", &Value::Null));
    let selected = at(quota, "/spec/scopeSelector/matchExpressions")
        .as_array()
        .into_iter()
        .flatten();
    let selected = selected.map(|requirement| {
        let text = |field: &str| requirement[field].as_str().unwrap_or_default();
        (text("scopeName"), text("operator"), &requirement["values"])
    });
    let mut all = plain.chain(selected).peekable();
    if all.peek().is_none() {
        return true;
    }
    let is_pod = resource.group.is_empty() && resource.plural == "pods";
    all.all(|(scope, operator, values)| match scope {
        "VolumeAttributesClass" => {
            let class = at(object, "/spec/volumeAttributesClassName").as_str();
            resource.plural == "persistentvolumeclaims" && matches(class, operator, values)
        }
        _ if !is_pod => false,
        "PriorityClass" => matches(at(object, "/spec/priorityClassName").as_str(), operator, values),
        "Terminating" => at(object, "/spec/activeDeadlineSeconds").is_i64(),
        "NotTerminating" => !at(object, "/spec/activeDeadlineSeconds").is_i64(),
        "BestEffort" => is_best_effort(object),
        "NotBestEffort" => !is_best_effort(object),
        "CrossNamespacePodAffinity" => crosses_namespaces(object),
        _ => false,
    })
}

fn matches(value: Option<&str>, operator: &str, values: &Value) -> bool {
    let value = value.filter(|value| !value.is_empty());
    let listed = || {
        let mut values = values.as_array().into_iter().flatten();
        value.is_some_and(|value| values.any(|listed| listed == value))
    };
    match operator {
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "In" => listed(),
        "NotIn" => !listed(),
        _ => false,
    }
}

fn is_best_effort(pod: &Object) -> bool {
    let lists = ["/spec/containers", "/spec/initContainers"];
    let containers = lists
        .iter()
        .flat_map(|list| at(pod, list).as_array().into_iter().flatten());
    let mut amounts = containers.flat_map(|container| {
        ["requests", "limits"]
            .into_iter()
            .flat_map(|side| read(&container["resources"][side]))
    });
    !amounts.any(|(name, amount)| matches!(&*name, "cpu" | "memory") && !amount.is_zero())
}

fn crosses_namespaces(pod: &Object) -> bool {
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let affinity = at(pod, &format!("/spec/affinity/{kind}"));
        let required = affinity["requiredDuringSchedulingIgnoredDuringExecution"].as_array();
        let preferred = affinity["preferredDuringSchedulingIgnoredDuringExecution"].as_array();
        let preferred = preferred.into_iter().flatten().map(|term| &term["podAffinityTerm"]);
        let mut terms = required.into_iter().flatten().chain(preferred);
        terms.any(|term| {
            !term["namespaceSelector"].is_null() || term["namespaces"].as_array().is_some_and(|list| !list.is_empty())
        })
    })
}

/// `a=1,b=2`, as upstream prints amounts.
pub(super) fn show(amounts: &Amounts) -> String {
    let parts = amounts.iter().map(|(name, amount)| format!("{name}={amount}"));
    parts.collect::<Vec<_>>().join(",")
}
