//! Gives a Pod what its RuntimeClass says: what its sandbox costs, and on which nodes it can run.

use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::object::Object;
use mizzen_api::quantity::Quantity;
use mizzen_api::resource::Resource;
use mizzen_api::status::ApiResult;
use serde_json::Value;

use super::{Admission, AdmissionRequest, Operation, array_mut, refuse};
use crate::apiserver::authorization::builtin_row;
use crate::cache::Reader;
use crate::kinds::check::section;

/// The plugin.
pub struct RuntimeClass {
    reader: Arc<dyn Reader>,
    classes: Arc<Resource>,
}

impl RuntimeClass {
    /// A plugin that looks classes up here.
    pub fn new(reader: Arc<dyn Reader>) -> Self {
        Self {
            reader,
            classes: builtin_row("node.k8s.io", "runtimeclasses"),
        }
    }

    /// The Pod's class; `Null` for a Pod that names none.
    async fn class_of(&self, request: &AdmissionRequest<'_>) -> ApiResult<Value> {
        let spec = request.object.as_deref().and_then(|pod| pod.get("spec"));
        let Some(name) = spec.and_then(|spec| spec["runtimeClassName"].as_str()) else {
            return Ok(Value::Null);
        };
        let found = self.reader.find(&self.classes, "", name).await;
        found
            .and_then(|entry| serde_json::from_slice(&entry.json).ok())
            .ok_or_else(|| refuse(request, format_args!("pod rejected: RuntimeClass {name:?} not found")))
    }
}

/// Whether both lists of amounts say the same.
fn same(one: &Value, other: &Value) -> bool {
    let amounts = |list: &Value| -> Vec<(String, Option<Quantity>)> {
        let list = list.as_object().into_iter().flatten();
        let mut amounts: Vec<_> = list
            .map(|(name, amount)| (name.clone(), amount.as_str().and_then(|text| text.parse().ok())))
            .collect();
        amounts.sort_by(|a, b| a.0.cmp(&b.0));
        amounts
    };
    amounts(one) == amounts(other)
}

fn applies(request: &AdmissionRequest<'_>) -> bool {
    request.operation == Operation::Create && request.is("", "pods") && request.subresource.is_empty()
}

const OTHER_OVERHEAD: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

/// Lays the class over the spec, or says what is against it.
fn apply(class: &Value, spec: &mut Object) -> Result<(), String> {
    let overhead = &class["overhead"]["podFixed"];
    let given = spec
        .get("overhead")
        .filter(|given| given.as_object().is_some_and(|given| !given.is_empty()));
    if class["overhead"].is_object() {
        if given.is_some_and(|given| !same(given, overhead)) {
            return Err(OTHER_OVERHEAD.to_owned());
        }
        spec.insert("overhead".into(), overhead.clone());
    }
    let labels = class["scheduling"]["nodeSelector"].as_object();
    for (key, wanted) in labels.into_iter().flatten() {
        let own = section(spec, "nodeSelector")
            .entry(key)
            .or_insert_with(|| wanted.clone());
        if own != wanted {
            let [wanted, own] = [wanted, &*own].map(|value| value.as_str().unwrap_or_default());
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {own}"
            ));
        }
    }
    for toleration in class["scheduling"]["tolerations"].as_array().into_iter().flatten() {
        let own = array_mut(spec, "tolerations");
        if !own.contains(toleration) {
            own.push(toleration.clone());
        }
    }
    Ok(())
}

#[async_trait]
impl Admission for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        if !applies(request) {
            return Ok(());
        }
        let class = self.class_of(request).await?;
        let outcome = request.object_mut("spec").map_or(Ok(()), |spec| apply(&class, spec));
        outcome.map_err(|why| refuse(request, why))
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> ApiResult<()> {
        if !applies(request) {
            return Ok(());
        }
        let class = self.class_of(request).await?;
        let spec = request.object.as_deref().and_then(|pod| pod.get("spec"));
        let given = spec.map_or(&Value::Null, |spec| &spec["overhead"]);
        match &class["overhead"] {
            Value::Object(defined) if same(given, defined.get("podFixed").unwrap_or(&Value::Null)) => Ok(()),
            Value::Object(_) => Err(refuse(request, OTHER_OVERHEAD)),
            _ if given.is_object() => Err(refuse(
                request,
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::admission::testing::{Case, admit};
    use crate::apiserver::fake::Fake;
    use serde_json::json;

    async fn check(spec: Value) -> String {
        let class = |name: &str, more: Value| {
            let mut class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "h"});
            class
                .as_object_mut()
                .expect("an object")
                .extend(more.as_object().cloned().unwrap_or_default());
            class
        };
        let toleration = json!({"key": "k", "operator": "Exists"});
        let scheduling = json!({"nodeSelector": {"kind": "x"}, "tolerations": [toleration]});
        let plugin = RuntimeClass::new(Fake::new([
            class("plain", json!({})),
            class("costly", json!({"overhead": {"podFixed": {"cpu": "1"}}})),
            class("placed", json!({ "scheduling": scheduling })),
        ]));
        match admit(&plugin, Case::create("pods").named("p").with(json!({ "spec": spec }))).await {
            Ok(object) => object["spec"].to_string(),
            Err(error) => format!("{} {}", error.code, error.message),
        }
    }

    #[tokio::test]
    async fn pods_get_what_their_class_says() {
        insta::assert_snapshot!(check(json!({})).await, @r#"{}"#);
        insta::assert_snapshot!(check(json!({"runtimeClassName": "plain"})).await, @r#"{"runtimeClassName":"plain"}"#);
        insta::assert_snapshot!(check(json!({"runtimeClassName": "costly"})).await, @r#"{"overhead":{"cpu":"1"},"runtimeClassName":"costly"}"#);
        insta::assert_snapshot!(check(json!({"runtimeClassName": "costly", "overhead": {"cpu": "1000m"}})).await, @r#"{"overhead":{"cpu":"1"},"runtimeClassName":"costly"}"#);
        let own = json!({"runtimeClassName": "placed", "nodeSelector": {"own": "y"}, "tolerations": [{"key": "k", "operator": "Exists"}, {"key": "l"}]});
        insta::assert_snapshot!(check(own).await, @r#"{"nodeSelector":{"kind":"x","own":"y"},"runtimeClassName":"placed","tolerations":[{"key":"k","operator":"Exists"},{"key":"l"}]}"#);
    }

    #[tokio::test]
    async fn what_does_not_go_together_is_refused() {
        insta::assert_snapshot!(check(json!({"runtimeClassName": "none"})).await, @r#"403 pods "p" is forbidden: pod rejected: RuntimeClass "none" not found"#);
        insta::assert_snapshot!(check(json!({"overhead": {"cpu": "1"}})).await, @r#"403 pods "p" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"#);
        insta::assert_snapshot!(check(json!({"runtimeClassName": "plain", "overhead": {"cpu": "1"}})).await, @r#"403 pods "p" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"#);
        insta::assert_snapshot!(check(json!({"runtimeClassName": "costly", "overhead": {"cpu": "2"}})).await, @r#"403 pods "p" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"#);
        insta::assert_snapshot!(check(json!({"runtimeClassName": "placed", "nodeSelector": {"kind": "z"}})).await, @r#"403 pods "p" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[kind] = x; pod.spec.nodeSelector[kind] = z"#);
    }
}
