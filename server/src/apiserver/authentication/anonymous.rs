//! What may be asked without credentials: whether the server lives, what it is, what it serves.
//!
//! RBAC still decides (`system:public-info-viewer` is all that the defaults give); elsewhere there is
//! nothing to decide, and the answer is 401.

use http::Method;
use http::request::Parts;

/// Paths that stand for themselves and what is below them.
const TREES: [&str; 6] = ["/healthz", "/livez", "/readyz", "/version", "/openapi", "/.well-known"];

/// Whether this request may come without credentials.
pub fn may_ask(parts: &Parts) -> bool {
    let reads = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    reads && is_public(parts.uri.path())
}

fn is_public(path: &str) -> bool {
    // A path that a handler may see differently than we do is no public one.
    if path.contains("//") || path.split('/').any(|segment| matches!(segment, "." | "..")) || path.contains('%') {
        return false;
    }
    let below = |tree: &str| {
        path.strip_prefix(tree)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    path == "/openid/v1/jwks" || TREES.into_iter().any(below) || is_discovery(path)
}

/// `/api`, `/api/VERSION`, `/apis`, `/apis/GROUP`, `/apis/GROUP/VERSION`.
fn is_discovery(path: &str) -> bool {
    let segments: Vec<_> = path.trim_matches('/').split('/').collect();
    match segments[..] {
        ["api", ..] => segments.len() <= 2,
        ["apis", ..] => segments.len() <= 3,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_paths_are_few() {
        for (path, expect) in [
            ("/healthz", true),
            ("/livez/etcd", true),
            ("/readyz", true),
            ("/version", true),
            ("/version/", true),
            ("/api", true),
            ("/api/v1", true),
            ("/apis/apps/v1/", true),
            ("/openapi/v3/api/v1", true),
            ("/.well-known/openid-configuration", true),
            ("/openid/v1/jwks", true),
            ("/", false),
            ("/metrics", false),
            ("/healthzz", false),
            ("/versions", false),
            ("/api/v1/pods", false),
            ("/apis/apps/v1/deployments", false),
            ("/api/v1/namespaces/kube-system/secrets", false),
            ("/healthz/../api/v1/secrets", false),
            ("/healthz/%2e%2e/api/v1/secrets", false),
            ("/version//x", false),
            ("/logs", false),
        ] {
            assert_eq!(is_public(path), expect, "{path}");
        }
    }
}
