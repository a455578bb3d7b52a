//! Gives claims that say nothing about their class the default one.

use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::resource::Resource;
use mizzen_api::status::ApiResult;
use serde_json::Value;

use super::{Admission, AdmissionRequest, Operation};
use crate::apiserver::authorization::builtin_row;
use crate::cache::Reader;
use crate::controllers::kinds::storage::StorageClass;

const BETA: &str = "volume.beta.kubernetes.io/storage-class";

/// The plugin.
pub struct DefaultStorageClass {
    reader: Arc<dyn Reader>,
    classes: Arc<Resource>,
}

impl DefaultStorageClass {
    /// A plugin that looks classes up here.
    pub fn new(reader: Arc<dyn Reader>) -> Self {
        Self {
            reader,
            classes: builtin_row("storage.k8s.io", "storageclasses"),
        }
    }

    fn default_class(&self) -> Option<String> {
        let all = self.reader.list(&self.classes, None).into_iter();
        let classes: Vec<Arc<StorageClass>> = all
            .filter_map(|entry| serde_json::from_slice(&entry.json).ok().map(Arc::new))
            .collect();
        StorageClass::default_of(&classes).map(|class| class.metadata.name.to_string())
    }
}

#[async_trait]
impl Admission for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        let creates = request.operation == Operation::Create && request.subresource.is_empty();
        if !creates || !request.is("", "persistentvolumeclaims") {
            return Ok(());
        }
        let annotated = request.object_mut("metadata").is_some_and(|metadata| {
            let annotations = metadata.get("annotations");
            annotations.is_some_and(|annotations| !annotations[BETA].is_null())
        });
        if let Some(spec) = request.object_mut("spec")
            && spec.get("storageClassName").is_none_or(Value::is_null)
            && !annotated
            && let Some(class) = self.default_class()
        {
            spec.insert("storageClassName".into(), class.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::admission::testing::{Case, admit};
    use crate::apiserver::fake::Fake;

    async fn check(class: Value, expect: &str) {
        let existing = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "p", "metadata":
            {"name": "usual", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
        let plugin = DefaultStorageClass::new(Fake::new([existing]));
        let case = Case::create("persistentvolumeclaims")
            .named("c")
            .with(json!({"spec": {"storageClassName": class}}));
        let object = admit(&plugin, case).await.expect("admitted");
        assert_eq!(object["spec"]["storageClassName"], *expect);
    }

    #[tokio::test]
    async fn claims_without_a_class_get_the_default() {
        check(Value::Null, "usual").await;
        check(json!(""), "").await;
        check(json!("other"), "other").await;
    }
}
