//! What people do with Helm: install, upgrade, roll back, uninstall; both released lines of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use mizzen_tests::{Cluster, can_run_containers, fail, succeed};

const DEPLOYMENT: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}, labels: {app: {{ .Release.Name }}}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: mizzen.local/hello:{{ .Values.tag }}
          ports: [{containerPort: 8080}]
          readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {app: {{ .Release.Name }}}
  ports: [{port: 80, targetPort: 8080}]
";

fn write_chart(chart: &Path) {
    fs::create_dir_all(chart.join("templates")).expect("folders");
    let about = "apiVersion: v2\nname: web\nversion: 0.1.0\n";
    for (file, text) in [
        ("Chart.yaml", about),
        ("values.yaml", "replicas: 1\ntag: v1\n"),
        ("templates/web.yaml", DEPLOYMENT),
        ("templates/NOTES.txt", "It is called {{ .Release.Name }}.\n"),
    ] {
        fs::write(chart.join(file), text).expect("written");
    }
}

#[test]
fn a_release_from_install_to_uninstall() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start();
    let chart = cluster.scratch().join("web");
    write_chart(&chart);
    std::thread::scope(|scope| {
        for helm in ["helm-1.32", "helm-1.35"] {
            let (cluster, chart) = (&cluster, chart.to_str().expect("a path"));
            scope.spawn(move || release(cluster, helm, chart));
        }
    });
}

fn release(cluster: &Cluster, helm: &str, chart: &str) {
    let name = helm.replace('.', "-");
    let helm = |arguments: &str| -> Command { cluster.client(helm, &arguments.split(' ').collect::<Vec<_>>()) };
    let image = || cluster.get(&format!("deployment {name} -n {name}"));
    let expect = |tag: &str, replicas: i64| {
        let deployment = image().expect("the deployment");
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], format!("mizzen.local/hello:{tag}"));
        assert_eq!(deployment["status"]["readyReplicas"], replicas);
    };

    let said = succeed(&mut helm(&format!(
        "install {name} {chart} -n {name} --create-namespace --wait --timeout 60s"
    )));
    assert!(
        said.contains("STATUS: deployed") && said.contains(&format!("It is called {name}.")),
        "{said}"
    );
    expect("v1", 1);

    succeed(&mut helm(&format!(
        "upgrade {name} {chart} -n {name} --set replicas=2 --set tag=v2 --wait --timeout 60s"
    )));
    expect("v2", 2);
    let history = succeed(&mut helm(&format!("history {name} -n {name}")));
    assert!(
        history.contains("superseded") && history.contains("Upgrade complete"),
        "{history}"
    );
    assert!(succeed(&mut helm(&format!("list -n {name}"))).contains("deployed"));

    succeed(&mut helm(&format!("rollback {name} 1 -n {name} --wait --timeout 60s")));
    expect("v1", 1);

    let said = succeed(&mut helm(&format!("uninstall {name} -n {name} --wait --timeout 60s")));
    assert!(said.contains(&format!(r#"release "{name}" uninstalled"#)), "{said}");
    assert!(image().is_err_and(|error| error.contains("NotFound")));
    assert!(fail(&mut helm(&format!("status {name} -n {name}"))).contains("not found"));
    cluster.run(&["delete", "namespace", &name, "--timeout=60s"]);
}
