//! The connection to a cluster, and calls over it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use futures::{Stream, TryStreamExt as _};
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use kube::Client;
use kube::client::Body;
use mizzen_api::client::rest::{Gvr, Rest, is_conflict};
use mizzen_api::client::{connection, discovery, kubeconfig};
use mizzen_api::resource::{Registry, Resource};
use mizzen_api::view;
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};
use tokio::sync::OnceCell;

use super::error::fail;
use super::tell;

/// How the commands name themselves.
const AGENT: &str = concat!("mizzen/", env!("CARGO_PKG_VERSION"));

/// Which cluster to talk to, and about which namespace.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connect {
    /// Namespace to work in, instead of the context's.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// File with the cluster's address and credentials.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// User to act as, if you may.
    #[arg(long = "as", value_name = "USER")]
    pub(crate) impersonate: Option<String>,
    /// Group to act as a member of, with --as.
    #[arg(long = "as-group", value_name = "GROUP", requires = "impersonate")]
    pub(crate) impersonate_groups: Vec<String>,
}

/// A connection, with what is known of the server.
pub(crate) struct Session {
    /// The client beneath.
    pub(crate) client: Client,
    /// Namespace to work in.
    pub(crate) namespace: String,
    /// Whether the namespace was given on the command line.
    pub(crate) namespace_given: bool,
    /// Address of the server, as the kubeconfig has it.
    pub(crate) server: String,
    registry: OnceCell<Registry>,
}

/// One request.
pub(crate) struct Call {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    accept: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Call {
    /// A request to a path.
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            accept: "application/json",
            content_type: "application/json",
            body: Vec::new(),
        }
    }

    /// A request about a resource: one object of it, or with an empty name all.
    pub(crate) fn to(method: Method, resource: &Resource, namespace: &str, name: &str) -> Self {
        let namespace = if resource.namespaced() { namespace } else { "" };
        let mut path = Gvr::new(&resource.group, &resource.version, &resource.plural).path(namespace);
        if !name.is_empty() {
            path.push('/');
            path.extend(form_urlencoded::byte_serialize(name.as_bytes()));
        }
        Self::new(method, path)
    }

    /// About a subresource of the object.
    pub(crate) fn sub(mut self, subresource: &str) -> Self {
        self.path.push('/');
        self.path.push_str(subresource);
        self
    }

    /// With a query parameter.
    pub(crate) fn query(mut self, key: &str, value: impl Into<String>) -> Self {
        self.query.push((key.to_owned(), value.into()));
        self
    }

    /// With a query parameter, if there is a value.
    pub(crate) fn query_opt(self, key: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.query(key, value),
            None => self,
        }
    }

    /// Asking for another form of answer.
    pub(crate) fn accept(self, accept: &'static str) -> Self {
        Self { accept, ..self }
    }

    /// With a body.
    pub(crate) fn body(self, content_type: &'static str, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self {
            content_type,
            body,
            ..self
        }
    }

    fn request(self) -> anyhow::Result<http::Request<Vec<u8>>> {
        let mut uri = self.path;
        if !self.query.is_empty() {
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(&self.query)
                .finish();
            uri.push('?');
            uri.push_str(&query);
        }
        let mut request = http::Request::builder()
            .method(self.method)
            .uri(uri)
            .header(ACCEPT, self.accept)
            .header(USER_AGENT, AGENT);
        if !self.body.is_empty() {
            request = request.header(CONTENT_TYPE, self.content_type);
        }
        Ok(request.body(self.body)?)
    }
}

impl Session {
    /// Finds the cluster and prepares to talk to it.
    pub(crate) async fn connect(connect: Connect) -> anyhow::Result<Self> {
        let file = kubeconfig::read(connect.kubeconfig.as_deref()).map_err(found_nothing)?;
        let mut config = kubeconfig::config(file, connect.context.clone())
            .await
            .map_err(found_nothing)?;
        if connect.impersonate.is_some() {
            config.auth_info.impersonate = connect.impersonate;
            config.auth_info.impersonate_groups = Some(connect.impersonate_groups);
        }
        let namespace_given = connect.namespace.is_some();
        let namespace = connect.namespace.unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = connection::client(config)?;
        Ok(Self {
            server,
            ..Self::over(client, namespace, namespace_given)
        })
    }

    /// A session over a client that exists.
    pub(crate) fn over(client: Client, namespace: String, namespace_given: bool) -> Self {
        Self {
            client,
            namespace,
            namespace_given,
            server: String::new(),
            registry: OnceCell::new(),
        }
    }

    /// Verbs on projections.
    pub(crate) fn rest(&self) -> Rest {
        Rest::new(self.client.clone(), AGENT)
    }

    /// What the server serves.
    pub(crate) async fn registry(&self) -> anyhow::Result<&Registry> {
        let discovered = self.registry.get_or_try_init(|| discovery::discover(&self.client));
        Ok(discovered.await?)
    }

    /// The resource that a name stands for.
    pub(crate) async fn resource(&self, name: &str) -> anyhow::Result<Arc<Resource>> {
        match self.registry().await?.resolve(name) {
            Some(resource) => Ok(resource.clone()),
            None => fail(format!("the server doesn't have a resource type {name:?}")),
        }
    }

