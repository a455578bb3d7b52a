//! Screens of the main views as they are committed: at three sizes, and in three skins with their colours.

use mizzen_api::console::metrics::Measure;
use mizzen_api::resource::Resource;

use super::*;

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

/// A view, by its name and the way to it.
type Way = (&'static str, fn(&mut Console));

const VIEWS: &[Way] = &[
    ("pods", |_| {}),
    ("pods_wide", |c| c.keys("ctrl-w T space")),
    ("pods_filtered", |c| c.keys("/ s t a t u s : c r a s h")),
    ("pods_forbidden", |c| {
        c.keys("0");
        let source = c.source("pods");
        let message = "pods is forbidden: User \"jane\" cannot list resource \"pods\"".to_owned();
        let trouble = crate::data::Trouble { message, code: 403 };
        c.event(Event::Data(source, Batch::Trouble(trouble)));
    }),
    ("containers", |c| {
        c.keys("g enter");
        c.list("pods", some_pods());
    }),
    ("deployments", |c| {
        c.keys(":");
        c.line("dp");
        c.list("deployments", vec![deployment()]);
    }),
    ("deployment", into_deployment),
    ("service", |c| {
        c.keys(":");
        c.line("svc");
        c.list("services", vec![service()]);
        c.keys("enter");
        c.list("services", vec![service()]);
        c.list("endpointslices", vec![slice()]);
        c.list("pods", some_pods());
    }),
    ("nodes", |c| {
        c.keys(":");
        c.line("no");
        c.list("nodes", vec![node()]);
        measured(c);
    }),
    ("node", |c| {
        c.keys(":");
        c.line("no");
        c.list("nodes", vec![node()]);
        measured(c);
        c.keys("enter");
        c.list("nodes", vec![node()]);
        c.list("pods", some_pods());
    }),
    ("events", |c| {
        c.keys(":");
        c.line("ev");
        c.list(
            "events",
            vec![event("old", "11:00:00", "Normal"), event("new", "11:59:00", "Warning")],
        );
    }),
    ("namespaces", |c| {
        c.keys(":");
        c.line("namespaces");
        let named = |name: &str, phase: &str| {
            json!({"apiVersion": "v1", "kind": "Namespace", "status": {"phase": phase},
                "metadata": {"name": name, "creationTimestamp": "2026-02-01T12:00:00Z"}})
        };
        c.list(
            "namespaces",
            vec![named("default", "Active"), named("shop", "Terminating")],
        );
    }),
    ("workloads", |c| {
        c.keys(":");
        c.line("wk");
        c.list("deployments", vec![deployment()]);
        c.list("replicasets", vec![set("web-1", "1", 3)]);
        c.list("pods", some_pods());
    }),
    ("pulse", into_pulse),
    ("xray", |c| {
        c.keys(":");
        c.line("xray rs");
        c.list("replicasets", vec![set("web-1", "1", 3)]);
        c.list("pods", owned_pods());
        c.now += SignedDuration::from_secs(1);
        c.event(Event::Tick);
    }),
    ("yaml", |c| {
        c.keys("y");
        let id = c.app.tabs.top().unwrap().id;
        c.event(Event::Reply(id, Reply::Object(pod("db-a", "Running", 2))));
    }),
    ("delete", |c| {
        c.keys("ctrl-d");
        let id = c.app.tabs.top().unwrap().id;
        c.event(Event::Reply(id, Reply::Each(vec![Ok(pod("db-a", "Running", 2))])));
    }),
    ("describe", |c| {
        c.keys("d");
        let text = "Name:       db-a\nNamespace:  default\nNode:       n1\nLabels:     app=db\nStatus:     Running\n\n\
            Events:\n  Type     Reason   Age  From     Message\n  Warning  BackOff  1m   kubelet  restarting it";
        let id = c.app.tabs.top().unwrap().id;
        c.event(Event::Reply(id, Reply::Text(text.to_owned())));
        c.keys("/ n o d e enter");
    }),
    ("logs", into_logs),
    ("actions", |c| c.keys("m")),
    ("scale", |c| {
        c.keys(":");
        c.line("dp");
        c.list("deployments", vec![deployment()]);
        c.keys("s");
        answer(c, Reply::Each(vec![Ok(deployment())]));
    }),
    ("set_image", |c| {
        c.keys(":");
        c.line("dp");
        c.list("deployments", vec![deployment()]);
        c.keys("i");
        answer(c, Reply::Each(vec![Ok(deployment())]));
        c.keys("up backspace 3 tab tab enter");
        let mut after = deployment();
        after["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:3");
        answer(c, Reply::Each(vec![Ok(after)]));
    }),
    ("shell", |c| {
        use crate::tasks::process::News;
        c.keys("enter");
        c.list("pods", some_pods());
        c.keys("s");
        answer(c, Reply::Process(News::Started));
        let output = "/ # ls\r\n\u{1b}[1;34mbin\u{1b}[m   \u{1b}[1;34metc\u{1b}[m   init\r\n/ # ";
        answer(c, Reply::Process(News::Output(output.as_bytes().to_vec())));
    }),
    ("prompt", |c| c.keys(": d e p l o y m e n")),
    ("tabs", |c| c.keys("ctrl-t")),
];

/// Answers the view on top.
fn answer(c: &mut Console, reply: Reply) {
    let id = c.app.tabs.top().unwrap().id;
    c.event(Event::Reply(id, reply));
}

/// Two Pods' logs, merged, with a filter.
fn into_logs(c: &mut Console) {
    use crate::tasks::logs::News;
    c.keys("space space g l");
    let source = |pod: &str| mizzen_api::client::logs::Source {
        namespace: "default".to_owned(),
        pod: pod.to_owned(),
        container: "main".to_owned(),
    };
    let lines = |minute: u8, of: &str| {
        let line = |at: u8, text: &str| format!("2026-03-01T11:{minute:02}:{at:02}.000000000Z {text}\n");
        [
            line(1, &format!("{of} starts")),
            line(2, "level=warn msg=\"queue is long\""),
            line(3, "{\"level\":\"error\",\"msg\":\"cannot connect\"}"),
            line(4, "\u{1b}[32mok\u{1b}[m goes on"),
        ]
        .concat()
    };
    for (id, pod) in ["db-a", "web-a"].into_iter().enumerate() {
        answer(c, Reply::Log(1, News::Source(id, source(pod))));
        answer(c, Reply::Log(1, News::Lines(id, lines(id as u8, pod))));
    }
    answer(c, Reply::Log(1, News::CaughtUp));
    c.keys("t");
}

fn into_deployment(c: &mut Console) {
    c.keys(":");
    c.line("dp");
    c.list("deployments", vec![deployment()]);
    c.keys("enter");
    c.list("deployments", vec![deployment()]);
    c.list("replicasets", vec![set("web-1", "1", 1), set("web-2", "2", 2)]);
    c.list("pods", some_pods());
}

fn into_pulse(c: &mut Console) {
    c.keys(":");
    c.line("pulse");
    c.list("nodes", vec![node()]);
    c.list("pods", some_pods());
    c.list("deployments", vec![deployment()]);
    c.list("events", vec![event("new", "11:59:00", "Warning")]);
    measured(c);
}

/// The server has metrics: those of the node come.
fn measured(c: &mut Console) {
    c.event(Event::Discovered(served()));
    let source = c.watched("nodes", true);
    let measure = json!({"metadata": {"name": "n1"}, "usage": {"cpu": "1500m", "memory": "6Gi"}});
    c.event(Event::Data(
        source,
        Batch::Measured(vec![Measure::read(&measure)], true),
    ));
}

/// What a server of our own says that it serves.
fn served() -> Vec<Resource> {
    builtin().iter().map(|r| (**r).clone()).collect()
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default", "uid": "web",
            "generation": 2, "creationTimestamp": "2026-02-28T12:00:00Z"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [{"name": "main", "image": "web:2"}]}}},
        "status": {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}})
}

