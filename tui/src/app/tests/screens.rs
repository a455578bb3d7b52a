//! Screens of every view and dialog as they are committed, a file each: at three sizes, in three skins with their
//! colours.

use mizzen_api::console::metrics::Measure;
use mizzen_api::resource::Resource;

use super::*;

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];
const SKINS: [&str; 3] = ["dark", "light", "none"];
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

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
    ("nodes", into_nodes),
    ("node", |c| {
        into_nodes(c);
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
        into_deployments(c, "s");
        answer(c, Reply::Each(vec![Ok(deployment())]));
    }),
    ("set_image", |c| {
        into_deployments(c, "i");
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
    ("prompt_refused", |c| {
        c.keys(":");
        c.line("frobs");
    }),
    ("tabs", |c| c.keys("ctrl-t")),
    ("connecting", |c| anew(c, |_| {})),
    ("not_connected", |c| {
        anew(c, |_| {});
        c.event(Event::Connected(Err(
            "the context \"prod\" is not in the kubeconfig".to_owned()
        )));
    }),
    ("syncing", |c| {
        anew(c, |_| {});
        c.connect();
    }),
    ("none", |c| {
        anew(c, |_| {});
        c.connect();
        c.list("pods", Vec::new());
    }),
    ("nothing_matches", |c| c.keys("/ z z z enter")),
    ("unreachable", |c| {
        troubled(c, 0, "cannot reach the server: connection refused")
    }),
    ("credentials_refused", |c| {
        anew(c, |_| {});
        c.connect();
        troubled(c, 401, "Unauthorized");
    }),
    ("too_small", |c| {
        (c.width, c.height) = (c.width / 4, c.height / 4);
        c.event(Event::Resize(c.width, c.height));
    }),
    ("pods_marked", |c| c.keys("space space")),
    ("pods_changed", |c| {
        c.news(
            "pods",
            vec![pod("db-a", "Running", 3), pod("web-a", "CrashLoopBackOff", 1)],
        );
    }),
    ("pods_faults", |c| c.keys("ctrl-z")),
    ("pods_of_several_namespaces", |c| {
        c.keys(":");
        c.line("po default,shop");
        let mut pods = some_pods();
        for pod in &mut pods {
            pod["metadata"]["namespace"] = json!("shop");
        }
        c.list("pods", pods);
    }),
    ("columns", |c| c.keys("f5 down space")),
    ("help", |c| c.keys("?")),
    ("help_of_other_keys", |c| c.keys("? / k 9 s enter G")),
    ("aliases", |c| c.keys("ctrl-a")),
    ("contexts", |c| {
        let context = |name: &str| crate::event::ContextInfo {
            name: name.to_owned(),
            cluster: format!("{name}-cluster"),
            user: "admin".to_owned(),
            namespace: String::new(),
        };
        c.event(Event::Connected(Ok(Cluster {
            context: "demo".to_owned(),
            contexts: vec![context("demo"), context("production")],
            ..c.app.world.cluster.clone()
        })));
        c.keys(":");
        c.line("ctx");
    }),
    ("history", |c| {
        let notice = |tone, text: &str, command: &str| Notice {
            command: (!command.is_empty()).then(|| command.to_owned()),
            ..Notice::new(tone, text)
        };
        let scaled = "kubectl scale deployment/web --replicas=5 -n default";
        c.event(Event::Notice(notice(Tone::Good, "scale deployment web", scaled)));
        c.now += SignedDuration::from_secs(61);
        let refused = "delete pod web-a: forbidden: you may not delete pods here";
        c.event(Event::Notice(notice(
            Tone::Bad,
            refused,
            "kubectl delete pod web-a -n default",
        )));
        c.event(Event::Notice(notice(
            Tone::Warning,
            "somebody changed it meanwhile",
            "",
        )));
        c.keys("f3");
    }),
    ("forward", |c| c.keys("F")),
    ("forwards", |c| {
        use crate::forwards::{News, Status};
        for (id, ports) in ["8 0", "8 1"].into_iter().enumerate() {
            c.keys(&format!("F ctrl-u {ports} enter enter right enter"));
            let listening = ["127.0.0.1:8080", "[::1]:8080"].map(|address| (address.to_owned(), 80));
            c.event(Event::Forward(id as u64, News::Listening(listening.into())));
        }
        c.event(Event::Forward(0, News::Status(Status::Active("db-a".to_owned()))));
        c.event(Event::Forward(1, News::Status(Status::Alone)));
        let traffic = mizzen_api::client::forward::Traffic {
            connections: 12,
            open: 1,
            sent: 2048,
            received: 5 << 20,
        };
        c.event(Event::Forward(0, News::Traffic(traffic)));
        c.keys("f");
    }),
    ("transfer", |c| c.keys("t right")),
    ("rollback", |c| {
        into_deployments(c, "ctrl-l");
        answer(c, revisions());
    }),
    ("rollback_difference", |c| {
        into_deployments(c, "ctrl-l");
        answer(c, revisions());
        c.keys("right enter");
        let mut after = deployment();
        after["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:1");
        answer(c, Reply::Each(vec![Ok(after)]));
    }),
    ("edit_difference", |c| {
        into_deployments(c, "e");
        answer(c, Reply::Each(vec![Ok(deployment())]));
        let mut after = deployment();
        after["spec"]["replicas"] = json!(4);
        after["spec"]["minReadySeconds"] = json!(10);
        answer(c, Reply::Text(mizzen_api::yaml::to_string(&after)));
        answer(c, Reply::Each(vec![Ok(after)]));
    }),
    ("delete_in_a_protected_context", |c| {
        anew(c, |setup| setup.protected = vec!["demo".to_owned()]);
        c.connect();
        c.list("pods", some_pods());
        c.keys("space space ctrl-d");
        answer(
            c,
            Reply::Each(vec![Ok(pod("db-a", "Running", 2)), Ok(pod("web-a", "Running", 0))]),
        );
    }),
    ("kill", |c| {
        c.keys("ctrl-k");
        answer(c, Reply::Each(vec![Ok(pod("db-a", "Running", 2))]));
    }),
    ("drain", |c| {
        into_nodes(c);
        c.keys("r");
        answer(c, Reply::Object(json!({"node": node(), "pods": some_pods()})));
    }),
    ("drain_goes_on", |c| {
        into_nodes(c);
        c.keys("r");
        answer(c, Reply::Object(json!({"node": node(), "pods": some_pods()})));
        c.keys("right enter");
        c.list("pods", some_pods());
        answer(c, Reply::Text("default/web-b: waits for its budget".to_owned()));
    }),
    ("read_only", |c| {
        anew(c, |setup| setup.read_only = true);
        c.connect();
        c.list("pods", some_pods());
        c.keys("ctrl-d");
    }),
    ("forbidden_actions", |c| {
        let rule =
            |verbs: &[&str], resources: &[&str]| json!({"verbs": verbs, "apiGroups": [""], "resources": resources});
        let rules = [
            rule(&["get", "list", "watch"], &["pods", "pods/log"]),
            rule(&["create"], &["pods/attach"]),
        ];
        let review = json!({"status": {"incomplete": false, "resourceRules": rules, "nonResourceRules": []}});
        c.event(Event::Rights("default".to_owned(), Ok(Rights::read(&review))));
        c.keys("m");
    }),
    ("can", |c| {
        c.keys(":");
        c.line("can");
        let review = json!({"status": {"incomplete": false, "resourceRules": [
            {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods", "pods/log"]},
            {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"]}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/version"]}]}});
        c.event(Event::Rights("default".to_owned(), Ok(Rights::read(&review))));
    }),
    ("secret_decoded", |c| {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"password": "c3dvcmRmaXNo"},
            "metadata": {"name": "keys", "namespace": "default", "creationTimestamp": "2026-02-28T12:00:00Z"}});
        c.keys(":");
        c.line("sec");
        c.list("secrets", vec![secret.clone()]);
        c.keys("x");
        answer(c, Reply::Object(secret));
    }),
    ("used_by", |c| {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
            "metadata": {"name": "settings", "namespace": "default", "uid": "settings"}});
        c.keys(":");
        c.line("cm");
        c.list("configmaps", vec![map]);
        c.keys("u");
        let mut user = pod("web-a", "Running", 0);
        user["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "settings"}}]);
        c.list("pods", vec![user]);
        c.now += SignedDuration::from_secs(1);
        c.event(Event::Tick);
    }),
    ("dir", |c| {
        c.keys(":");
        c.line("dir /manifests");
        answer(c, Reply::Object(json!(["apps/", "base/", "database.yaml", "web.yaml"])));
        c.keys("j j");
    }),
    ("apply", |c| {
        c.keys(":");
        c.line("apply all.yaml");
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {key: new}\n---\n\
            apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n";
        answer(c, Reply::Text(text.to_owned()));
        let map = |value: &str| json!({"kind": "ConfigMap", "data": {"key": value}});
        let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "b"}});
        let answers = [
            json!({"before": map("old"), "after": map("new")}),
            json!({"before": null, "after": space}),
        ];
        answer(c, Reply::Each(answers.map(Ok).into()));
    }),
    ("logs_search", |c| {
        into_logs(c);
        // How much there is room for is known from the last frame.
        c.screen();
        c.keys("F o k enter right enter");
    }),
    ("shell_fills_the_screen", |c| {
        use crate::tasks::process::News;
        c.keys("enter");
        c.list("pods", some_pods());
        c.keys("s");
        answer(c, Reply::Process(News::Started));
        answer(c, Reply::Process(News::Output(b"/ # ".to_vec())));
        c.keys("ctrl-] f");
    }),
    ("a_key_that_does_nothing", |c| c.keys("~")),
];