    /// The resource of an object's `apiVersion` and `kind`.
    pub(crate) async fn resource_of(&self, object: &Value) -> anyhow::Result<Arc<Resource>> {
        let field = |name: &str| object[name].as_str().unwrap_or_default();
        let (api_version, kind) = (field("apiVersion"), field("kind"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        match self.registry().await?.by_kind(group, version, kind) {
            Some(resource) => Ok(resource.clone()),
            None => fail(format!(
                "no matches for kind {kind:?} in version {api_version:?}\nensure CRDs are installed first"
            )),
        }
    }

    /// The namespace for an object from a file: its own, or the session's.
    pub(crate) fn namespace_of<'a>(&'a self, resource: &Resource, object: &'a Value) -> anyhow::Result<&'a str> {
        let own = view::namespace(object);
        match (resource.namespaced(), own) {
            (false, _) => Ok(""),
            (true, "") => Ok(&self.namespace),
            (true, own) if self.namespace_given && own != self.namespace => fail(format!(
                "the namespace from the provided object {own:?} does not match the namespace {:?}. You must pass '--namespace={own}' to perform this operation.",
                self.namespace
            )),
            (true, own) => Ok(own),
        }
    }

    /// Makes a call and reads the answer as JSON. Warnings of the server go to stderr.
    pub(crate) async fn call(&self, call: Call) -> anyhow::Result<Value> {
        let (parts, body) = call.request()?.into_parts();
        let request = http::Request::from_parts(parts, Body::from(body));
        let response = self.client.send(request).await?;
        for warning in response.headers().get_all(http::header::WARNING) {
            print_warning(warning.to_str().unwrap_or_default());
        }
        let status = response.status();
        let bytes = response.into_body().collect_bytes().await?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).context("the server's answer is not JSON");
        }
        let answer = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            let message = String::from_utf8_lossy(&bytes).trim().to_owned();
            kube::core::Status::failure(&message, "").with_code(status.as_u16())
        });
        Err(kube::Error::Api(Box::new(answer)).into())
    }

    /// One object.
    pub(crate) async fn get(&self, resource: &Resource, namespace: &str, name: &str) -> anyhow::Result<Value> {
        self.call(Call::to(Method::GET, resource, namespace, name)).await
    }

    /// Makes a change of an object as it was read. Where somebody else was faster it is made of what the object is
    /// then, as long as `goes_on` finds that it can be.
    pub(crate) async fn change(
        &self,
        resource: &Resource,
        mut object: Value,
        goes_on: impl Fn(&Value) -> bool,
        mut change: impl AsyncFnMut(&Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        loop {
            let error = match change(&object).await {
                Err(error) if error.downcast_ref().is_some_and(is_conflict) => error,
                result => return result,
            };
            let (namespace, name) = (view::namespace(&object), view::name(&object));
            let newest = self.get(resource, namespace, name).await?;
            if !goes_on(&newest) {
                return Err(error);
            }
            object = newest;
        }
    }

    /// All objects of a resource in a namespace (everywhere, when that is empty).
    pub(crate) async fn list(
        &self,
        resource: &Resource,
        namespace: &str,
        labels: Option<&str>,
    ) -> anyhow::Result<Vec<Value>> {
        let call = Call::to(Method::GET, resource, namespace, "").query_opt("labelSelector", labels);
        let mut answer = self.call(call).await?;
        let mut items = match answer["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        // Items of a typed list do not say what they are.
        for item in &mut items {
            item["apiVersion"] = resource.api_version().into();
            item["kind"] = (&*resource.kind).into();
        }
        Ok(items)
    }

    /// Changes an object by a merge patch.
    pub(crate) async fn merge(
        &self,
        resource: &Resource,
        (namespace, name): (&str, &str),
        patch: &Value,
    ) -> anyhow::Result<Value> {
        let call = Call::to(Method::PATCH, resource, namespace, name)
            .query("fieldManager", "mizzen")
            .body("application/merge-patch+json", patch);
        self.call(call).await
    }

    /// The answer as it comes.
    pub(crate) async fn stream(&self, call: Call) -> anyhow::Result<impl AsyncBufRead + use<>> {
        let stream = self.client.request_stream(call.request()?).await?;
        Ok(tokio::io::BufReader::new(
            tokio_util::compat::FuturesAsyncReadCompatExt::compat(stream),
        ))
    }

    /// Events of a watch, each an object with `type` and `object`. An error event ends it.
    pub(crate) async fn watch(
        &self,
        call: Call,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<Value>> + Unpin + use<>> {
        let lines = self.stream(call.query("watch", "true")).await?.lines();
        let events = tokio_stream::wrappers::LinesStream::new(lines).map_err(anyhow::Error::from);
        Ok(Box::pin(events.and_then(async |line| {
            let mut event: Value = serde_json::from_str(&line)?;
            if event["type"] == "ERROR" {
                let status = serde_json::from_value(event["object"].take())?;
                return Err(kube::Error::Api(Box::new(status)).into());
            }
            Ok(event)
        })))
    }
}

/// `299 - "text"`
fn print_warning(header: &str) {
    let text = header.splitn(3, ' ').nth(2).unwrap_or(header);
    // Quotes within are escaped, so only the outer ones go.
    let text = text.strip_prefix('"').unwrap_or(text);
    let text = text.strip_suffix('"').unwrap_or(text).replace("\\\"", "\"");
    if !text.is_empty() {
        tell(format!("Warning: {text}"));
    }
}

/// What the kubeconfig lacks is said as it is; the rest with its causes.
fn found_nothing(error: kubeconfig::Error) -> anyhow::Error {
    match error {
        kubeconfig::Error::None => super::error::Failure(error.to_string()).into(),
        kubeconfig::Error::Read(file, error) => {
            anyhow::Error::from(error).context(format!("cannot read {}", file.display()))
        }
        kubeconfig::Error::Use(error) => error.into(),
    }
}
