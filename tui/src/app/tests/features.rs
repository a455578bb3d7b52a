//! Single features of the console, each by the keys that reach it.

use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::*;
use crate::data::Rule;

fn mouse(console: &mut Console, kind: MouseEventKind, column: u16, row: u16) {
    console.event(Event::Mouse(MouseEvent {
        kind,
        column,
        row,
        modifiers: KeyModifiers::NONE,
    }));
}

fn copied(console: &Console) -> Option<&str> {
    console.effects.iter().rev().find_map(|effect| match effect {
        Effect::Copy(text) => Some(text.as_str()),
        _ => None,
    })
}

fn place(console: &Console, text: &str) -> (u16, u16) {
    let screen = console.screen();
    let (row, line) = screen.lines().enumerate().find(|(_, l)| l.contains(text)).expect(text);
    let column = line.chars().count() - line[line.find(text).unwrap()..].chars().count();
    (column as u16, row as u16)
}

#[test]
fn a_drag_copies_and_a_click_selects() {
    let mut console = with_pods();
    let left = MouseButton::Left;
    let (x, y) = place(&console, "web-b");
    mouse(&mut console, MouseEventKind::Down(left), x, y);
    mouse(&mut console, MouseEventKind::Drag(left), x + 4, y);
    mouse(&mut console, MouseEventKind::Up(left), x + 4, y);
    assert_eq!(copied(&console), Some("web-b"));
    console.sees("copied 5 characters");
    // Over two lines, but not over the frame.
    mouse(&mut console, MouseEventKind::Down(left), x, y - 1);
    mouse(&mut console, MouseEventKind::Drag(left), 0, y);
    mouse(&mut console, MouseEventKind::Up(left), 0, y);
    let text = copied(&console).unwrap();
    assert!(text.starts_with("web-a ") && text.ends_with('✖'), "{text:?}");
    // A click selects when the button comes up; a second one goes in.
    mouse(&mut console, MouseEventKind::Down(left), x, y);
    mouse(&mut console, MouseEventKind::Up(left), x, y);
    assert_eq!(console.app.state()["selected"], json!(["default", "web-b"]));
    mouse(&mut console, MouseEventKind::Down(left), x, y);
    mouse(&mut console, MouseEventKind::Up(left), x, y);
    console.sees("containers(default/web-b)");
}

#[test]
fn namespaces_complete_when_they_may_be_listed_and_when_not() {
    let mut console = with_pods();
    console.keys(": d p space s");
    console.sees_not(":dp shop");
    assert!(console.watches().contains(&"namespaces".to_owned()));
    let named = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    console.list("namespaces", vec![named("shop"), named("kube-system")]);
    console.sees(":dp shop");
    console.keys("tab enter");
    console.sees("deployments(shop)");
    console.now += SignedDuration::from_secs(31);
    console.event(Event::Tick);
    assert!(!console.watches().contains(&"namespaces".to_owned()));

    // Forbidden: the namespaces in use are offered all the same.
    let mut console = with_pods();
    console.keys(": d p space d e");
    console.sees(":dp default");
}

#[test]
fn what_is_forbidden_is_struck_out_with_the_missing_verb() {
    let mut console = with_pods();
    (console.width, console.height) = (300, 20);
    console.event(Event::Resize(300, 20));
    let rule = |verbs: &[&str], resources: &[&str]| Rule {
        verbs: verbs.iter().map(ToString::to_string).collect(),
        api_groups: vec![String::new()],
        resources: resources.iter().map(ToString::to_string).collect(),
        ..Rule::default()
    };
    let rights = Rights {
        rules: vec![
            rule(&["get", "list", "watch"], &["pods", "pods/log"]),
            rule(&["create"], &["pods/attach"]),
        ],
        ..Rights::default()
    };
    console.event(Event::Rights("default".to_owned(), Ok(rights)));
    console.sees("kill (no delete pods)");
    let struck = |text: &str| {
        let (x, y) = place(&console, text);
        let mut terminal = Terminal::new(TestBackend::new(console.width, console.height)).unwrap();
        terminal.draw(|frame| console.app.draw(frame)).unwrap();
        let cell = &terminal.backend().buffer()[(x, y)];
        cell.modifier.contains(ratatui::style::Modifier::CROSSED_OUT)
    };
    assert_eq!((struck("kill"), struck("attach")), (true, false));
    console.sees("(no create pods/exec)");
    console.sees_not("(no get pods/log)");
    console.sees_not("(no create pods/attach)");
    console.keys("ctrl-d");
    console.sees("you may not delete pods here");
}

