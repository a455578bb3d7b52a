//! What there is to say about an object in a few lines: how far a Deployment has come and through which
//! ReplicaSets, where a Service leads, how a node is used.

use serde_json::Value;

use super::metrics::Used;
use super::rollout;
use crate::quantity::Quantity;
use crate::relations::Reference;
use crate::table::Severity;
use crate::view::{self, int, list, text};

/// A line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub label: String,
    /// What there is to say.
    pub text: String,
    /// What that means.
    pub severity: Severity,
    /// A share in percent, to be drawn.
    pub bar: Option<u64>,
}

fn fact(label: &str, severity: Severity, text: impl Into<String>) -> Fact {
    Fact {
        label: label.to_owned(),
        text: text.into(),
        severity,
        bar: None,
    }
}

fn percent(of: i64, whole: i64) -> u64 {
    (of.max(0) * 100).checked_div(whole).map_or(0, i64::cast_unsigned)
}

/// A Deployment's rollout, then its ReplicaSets that have Pods, newest first, and how many old ones are kept.
pub fn deployment(deployment: &Value, sets: &[Value]) -> Vec<Fact> {
    let paused = view::flag(deployment, "/spec/paused");
    let rollout = match rollout::progress(deployment) {
        Ok(progress) => {
            let severity = match (progress.done, paused) {
                (_, true) => Severity::Warning,
                (true, false) => Severity::Ok,
                (false, false) => Severity::Progress,
            };
            let counts = format!(
                "{} wanted, {} updated, {} available",
                progress.wanted, progress.updated, progress.available
            );
            let words = match (paused, progress.done) {
                (true, _) => format!("{counts}; paused"),
                (false, true) => counts,
                (false, false) => {
                    let told = progress.message.rsplit(": ").next().unwrap_or_default();
                    format!("{counts}; {}", told.trim_end_matches('.'))
                }
            };
            Fact {
                bar: Some(percent(progress.updated.min(progress.available), progress.wanted)),
                ..fact("rollout", severity, words)
            }
        }
        Err(refusal) => fact("rollout", Severity::Failure, refusal.0),
    };
    let uid = text(deployment, "/metadata/uid");
    let mine = |set: &&Value| view::controller(set).is_some_and(|owner| text(owner, "/uid") == uid);
    let mut sets: Vec<&Value> = sets.iter().filter(mine).collect();
    sets.sort_by_key(|set| std::cmp::Reverse(revision(set)));
    let mut facts = vec![rollout];
    let mut old = 0;
    for (at, set) in sets.iter().enumerate() {
        let (wanted, ready) = (int(set, "/spec/replicas"), int(set, "/status/readyReplicas"));
        if at > 0 && wanted == 0 && int(set, "/status/replicas") == 0 {
            old += 1;
            continue;
        }
        let severity = match ready < wanted {
            true => Severity::Progress,
            false if at == 0 => Severity::Ok,
            false => Severity::Muted,
        };
        let images = view::containers(set, "/spec/template/spec/containers", "image");
        let words = format!("{} {ready}/{wanted} ready, {images}", view::name(set));
        facts.push(fact(&format!("revision {}", revision(set)), severity, words));
    }
    if old > 0 {
        let words = format!("{old} without Pods, kept for rollbacks");
        facts.push(fact("older", Severity::Muted, words));
    }
    facts
}

fn revision(set: &Value) -> i64 {
    let text = text(set, "/metadata/annotations/deployment.kubernetes.io~1revision");
    text.parse().unwrap_or(0)
}

/// A Service's addresses, then its endpoints.
pub fn service(service: &Value, slices: &[Value]) -> Vec<Fact> {
    let ports = list(service, "/spec/ports").iter().map(|port| {
        let target = view::scalar(&port["targetPort"]);
        let to = if target.is_empty() {
            String::new()
        } else {
            format!("→{target}")
        };
        format!("{}{to}/{}", int(port, "/port"), view::text_or(port, "/protocol", "TCP"))
    });
    let ports = ports.collect::<Vec<_>>().join(" ");
    let address = match text(service, "/spec/type") {
        "ExternalName" => text(service, "/spec/externalName"),
        _ => text(service, "/spec/clusterIP"),
    };
    let kind = view::text_or(service, "/spec/type", "ClusterIP");
    let endpoints = endpoints(slices);
    let ready = endpoints.iter().filter(|endpoint| endpoint.ready).count();
    let severity = match (ready, endpoints.len()) {
        (0, _) if kind == "ExternalName" => Severity::Plain,
        (0, _) => Severity::Warning,
        (ready, all) if ready < all => Severity::Progress,
        _ => Severity::Ok,
    };
    let words = format!(
        "{kind} {address} {ports}; {ready} of {} endpoints ready",
        endpoints.len()
    );
    let mut facts = vec![fact("service", severity, words)];
    facts.extend(endpoints.iter().map(|endpoint| {
        let mut words = endpoint.address.clone();
        if !endpoint.word.is_empty() {
            words.push_str(&format!(" {}", endpoint.word));
        }
        let target = endpoint.target.as_ref().map_or("", |target| &target.name);
        for (link, name) in [(" → ", target), (" on ", &*endpoint.node)] {
            if !name.is_empty() {
                words.push_str(&format!("{link}{name}"));
            }
        }
        fact("endpoint", endpoint.severity(), words)
    }));
    facts
}

