//! Refuses to enlarge claims whose class does not allow it, as the built-in one does not.

use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::object::Object;
use mizzen_api::quantity::Quantity;
use mizzen_api::resource::Resource;
use mizzen_api::status::ApiResult;
use serde_json::Value;

use super::{Admission, AdmissionRequest, Operation, refuse};
use crate::apiserver::authorization::builtin_row;
use crate::cache::Reader;

/// The plugin.
pub struct PersistentVolumeClaimResize {
    reader: Arc<dyn Reader>,
    classes: Arc<Resource>,
}

impl PersistentVolumeClaimResize {
    /// A plugin that looks classes up here.
    pub fn new(reader: Arc<dyn Reader>) -> Self {
        Self {
            reader,
            classes: builtin_row("storage.k8s.io", "storageclasses"),
        }
    }

    fn allows(&self, class: &str) -> bool {
        let entry = self.reader.get(&self.classes, "", class);
        let class = entry.and_then(|entry| serde_json::from_slice::<Value>(&entry.json).ok());
        class.is_some_and(|class| class["allowVolumeExpansion"] == true)
    }
}

fn bytes(claim: &Object) -> i64 {
    let request = claim
        .get("spec")
        .and_then(|spec| spec["resources"]["requests"]["storage"].as_str());
    request.and_then(|text| text.parse().ok()).map_or(0, Quantity::value)
}

#[async_trait]
impl Admission for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> ApiResult<()> {
        let updates = request.operation == Operation::Update && request.subresource.is_empty();
        let (Some(new), Some(old)) = (request.object.as_deref(), request.old) else {
            return Ok(());
        };
        if !updates || !request.is("", "persistentvolumeclaims") || bytes(new) <= bytes(old) {
            return Ok(());
        }
        if old.get("status").is_none_or(|status| status["phase"] != "Bound") {
            return Err(refuse(request, "Only bound persistent volume claims can be expanded"));
        }
        let class = old
            .get("spec")
            .and_then(|spec| spec["storageClassName"].as_str())
            .unwrap_or_default();
        if class.is_empty() || !self.allows(class) {
            return Err(refuse(
                request,
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                 support resize",
            ));
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

    async fn check(class: &str, phase: &str, to: &str) -> String {
        let class_object = |name: &str, allows: bool| {
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "p",
                "metadata": {"name": name}, "allowVolumeExpansion": allows})
        };
        let plugin =
            PersistentVolumeClaimResize::new(Fake::new([class_object("elastic", true), class_object("fixed", false)]));
        let claim = |size: &str| json!({"spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}, "status": {"phase": phase}});
        let case = Case::create("persistentvolumeclaims").named("c").with(claim(to));
        let case = case.operation(Operation::Update).old(claim("1Gi"));
        admit(&plugin, case)
            .await
            .map_or_else(|error| error.message, |_| "ok".to_owned())
    }

    #[tokio::test]
    async fn claims_grow_only_where_the_class_allows() {
        assert_eq!(check("fixed", "Bound", "1Gi").await, "ok");
        assert_eq!(check("elastic", "Bound", "2Gi").await, "ok");
        insta::assert_snapshot!(check("fixed", "Bound", "2Gi").await, @r#"persistentvolumeclaims "c" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"#);
        insta::assert_snapshot!(check("elastic", "Pending", "2Gi").await, @r#"persistentvolumeclaims "c" is forbidden: Only bound persistent volume claims can be expanded"#);
    }
}
