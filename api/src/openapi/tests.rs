//! What clients read of the OpenAPI documents.

use super::*;
use crate::resource::builtin;
use std::collections::BTreeSet;

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// Names that a document refers to.
fn references(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(name)) = map.get("$ref") {
                out.insert(name.rsplit('/').next().unwrap_or_default().to_owned());
            }
            map.values().for_each(|v| references(v, out));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, out)),
        _ => {}
    }
}

#[test]
fn every_group_version_has_a_complete_document() {
    let index = index(builtin());
    let mut identifiers = BTreeSet::new();
    for path in index["paths"].as_object().expect("paths").keys() {
        let document = parse(&group_version(builtin(), path, "v1.37.0").expect(path));
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        let mut used = BTreeSet::new();
        references(&document, &mut used);
        for name in used {
            assert!(schemas.contains_key(&name), "{path}: {name}");
        }
        for item in document["paths"].as_object().expect("paths").values() {
            for operation in item.as_object().expect("an item").values().filter(|o| o.is_object()) {
                let identifier = operation["operationId"].as_str().expect("an identifier").to_owned();
                assert!(identifiers.insert(identifier.clone()), "{identifier} twice");
            }
        }
    }
    assert!(
        index["paths"]["api/v1"]["serverRelativeURL"]
            .as_str()
            .is_some_and(|u| u.starts_with("/openapi/v3/api/v1?hash="))
    );
    assert_eq!(group_version(builtin(), "apis/none/v1", "v1"), None);
}

#[test]
fn every_kind_has_a_type_in_the_table() {
    // What is computed, for the consoles or from what containers use, nobody writes, and upstream's types do not have it.
    let computed = ["console.mizzen.io", "metrics.k8s.io"];
    for row in builtin().iter().filter(|row| !computed.contains(&&*row.group)) {
        assert!(crate::schema::of(row).is_some(), "{} {}", row.api_version(), row.kind);
    }
}

#[test]
fn what_clients_look_for() {
    let apps = parse(&group_version(builtin(), "apis/apps/v1", "v1.37.0").expect("apps"));
    let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let names: Vec<_> = patch["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| p["name"].as_str())
        .collect();
    assert!(names.contains(&Some("fieldValidation")), "{names:?}");
    let content: Vec<_> = patch["requestBody"]["content"]
        .as_object()
        .expect("content")
        .keys()
        .collect();
    insta::assert_snapshot!(
        json!([content, patch["operationId"], patch["x-kubernetes-action"], patch["x-kubernetes-group-version-kind"]]),
        @r#"[["application/apply-patch+yaml","application/json-patch+json","application/merge-patch+json","application/strategic-merge-patch+json"],"patchAppsV1NamespacedDeployment","patch",{"group":"apps","kind":"Deployment","version":"v1"}]"#
    );
    let identifiers = |path: &str| {
        let item = apps["paths"][path].as_object().expect("an item");
        let all: Vec<_> = item.values().filter_map(|o| o.get("operationId")?.as_str()).collect();
        all.join(" ")
    };
    insta::assert_snapshot!(
        ["/deployments", "/namespaces/{namespace}/deployments", "/namespaces/{namespace}/deployments/{name}",
         "/namespaces/{namespace}/deployments/{name}/scale"].map(|p| identifiers(&format!("/apis/apps/v1{p}"))).join("\n"),
        @r"
        listAppsV1DeploymentForAllNamespaces
        deleteAppsV1CollectionNamespacedDeployment listAppsV1NamespacedDeployment createAppsV1NamespacedDeployment
        deleteAppsV1NamespacedDeployment readAppsV1NamespacedDeployment patchAppsV1NamespacedDeployment replaceAppsV1NamespacedDeployment
        readAppsV1NamespacedDeploymentScale patchAppsV1NamespacedDeploymentScale replaceAppsV1NamespacedDeploymentScale
        "
    );
    let core = parse(&group_version(builtin(), "api/v1", "v1.37.0").expect("core"));
    let mut ports = core["components"]["schemas"]["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"].clone();
    ports["description"] = "…".into();
    insta::assert_snapshot!(
        ports,
        @r##"{"description":"…","items":{"allOf":[{"$ref":"#/components/schemas/io.k8s.api.core.v1.ServicePort"}],"default":{}},"type":"array","x-kubernetes-list-map-keys":["port","protocol"],"x-kubernetes-list-type":"map","x-kubernetes-patch-merge-key":"port","x-kubernetes-patch-strategy":"merge"}"##
    );
    let exec = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/exec"]["post"];
    insta::assert_snapshot!(json!([exec["operationId"], exec["x-kubernetes-action"]]), @r#"["connectPostCoreV1NamespacedPodExec","connect"]"#);
}

#[test]
fn version_two() {
    let document = parse(&v2(builtin(), "v1.37.0"));
    let definitions = document["definitions"].as_object().expect("definitions");
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    for name in used {
        assert!(definitions.contains_key(&name), "{name}");
    }
    let mut spec = document["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"].clone();
    spec["description"] = "…".into();
    insta::assert_snapshot!(spec, @r##"{"$ref":"#/definitions/io.k8s.api.core.v1.PodSpec","description":"…"}"##);
    let bytes = v2_protobuf(builtin(), "v1.37.0");
    assert!(bytes.starts_with(b"\x0a\x032.0\x12"), "{:?}", &bytes[..8]);
}