/// Where a Service leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address and ports.
    pub address: String,
    /// Whether it is sent anything.
    pub ready: bool,
    /// Why it is not; empty when it is.
    pub word: &'static str,
    /// Whose address it is, where that is known.
    pub target: Option<Reference>,
    /// Its node; empty when that is not known.
    pub node: String,
}

impl Endpoint {
    /// What its state means.
    pub fn severity(&self) -> Severity {
        match (self.ready, self.word) {
            (true, _) => Severity::Ok,
            (false, "terminating") => Severity::Muted,
            (false, _) => Severity::Progress,
        }
    }
}

/// The endpoints of slices; what is not ready comes first.
pub fn endpoints(slices: &[Value]) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for slice in slices {
        let ports = list(slice, "/ports").iter().map(|p| int(p, "/port").to_string());
        let ports = ports.collect::<Vec<_>>().join(",");
        for endpoint in list(slice, "/endpoints") {
            // What does not say whether it is ready is.
            let on = |name: &str| endpoint["conditions"].get(name).and_then(Value::as_bool);
            let ready = on("ready").unwrap_or(true);
            let word = match (ready, on("terminating").unwrap_or(false)) {
                (true, _) => "",
                (false, true) => "terminating",
                (false, false) => "not ready",
            };
            let target = endpoint.get("targetRef").map(|target| Reference {
                group: String::new(),
                kind: text(target, "/kind").to_owned(),
                name: text(target, "/name").to_owned(),
            });
            for address in list(endpoint, "/addresses") {
                endpoints.push(Endpoint {
                    address: format!("{}:{ports}", address.as_str().unwrap_or_default()),
                    ready,
                    word,
                    target: target.clone(),
                    node: text(endpoint, "/nodeName").to_owned(),
                });
            }
        }
    }
    endpoints.sort_by_key(|endpoint| endpoint.ready);
    endpoints
}

/// How much of each quota of a namespace is used.
pub fn quota(quotas: &[Value]) -> Vec<Fact> {
    let of = |quota: &Value| {
        let hard = view::map(quota, "/status/hard").or_else(|| view::map(quota, "/spec/hard"));
        let mut facts: Vec<Fact> = hard
            .into_iter()
            .flatten()
            .map(|(resource, hard)| {
                let used = quota.pointer("/status/used").and_then(|used| used.get(resource));
                let used = used.map_or_else(|| "0".to_owned(), view::scalar);
                let hard = view::scalar(hard);
                let amount = |text: &str| text.parse().unwrap_or(Quantity::ZERO);
                let (have, most) = (amount(&used), amount(&hard));
                let share = match most.is_zero() {
                    true => 100,
                    false => (have.as_f64() / most.as_f64() * 100.0) as u64,
                };
                let severity = if share >= 90 { Severity::Warning } else { Severity::Ok };
                let label = format!("{} {resource}", view::name(quota));
                Fact {
                    bar: Some(share),
                    ..fact(&label, severity, format!("{used} of {hard}"))
                }
            })
            .collect();
        facts.sort_by(|a, b| a.label.cmp(&b.label));
        facts
    };
    quotas.iter().flat_map(of).collect()
}

