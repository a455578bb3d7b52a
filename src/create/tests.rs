//! Objects as kubectl's generators make them.

use super::*;
use clap::Parser;
use mizzen_api::yaml;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    create: Args,
}

fn check(line: &str) -> String {
    let words = std::iter::once("create").chain(line.split(' '));
    let program = Program::try_parse_from(words).unwrap_or_else(|e| panic!("{e}"));
    let generator = program.create.generator.expect("a generator");
    yaml::to_string(&generator.object().expect("an object"))
}

#[test]
fn flags_make_the_objects_that_kubectl_makes() {
    insta::assert_snapshot!(check("deployment web --image=mizzen.local/hello:v1 --replicas=3 --port=8080"), @r"
    apiVersion: apps/v1
    kind: Deployment
    metadata:
      labels:
        app: web
      name: web
    spec:
      replicas: 3
      selector:
        matchLabels:
          app: web
      template:
        metadata:
          labels:
            app: web
        spec:
          containers:
          - image: mizzen.local/hello:v1
            name: hello
            ports:
            - containerPort: 8080
    ");
    insta::assert_snapshot!(check("service nodeport web --tcp=80:8080 --node-port=30080"), @r"
    apiVersion: v1
    kind: Service
    metadata:
      labels:
        app: web
      name: web
    spec:
      ports:
      - name: 80-8080
        nodePort: 30080
        port: 80
        protocol: TCP
        targetPort: 8080
      selector:
        app: web
      type: NodePort
    ");
    insta::assert_snapshot!(check("configmap c --from-literal=a=b --from-literal=c=d=e"), @r"
    apiVersion: v1
    data:
      a: b
      c: d=e
    kind: ConfigMap
    metadata:
      name: c
    ");
    insta::assert_snapshot!(check("secret generic s --from-literal=a=b"), @r"
    apiVersion: v1
    data:
      a: Yg==
    kind: Secret
    metadata:
      name: s
    type: Opaque
    ");
    insta::assert_snapshot!(check("role r --verb=get,list --resource=pods,pods/log,deployments"), @r#"
    apiVersion: rbac.authorization.k8s.io/v1
    kind: Role
    metadata:
      name: r
    rules:
    - apiGroups:
      - ""
      resources:
      - pods
      - pods/log
      verbs:
      - get
      - list
    - apiGroups:
      - apps
      resources:
      - deployments
      verbs:
      - get
      - list
    "#);
    insta::assert_snapshot!(check("clusterrolebinding b --clusterrole=admin --user=ann --serviceaccount=x:y"), @r#"
    apiVersion: rbac.authorization.k8s.io/v1
    kind: ClusterRoleBinding
    metadata:
      name: b
    roleRef:
      apiGroup: rbac.authorization.k8s.io
      kind: ClusterRole
      name: admin
    subjects:
    - apiGroup: rbac.authorization.k8s.io
      kind: User
      name: ann
    - kind: ServiceAccount
      name: "y"
      namespace: x
    "#);
    insta::assert_snapshot!(check("job j --image=busybox -- sleep 1"), @r#"
    apiVersion: batch/v1
    kind: Job
    metadata:
      name: j
    spec:
      template:
        spec:
          containers:
          - command:
            - sleep
            - "1"
            image: busybox
            name: j
          restartPolicy: Never
    "#);
}