fn set(name: &str, revision: &str, wanted: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name, "namespace": "default", "uid": name,
            "creationTimestamp": "2026-02-28T12:00:00Z",
            "annotations": {"deployment.kubernetes.io/revision": revision},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "web", "controller": true}]},
        "spec": {"replicas": wanted, "template": {"spec": {"containers": [{"name": "main", "image": format!("web:{revision}")}]}}},
        "status": {"replicas": wanted, "readyReplicas": 1}})
}

fn owned_pods() -> Vec<Value> {
    let mut pods = some_pods();
    for (at, pod) in pods.iter_mut().enumerate() {
        pod["metadata"]["uid"] = json!(format!("pod-{at}"));
        pod["metadata"]["ownerReferences"][0]["uid"] = json!("web-1");
    }
    pods
}

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default",
            "creationTimestamp": "2026-02-28T12:00:00Z"},
        "spec": {"type": "ClusterIP", "clusterIP": "10.43.0.10", "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]}})
}

fn slice() -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "web-x", "namespace": "default"},
        "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": [
            {"addresses": ["10.42.0.7"], "conditions": {"ready": true}, "targetRef": {"name": "web-a"}, "nodeName": "n1"},
            {"addresses": ["10.42.0.8"], "conditions": {"ready": false}, "targetRef": {"name": "web-b"}, "nodeName": "n1"}]})
}

