//! `/healthz`, `/livez`, `/readyz`, each with its checks, and `/metrics`.

use axum::body::Body;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

use super::query::Query;
use super::{ApiServer, response};

/// Answers if the path is one of ours.
pub(super) async fn answer(server: &ApiServer, path: &str, query: &Query) -> Option<Response<Body>> {
    if path == "/metrics" {
        let mut answer = response::text(StatusCode::OK, server.metrics.render(&server.cache));
        let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        answer.headers_mut().insert(CONTENT_TYPE, content_type);
        return Some(answer);
    }
    let mut segments = path.strip_prefix('/')?.splitn(2, '/');
    let endpoint = segments
        .next()
        .filter(|name| matches!(*name, "healthz" | "livez" | "readyz"))?;
    let only = segments.next();
    let excluded: Vec<_> = query.all("exclude").collect();
    let mut checks = checks(server, endpoint).await;
    checks.retain(|(name, _)| !excluded.contains(name));
    if let Some(only) = only {
        checks.retain(|(name, _)| *name == only);
        if checks.is_empty() {
            return Some(response::text(StatusCode::NOT_FOUND, "404 page not found\n"));
        }
    }
    let failed = checks.iter().any(|(_, problem)| problem.is_some());
    let mut report = String::new();
    for (name, problem) in &checks {
        match problem {
            None => report.push_str(&format!("[+]{name} ok\n")),
            Some(problem) => {
                tracing::warn!(check = name, problem, "a health check failed");
                report.push_str(&format!("[-]{name} failed: reason withheld\n"));
            }
        }
    }
    let outcome = if failed { "failed" } else { "passed" };
    Some(match (failed, query.has("verbose") && only.is_none()) {
        (false, false) => response::text(StatusCode::OK, "ok"),
        (false, true) => response::text(StatusCode::OK, format!("{report}{endpoint} check {outcome}\n")),
        (true, _) => response::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{report}{endpoint} check {outcome}\n"),
        ),
    })
}

/// The checks of an endpoint in order, each with what is wrong.
async fn checks(server: &ApiServer, endpoint: &str) -> Vec<(&'static str, Option<String>)> {
    let store = server.store.revision().await.err().map(|error| error.to_string());
    let mut checks = vec![("ping", None), ("log", None), ("etcd", store.clone())];
    if endpoint == "readyz" {
        let cache = match store {
            None => server.cache.wait_fresh().await.err().map(|error| error.to_string()),
            away => away,
        };
        checks.push(("informer-sync", cache));
    }
    checks
}
