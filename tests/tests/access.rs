//! Who may do what, seen from outside: restricted accounts, nobody, and a node's credential.

use mizzen_tests::{Cluster, can_run_containers, fail, succeed};

#[test]
fn strangers_and_restricted_accounts_are_refused_in_upstreams_words() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start();
    cluster.run(&["create", "namespace", "team"]);
    cluster.apply(include_str!("../../examples/access.yaml"));
    cluster.run(&[
        "create",
        "secret",
        "generic",
        "hidden",
        "-n",
        "team",
        "--from-literal=a=b",
    ]);
    let token = cluster.run(&["create", "token", "reader", "-n", "team"]);
    let server = format!("--server=https://127.0.0.1:{}", cluster.port());
    let authority = cluster.scratch().join("ca.crt");
    let config = cluster.run(&[
        "config",
        "view",
        "--raw",
        "-o",
        "jsonpath={.clusters[0].cluster.certificate-authority-data}",
    ]);
    succeed(
        std::process::Command::new("sh").args(["-c", &format!("echo {config} | base64 -d > {}", authority.display())]),
    );
    let authority = format!("--certificate-authority={}", authority.display());
    let token = format!("--token={}", token.trim());
    let reader = |arguments: &[&str]| {
        let mut command = cluster.kubectl(arguments);
        command
            .env("KUBECONFIG", "/nonexistent")
            .args([&server, &authority, &token]);
        command
    };
    succeed(&mut reader(&["get", "pods", "-n", "team"]));
    for (arguments, words) in [
        (
            &["get", "secrets", "-n", "team"][..],
            r#"Error from server (Forbidden): secrets is forbidden: User "system:serviceaccount:team:reader" cannot list resource "secrets" in API group "" in the namespace "team""#,
        ),
        (
            &["get", "pods", "-n", "default"],
            r#"pods is forbidden: User "system:serviceaccount:team:reader" cannot list resource "pods" in API group "" in the namespace "default""#,
        ),
        (
            &["delete", "pod", "x", "-n", "team"],
            r#"pods "x" is forbidden: User "system:serviceaccount:team:reader" cannot delete resource "pods" in API group "" in the namespace "team""#,
        ),
        (
            &["get", "nodes"],
            r#"nodes is forbidden: User "system:serviceaccount:team:reader" cannot list resource "nodes" in API group "" at the cluster scope"#,
        ),
    ] {
        let said = fail(&mut reader(arguments));
        assert!(said.contains(words), "{said}");
    }
    let anonymous = |path: &str| {
        let url = format!("https://127.0.0.1:{}{path}", cluster.port());
        let mut command = std::process::Command::new("curl");
        let ca = cluster.scratch().join("ca.crt");
        command
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"])
            .arg(ca)
            .arg(url);
        succeed(&mut command)
    };
    assert_eq!(anonymous("/healthz"), "200");
    assert_eq!(anonymous("/version"), "200");
    assert!(["401", "403"].contains(&anonymous("/api/v1/namespaces/default/secrets").as_str()));

    let node = cluster.data_dir().join("agent/kubelet.kubeconfig");
    let mut as_node = cluster.kubectl(&["get", "secret", "hidden", "-n", "team"]);
    let said = fail(as_node.env("KUBECONFIG", node));
    assert!(
        said.contains("Forbidden") && said.contains("no relationship found between node"),
        "{said}"
    );
}
