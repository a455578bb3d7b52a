//! Actions: whom they fit, what they send, and the command that does the same.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::console::rollout;
use crate::resource::builtin;

fn object(kind: &str) -> Value {
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {
        "initContainers": [{"name": "init", "image": "init:1"}], "containers": [{"name": "web", "image": "web:1"}, {"name": "log", "image": "log:1"}]}});
    let spec = match kind {
        "Pod" => template["spec"].clone(),
        "Node" => json!({}),
        "CronJob" => {
            json!({"schedule": "@daily", "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": template}}})
        }
        _ => json!({"replicas": 3, "template": template}),
    };
    let namespace = if kind == "Node" { json!(null) } else { json!("shop") };
    json!({"kind": kind, "metadata": {"name": "web", "namespace": namespace, "uid": "u1"}, "spec": spec})
}

fn show(plan: Result<Plan, Refusal>) -> String {
    match plan {
        Err(refusal) => format!("refused: {refusal}\n"),
        Ok(plan) => {
            let requests: Vec<_> = plan
                .requests
                .iter()
                .map(|r| format!("{} {} {}\n{}", r.method.as_str(), r.uri(), r.content_type, r.body))
                .collect();
            format!("{}?\n$ {}\n{}\n", plan.question, plan.command, requests.join("\n"))
        }
    }
}

fn check(what: Deed, kind: &str, answers: &[(&str, &str)]) -> String {
    let resource = builtin().resolve(kind).expect("a kind");
    let answers: Answers = answers
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    show(plan(what, resource, &object(&resource.kind), &answers, now))
}