/// The console from its start again, set up another way.
fn anew(c: &mut Console, change: fn(&mut Setup)) {
    let (width, height) = (c.width, c.height);
    let mut setup = c.app.setup.clone();
    change(&mut setup);
    *c = Console::with(setup);
    (c.width, c.height) = (width, height);
    c.event(Event::Resize(width, height));
}

/// The watch of Pods does not work.
fn troubled(c: &mut Console, code: u16, message: &str) {
    let trouble = crate::data::Trouble {
        message: message.to_owned(),
        code,
    };
    c.event(Event::Data(c.source("pods"), Batch::Trouble(trouble)));
}

/// A key in the table of Deployments.
fn into_deployments(c: &mut Console, key: &str) {
    c.keys(":");
    c.line("dp");
    c.list("deployments", vec![deployment()]);
    c.keys(key);
}

fn into_nodes(c: &mut Console) {
    c.keys(":");
    c.line("no");
    c.list("nodes", vec![node()]);
    measured(c);
}

/// A Deployment with what is kept of it.
fn revisions() -> Reply {
    Reply::Object(json!({"workload": deployment(), "kept": [set("web-1", "1", 1), set("web-2", "2", 2)]}))
}

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
    for plural in [
        "namespaces",
        "statefulsets",
        "daemonsets",
        "replicasets",
        "jobs",
        "cronjobs",
        "services",
    ] {
        c.list(plural, Vec::new());
    }
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
        "reason": "BackOff", "message": format!("the {name} message: Back-off restarting failed container main in pod web-b_default(5d7e2c1a)"), "count": 3,
        "firstTimestamp": format!("2026-03-01T{time}Z"), "lastTimestamp": format!("2026-03-01T{time}Z"),
        "involvedObject": {"kind": "Pod", "name": "web-b", "namespace": "default"}})
}

