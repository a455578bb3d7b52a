//! Turns the name of a Pod's PriorityClass into the number that the scheduler and the kubelet go by.

use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::object::Object;
use mizzen_api::resource::Resource;
use mizzen_api::status::ApiResult;
use serde::Deserialize;
use serde_json::Value;

use super::{Admission, AdmissionRequest, Operation, refuse};
use crate::apiserver::authorization::builtin_row;
use crate::cache::Reader;

const GROUP: &str = "scheduling.k8s.io";
const PREEMPT: &str = "PreemptLowerPriority";

/// The plugin.
pub struct Priority {
    reader: Arc<dyn Reader>,
    classes: Arc<Resource>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Class {
    #[serde(default)]
    value: i64,
    #[serde(default)]
    global_default: bool,
    #[serde(default)]
    preemption_policy: Option<String>,
}

/// What a Pod gets.
struct Resolved {
    class: String,
    value: i64,
    preemption: String,
}

impl Priority {
    /// A plugin that looks classes up here.
    pub fn new(reader: Arc<dyn Reader>) -> Self {
        Self {
            reader,
            classes: builtin_row(GROUP, "priorityclasses"),
        }
    }

    /// The class for Pods that name none: of several (they were all default for a moment) the lowest.
    fn default_class(&self) -> Option<(String, Class)> {
        let all = self.reader.list(&self.classes, None).into_iter();
        let classes = all.filter_map(|entry| Some((entry.name.to_string(), serde_json::from_slice(&entry.json).ok()?)));
        classes
            .filter(|(_, class): &(String, Class)| class.global_default)
            .min_by_key(|(_, class)| class.value)
    }

    async fn resolve(&self, name: &str) -> Option<Resolved> {
        let named = |class: String, found: Class| Resolved {
            class,
            value: found.value,
            preemption: found.preemption_policy.unwrap_or_else(|| PREEMPT.into()),
        };
        if name.is_empty() {
            let default = self.default_class().map(|(name, class)| named(name, class));
            return Some(default.unwrap_or_else(|| Resolved {
                class: String::new(),
                value: 0,
                preemption: PREEMPT.into(),
            }));
        }
        let entry = self.reader.find(&self.classes, "", name).await?;
        let class = serde_json::from_slice(&entry.json).ok()?;
        Some(named(name.into(), class))
    }

    async fn admit_pod(&self, request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        let field = |object: Option<&Object>, name: &str| {
            object
                .and_then(|o| o.get("spec"))
                .and_then(|spec| spec.get(name))
                .filter(|v| !v.is_null())
                .cloned()
        };
        if request.operation == Operation::Update {
            // Neither may change; clients that do not know them leave them out.
            for name in ["priority", "preemptionPolicy"] {
                if let Some(old) = field(request.old, name)
                    && let Some(spec) = request.object_mut("spec")
                    && spec.get(name).is_none_or(Value::is_null)
                {
                    spec.insert(name.into(), old);
                }
            }
            return Ok(());
        }
        let own = |name| field(request.object.as_deref(), name);
        let class = own("priorityClassName")
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default();
        let Some(resolved) = self.resolve(&class).await else {
            return Err(refuse(
                request,
                format_args!("no PriorityClass with name {class} was found"),
            ));
        };
        if let Some(given) = own("priority")
            && given != resolved.value
        {
            let why = format!(
                "the integer value of priority ({given}) must not be provided in pod spec; \
                 priority admission controller computed {} from the given PriorityClass name",
                resolved.value
            );
            return Err(refuse(request, why));
        }
        if let Some(Value::String(given)) = own("preemptionPolicy")
            && given != resolved.preemption
        {
            let why = format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; \
                 priority admission controller computed {} from the given PriorityClass name",
                resolved.preemption
            );
            return Err(refuse(request, why));
        }
        if let Some(spec) = request.object_mut("spec") {
            if !resolved.class.is_empty() {
                spec.insert("priorityClassName".into(), resolved.class.into());
            }
            spec.insert("priority".into(), resolved.value.into());
            spec.insert("preemptionPolicy".into(), resolved.preemption.into());
        }
        Ok(())
    }
}

#[async_trait]
impl Admission for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if writes && request.is("", "pods") && request.subresource.is_empty() {
            return self.admit_pod(request).await;
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> ApiResult<()> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if !writes || !request.is(GROUP, "priorityclasses") {
            return Ok(());
        }
        let becomes_default =
            request.object.as_deref().and_then(|o| o.get("globalDefault")) == Some(&Value::Bool(true));
        match self.default_class() {
            Some((other, _)) if becomes_default && other != request.object_name() => Err(refuse(
                request,
                format_args!("PriorityClass {other} is already marked as default. Only one default can exist"),
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

    fn class(name: &str, value: i64, default: bool) -> Value {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "globalDefault": default})
    }

    async fn check(classes: &[Value], case: Case) -> String {
        let plugin = Priority::new(Fake::new(classes.iter().cloned()));
        match admit(&plugin, case).await {
            Ok(object) => object["spec"].to_string(),
            Err(error) => format!("{} {}", error.code, error.message),
        }
    }

    fn pod(spec: Value) -> Case {
        Case::create("pods").named("p").with(json!({ "spec": spec }))
    }

    fn spec(class: &str, priority: i64) -> String {
        let mut spec = json!({"priority": priority, "preemptionPolicy": PREEMPT});
        if !class.is_empty() {
            spec = json!({"priorityClassName": class, "priority": priority, "preemptionPolicy": PREEMPT});
        }
        spec.to_string()
    }

    #[tokio::test]
    async fn pods_get_the_number_of_their_class() {
        let classes = [class("high", 1000, false)];
        assert_eq!(
            check(&classes, pod(json!({"priorityClassName": "high"}))).await,
            spec("high", 1000)
        );
        assert_eq!(check(&classes, pod(json!({}))).await, spec("", 0));
        assert_eq!(check(&[class("low", 7, true)], pod(json!({}))).await, spec("low", 7));
        insta::assert_snapshot!(check(&classes, pod(json!({"priorityClassName": "x"}))).await, @r#"403 pods "p" is forbidden: no PriorityClass with name x was found"#);
        insta::assert_snapshot!(check(&classes, pod(json!({"priority": 5}))).await, @r#"403 pods "p" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name"#);
        insta::assert_snapshot!(check(&classes, pod(json!({"preemptionPolicy": "Never"}))).await, @r#"403 pods "p" is forbidden: the string value of PreemptionPolicy (Never) must not be provided in pod spec; priority admission controller computed PreemptLowerPriority from the given PriorityClass name"#);
    }

    #[tokio::test]
    async fn one_class_is_the_default() {
        let classes = [class("low", 7, true)];
        let new = |name| {
            Case::create("priorityclasses")
                .named(name)
                .with(json!({"globalDefault": true}))
        };
        insta::assert_snapshot!(check(&classes, new("other")).await, @r#"403 priorityclasses.scheduling.k8s.io "other" is forbidden: PriorityClass low is already marked as default. Only one default can exist"#);
        assert_eq!(check(&classes, new("low").operation(Operation::Update)).await, "null");
    }
}