#[test]
fn a_tree_is_filtered_with_what_holds_it() {
    let mut console = with_pods();
    console.keys(":");
    console.line("xray rs");
    let set = |name: &str| {
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")}})
    };
    console.list("replicasets", vec![set("web-1"), set("old")]);
    let mut pods = some_pods();
    for (at, pod) in pods.iter_mut().enumerate() {
        pod["metadata"]["uid"] = json!(format!("pod-{at}"));
        pod["metadata"]["ownerReferences"][0]["uid"] = json!("uid-web-1");
    }
    console.list("pods", pods);
    console.now += SignedDuration::from_secs(1);
    console.event(Event::Tick);
    console.sees("ReplicaSet default/old");
    console.keys("/ w e b - b enter");
    console.sees("ReplicaSet default/web-1");
    console.sees("Pod web-b");
    console.sees_not("Pod web-a");
    console.sees_not("default/old");
    console.keys("esc");
    console.sees("ReplicaSet default/old");
}

#[test]
fn enter_leads_from_a_pod_to_its_containers_to_their_logs() {
    let mut console = with_pods();
    console.keys("enter");
    console.list("pods", some_pods());
    console.sees("containers(default/db-a)[1]");
    console.keys("enter");
    console.sees("logs");
    assert!(matches!(console.effects.last(), Some(Effect::Start(..))));
}

/// Answers the view on top.
fn reply(console: &mut Console, reply: Reply) {
    let id = console.app.tabs.top().unwrap().id;
    console.event(Event::Reply(id, reply));
}

#[test]
fn a_new_object_is_written_tried_shown_and_sent() {
    let mut console = with_pods();
    console.keys("ctrl-n");
    let Some(Effect::Edit(_, text)) = console.effects.last() else {
        panic!("no editor: {:?}", console.effects.last());
    };
    assert!(
        text.contains("kind: Pod\n") && text.contains("namespace: default"),
        "{text}"
    );
    // What is no object comes back to the editor with the reason.
    reply(&mut console, Reply::Text("kind: Pod\napiVersion: v9\n".to_owned()));
    let Some(Effect::Edit(_, text)) = console.effects.last() else {
        panic!("no editor again");
    };
    assert!(text.contains("# the server does not serve \"Pod\""), "{text}");
    let pod = "kind: Pod\napiVersion: v1\nmetadata: {name: solo}\nspec: {containers: [{name: a, image: b}]}\n";
    reply(&mut console, Reply::Text(pod.to_owned()));
    assert!(matches!(console.effects.last(), Some(Effect::Start(..))));
    let after: Value = serde_saphyr::from_str(pod).unwrap();
    reply(
        &mut console,
        Reply::Each(vec![Ok(json!({"before": null, "after": after}))]),
    );
    console.sees("@@ pod/solo is new");
    console.sees("+  name: solo");
    console.sees("kubectl apply --server-side -f FILE -n default");
    console.keys("right enter");
    let Some(Effect::Start(_, job)) = console.effects.last() else {
        panic!("nothing is sent");
    };
    let job = format!("{job:?}");
    assert!(
        job.contains("apply-patch+yaml") && job.contains("/api/v1/namespaces/default/pods/solo"),
        "{job}"
    );
    reply(&mut console, Reply::Each(vec![Ok(Value::Null)]));
    console.sees("pods(default)[3]");
}

#[test]
fn a_directory_is_walked_and_a_file_applied() {
    let mut console = with_pods();
    console.keys(":");
    console.line("dir /manifests");
    reply(&mut console, Reply::Object(json!(["apps/", "web.yaml"])));
    console.sees("/manifests[2]");
    console.keys("j a");
    console.sees("apply /manifests/web.yaml");
    assert!(format!("{:?}", console.effects.last()).contains("/manifests/web.yaml"));
    reply(&mut console, Reply::Failed("cannot read it".to_owned()));
    console.sees("apply /manifests/web.yaml: cannot read it");
    console.keys("k a");
    console.sees("this is a directory");
    console.keys("enter");
    console.sees("/manifests/apps");
    // A file may hold several objects, lists among them; one that is refused stops all of them.
    console.keys(":");
    console.line("apply all.yaml");
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n---\nkind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: b}}\n";
    reply(&mut console, Reply::Text(text.to_owned()));
    let job = format!("{:?}", console.effects.last());
    assert!(
        job.contains("/configmaps/a") && job.contains("/api/v1/namespaces/b"),
        "{job}"
    );
    let answers = vec![
        Ok(json!({"before": null, "after": {"kind": "ConfigMap"}})),
        Err("no".to_owned()),
    ];
    reply(&mut console, Reply::Each(answers));
    console.sees("namespace/b: no");
}