fn node() -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "creationTimestamp": "2026-02-01T12:00:00Z",
            "labels": {"node-role.kubernetes.io/control-plane": "true"}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.37.0"}}})
}

fn event(name: &str, time: &str, kind: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"}, "type": kind,
        "reason": "BackOff", "message": format!("the {name} message"), "count": 3,
        "firstTimestamp": format!("2026-03-01T{time}Z"), "lastTimestamp": format!("2026-03-01T{time}Z"),
        "involvedObject": {"kind": "Pod", "name": "web-b", "namespace": "default"}})
}

fn at(setup: Setup, (width, height): (u16, u16), way: fn(&mut Console)) -> Console {
    let mut console = Console::with(setup);
    (console.width, console.height) = (width, height);
    console.event(Event::Resize(width, height));
    console.connect();
    console.list("pods", some_pods());
    way(&mut console);
    console
}

#[test]
fn views_at_three_sizes() {
    for (name, way) in VIEWS {
        for size in SIZES {
            let console = at(Setup::default(), size, *way);
            insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), console.body());
        }
    }
}

#[test]
fn views_in_three_skins() {
    let ways: [Way; 4] = [
        ("logs", into_logs),
        ("pods", |c| c.keys("space")),
        ("deployment", into_deployment),
        ("pulse", into_pulse),
    ];
    for skin in ["dark", "light", "none"] {
        for (name, way) in ways {
            for size in SIZES {
                let setup = Setup {
                    theme: Theme::named(skin).unwrap(),
                    ..Setup::default()
                };
                let console = at(setup, size, way);
                insta::assert_snapshot!(format!("{name}_{skin}_{}x{}", size.0, size.1), styled(&console));
            }
        }
    }
}

#[test]
fn what_is_measured_stands_in_the_rows_and_is_sorted_by() {
    let mut console = with_pods();
    console.sees("n/a");
    console.event(Event::Discovered(served()));
    let source = console.watched("pods", true);
    assert_eq!(source.namespace, "default");
    let measure = |name: &str, cpu: &str| {
        Measure::read(&json!({"metadata": {"name": name, "namespace": "default"},
            "containers": [{"name": "main", "usage": {"cpu": cpu, "memory": "64Mi"}}]}))
    };
    let measures = vec![measure("web-a", "20m"), measure("db-a", "7m")];
    console.event(Event::Data(source.clone(), Batch::Measured(measures, true)));
    console.sees("20m");
    console.sees_not("Δ");
    console.keys("C C");
    let screen = console.screen();
    // What was not measured comes last either way.
    let order = ["web-a", "db-a", "web-b"].map(|name| screen.find(name));
    assert!(order.is_sorted(), "{screen}");
    console.keys("/ c p u > 1 0 enter");
    console.sees("[1/3]");
    console.keys("esc");
    // A Pod that changes keeps what was measured of it; its container shows it too.
    console
        .effects
        .retain(|e| !matches!(e, Effect::Watch(s) if s.group == "metrics.k8s.io"));
    console.news("pods", vec![pod("web-a", "Running", 1)]);
    console.sees("20m");
    console.keys("g enter");
    console.list("pods", some_pods());
    console.sees("64Mi");
    // When it is gone from the metrics it is told no more, once the Pod changes.
    console.keys("esc");
    console.event(Event::Data(source, Batch::Measured(vec![measure("db-a", "8m")], true)));
    console.sees("8m");
}