/// The way to a view, on a screen of this size in this skin.
fn at(skin: &str, (width, height): (u16, u16), way: fn(&mut Console)) -> Console {
    let mut console = Console::with(Setup {
        theme: Theme::named(skin).unwrap(),
        ..Setup::default()
    });
    (console.width, console.height) = (width, height);
    console.event(Event::Resize(width, height));
    console.connect();
    console.list("pods", some_pods());
    way(&mut console);
    console
}

/// What is on screen: its lines, and how each cell is drawn.
fn cells(console: &Console) -> (Vec<String>, Vec<Vec<String>>) {
    let mut terminal = Terminal::new(TestBackend::new(console.width, console.height)).unwrap();
    terminal.draw(|frame| console.app.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let row = |y: u16| (0..console.width).map(move |x| (x, y));
    let line = |y| {
        row(y)
            .map(|at| buffer[at].symbol())
            .collect::<String>()
            .trim_end()
            .to_owned()
    };
    let style = |cell: &ratatui::buffer::Cell| {
        let words = [
            format!("{:?}", cell.fg),
            format!("on {:?}", cell.bg),
            format!("{:?}", cell.modifier),
        ];
        let words = words
            .into_iter()
            .filter(|word| !word.ends_with("Reset") && word != "NONE");
        words.collect::<Vec<_>>().join(" ")
    };
    let lines = (0..console.height).map(line).collect();
    let styles = (0..console.height).map(|y| row(y).map(|at| style(&buffer[at])).collect());
    (lines, styles.collect())
}

/// Lines, with a count where the same follow each other.
fn folded(lines: &[String]) -> String {
    let mut text = String::new();
    for same in lines.chunk_by(|a, b| a == b) {
        text += &same[0];
        if same.len() > 1 {
            text += &format!("  ×{}", same.len());
        }
        text.push('\n');
    }
    text
}

/// A view at every size in every skin: the text, then a letter per style with how many cells have it; the
/// legend says what a letter is in each skin.
fn screens(way: fn(&mut Console)) -> String {
    let mut legend: Vec<Vec<String>> = Vec::new();
    let mut body = String::new();
    for size in SIZES {
        let drawn = SKINS.map(|skin| cells(&at(skin, size, way)));
        for (other, _) in &drawn[1..] {
            assert_eq!(drawn[0].0, *other, "skins change styles only");
        }
        let mut letters = Vec::new();
        for (y, row) in drawn[0].1.iter().enumerate() {
            let of = |x: usize| drawn.iter().map(|(_, styles)| styles[y][x].clone()).collect::<Vec<_>>();
            let cells: Vec<usize> = (0..row.len())
                .map(|x| {
                    let style = of(x);
                    legend.iter().position(|known| *known == style).unwrap_or_else(|| {
                        legend.push(style);
                        legend.len() - 1
                    })
                })
                .collect();
            let runs = cells.chunk_by(|a, b| a == b);
            let run = |run: &[usize]| format!("{}{}", LETTERS.chars().nth(run[0]).expect("a letter"), run.len());
            letters.push(runs.map(run).collect::<Vec<_>>().join(" "));
        }
        let (width, height) = (drawn[0].1[0].len(), drawn[0].1.len());
        body += &format!(
            "\n{width}×{height}\n{}styles\n{}",
            folded(&drawn[0].0),
            folded(&letters)
        );
    }
    let legend = legend.iter().zip(LETTERS.chars()).map(|(styles, letter)| {
        let styles = styles
            .iter()
            .map(|style| if style.is_empty() { "plain" } else { style });
        format!("{letter}: {}\n", styles.collect::<Vec<_>>().join(" | "))
    });
    format!("{}\n{}{body}", SKINS.join(" | "), legend.collect::<String>())
}

#[test]
fn every_view_at_three_sizes_in_three_skins() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("screens");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| {
        for (name, way) in VIEWS {
            insta::assert_snapshot!(*name, screens(*way));
        }
    });
}

/// Skins that may not use all colours do not, whatever is on screen.
#[test]
fn terminals_of_few_colours_get_no_others() {
    for (name, way) in VIEWS {
        for skin in ["16", "none"] {
            let (_, styles) = cells(&at(skin, SIZES[1], *way));
            for style in styles.iter().flatten() {
                let fits = match skin {
                    "16" => {
                        let numbered = style.split("Indexed(").skip(1);
                        let number = |rest: &str| rest.split(')').next().and_then(|number| number.parse::<u8>().ok());
                        !style.contains("Rgb") && numbered.map(number).all(|number| number.is_some_and(|n| n < 16))
                    }
                    _ => {
                        let words = style.split([' ', '|']).filter(|word| !word.is_empty());
                        words.into_iter().all(|word| *word == word.to_uppercase())
                    }
                };
                assert!(fits, "{name} in {skin}: {style}");
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
    console.keys("C");
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
