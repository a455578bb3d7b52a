//! Gives claims and volumes the finalizers that keep them as long as they are used.

use async_trait::async_trait;
use mizzen_api::status::ApiResult;

use super::{Admission, AdmissionRequest, Operation, array_mut};

/// On claims.
pub const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
/// On volumes.
pub const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// The plugin.
pub struct StorageObjectInUseProtection;

#[async_trait]
impl Admission for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        if request.operation != Operation::Create || !request.subresource.is_empty() {
            return Ok(());
        }
        let finalizer = match (
            request.is("", "persistentvolumeclaims"),
            request.is("", "persistentvolumes"),
        ) {
            (true, _) => CLAIM_FINALIZER,
            (_, true) => VOLUME_FINALIZER,
            _ => return Ok(()),
        };
        if let Some(metadata) = request.object_mut("metadata") {
            let finalizers = array_mut(metadata, "finalizers");
            if !finalizers.iter().any(|own| own == finalizer) {
                finalizers.push(finalizer.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::admission::testing::{Case, admit};

    #[tokio::test]
    async fn new_claims_and_volumes_are_protected() {
        for (resource, expect) in [
            ("persistentvolumeclaims", r#"["kubernetes.io/pvc-protection"]"#),
            ("persistentvolumes", r#"["kubernetes.io/pv-protection"]"#),
            ("configmaps", "null"),
        ] {
            let object = admit(&StorageObjectInUseProtection, Case::create(resource))
                .await
                .expect("admitted");
            assert_eq!(object["metadata"]["finalizers"].to_string(), expect);
        }
    }
}
