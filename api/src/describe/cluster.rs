//! Nodes and namespaces.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Subject;
use super::writer::{Writer, entries};
use crate::object::Object;
use crate::quantity::Quantity;
use crate::table::node_roles;
use crate::view::{self, NONE, flag, has, list, map, scalar, text, text_or};

pub(super) fn namespace(subject: &Subject<'_>, out: &mut Writer) {
    let n = subject.object;
    subject.heading(out);
    subject.labels_and_annotations(out);
    out.line(0, format!("Status:\t{}", text(n, "/status/phase")));
    let conditions = list(n, "/status/conditions");
    if !conditions.is_empty() {
        out.line(0, "Conditions:");
        out.line(1, "Type\tStatus\tLastTransitionTime\tReason\tMessage");
        out.line(1, "----\t------\t------------------\t------\t-------");
        for c in conditions {
            let field = |path| text(c, path);
            let since = subject.date(c, "/lastTransitionTime");
            let (kind, status) = (field("/type"), field("/status"));
            out.line(
                1,
                format!(
                    "{kind} \t{status} \t{since} \t{} \t{}",
                    field("/reason"),
                    field("/message")
                ),
            );
        }
    }
    out.line(0, "");
    quotas(subject.related("resourcequotas"), out);
    out.line(0, "");
    limit_ranges(subject.related("limitranges"), out);
}

fn quotas(quotas: &[Value], out: &mut Writer) {
    if quotas.is_empty() {
        out.line(0, "No resource quota.");
        return;
    }
    out.line(0, "Resource Quotas");
    for quota in quotas {
        out.line(1, format!("Name:\t{}", view::name(quota)));
        out.line(1, "Resource\tUsed\tHard");
        out.line(1, "--------\t---\t---");
        for (resource, hard) in entries(map(quota, "/status/hard")) {
            let used = map(quota, "/status/used").and_then(|u| u.get(resource));
            let used = used.map_or_else(|| "0".to_owned(), scalar);
            out.line(1, format!("{resource}\t{used}\t{}", scalar(hard)));
        }
    }
}

fn limit_ranges(ranges: &[Value], out: &mut Writer) {
    const FIELDS: [&str; 5] = ["min", "max", "defaultRequest", "default", "maxLimitRequestRatio"];
    if ranges.is_empty() {
        out.line(0, "No LimitRange resource.");
        return;
    }
    out.line(0, "Resource Limits");
    out.line(
        0,
        " Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio",
    );
    out.line(
        0,
        " ----\t--------\t---\t---\t---------------\t-------------\t-----------------------",
    );
    for limit in ranges.iter().flat_map(|r| list(r, "/spec/limits")) {
        let mut resources: Vec<&String> = FIELDS
            .iter()
            .filter_map(|f| limit.get(f).and_then(Value::as_object))
            .flat_map(Object::keys)
            .collect();
        resources.sort();
        resources.dedup();
        for resource in resources {
            let cell = |f: &&str| match &limit[f][resource] {
                Value::Null => "-".to_owned(),
                value => scalar(value),
            };
            let cells: Vec<_> = FIELDS.iter().map(cell).collect();
            out.line(
                0,
                format!(" {}\t{resource}\t{}", text(limit, "/type"), cells.join("\t")),
            );
        }
    }
}

