//! One write through one plugin, as tests of plugins need it.

use mizzen_api::object::Object;
use mizzen_api::resource::builtin;
use mizzen_api::status::ApiResult;
use serde_json::{Value, json};

use super::{Admission, AdmissionRequest, Operation};
use crate::identity::User;

/// A write.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    user: User,
    operation: Operation,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    object: Value,
    old: Value,
}

impl Case {
    /// The creation of an object by somebody.
    pub(crate) fn create(resource: &str) -> Self {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Self {
            user: User::new("somebody", []),
            operation: Operation::Create,
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: String::new(),
            name: String::new(),
            object: json!({"metadata": {}}),
            old: Value::Null,
        }
    }

    /// Its name.
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self.object["metadata"]["name"] = name.into();
        self
    }

    /// Its namespace.
    pub(crate) fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.into();
        self.object["metadata"]["namespace"] = namespace.into();
        self
    }

    /// Another operation.
    pub(crate) fn operation(mut self, operation: Operation) -> Self {
        self.operation = operation;
        self
    }

    /// A subresource of it.
    pub(crate) fn subresource(mut self, name: &str) -> Self {
        self.subresource = name.into();
        self
    }

    /// The user.
    pub(crate) fn by(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// More of the object, laid over its metadata.
    pub(crate) fn with(mut self, object: Value) -> Self {
        let metadata = self.object["metadata"].clone();
        self.object = object;
        for (key, value) in metadata.as_object().into_iter().flatten() {
            self.object["metadata"][key] = value.clone();
        }
        self
    }

    /// The object before an update or a deletion.
    pub(crate) fn old(mut self, old: Value) -> Self {
        self.old = old;
        self
    }
}

/// Passes the write through a plugin; the object as it comes out.
pub(crate) async fn admit(plugin: &dyn Admission, case: Case) -> ApiResult<Value> {
    let rows = builtin();
    let resource = rows
        .iter()
        .find(|row| row.plural == *case.resource)
        .expect("a resource");
    let mut object: Object = case.object.as_object().expect("an object").clone();
    let old = case.old.as_object().cloned();
    let deletes = case.operation == Operation::Delete;
    let mut request = AdmissionRequest {
        user: &case.user,
        operation: case.operation,
        resource,
        subresource: &case.subresource,
        namespace: &case.namespace,
        name: &case.name,
        object: (!deletes).then_some(&mut object),
        old: old.as_ref(),
        dry_run: false,
    };
    plugin.admit(&mut request).await?;
    plugin.validate(&request).await?;
    Ok(object.into())
}
