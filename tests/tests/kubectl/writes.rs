//! Changing objects: `replace`, `patch` of all types, `edit`, `diff`, `delete --cascade`.

use mizzen_tests::succeed;

use super::Client;

const MAP: &str = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1"}}"#;
const OWNER: &str = r#"{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "owner"}, "spec": {"replicas": 0,
    "selector": {"matchLabels": {"app": "owner"}}, "template": {"metadata": {"labels": {"app": "owner"}},
    "spec": {"containers": [{"name": "a", "image": "mizzen.local/hello:v1"}]}}}}"#;

/// Runs all of them in a namespace.
pub(super) fn all(client: &Client<'_>, ns: &str) {
    let made = client.feed(&format!("create -n {ns} -f -"), MAP);
    assert_eq!(made, "configmap/m created\n");
    let replaced = client.feed(&format!("replace -n {ns} -f -"), &MAP.replace(r#""1""#, r#""2""#));
    assert_eq!(replaced, "configmap/m replaced\n");
    patches(client, ns);
    edit(client, ns);
    let forced = client.feed(&format!("replace --force -n {ns} -f -"), MAP);
    assert!(
        forced.contains("configmap \"m\" deleted") && forced.contains("configmap/m replaced"),
        "{forced}"
    );
    differences(client, ns);
    cascades(client, ns);
}

fn patches(client: &Client<'_>, ns: &str) {
    let data = || client.run(&format!("get configmap m -n {ns} -o jsonpath={{.data}}"));
    for (kind, patch, said, data_after) in [
        (
            "json",
            r#"[{"op":"add","path":"/data/b","value":"3"}]"#,
            "patched",
            r#"{"a":"2","b":"3"}"#,
        ),
        ("merge", r#"{"data":{"b":null}}"#, "patched", r#"{"a":"2"}"#),
        ("strategic", r#"{"data":{"c":"4"}}"#, "patched", r#"{"a":"2","c":"4"}"#),
        (
            "strategic",
            r#"{"data":{"c":"4"}}"#,
            "patched (no change)",
            r#"{"a":"2","c":"4"}"#,
        ),
    ] {
        client.expect(
            &format!("patch configmap m -n {ns} --type={kind} -p {patch}"),
            &format!("configmap/m {said}\n"),
        );
        assert_eq!(data(), data_after);
    }
    let refused = client.fails(&format!(
        r#"patch configmap m -n {ns} --type=json -p [{{"op":"test","path":"/data/a","value":"9"}}]"#
    ));
    assert!(refused.contains("the server rejected our request"), "{refused}");
    client.expect(
        &format!(r#"patch configmap m -n {ns} --dry-run=server -o jsonpath={{.data.a}} -p {{"data":{{"a":"dry"}}}}"#),
        "dry",
    );
    assert!(!data().contains("dry"));
}

fn edit(client: &Client<'_>, ns: &str) {
    let edit = |editor: &str| {
        let mut command = client.command(&format!("edit configmap m -n {ns}"));
        succeed(command.env("KUBE_EDITOR", editor))
    };
    assert_eq!(edit("sed -i s/c:/d:/"), "configmap/m edited\n");
    client.expect(
        &format!("get configmap m -n {ns} -o jsonpath={{.data}}"),
        r#"{"a":"2","d":"4"}"#,
    );
    assert_eq!(edit("true"), "", "nothing changed, nothing is said on stdout");
}

fn differences(client: &Client<'_>, ns: &str) {
    let file = client.cluster.scratch().join(format!("{}-diff.json", client.name));
    std::fs::write(&file, MAP.replace("\"1\"", "\"5\"")).expect("written");
    let file = file.display();
    let output = client
        .command(&format!("diff -n {ns} -f {file}"))
        .output()
        .expect("kubectl runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("-  a: \"1\"") && said.contains("+  a: \"5\""), "{said}");
    client.run(&format!("apply --server-side --force-conflicts -n {ns} -f {file}"));
    succeed(&mut client.command(&format!("diff --server-side -n {ns} -f {file}")));
}

fn cascades(client: &Client<'_>, ns: &str) {
    let owned = || client.run(&format!("get replicasets -n {ns} -l app=owner -o name"));
    let make = || {
        client.feed(&format!("create -n {ns} -f -"), OWNER);
        client.run(&format!(
            "wait deployment/owner -n {ns} --for=jsonpath={{.status.observedGeneration}}=1 --timeout=60s"
        ));
        client.cluster.wait("ReplicaSet", |_| !owned().is_empty());
    };
    make();
    client.run(&format!("delete deployment owner -n {ns} --cascade=orphan"));
    let orphan = owned();
    let references = client.run(&format!(
        "get -n {ns} {} -o jsonpath={{.metadata.ownerReferences}}",
        orphan.trim()
    ));
    assert_eq!(references, "", "an orphan has no owner");
    // The same template finds its orphan again.
    make();
    assert_eq!(owned(), orphan);
    client.run(&format!(
        "delete deployment owner -n {ns} --cascade=foreground --timeout=60s"
    ));
    assert_eq!(owned(), "", "dependents went first");
}