pub(super) fn node(subject: &Subject<'_>, out: &mut Writer) {
    let n = subject.object;
    out.line(0, format!("Name:\t{}", view::name(n)));
    let roles = node_roles(n);
    let roles = if roles.is_empty() {
        NONE.to_owned()
    } else {
        roles.join(",")
    };
    out.line(0, format!("Roles:\t{roles}"));
    subject.labels_and_annotations(out);
    let created = subject.date(n, "/metadata/creationTimestamp");
    out.line(0, format!("CreationTimestamp:\t{created}"));
    taints(n, out);
    out.line(0, format!("Unschedulable:\t{}", flag(n, "/spec/unschedulable")));
    lease(subject, out);
    conditions(subject, out);
    out.line(0, "Addresses:");
    for address in list(n, "/status/addresses") {
        out.line(1, format!("{}:\t{}", text(address, "/type"), text(address, "/address")));
    }
    for (title, path) in [("Capacity", "/status/capacity"), ("Allocatable", "/status/allocatable")] {
        let amounts = entries(map(n, path));
        if !amounts.is_empty() {
            out.line(0, format!("{title}:"));
        }
        for (name, amount) in amounts {
            out.line(1, format!("{name}:\t{}", scalar(amount)));
        }
    }
    system_info(n, out);
    for (title, path) in [("PodCIDR", "/spec/podCIDR"), ("ProviderID", "/spec/providerID")] {
        if !text(n, path).is_empty() {
            out.line(0, format!("{title}:\t{}", text(n, path)));
        }
        let cidrs = view::join(n, "/spec/podCIDRs", ",");
        if title == "PodCIDR" && !cidrs.is_empty() {
            out.line(0, format!("PodCIDRs:\t{cidrs}"));
        }
    }
    if subject.related.contains_key("pods") {
        pods(subject, out);
    } else {
        out.line(0, "Pods:\tnot authorized");
    }
    subject.events(out);
}

fn taints(n: &Value, out: &mut Writer) {
    let mut taints: Vec<_> = list(n, "/spec/taints").iter().collect();
    taints.sort_by_key(|t| (text(t, "/effect"), text(t, "/key")));
    let words = |t: &&Value| match text(t, "/value") {
        "" => format!("{}:{}", text(t, "/key"), text(t, "/effect")),
        value => format!("{}={value}:{}", text(t, "/key"), text(t, "/effect")),
    };
    let taints: Vec<_> = taints.iter().map(words).collect();
    out.multi("Taints", &taints);
}

fn lease(subject: &Subject<'_>, out: &mut Writer) {
    let name = view::name(subject.object);
    match subject.related("leases.coordination.k8s.io").first() {
        Some(lease) => {
            out.line(0, "Lease:");
            let holder = text_or(lease, "/spec/holderIdentity", "<unset>");
            out.line(1, format!("HolderIdentity:\t{holder}"));
            for (title, path) in [("AcquireTime", "/spec/acquireTime"), ("RenewTime", "/spec/renewTime")] {
                let date = match has(lease, path) {
                    true => subject.date(lease, path),
                    false => "<unset>".to_owned(),
                };
                out.line(1, format!("{title}:\t{date}"));
            }
        }
        None => out.line(
            0,
            format!("Lease:\tFailed to get lease: leases.coordination.k8s.io {name:?} not found"),
        ),
    }
}

fn conditions(subject: &Subject<'_>, out: &mut Writer) {
    let conditions = list(subject.object, "/status/conditions");
    if conditions.is_empty() {
        return;
    }
    out.line(0, "Conditions:");
    out.line(
        1,
        "Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage",
    );
    out.line(
        1,
        "----\t------\t-----------------\t------------------\t------\t-------",
    );
    for c in conditions {
        let field = |path| text(c, path);
        let (beat, changed) = (
            subject.date(c, "/lastHeartbeatTime"),
            subject.date(c, "/lastTransitionTime"),
        );
        out.line(
            1,
            format!(
                "{} \t{} \t{beat} \t{changed} \t{} \t{}",
                field("/type"),
                field("/status"),
                field("/reason"),
                field("/message")
            ),
        );
    }
}

fn system_info(n: &Value, out: &mut Writer) {
    out.line(0, "System Info:");
    for (title, field) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
        ("Kube-Proxy Version", "kubeProxyVersion"),
    ] {
        out.line(
            1,
            format!("{title}:\t{}", text(&n["status"]["nodeInfo"], &format!("/{field}"))),
        );
    }
}

/// Amounts by resource.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

