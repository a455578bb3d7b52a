//! Requests as they stand, without a typed client in between.

use std::path::Path;

use anyhow::{Context as _, bail};
use http::{HeaderMap, Method};
use kube::client::Body;
use serde_json::Value;

/// A certificate request in PEM, as CertificateSigningRequests carry it: of nobody, signed by nobody we know.
pub(super) const CERTIFICATE_REQUEST: &str = include_str!("request.b64");
/// A certificate in PEM.
pub(super) const CERTIFICATE: &str = include_str!("ca.pem");

/// The administrator's connection.
pub(super) struct Api {
    /// The client beneath.
    pub(super) client: kube::Client,
}

/// A request in the making.
pub(super) struct Request<'a> {
    api: &'a Api,
    parts: http::request::Builder,
    body: Vec<u8>,
}

/// What came back.
pub(super) struct Answer {
    /// Status code.
    pub(super) code: u16,
    /// The body, as JSON if it is.
    pub(super) body: Value,
    /// The body as it came.
    pub(super) bytes: Vec<u8>,
    /// Its headers.
    pub(super) headers: HeaderMap,
}

impl Api {
    /// Connects as the kubeconfig says.
    pub(super) async fn connect(kubeconfig: &Path) -> Self {
        let file = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await;
        let mut config = config.expect("a cluster");
        // What is unavailable is an answer, too.
        config.default_retry = false;
        let client = kube::Client::try_from(config).expect("a client");
        Self { client }
    }

    /// A request.
    pub(super) fn request(&self, method: Method, path: &str) -> Request<'_> {
        Request {
            api: self,
            parts: http::Request::builder().method(method).uri(path),
            body: Vec::new(),
        }
    }

    /// A GET.
    pub(super) fn get(&self, path: &str) -> Request<'_> {
        self.request(Method::GET, path)
    }

    /// Creates an object, which must succeed.
    pub(super) async fn create(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        self.request(Method::POST, path).json(object).send().await?.ok()
    }
}

impl Request<'_> {
    /// With a header.
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.parts = self.parts.header(name, value);
        self
    }

    /// Asking for another form.
    pub(super) fn accept(self, form: &str) -> Self {
        self.header("accept", form)
    }

    /// With a body.
    pub(super) fn body(mut self, content_type: &str, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.header("content-type", content_type)
    }

    /// With an object.
    pub(super) fn json(self, body: &Value) -> Self {
        self.body("application/json", body)
    }

    /// Sends it.
    pub(super) async fn send(self) -> anyhow::Result<Answer> {
        let response = self.api.client.send(self.parts.body(Body::from(self.body))?).await?;
        let (parts, body) = response.into_parts();
        let bytes = body.collect_bytes().await?.to_vec();
        Ok(Answer {
            code: parts.status.as_u16(),
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            bytes,
            headers: parts.headers,
        })
    }

    /// Sends it, and insists on a code.
    pub(super) async fn expect(self, code: u16) -> anyhow::Result<Answer> {
        let answer = self.send().await?;
        if answer.code != code {
            bail!(
                "{} instead of {code}: {}",
                answer.code,
                String::from_utf8_lossy(&answer.bytes)
            );
        }
        Ok(answer)
    }

    /// Sends it, and insists on a refusal: a Status with this code and reason.
    pub(super) async fn refused(self, code: u16, reason: &str) -> anyhow::Result<String> {
        let answer = self.expect(code).await?;
        if answer.body["kind"] != "Status" || answer.body["reason"] != reason {
            bail!("not refused as {reason}: {}", answer.body);
        }
        Ok(answer.body["message"].as_str().context("no message")?.to_owned())
    }
}

impl Answer {
    /// The body of a success.
    pub(super) fn ok(self) -> anyhow::Result<Value> {
        if !(200..300).contains(&self.code) {
            bail!("{}: {}", self.code, String::from_utf8_lossy(&self.bytes));
        }
        Ok(self.body)
    }
}
