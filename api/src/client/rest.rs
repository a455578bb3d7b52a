//! Verbs on any resource by its coordinates, reading and writing whatever type the caller chooses.
//!
//! `kube::Api` wants a type that implements `kube::Resource` with a full `ObjectMeta`; components here
//! read small projections, so they name the resource by value ([`Gvr`]) and the type by annotation.

use kube::Client;
use kube::core::Request;
use kube::core::params::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::resource::collection_path;

/// A served resource: where its objects are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gvr<'a> {
    /// API group; empty for the core group.
    pub group: &'a str,
    /// Version in the group.
    pub version: &'a str,
    /// Path segment.
    pub plural: &'a str,
}

impl<'a> Gvr<'a> {
    /// The resource `plural` of `group/version`.
    pub const fn new(group: &'a str, version: &'a str, plural: &'a str) -> Self {
        Self { group, version, plural }
    }

    /// URL path of the collection; an empty namespace means cluster scope or all namespaces.
    pub fn path(&self, namespace: &str) -> String {
        collection_path(self.group, self.version, self.plural, namespace)
    }
}

/// A client with the name under which it writes (`User-Agent`, from which field managers derive).
#[derive(Clone)]
pub struct Rest {
    client: Client,
    agent: http::HeaderValue,
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rest")
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

/// What a call may fail with.
pub use kube::Error;

/// What a call gives.
pub type Result<T, E = kube::Error> = std::result::Result<T, E>;

impl Rest {
    /// A client that names itself `agent`.
    pub fn new(client: Client, agent: &'static str) -> Self {
        Self {
            client,
            agent: http::HeaderValue::from_static(agent),
        }
    }

