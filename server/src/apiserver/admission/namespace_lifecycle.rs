//! Keeps new objects out of namespaces that do not exist or are about to go, and keeps the namespaces
//! that every cluster has.

use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::resource::Resource;
use mizzen_api::status::{ApiError, ApiResult};
use serde::Deserialize;
use serde_json::json;

use super::{Admission, AdmissionRequest, Operation, refuse};
use crate::apiserver::authorization::builtin_row;
use crate::cache::Reader;

const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];

/// The plugin.
pub struct NamespaceLifecycle {
    reader: Arc<dyn Reader>,
    namespaces: Arc<Resource>,
}

#[derive(Debug, Default, Deserialize)]
struct Namespace {
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    phase: Box<str>,
}

impl NamespaceLifecycle {
    /// A plugin that looks namespaces up here.
    pub fn new(reader: Arc<dyn Reader>) -> Self {
        Self {
            reader,
            namespaces: builtin_row("", "namespaces"),
        }
    }
}

#[async_trait]
impl Admission for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        let is_namespace = request.is("", "namespaces");
        let deletes = request.operation == Operation::Delete;
        if is_namespace && deletes && IMMORTAL.contains(&request.name) {
            return Err(refuse(request, "this namespace may not be deleted"));
        }
        let is_review = request.is("authorization.k8s.io", "localsubjectaccessreviews");
        if is_namespace || deletes || is_review || request.namespace.is_empty() {
            return Ok(());
        }
        let found = self.reader.find(&self.namespaces, "", request.namespace).await;
        let found = found.ok_or_else(|| ApiError::not_found(&self.namespaces, request.namespace))?;
        let namespace: Namespace = serde_json::from_slice(&found.json).unwrap_or_default();
        if request.operation == Operation::Create && &*namespace.status.phase == "Terminating" {
            return Err(terminating(request));
        }
        Ok(())
    }
}

fn terminating(request: &AdmissionRequest<'_>) -> ApiError {
    let namespace = request.namespace;
    let mut error = refuse(
        request,
        format_args!("unable to create new content in namespace {namespace} because it is being terminated"),
    );
    // Clients tell by this cause that trying again is no use.
    if let Some(details) = &mut error.details {
        details["causes"] = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::admission::testing::{Case, admit};
    use crate::apiserver::fake::Fake;

    async fn check(case: Case) -> String {
        let namespace = |name: &str, phase: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "status": {"phase": phase}});
        let objects = Fake::new([namespace("a", "Active"), namespace("going", "Terminating")]);
        match admit(&NamespaceLifecycle::new(objects), case).await {
            Ok(_) => "ok".into(),
            Err(error) => format!("{} {}", error.code, error.message),
        }
    }

    #[tokio::test]
    async fn objects_come_only_into_namespaces_that_stay() {
        let pod = || Case::create("pods").named("p");
        assert_eq!(check(pod().in_namespace("a")).await, "ok");
        insta::assert_snapshot!(check(pod().in_namespace("b")).await, @r#"404 namespaces "b" not found"#);
        insta::assert_snapshot!(check(pod().in_namespace("going")).await, @r#"403 pods "p" is forbidden: unable to create new content in namespace going because it is being terminated"#);
        assert_eq!(
            check(pod().in_namespace("going").operation(Operation::Update)).await,
            "ok"
        );
        assert_eq!(
            check(pod().in_namespace("going").operation(Operation::Delete)).await,
            "ok"
        );
        assert_eq!(check(pod().in_namespace("b").operation(Operation::Delete)).await, "ok");
        insta::assert_snapshot!(check(pod().in_namespace("b").operation(Operation::Update)).await, @r#"404 namespaces "b" not found"#);
        assert_eq!(check(Case::create("nodes").named("n")).await, "ok");
        assert_eq!(
            check(Case::create("localsubjectaccessreviews").in_namespace("b")).await,
            "ok"
        );
    }

    #[tokio::test]
    async fn some_namespaces_cannot_be_deleted() {
        let delete = |name| Case::create("namespaces").named(name).operation(Operation::Delete);
        insta::assert_snapshot!(check(delete("kube-system")).await, @r#"403 namespaces "kube-system" is forbidden: this namespace may not be deleted"#);
        assert_eq!(check(delete("kube-node-lease")).await, "ok");
        assert_eq!(check(Case::create("namespaces").named("b")).await, "ok");
    }
}
