//! A request that was let in, as handlers see it.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use mizzen_api::object::Object;
use mizzen_api::resource::Resource;
use mizzen_api::status::{ApiError, ApiResult};
use parking_lot::Mutex;

use crate::cache::{CacheError, Filter, Reader, collection_prefix, object_key};
use crate::identity::User;
use crate::store::StoreError;

use super::ApiServer;
use super::authorization::Attributes;
use super::authorization::builtin_row;
use super::negotiation::Accept;
use super::query::Query;
use super::request::RequestInfo;
use super::response;

/// Largest body that is read, as upstream.
pub const BODY_MAX_BYTES: usize = 3 << 20;

/// A request for a resource after authentication and authorization.
pub struct Call {
    /// The server.
    pub server: Arc<ApiServer>,
    /// Who asks.
    pub user: User,
    /// What for.
    pub info: RequestInfo,
    /// Row of the resource.
    pub resource: Arc<Resource>,
    /// Parameters.
    pub query: Query,
    /// Form of the answer.
    pub accept: Accept,
    /// Head of the request.
    pub parts: Parts,
    pub(super) warnings: Mutex<Vec<String>>,
}

impl Call {
    /// A call for another object of the request's namespace, by the same user: for subresources that
    /// change more than what they belong to. Authorization is done.
    pub(super) fn derive(&self, resource: Arc<Resource>, subresource: &str, name: &str) -> Self {
        let mut info = self.info.clone();
        info.attributes.group = resource.group.to_string();
        info.attributes.version = resource.version.to_string();
        info.attributes.resource = resource.plural.to_string();
        info.attributes.subresource = subresource.to_owned();
        info.attributes.name = name.to_owned();
        Self {
            server: self.server.clone(),
            user: self.user.clone(),
            info,
            resource,
            query: self.query.clone(),
            accept: self.accept,
            parts: self.parts.clone(),
            warnings: Mutex::default(),
        }
    }

    /// Another object, as fresh as if a client had asked for it.
    pub(super) async fn peek(&self, group: &str, plural: &str, namespace: &str, name: &str) -> ApiResult<Object> {
        let row = builtin_row(group, plural);
        self.server
            .cache
            .wait_fresh()
            .await
            .map_err(|error| self.cache_error(error))?;
        let entry = self.server.cache.get(&row, namespace, name);
        let entry = entry.ok_or_else(|| ApiError::not_found(&row, name))?;
        super::decode::stored(&entry.json)
    }

    /// Namespace of the request; empty for cluster scope or all namespaces.
    pub fn namespace(&self) -> &str {
        // Upstream counts a Namespace as lying in itself, for authorization; keys do not.
        if self.resource.namespaced() {
            &self.info.attributes.namespace
        } else {
            ""
        }
    }

    /// Name of the object; empty for a collection.
    pub fn name(&self) -> &str {
        &self.info.attributes.name
    }

    /// Subresource; may be empty.
    pub fn subresource(&self) -> &str {
        &self.info.attributes.subresource
    }

    /// Refuses the call unless its user may also do `verb` with the same object.
    pub async fn require(&self, verb: &str) -> ApiResult<()> {
        let attributes = Attributes {
            verb: verb.to_owned(),
            ..self.info.attributes.clone()
        };
        self.server.gates.authorization.require(&self.user, &attributes).await
    }

    /// Prefix of the keys of the resource.
    pub fn prefix(&self) -> String {
        collection_prefix(&self.resource)
    }

    /// Key of an object in the request's namespace.
    pub fn key(&self, name: &str) -> String {
        object_key(&self.resource, self.namespace(), name)
    }

    /// Tells the client something in a `Warning` header.
    pub fn warn(&self, warning: impl Into<String>) {
        let warning = warning.into();
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// An object as the answer.
    pub fn object(&self, code: StatusCode, json: &Bytes) -> ApiResult<Response<Body>> {
        let json = super::view::object(self, json)?;
        response::document(self.accept, code, json)
    }

    /// What the selectors in the query select.
    pub fn filter(&self) -> ApiResult<Filter> {
        use mizzen_api::selector::{FieldSelector, LabelSelector};
        let labels = LabelSelector::parse(self.query.get("labelSelector")).map_err(ApiError::bad_request)?;
        let fields = FieldSelector::parse(self.query.get("fieldSelector")).map_err(ApiError::bad_request)?;
        if let Some(field) = fields.unsupported_field(&self.resource) {
            return Err(ApiError::bad_request(
                match self.resource.selectable_fields.is_empty() {
                    true => format!(
                        "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                    ),
                    false => format!("field label not supported: {field}"),
                },
            ));
        }
        let namespace = self.namespace();
        Ok(Filter {
            namespace: (!namespace.is_empty()).then(|| namespace.into()),
            labels,
            fields,
        })
    }

    /// What a failed read of the cache is to the client.
    pub fn cache_error(&self, error: CacheError) -> ApiError {
        match error {
            CacheError::Expired { oldest } => {
                ApiError::expired(format!("too old resource version (oldest is {oldest})"))
            }
            CacheError::TooLarge { wanted, current } => ApiError::version_too_large(wanted, current),
            CacheError::Store(error) => self.store_error(error),
        }
    }

    /// What a failure of the store is to the client, beside conflicts.
    pub fn store_error(&self, error: StoreError) -> ApiError {
        match error {
            StoreError::Compacted { .. } => ApiError::expired("The resourceVersion for the provided list is too old."),
            StoreError::Conflict { .. } => ApiError::stale(&self.resource, self.name()),
            StoreError::Future { current } => ApiError::version_too_large(0, current),
            StoreError::Lagged | StoreError::Closed => ApiError::unavailable(error.to_string()),
            // Upstream passes on what etcd's client says, which alone tells users little.
            StoreError::Unavailable(why) => ApiError::new(500, "", format!("the datastore does not answer: {why}")),
            StoreError::Engine(_) => ApiError::internal(error),
        }
    }
}

/// Reads a body up to the limit.
pub async fn read_body(body: Body) -> ApiResult<Bytes> {
    match Limited::new(body, BODY_MAX_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(BODY_MAX_BYTES)),
        Err(error) => Err(ApiError::bad_request(format!("cannot read the body: {error}"))),
    }
}