    /// The client beneath.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request and reads the answer as `T`.
    pub async fn send<T: DeserializeOwned>(
        &self,
        request: std::result::Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T> {
        let text = self.text(request).await?;
        serde_json::from_str(&text).map_err(kube::Error::SerdeError)
    }

    /// Sends a request and gives the answer's text. Nothing here depends on what is read from it, so
    /// that it is compiled once.
    pub(super) async fn text(
        &self,
        request: std::result::Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<String> {
        self.client.request_text(self.signed(request)?).await
    }

    /// Sends a request whose answer comes bit by bit, such as a watch.
    pub(super) async fn stream(
        &self,
        request: std::result::Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<impl futures::AsyncBufRead + use<>> {
        self.client.request_stream(self.signed(request)?).await
    }

    /// A request carrying this client's name.
    fn signed(
        &self,
        request: std::result::Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<http::Request<Vec<u8>>> {
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        request
            .headers_mut()
            .insert(http::header::USER_AGENT, self.agent.clone());
        Ok(request)
    }

    /// One object, or `None` when there is none of that name.
    pub async fn get<T: DeserializeOwned>(&self, at: &Gvr<'_>, namespace: &str, name: &str) -> Result<Option<T>> {
        let request = Request::new(at.path(namespace)).get(name, &GetParams::default());
        match self.send(request).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects that `params` selects.
    pub async fn list<T: DeserializeOwned>(
        &self,
        at: &Gvr<'_>,
        namespace: &str,
        params: &ListParams,
    ) -> Result<List<T>> {
        self.send(Request::new(at.path(namespace)).list(params)).await
    }

    /// Creates an object.
    pub async fn create<T: DeserializeOwned>(
        &self,
        at: &Gvr<'_>,
        namespace: &str,
        object: &impl Serialize,
    ) -> Result<T> {
        let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
        self.send(Request::new(at.path(namespace)).create(&PostParams::default(), body))
            .await
    }

    /// Creates a subresource, such as a Pod's `binding`.
    pub async fn create_sub<T: DeserializeOwned>(
        &self,
        at: &Gvr<'_>,
        (namespace, name): (&str, &str),
        subresource: &str,
        object: &impl Serialize,
    ) -> Result<T> {
        let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
        let request =
            Request::new(at.path(namespace)).create_subresource(subresource, name, &PostParams::default(), body);
        self.send(request).await
    }

    /// Replaces an object (with an empty `subresource`) or one of its subresources.
    pub async fn replace<T: DeserializeOwned>(
        &self,
        at: &Gvr<'_>,
        (namespace, name): (&str, &str),
        subresource: &str,
        object: &impl Serialize,
    ) -> Result<T> {
        let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
        let request = Request::new(at.path(namespace));
        let request = match subresource {
            "" => request.replace(name, &PostParams::default(), body),
            sub => request.replace_subresource(sub, name, &PostParams::default(), body),
        };
        self.send(request).await
    }

    /// Patches an object (with an empty `subresource`) or one of its subresources.
    pub async fn patch<T: DeserializeOwned>(
        &self,
        at: &Gvr<'_>,
        (namespace, name): (&str, &str),
        subresource: &str,
        params: &PatchParams,
        patch: &Patch<impl Serialize>,
    ) -> Result<T> {
        let request = Request::new(at.path(namespace));
        let request = match subresource {
            "" => request.patch(name, params, patch),
            sub => request.patch_subresource(sub, name, params, patch),
        };
        self.send(request).await
    }

    /// Deletes an object; one that is already gone counts as deleted.
    pub async fn delete(&self, at: &Gvr<'_>, namespace: &str, name: &str, params: &DeleteParams) -> Result<()> {
        let request = Request::new(at.path(namespace)).delete(name, params);
        match self.send::<serde::de::IgnoredAny>(request).await {
            Err(error) if !is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Deletes all objects of a resource in a namespace.
    pub async fn delete_collection(&self, at: &Gvr<'_>, namespace: &str, params: &DeleteParams) -> Result<()> {
        let request = Request::new(at.path(namespace)).delete_collection(params, &ListParams::default());
        self.send::<serde::de::IgnoredAny>(request).await.map(drop)
    }
}

/// A list answer: its items and where a watch continues.
#[derive(Debug, serde::Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
pub struct List<T> {
    /// Revision and continuation.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The objects.
    #[serde(default = "Vec::new")]
    pub items: Vec<T>,
}

/// Metadata of a list answer.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    /// Revision of the list.
    pub resource_version: String,
    /// Token of the next page; empty on the last.
    #[serde(rename = "continue")]
    pub next: String,
    /// How many objects follow this page, when the server says.
    pub remaining_item_count: Option<i64>,
}

/// One line of a watch.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Event<'a> {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    #[serde(rename = "type", borrow)]
    pub(super) kind: std::borrow::Cow<'a, str>,
    /// The object, or a `Status`.
    #[serde(borrow)]
    pub(super) object: &'a serde_json::value::RawValue,
}

/// All that is read of a bookmark.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Bookmark {
    pub(super) metadata: ListMeta,
}

fn api_status(error: &kube::Error) -> Option<&kube::core::Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// The server's code, when there was an answer.
pub fn code(error: &kube::Error) -> Option<u16> {
    api_status(error).map(|status| status.code)
}

/// Whether the object does not exist.
pub fn is_not_found(error: &kube::Error) -> bool {
    api_status(error).is_some_and(kube::core::Status::is_not_found)
}

/// Whether somebody else changed the object meanwhile.
pub fn is_conflict(error: &kube::Error) -> bool {
    api_status(error).is_some_and(|s| s.reason == "Conflict")
}

/// Whether the name is taken.
pub fn is_already_exists(error: &kube::Error) -> bool {
    api_status(error).is_some_and(|s| s.reason == "AlreadyExists")
}

/// Whether the resource version is older than the server's window.
pub fn is_gone(error: &kube::Error) -> bool {
    api_status(error).is_some_and(|s| s.code == 410)
}

/// Whether the namespace of the object is being deleted, so that creating in it cannot succeed.
pub fn is_namespace_terminating(error: &kube::Error) -> bool {
    api_status(error).is_some_and(|s| {
        s.code == 403
            && s.details
                .as_ref()
                .is_some_and(|d| d.causes.iter().any(|c| c.reason == "NamespaceTerminating"))
    })
}

/// The server's message, or the transport's.
pub fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