fn pods(subject: &Subject<'_>, out: &mut Writer) {
    let n = subject.object;
    let allocatable = match has(n, "/status/allocatable") {
        true => &n["status"]["allocatable"],
        false => &n["status"]["capacity"],
    };
    let share = |amounts: &Amounts, resource: &str| {
        let amount = amounts.get(resource).copied().unwrap_or(Quantity::ZERO);
        let all = allocatable.get(resource).map(scalar).and_then(|q| q.parse().ok());
        let all = all.unwrap_or(Quantity::ZERO).as_f64();
        let percent = if all > 0.0 { amount.as_f64() / all * 100.0 } else { 0.0 };
        format!("{amount} ({}%)", percent as i64)
    };
    let pods = subject.related("pods");
    out.line(0, format!("Non-terminated Pods:\t({} in total)", pods.len()));
    out.line(
        1,
        "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge",
    );
    out.line(
        1,
        "---------\t----\t\t------------\t----------\t---------------\t-------------\t---",
    );
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    for pod in pods {
        let (r, l) = (pod_amounts(pod, "requests"), pod_amounts(pod, "limits"));
        let age = view::since(pod, "/metadata/creationTimestamp", subject.timestamp());
        out.line(
            1,
            format!(
                "{}\t{}\t\t{}\t{}\t{}\t{}\t{age}",
                view::namespace(pod),
                view::name(pod),
                share(&r, "cpu"),
                share(&l, "cpu"),
                share(&r, "memory"),
                share(&l, "memory")
            ),
        );
        add(&mut requests, &r);
        add(&mut limits, &l);
    }
    out.line(0, "Allocated resources:");
    out.line(1, "(Total limits may be over 100 percent, i.e., overcommitted.)");
    out.line(1, "Resource\tRequests\tLimits");
    out.line(1, "--------\t--------\t------");
    for resource in ["cpu", "memory", "ephemeral-storage"] {
        out.line(
            1,
            format!(
                "{resource}\t{}\t{}",
                share(&requests, resource),
                share(&limits, resource)
            ),
        );
    }
    let others = entries(allocatable.as_object()).into_iter().map(|(name, _)| name);
    let (huge, extended): (Vec<_>, Vec<_>) = others
        .filter(|name| !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage" | "pods"))
        .partition(|name| name.starts_with("hugepages-"));
    for resource in huge {
        out.line(
            1,
            format!(
                "{resource}\t{}\t{}",
                share(&requests, resource),
                share(&limits, resource)
            ),
        );
    }
    for resource in extended {
        let amount = |amounts: &Amounts| amounts.get(resource).copied().unwrap_or(Quantity::ZERO);
        out.line(1, format!("{resource}\t{}\t{}", amount(&requests), amount(&limits)));
    }
}

pub(crate) fn add(total: &mut Amounts, amounts: &Amounts) {
    for (resource, amount) in amounts {
        *total.entry(resource.clone()).or_default() += *amount;
    }
}

/// What a Pod asks for in all: its containers and sidecars together, or its greediest init container
/// with the sidecars before it, whichever is more; and the overhead of its sandbox.
pub(crate) fn pod_amounts(pod: &Value, field: &str) -> Amounts {
    let of = |container: &Value| -> Amounts {
        let amounts = entries(map(container, &format!("/resources/{field}"))).into_iter();
        amounts
            .filter_map(|(name, amount)| Some((name.clone(), scalar(amount).parse().ok()?)))
            .collect()
    };
    let mut total = Amounts::new();
    list(pod, "/spec/containers")
        .iter()
        .for_each(|c| add(&mut total, &of(c)));
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in list(pod, "/spec/initContainers") {
        let mut now = of(container);
        if container["restartPolicy"] == "Always" {
            add(&mut total, &now);
            add(&mut sidecars, &now);
            now = sidecars.clone();
        } else {
            add(&mut now, &sidecars);
        }
        raise(&mut peak, now);
    }
    raise(&mut total, peak);
    if field == "requests" || !total.is_empty() {
        let overhead = entries(map(pod, "/spec/overhead")).into_iter();
        let overhead = overhead.filter_map(|(name, amount)| Some((name.clone(), scalar(amount).parse().ok()?)));
        add(&mut total, &overhead.collect());
    }
    total
}

fn raise(total: &mut Amounts, amounts: Amounts) {
    for (resource, amount) in amounts {
        let present = total.entry(resource).or_default();
        *present = (*present).max(amount);
    }
}
