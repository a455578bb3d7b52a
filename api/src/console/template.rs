//! What a new object of a kind may look like, to begin with in an editor.

use crate::resource::Resource;

/// A container that waits to be named.
const CONTAINER: &str = "containers:\n  - name: main\n    image: IMAGE\n";

/// The YAML of a new object in a namespace.
pub fn template(resource: &Resource, namespace: &str) -> String {
    let namespace = match (resource.namespaced(), namespace) {
        (false, _) => String::new(),
        (true, "") => "  namespace: default\n".to_owned(),
        (true, namespace) => format!("  namespace: {namespace}\n"),
    };
    format!(
        "apiVersion: {}\nkind: {}\nmetadata:\n  name: NAME\n{namespace}{}",
        resource.api_version(),
        resource.kind,
        body(resource)
    )
}

fn body(resource: &Resource) -> String {
    let pod = |more: &str, depth: usize| indent(&format!("{CONTAINER}{more}"), depth);
    let selected = |more: &str| {
        let labels = "metadata:\n      labels:\n        app: NAME\n";
        format!("spec:\n{more}  selector:\n    matchLabels:\n      app: NAME\n  template:\n    {labels}    spec:\n")
            + &pod("", 6)
    };
    let job = || format!("spec:\n  template:\n    spec:\n{}", pod("restartPolicy: Never\n", 6));
    match &*resource.kind {
        "Pod" => format!("spec:\n{}", pod("", 2)),
        "Deployment" | "ReplicaSet" => selected("  replicas: 1\n"),
        "StatefulSet" => selected("  replicas: 1\n  serviceName: NAME\n"),
        "DaemonSet" => selected(""),
        "Job" => job(),
        "CronJob" => format!("spec:\n  schedule: '0 * * * *'\n  jobTemplate:\n{}", indent(&job(), 4)),
        "Service" => "spec:\n  selector:\n    app: NAME\n  ports:\n  - port: 80\n    targetPort: 8080\n".to_owned(),
        "Ingress" => "spec:\n  rules:\n  - host: HOST\n    http:\n      paths:\n      - path: /\n        pathType: Prefix\n        backend:\n          service:\n            name: NAME\n            port:\n              number: 80\n".to_owned(),
        "ConfigMap" => "data:\n  KEY: VALUE\n".to_owned(),
        "Secret" => "stringData:\n  KEY: VALUE\n".to_owned(),
        "PersistentVolumeClaim" => "spec:\n  accessModes: [ReadWriteOnce]\n  resources:\n    requests:\n      storage: 1Gi\n".to_owned(),
        "NetworkPolicy" => "spec:\n  podSelector: {}\n  policyTypes: [Ingress]\n".to_owned(),
        "HorizontalPodAutoscaler" => "spec:\n  scaleTargetRef:\n    apiVersion: apps/v1\n    kind: Deployment\n    name: NAME\n  minReplicas: 1\n  maxReplicas: 3\n  metrics:\n  - type: Resource\n    resource:\n      name: cpu\n      target:\n        type: Utilization\n        averageUtilization: 80\n".to_owned(),
        "Role" | "ClusterRole" => "rules:\n- apiGroups: ['']\n  resources: [pods]\n  verbs: [get, list, watch]\n".to_owned(),
        "RoleBinding" | "ClusterRoleBinding" => "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: view\nsubjects:\n- kind: ServiceAccount\n  name: NAME\n  namespace: default\n".to_owned(),
        "Namespace" | "ServiceAccount" => String::new(),
        _ => "spec: {}\n".to_owned(),
    }
}

fn indent(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::builtin;
    use serde_json::Value;

    #[test]
    fn templates_are_objects_of_their_kind() {
        for name in [
            "pods",
            "deployments",
            "jobs",
            "cronjobs",
            "services",
            "namespaces",
            "nodes",
        ] {
            let resource = builtin().resolve(name).expect("a kind");
            let object: Value = serde_saphyr::from_str(&template(resource, "shop")).expect("YAML");
            assert_eq!(object["kind"], *resource.kind);
        }
        let cron = builtin().resolve("cronjobs").expect("a kind");
        insta::assert_snapshot!(template(cron, "shop"));
    }
}