/// How a node fares and how it is used: what it has for Pods, what is used of that, what its Pods ask for and are
/// limited to, how many they are.
pub fn node(node: &Value, capacity: Used, used: Option<Used>, [asked, limit]: [Used; 2], pods: i64) -> Vec<Fact> {
    let line = |label: &str, of: fn(Used) -> i64, words: fn(Used) -> String| {
        let share = |amount: Used| percent(of(amount), of(capacity));
        let told = match used {
            Some(used) => format!("{} % of {} used", share(used), words(capacity)),
            None => format!("n/a of {} used", words(capacity)),
        };
        let bar = share(used.unwrap_or(asked));
        let severity = match bar {
            90.. => Severity::Warning,
            _ => Severity::Ok,
        };
        Fact {
            bar: Some(bar),
            ..fact(
                label,
                severity,
                format!("{told}, {} % asked, limits {} %", share(asked), share(limit)),
            )
        }
    };
    let most = int_text(node, "/status/allocatable/pods");
    let ready = view::condition_true(node, "Ready");
    let pressures = ["MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"];
    let pressures: Vec<&str> = pressures
        .into_iter()
        .filter(|p| view::condition_true(node, p))
        .collect();
    let mut words = vec![if ready { "Ready" } else { "NotReady" }.to_owned()];
    words.extend(pressures.iter().map(|p| (*p).to_owned()));
    if view::flag(node, "/spec/unschedulable") {
        words.push("cordoned".to_owned());
    }
    let taint = |t: &Value| match text(t, "/value") {
        "" => format!("{}:{}", text(t, "/key"), text(t, "/effect")),
        value => format!("{}={value}:{}", text(t, "/key"), text(t, "/effect")),
    };
    let taints: Vec<String> = list(node, "/spec/taints").iter().map(taint).collect();
    let severity = match (ready, pressures.is_empty() && taints.is_empty()) {
        (false, _) => Severity::Failure,
        (true, false) => Severity::Warning,
        (true, true) => Severity::Ok,
    };
    if !taints.is_empty() {
        words.push(format!("taints {}", taints.join(" ")));
    }
    vec![
        fact("node", severity, words.join(", ")),
        line("CPU", |u| u.cpu, Used::cpu_text),
        line("memory", |u| u.memory, Used::memory_text),
        Fact {
            bar: Some(percent(pods, most)),
            ..fact("Pods", Severity::Ok, format!("{pods} of {most}"))
        },
    ]
}

fn int_text(object: &Value, path: &str) -> i64 {
    view::quantity(object, path).value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(facts: &[Fact]) -> String {
        let line = |f: &Fact| {
            let bar = f.bar.map_or(String::new(), |b| format!("[{b}] "));
            format!("{:?} {}: {bar}{}", f.severity, f.label, f.text)
        };
        facts.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_rollout_is_told_with_its_replica_sets() {
        let web = json!({"kind": "Deployment", "metadata": {"name": "web", "uid": "d", "generation": 1}, "spec": {"replicas": 3},
            "status": {"observedGeneration": 1, "replicas": 4, "updatedReplicas": 2, "availableReplicas": 2}});
        let set = |name: &str, revision: &str, wanted: i64, owner: &str| {
            json!({"metadata": {"name": name, "annotations": {"deployment.kubernetes.io/revision": revision},
                "ownerReferences": [{"uid": owner, "controller": true}]},
                "spec": {"replicas": wanted, "template": {"spec": {"containers": [{"image": format!("web:{revision}")}]}}},
                "status": {"replicas": wanted, "readyReplicas": 1}})
        };
        let sets = [
            set("web-a", "1", 0, "d"),
            set("web-b", "2", 1, "d"),
            set("web-c", "3", 2, "d"),
            set("x", "9", 1, "e"),
        ];
        insta::assert_snapshot!(lines(&deployment(&web, &sets)));
    }

    #[test]
    fn a_service_tells_where_it_leads() {
        let web = json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "targetPort": "http"}]}});
        let slice = json!({"ports": [{"port": 8080}], "endpoints": [
            {"addresses": ["10.1.0.2"], "conditions": {"ready": true}, "targetRef": {"name": "web-1"}, "nodeName": "n1"},
            {"addresses": ["10.1.0.3"], "conditions": {"ready": false}, "targetRef": {"name": "web-2"}}]});
        insta::assert_snapshot!(lines(&service(&web, &[slice])));
        assert_eq!(service(&web, &[])[0].severity, Severity::Warning);
    }

    #[test]
    fn a_quota_tells_what_is_left() {
        let quota_of = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "10", "requests.cpu": "2"}},
            "status": {"hard": {"pods": "10", "requests.cpu": "2"}, "used": {"pods": "9", "requests.cpu": "500m"}}});
        insta::assert_snapshot!(lines(&quota(&[quota_of])), @r"
        Warning q pods: [90] 9 of 10
        Ok q requests.cpu: [25] 500m of 2
        ");
    }

    #[test]
    fn a_node_tells_how_it_is_used() {
        let n1 = json!({"spec": {"unschedulable": true, "taints": [{"key": "a", "effect": "NoSchedule"}]},
            "status": {"allocatable": {"pods": "110"}, "conditions": [{"type": "Ready", "status": "True"}]}});
        let used = |cpu: i64, gib: i64| Used { cpu, memory: gib << 30 };
        let facts = node(
            &n1,
            used(4000, 8),
            Some(used(1000, 7)),
            [used(2000, 4), used(8000, 8)],
            11,
        );
        let without = node(&n1, used(4000, 8), None, [used(2000, 4), used(8000, 8)], 11);
        insta::assert_snapshot!(format!("{}\n{}", lines(&facts), lines(&without[1..2])));
    }
}