#[test]
fn requests_are_those_of_kubectl() {
    let all = [
        check(Deed::Scale, "deploy", &[("replicas", "5")]),
        check(Deed::Scale, "sts", &[("replicas", "-1")]),
        check(Deed::Restart, "ds", &[]),
        check(
            Deed::SetImage,
            "deploy",
            &[("web", "web:2"), ("init", "init:2"), ("log", "log:1")],
        ),
        check(Deed::SetImage, "pods", &[("web", "reg.io/web@sha256:ab")]),
        check(Deed::SetImage, "cj", &[("log", "log:2")]),
        check(Deed::SetImage, "sts", &[("web", "web:1")]),
        check(Deed::Pause, "deploy", &[]),
        check(Deed::Resume, "deploy", &[]),
        check(Deed::Delete, "pods", &[]),
        check(Deed::Delete, "deploy", &[("propagation", "Orphan"), ("grace", "5")]),
        check(Deed::Delete, "pods", &[("force", "true")]),
        check(Deed::Delete, "pods", &[("grace", "x")]),
        check(Deed::Kill, "pods", &[]),
        check(Deed::Cordon, "nodes", &[]),
        check(Deed::Uncordon, "nodes", &[]),
        check(Deed::Trigger, "cj", &[]),
        check(Deed::Suspend, "cj", &[]),
        check(Deed::Label, "pods", &[("changes", "a=1 b- c=it's")]),
        check(Deed::Annotate, "nodes", &[("changes", "a")]),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    scale to 5 deployment web in shop?
    $ kubectl scale deployment/web --replicas=5 -n shop
    PATCH /apis/apps/v1/namespaces/shop/deployments/web/scale?fieldManager=mizzen application/merge-patch+json
    {"spec":{"replicas":5}}

    refused: replicas must be a number of 0 or more

    restart daemonset web in shop?
    $ kubectl rollout restart daemonset/web -n shop
    PATCH /apis/apps/v1/namespaces/shop/daemonsets/web?fieldManager=mizzen application/strategic-merge-patch+json
    {"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2027-01-15T08:00:00Z"}}}}}

    set images of deployment web in shop?
    $ kubectl set image deployment/web init=init:2 web=web:2 -n shop
    PATCH /apis/apps/v1/namespaces/shop/deployments/web?fieldManager=mizzen application/strategic-merge-patch+json
    {"spec":{"template":{"spec":{"containers":[{"image":"web:2","name":"web"}],"initContainers":[{"image":"init:2","name":"init"}]}}}}

    set images of pod web in shop?
    $ kubectl set image pod/web web=reg.io/web@sha256:ab -n shop
    PATCH /api/v1/namespaces/shop/pods/web?fieldManager=mizzen application/strategic-merge-patch+json
    {"spec":{"containers":[{"image":"reg.io/web@sha256:ab","name":"web"}]}}

    set images of cronjob web in shop?
    $ kubectl set image cronjob/web log=log:2 -n shop
    PATCH /apis/batch/v1/namespaces/shop/cronjobs/web?fieldManager=mizzen application/strategic-merge-patch+json
    {"spec":{"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"image":"log:2","name":"log"}]}}}}}}

    refused: no image is changed

    pause deployment web in shop?
    $ kubectl rollout pause deployment/web -n shop
    PATCH /apis/apps/v1/namespaces/shop/deployments/web?fieldManager=mizzen application/strategic-merge-patch+json
    {"spec":{"paused":true}}

    refused: deployments.apps "web" is not paused

    delete pod web in shop?
    $ kubectl delete pod web -n shop
    DELETE /api/v1/namespaces/shop/pods/web application/json
    {"apiVersion":"v1","kind":"DeleteOptions","preconditions":{"uid":"u1"},"propagationPolicy":"Background"}

    delete deployment web in shop?
    $ kubectl delete deployment web --cascade=orphan --grace-period=5 -n shop
    DELETE /apis/apps/v1/namespaces/shop/deployments/web application/json
    {"apiVersion":"v1","gracePeriodSeconds":5,"kind":"DeleteOptions","preconditions":{"uid":"u1"},"propagationPolicy":"Orphan"}

    delete pod web in shop?
    $ kubectl delete pod web --grace-period=0 --force -n shop
    DELETE /api/v1/namespaces/shop/pods/web application/json
    {"apiVersion":"v1","gracePeriodSeconds":0,"kind":"DeleteOptions","preconditions":{"uid":"u1"},"propagationPolicy":"Background"}

    refused: grace must be a number of seconds

    kill pod web in shop?
    $ kubectl delete pod web --now -n shop
    DELETE /api/v1/namespaces/shop/pods/web application/json
    {"apiVersion":"v1","gracePeriodSeconds":1,"kind":"DeleteOptions","preconditions":{"uid":"u1"},"propagationPolicy":"Background"}

    cordon node web?
    $ kubectl cordon web
    PATCH /api/v1/nodes/web?fieldManager=mizzen application/strategic-merge-patch+json
    {"spec":{"unschedulable":true}}

    uncordon node web?
    $ kubectl uncordon web
    PATCH /api/v1/nodes/web?fieldManager=mizzen application/strategic-merge-patch+json
    {"spec":{"unschedulable":null}}

    run cronjob web in shop?
    $ kubectl create job web-manual-1800000000 --from=cronjob/web -n shop
    POST /apis/batch/v1/namespaces/shop/jobs?fieldManager=mizzen application/json
    {"apiVersion":"batch/v1","kind":"Job","metadata":{"annotations":{"cronjob.kubernetes.io/instantiate":"manual"},"labels":{"a":"b"},"name":"web-manual-1800000000","namespace":"shop","ownerReferences":[{"apiVersion":"batch/v1","controller":true,"kind":"CronJob","name":"web","uid":"u1"}]},"spec":{"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"image":"web:1","name":"web"},{"image":"log:1","name":"log"}],"initContainers":[{"image":"init:1","name":"init"}]}}}}

    suspend cronjob web in shop?
    $ kubectl patch cronjob/web -p '{"spec":{"suspend":true}}' -n shop
    PATCH /apis/batch/v1/namespaces/shop/cronjobs/web?fieldManager=mizzen application/strategic-merge-patch+json
    {"spec":{"suspend":true}}

    label pod web in shop?
    $ kubectl label pod web a=1 b- 'c=it'\''s' --overwrite -n shop
    PATCH /api/v1/namespaces/shop/pods/web?fieldManager=mizzen application/merge-patch+json
    {"metadata":{"labels":{"a":"1","b":null,"c":"it's"}}}

    refused: a is neither key=value nor key-
    "#);
}

#[test]
fn a_revision_is_put_back_whole() {
    let resource = builtin().resolve("deploy").expect("a kind");
    let set = json!({"kind": "ReplicaSet", "metadata": {"name": "web-1", "annotations": {"deployment.kubernetes.io/revision": "4"},
        "ownerReferences": [{"uid": "u1", "controller": true}]},
        "spec": {"template": {"metadata": {"labels": {"app": "web", "pod-template-hash": "1"}}, "spec": {"containers": []}}}});
    let revisions = rollout::revisions(&object("Deployment"), &[set]);
    insta::assert_snapshot!(show(rollback(resource, &object("Deployment"), &revisions[0])), @r#"
    go back to revision 4 of deployment web in shop?
    $ kubectl rollout undo deployment/web --to-revision=4 -n shop
    PATCH /apis/apps/v1/namespaces/shop/deployments/web?fieldManager=mizzen application/json-patch+json
    [{"op":"replace","path":"/spec/template","value":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[]}}}]
    "#);
    let plan = replace(resource, &object("Deployment"));
    assert_eq!(
        plan.requests[0].dry_run().uri(),
        "/apis/apps/v1/namespaces/shop/deployments/web?fieldManager=mizzen&dryRun=All"
    );
}

#[test]
fn drains_leave_and_refuse_what_kubectl_does() {
    let pod = |name: &str, phase: &str, owner: Option<&str>, local: bool| {
        let owners: Vec<_> = owner
            .iter()
            .map(|kind| json!({"kind": kind, "controller": true}))
            .collect();
        let volumes = if local {
            json!([{"name": "v", "emptyDir": {}}])
        } else {
            json!([])
        };
        json!({"metadata": {"name": name, "namespace": "d", "ownerReferences": owners}, "spec": {"volumes": volumes}, "status": {"phase": phase}})
    };
    let mut mirror = pod("static", "Running", None, false);
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let pods = [
        mirror,
        pod("web", "Running", Some("ReplicaSet"), false),
        pod("daemon", "Running", Some("DaemonSet"), false),
        pod("done", "Succeeded", None, true),
        pod("local", "Running", Some("ReplicaSet"), true),
        pod("bare", "Running", None, false),
    ];
    let nodes = builtin().resolve("nodes").expect("nodes");
    let drain = |options| match drain::plan(nodes, &object("Node"), &pods, options) {
        Err(refusal) => refusal.to_string(),
        Ok(plan) => {
            let evicted: Vec<_> = plan.evictions.iter().map(|(name, _)| name.as_str()).collect();
            format!(
                "$ {}\nevict {}\nstay {:?}\nwarn {:?}",
                plan.command,
                evicted.join(" "),
                plan.staying,
                plan.warnings
            )
        }
    };
    let all = drain::Options {
        ignore_daemonsets: true,
        delete_emptydir_data: true,
        force: true,
        grace: Some(5),
    };
    insta::assert_snapshot!(drain(all), @r#"
    $ kubectl drain web --ignore-daemonsets --delete-emptydir-data --force --grace-period=5
    evict d/web d/done d/local d/bare
    stay [("d/static", "a static Pod"), ("d/daemon", "of a DaemonSet")]
    warn [("d/local", "its local data is lost"), ("d/bare", "nothing replaces it")]
    "#);
    insta::assert_snapshot!(drain(drain::Options::default()), @"cannot drain: d/daemon: of a DaemonSet (leave Pods of DaemonSets); d/local: has local storage (lose data of emptyDir volumes); d/bare: nothing replaces it (also Pods that nothing replaces)");
    let request = drain::evict(&pods[1], Some(5)).expect("a request");
    insta::assert_snapshot!(format!("{} {}\n{}", request.method.as_str(), request.uri(), request.body), @r#"
    POST /api/v1/namespaces/d/pods/web/eviction
    {"apiVersion":"policy/v1","deleteOptions":{"gracePeriodSeconds":5},"kind":"Eviction","metadata":{"name":"web","namespace":"d"}}
    "#);
}

#[test]
fn every_kind_is_offered_what_it_can_do() {
    let offered = |kind: &str| {
        let resource = builtin().resolve(kind).expect("a kind");
        let names: Vec<_> = actions(resource)
            .map(|a| match a.rights(resource).last() {
                Some(right) => format!("{}({right})", a.name),
                None => a.name.to_owned(),
            })
            .collect();
        format!("{kind}: {}", names.join(" "))
    };
    insta::assert_snapshot!(["po", "deploy", "no", "cj", "cm"].map(offered).join("\n"), @r"
    po: edit(update pods) set-image(patch pods) delete(delete pods) kill(delete pods) label(patch pods) annotate(patch pods)
    deploy: edit(update deployments.apps) scale(patch deployments.apps/scale) restart(patch deployments.apps) rollback(patch deployments.apps) set-image(patch deployments.apps) pause(patch deployments.apps) resume(patch deployments.apps) delete(delete deployments.apps) label(patch deployments.apps) annotate(patch deployments.apps)
    no: edit(update nodes) delete(delete nodes) cordon(patch nodes) uncordon(patch nodes) drain(create pods/eviction) label(patch nodes) annotate(patch nodes)
    cj: edit(update cronjobs.batch) set-image(patch cronjobs.batch) delete(delete cronjobs.batch) trigger(create jobs.batch) suspend(patch cronjobs.batch) label(patch cronjobs.batch) annotate(patch cronjobs.batch)
    cm: edit(update configmaps) delete(delete configmaps) label(patch configmaps) annotate(patch configmaps)
    ");
    // One key does one thing on one kind.
    for resource in builtin().iter() {
        let mut keys: Vec<_> = actions(resource).map(|a| a.key).filter(|key| !key.is_empty()).collect();
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all, "{}", resource.plural);
    }
}

#[test]
fn words_are_quoted_for_a_shell() {
    for (word, expect) in [
        ("web", "web"),
        ("", "''"),
        ("a b", "'a b'"),
        ("it's", r"'it'\''s'"),
        ("$x", "'$x'"),
        ("a=b,c", "a=b,c"),
    ] {
        assert_eq!(quote(word), expect);
    }
}
