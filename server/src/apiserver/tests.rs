//! The whole pipeline over a real store, as kube's client and as raw HTTP see it.

mod crud;
mod forwarding;
mod security;
mod semantics;
mod watching;

use std::sync::Arc;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::gates::{self, Gates};
use crate::control_plane::{Config, ControlPlane};
use crate::identity::{MASTERS, User};
use crate::store::sqlite::{SqliteOptions, SqliteStore};

/// Gates without admission.
fn open(gates: Gates) -> Gates {
    Gates {
        admission: Vec::new(),
        ..gates
    }
}

/// A control plane of its own, gone when dropped.
struct World {
    plane: ControlPlane,
    admin: User,
    stop: CancellationToken,
    _directory: TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    /// Without admission: tests need no namespaces and accounts for what they create.
    async fn new() -> Self {
        Self::build(tempfile::tempdir().expect("a directory"), open, None).await
    }

    /// With everything that a server has from its first start.
    async fn complete() -> Self {
        let world = Self::build(tempfile::tempdir().expect("a directory"), |gates| gates, None).await;
        let options = crate::bootstrap::Options {
            server: "192.0.2.1:6443".parse().expect("an address"),
            alone: true,
            service_address: "10.43.0.1".parse().expect("an address"),
            client_ca_pem: "client".into(),
            request_header_ca_pem: "proxy".into(),
            agents: std::collections::BTreeMap::new(),
            node: None,
            network_policy: true,
        };
        let bootstrapped = crate::bootstrap::run(world.client(), &options).await;
        bootstrapped.expect("the cluster's own objects");
        world
    }

    async fn build(
        directory: TempDir,
        change: fn(Gates) -> Gates,
        kubelet_tls: Option<Arc<rustls::ClientConfig>>,
    ) -> Self {
        let store = SqliteStore::open(&directory.path().join("state.db"), SqliteOptions::default()).expect("a store");
        let config = Config {
            store: Arc::new(store),
            gates: Box::new(move |cache| change(Gates::new(cache.clone(), gates::Options::for_tests()))),
            kubelet_tls,
        };
        let stop = CancellationToken::new();
        let plane = ControlPlane::start(config, stop.clone()).await.expect("it starts");
        Self {
            plane,
            admin: User::new("admin", [MASTERS]),
            stop,
            _directory: directory,
        }
    }

    fn client(&self) -> kube::Client {
        self.plane.client(self.admin.clone())
    }

    /// Sends a request as the administrator; a JSON body unless the path says otherwise.
    async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let content_type = match method {
            "PATCH" if body.is_array() => "application/json-patch+json",
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let bytes = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type);
        let (code, _, bytes) = self.raw(request.body(Body::from(bytes)).expect("a request")).await;
        let value =
            serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
        (code, value)
    }

    async fn raw(&self, mut request: Request<Body>) -> (u16, http::HeaderMap, Vec<u8>) {
        request.extensions_mut().insert(self.admin.clone());
        self.as_sent(request).await
    }

    /// Sends a request that says itself who it comes from.
    async fn as_sent(&self, request: Request<Body>) -> (u16, http::HeaderMap, Vec<u8>) {
        let response = self.plane.server().clone().handle(request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        (parts.status.as_u16(), parts.headers, bytes.into())
    }

    /// Sends a request and shows its code and, of a Status, what it says, else what `show` picks.
    async fn shown(&self, method: &str, path: &str, body: Value, show: &[&str]) -> String {
        let (code, answer) = self.send(method, path, body).await;
        if answer["kind"] == "Status" && answer["status"] == "Failure" {
            return format!(
                "{code} {}: {}",
                answer["reason"].as_str().unwrap_or("-"),
                answer["message"].as_str().unwrap_or("-")
            );
        }
        let picked: Vec<_> = show
            .iter()
            .map(|pointer| answer.pointer(pointer).unwrap_or(&Value::Null).to_string())
            .collect();
        format!("{code} {}", picked.join(" ")).trim_end().to_owned()
    }
}