#[test]
fn what_one_may_do_is_a_table() {
    let mut console = with_pods();
    console.keys(":");
    console.line("can");
    console.sees("asking the server");
    let asked = |effect: &Effect| matches!(effect, Effect::Rights(namespace) if namespace == "default");
    assert!(
        console.effects.iter().filter(|effect| asked(effect)).count() > 1,
        "asked anew"
    );
    let review = json!({"status": {"incomplete": false,
        "resourceRules": [
            {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods", "pods/log"]},
            {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"]},
        ],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/version"]}]}});
    console.event(Event::Rights("default".to_owned(), Ok(Rights::read(&review))));
    insta::assert_snapshot!(console.body(), @"
    mizzen  context demo  cluster demo-cluster  user admin                                        ● live
    namespace default  1 default                                                              read-write
    ┌──────────────────────────────── can(default)[4] what you may do ─────────────────────────────────┐
    │RESOURCE     GROUP  NAMES  GET  LIST  WATCH  CREATE  PATCH  UPDATE  DELETE  DEL-ALL  OTHERS       │
    │/version                   ✓    ·     ·      ·       ·      ·       ·       ·                     │
    │deployments  apps   web    ✓    ✓     ✓      ✓       ✓      ✓       ✓       ✓        *            │
    │pods                       ✓    ✓     ✓      ·       ·      ·       ·       ·                     │
    │pods/log                   ✓    ✓     ✓      ·       ·      ·       ·       ·                     │
    │                                                                                                  │
    │                                                                                                  │
    │                                                                                                  │
    │                                                                                                  │
    │                                                                                                  │
    │                                                                                                  │
    │                                                                                                  │
    │                                                                                                  │
    │                                                                                                  │
    └──────────────────────────────────────────────────────────────────────────────────────────────────┘
     can
    ");
    console.keys("/ d e p enter");
    console.sees("can(default)[1]");
}

#[test]
fn enter_on_roles_and_bindings_shows_rules() {
    let mut console = with_pods();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "reader", "namespace": "default"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "proxy"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "readers", "namespace": "default"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "jane"}, {"kind": "User", "name": "joe"}]});
    console.keys(":");
    console.line("rolebindings");
    console.list("rolebindings", vec![binding.clone()]);
    console.keys("enter");
    console.list("roles", vec![role.clone()]);
    console.sees("rules[1] reader of readers for s:default:jane u:joe");
    insta::assert_snapshot!(console.screen().lines().nth(4).unwrap_or_default(), @"│pods                    ✓    ·     ·      ·       ·      ·       ·       ·        proxy           │");
    // What somebody may do comes from all that binds it.
    console.keys(":");
    console.line("users");
    console.list("rolebindings", vec![binding]);
    console.list("clusterrolebindings", Vec::new());
    console.sees("joe   reader");
    console.keys("enter");
    console.list("roles", vec![role]);
    console.list("clusterroles", Vec::new());
    console.sees("can[1] u:joe");
    console.sees("default/readers");
    console.keys("esc");
    console.sees("users[1]");
    console.keys(":");
    console.line("can joe:");
    console.sees("is nobody: say u:USER");
}

/// The title of the view on top.
fn title(console: &Console) -> String {
    let open = console.app.tabs.top().expect("a view");
    open.view.title(&console.app.world.cx(open.id))
}

#[test]
fn enter_leads_where_k9s_leads() {
    let object = |kind: &str, api: &str, spec: Value| {
        json!({"apiVersion": api, "kind": kind, "spec": spec,
            "metadata": {"name": "one", "namespace": "default", "uid": "u"}})
    };
    let selector = json!({"selector": {"matchLabels": {"app": "one"}}});
    let leads = [
        ("pods", object("Pod", "v1", json!({"containers": [{"name": "main"}]}))),
        ("deployments", object("Deployment", "apps/v1", selector.clone())),
        ("statefulsets", object("StatefulSet", "apps/v1", selector.clone())),
        ("daemonsets", object("DaemonSet", "apps/v1", selector.clone())),
        ("replicasets", object("ReplicaSet", "apps/v1", selector.clone())),
        ("jobs", object("Job", "batch/v1", selector)),
        ("services", object("Service", "v1", json!({"selector": {"app": "one"}}))),
        ("nodes", object("Node", "v1", json!({}))),
        ("cronjobs", object("CronJob", "batch/v1", json!({}))),
        ("namespaces", object("Namespace", "v1", json!({}))),
        ("roles", object("Role", "rbac.authorization.k8s.io/v1", json!({}))),
        (
            "clusterroles",
            object("ClusterRole", "rbac.authorization.k8s.io/v1", json!({})),
        ),
        ("serviceaccounts", object("ServiceAccount", "v1", json!({}))),
        ("configmaps", object("ConfigMap", "v1", json!({}))),
        ("secrets", object("Secret", "v1", json!({}))),
        (
            "networkpolicies",
            object("NetworkPolicy", "networking.k8s.io/v1", json!({})),
        ),
    ];
    let leads = leads.map(|(kind, mut object)| {
        let mut console = Console::connected();
        console.keys(":");
        console.line(kind);
        let resource = builtin().resolve(kind).expect(kind);
        if !resource.namespaced() {
            object["metadata"]
                .as_object_mut()
                .expect("an object")
                .remove("namespace");
        }
        console.list(kind, vec![object]);
        console.keys("enter");
        format!("{kind:17}{}", title(&console))
    });
    insta::assert_snapshot!(leads.join("\n"), @"
    pods             containers(default/one)[0]
    deployments      pods(default)[0] app=one of deployment one
    statefulsets     pods(default)[0] app=one of statefulset one
    daemonsets       pods(default)[0] app=one of daemonset one
    replicasets      pods(default)[0] app=one of replicaset one
    jobs             pods(default)[0] app=one of job one
    services         pods(default)[0] app=one of service one
    nodes            pods(all)[0] of node one
    cronjobs         jobs(default)[0] of cronjob one /name:^one-
    namespaces       pods(one)[0]
    roles            rules[0] one
    clusterroles     rules[0] one
    serviceaccounts  can[0] s:default:one
    configmaps       Describe(default/one)
    secrets          Describe(default/one)
    networkpolicies  Describe(default/one)
    ");

    // From the lists that are no kinds: to the context, to the kind, to the tile.
    let mut console = with_pods();
    console.keys("ctrl-a /");
    console.line("cronjobs");
    console.keys("enter");
    assert_eq!(title(&console), "cronjobs(default)[0]");
    console.keys(":");
    console.line("pulse");
    let tile = title(&console);
    console.keys("enter");
    assert_ne!(title(&console), tile);
    console.keys(":");
    console.line("ctx");
    console.keys("ctrl-d");
    console.sees("nothing is selected");
}

#[test]
fn the_prompt_has_its_keys() {
    let mut console = with_pods();
    for line in ["svc", "nodes"] {
        console.keys(":");
        console.line(line);
    }
    let typed = |console: &Console| console.app.prompt.as_ref().map(|p| format!("{}+{}", p.text, p.ghost()));
    let mut told = Vec::new();
    for (begin, keys) in [
        // Nothing is offered at first; up goes to what was typed last, and on; down the other way.
        (":", ""),
        (":", "up"),
        (":", "up up"),
        (":", "down"),
        (":", "up tab"),
        (":", "d e p l right"),
        (":", "d e p l ctrl-f"),
        (":", "d e p l ctrl-w"),
        (":", "d e p l ctrl-u"),
        (":", "d e p l backspace"),
        (":", "d esc"),
        (":", "backspace"),
        ("/", "w e b enter / ctrl-u up"),
        ("/", "ctrl-u w tab"),
    ] {
        console.keys(begin);
        if !keys.is_empty() {
            console.keys(keys);
        }
        told.push(format!(
            "{begin} {keys:24}{}",
            typed(&console).unwrap_or_else(|| "closed".to_owned())
        ));
        if console.app.prompt.is_some() {
            console.keys("esc");
        }
    }
    insta::assert_snapshot!(told.join("\n"), @"
    :                         +
    : up                      +nodes
    : up up                   +svc
    : down                    +svc
    : up tab                  nodes+
    : d e p l right           deploy+
    : d e p l ctrl-f          deploy+
    : d e p l ctrl-w          +
    : d e p l ctrl-u          +
    : d e p l backspace       dep+loy
    : d esc                   closed
    : backspace               closed
    / w e b enter / ctrl-u up +web
    / ctrl-u w tab            web+
    ");
    console.keys(": n o ctrl-e");
    assert_eq!(title(&console), "nodes[0]");
}

#[test]
fn what_does_not_fit_into_a_row_is_shown_below() {
    let mut console = with_pods();
    let (text, command) = (
        "a message that is much too long ".repeat(5),
        "kubectl get pods".to_owned(),
    );
    console.event(Event::Notice(Notice {
        command: Some(command),
        ..Notice::new(Tone::Info, text.trim())
    }));
    console.keys("f3");
    insta::assert_snapshot!(console.screen().lines().skip(12).take(6).collect::<Vec<_>>().join("\n"), @"
    │                                                                                                  │
    │──────────────────────────────────────────────────────────────────────────────────────────────────│
    │12:00:00  a message that is much too long a message that is much too long a message that is much  │
    │too long a message that is much too long a message that is much too long  kubectl get pods        │
    │                                                                                                  │
    └──────────────────────────────────────────────────────────────────────────────────────────────────┘
    ");
}

#[test]
fn an_unreachable_server_is_told_over_any_view() {
    let mut console = with_pods();
    let source = console.source("pods");
    console.keys("?");
    let trouble = |code: u16| {
        let message = "cannot reach the server: timed out".to_owned();
        Batch::Trouble(crate::data::Trouble { message, code })
    };
    console.event(Event::Data(source.clone(), trouble(403)));
    console.sees("● live");
    console.event(Event::Data(source, trouble(0)));
    console.sees("▲ cannot reach the server: timed out, trying again");
}

#[test]
fn words_of_k9s_open_what_they_open_there_or_say_why_not() {
    let words = [
        "pu",
        "pulse",
        "hz",
        "xr deploy",
        "xray sts",
        "wk",
        "workload",
        "pf",
        "ctx",
        "ns",
        "usr",
        "grp",
        "dir",
        "ls /tmp",
        "can u:jane",
        "can g:devs",
        "can s:default:jane",
        "history",
        "be",
        "bench",
        "sd",
        "hm",
        "chart",
        "po",
        "pod",
        "pods kube-system",
        "po /web",
        "po -f wb",
        "po app=web",
        "po app in (web,db)",
    ];
    let told = words.map(|word| {
        let mut console = with_pods();
        console.keys(":");
        console.line(word);
        let toast = console.app.toast.as_ref().map(|(_, notice)| notice.text.clone());
        format!("{word:20}{}", toast.unwrap_or_else(|| title(&console)))
    });
    insta::assert_snapshot!(told.join("\n"), @"
    pu                  pulse(default)
    pulse               pulse(default)
    hz                  pulse(default)
    xr deploy           xray deployments[0]
    xray sts            xray statefulsets[0]
    wk                  workloads(default)[3]
    workload            workloads(default)[3]
    pf                  PortForwards[0]
    ctx                 contexts[0]
    ns                  namespaces[0]
    usr                 users[0]
    grp                 groups[0]
    dir                 .[0]
    ls /tmp             /tmp[0]
    can u:jane          can[0] u:jane
    can g:devs          can[0] g:devs
    can s:default:jane  can[0] s:default:jane
    history             notices[0]
    be                  no HTTP benchmarks, so no list of them
    bench               no HTTP benchmarks, so no list of them
    sd                  what is saved lies in the directory that the console was started in
    hm                  no view of Helm's releases: helm list tells them
    chart               no view of Helm's releases: helm list tells them
    po                  pods(default)[3]
    pod                 pods(default)[3]
    pods kube-system    pods(kube-system)[0]
    po /web             pods(default)[2/3] /web
    po -f wb            pods(default)[2/3] /-f wb
    po app=web          pods(default)[2/3] /-l 'app=web'
    po app in (web,db)  pods(default)[3] /-l 'app in (web,db)'
    ");
    for (word, opens) in [
        ("a", "aliases["),
        ("alias", "aliases["),
        ("h", "help["),
        ("?", "help["),
        ("x po", "xray pods["),
    ] {
        let mut console = with_pods();
        console.keys(":");
        console.line(word);
        assert!(title(&console).starts_with(opens), "{word}: {}", title(&console));
    }
    for word in ["q", "q!", "qa", "quit", "exit"] {
        let mut console = with_pods();
        console.keys(":");
        console.line(word);
        assert!(matches!(console.effects.last(), Some(Effect::Quit)), "{word}");
    }
    // To another context, from the list and by the word.
    let contexts = ["demo", "production"].map(|name| crate::event::ContextInfo {
        name: name.to_owned(),
        ..crate::event::ContextInfo::default()
    });
    for line in ["ctx", "ctx production", "po @production"] {
        let mut console = with_pods();
        console.event(Event::Connected(Ok(Cluster {
            contexts: contexts.to_vec(),
            ..console.app.world.cluster.clone()
        })));
        console.keys(":");
        console.line(line);
        if line == "ctx" {
            console.keys("j enter");
        }
        let connects = |effect: &Effect| matches!(effect, Effect::Connect(Some(name)) if name == "production");
        assert!(console.effects.iter().any(connects), "{line}");
    }
}

#[test]
fn every_kind_has_a_tree() {
    let watched = |r: &&Arc<mizzen_api::resource::Resource>| r.allows("list") && r.allows("watch");
    for resource in builtin().iter().filter(watched).filter(|r| &*r.plural != "pods") {
        let mut console = with_pods();
        let name = resource.qualified_name();
        console.keys(":");
        console.line(&format!("xray {name}"));
        assert!(title(&console).starts_with("xray"), "{name}: {}", title(&console));
        console.sees("synchronizing");
    }
}

#[test]
fn back_restores_what_was_scrolled_to() {
    let mut console = Console::connected();
    let pods: Vec<Value> = (0..60).map(|at| pod(&format!("web-{at:02}"), "Running", at)).collect();
    console.list("pods", pods);
    console.keys("G k k k k k k k k k k k space");
    let screen = console.body();
    console.keys("d esc");
    assert_eq!(console.body(), screen);
    console.keys(":");
    console.line("nodes");
    console.keys("-");
    assert_eq!(console.body(), screen);
}

#[test]
fn tabs_stand_beside_each_other_and_crumbs_tell_the_way() {
    let mut console = with_pods();
    console.keys("ctrl-t :");
    console.line("nodes");
    console.sees(" 1 pods  2 nodes");
    console.keys("tab");
    console.sees("pods(default)[3]");
    console.keys("enter");
    console.list("pods", some_pods());
    console.sees("pods › containers of db-a");
    console.keys("ctrl-g");
    console.sees_not("›");
    console.keys("ctrl-g tab");
    console.sees("nodes[0]");
    console.keys("f10");
    console.sees("containers(default/db-a)");
    console.sees_not(" 1 containers");
    console.keys("ctrl-e");
    console.sees_not("context demo");
}

#[test]
fn chosen_columns_are_shown_and_fit_into_low_terminals() {
    let mut console = with_pods();
    console.keys("f5 space backtab enter");
    console.sees_not("READY");
    console.sees("RESTARTS");
    console.keys("f5 space backtab enter");
    console.sees("READY");
    (console.width, console.height) = (60, 12);
    console.event(Event::Resize(60, 12));
    console.keys("f5 down down down down down down down down");
    console.sees("of 14");
    console.sees("Cancel");
    console.sees("›CPU");
}

#[test]
fn a_look_is_chosen_and_writing_switched_off_by_words() {
    let mut console = with_pods();
    for (line, sees) in [
        ("skin light", "live"),
        ("skin dim", "there is no skin"),
        ("readonly", "read-only"),
    ] {
        console.keys(":");
        console.line(line);
        console.sees(sees);
    }
    assert_eq!(console.app.world.theme.name, "light");
    console.keys("ctrl-d");
    console.sees("read-only mode is on");
}

#[test]
fn keys_of_k9s_that_do_nothing_say_why() {
    for (view, key, why) in [
        ("nodes", "s", "a shell on a node takes a privileged Pod"),
        ("pods", "z", "ctrl-z shows what has a fault"),
        ("pods", "v", "no image scans"),
        ("svc", "b", "load generators do it better"),
        ("hpa", "s", "scaled in its own table"),
        ("ctx", "r", "contexts are not renamed"),
        ("pf", "b", "no HTTP benchmarks of forwards"),
        ("cm", "ctrl-p", "no configuration to write back"),
    ] {
        let mut console = Console::connected();
        (console.width, console.height) = (160, 20);
        console.event(Event::Resize(160, 20));
        console.keys(":");
        console.line(view);
        console.keys(key);
        console.sees(why);
    }
}
