//! The order of authenticators, and what becomes of requests with no or wrong credentials.

use super::*;
use crate::identity::MASTERS;
use crate::pki::PeerCertificate;
use std::time::{Duration, SystemTime};

/// Knows one token.
struct Token;

#[async_trait]
impl Authenticator for Token {
    async fn authenticate(&self, parts: &Parts) -> ApiResult<Option<User>> {
        match bearer_token(parts).as_deref() {
            None => Ok(None),
            Some("good") => Ok(Some(User::new("token", []))),
            Some(_) => Err(ApiError::unauthorized()),
        }
    }
}

fn trusted(seconds: i64) -> PeerCertificate {
    let offset = Duration::from_secs(seconds.unsigned_abs());
    let end = if seconds < 0 {
        SystemTime::now() - offset
    } else {
        SystemTime::now() + offset
    };
    PeerCertificate::Trusted(Arc::new(User::new("certificate", [MASTERS])), end)
}

async fn check(path: &str, header: Option<(&str, &str)>, peer: PeerCertificate) -> String {
    let mut request = http::Request::get(path).extension(peer);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let authenticators: [Arc<dyn Authenticator>; 1] = [Arc::new(Token)];
    match Authentication::new(authenticators).authenticate(&parts).await {
        Ok(user) => user.name,
        Err(error) => format!("{} {}", error.code, error.message),
    }
}

#[tokio::test]
async fn credentials_decide_who_somebody_is() {
    use PeerCertificate::None as NoCertificate;
    let bearer = |token| Some(("authorization", token));
    let untrusted = || PeerCertificate::Untrusted("x".into());
    let unauthorized = "401 Unauthorized";
    let anonymous = "system:anonymous";
    for (path, header, peer, expect) in [
        ("/api/v1/pods", None, NoCertificate, unauthorized),
        ("/healthz", None, NoCertificate, anonymous),
        ("/api/v1/pods", None, trusted(60), "certificate"),
        ("/api/v1/pods", None, trusted(-60), unauthorized),
        ("/healthz", None, trusted(-60), unauthorized),
        ("/api/v1/pods", None, untrusted(), unauthorized),
        ("/healthz", None, untrusted(), unauthorized),
        ("/api/v1/pods", bearer("Bearer good"), NoCertificate, "token"),
        ("/api/v1/pods", bearer("bearer  good "), NoCertificate, "token"),
        ("/api/v1/pods", bearer("Bearer good"), untrusted(), "token"),
        ("/api/v1/pods", bearer("Bearer bad"), trusted(60), "certificate"),
        ("/healthz", bearer("Bearer bad"), NoCertificate, unauthorized),
        ("/healthz", bearer("Bearer "), NoCertificate, unauthorized),
        ("/healthz", bearer("Basic YTpi"), NoCertificate, unauthorized),
        ("/api/v1/pods", bearer("good"), NoCertificate, unauthorized),
        (
            "/api/v1/pods",
            Some((
                "sec-websocket-protocol",
                "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.Z29vZA",
            )),
            NoCertificate,
            "token",
        ),
        (
            "/api/v1/pods",
            Some(("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.YmFk")),
            NoCertificate,
            unauthorized,
        ),
    ] {
        assert_eq!(
            check(path, header, peer.clone()).await,
            expect,
            "{path} {header:?} {peer:?}"
        );
    }
}

#[tokio::test]
async fn only_an_extension_makes_an_in_process_user() {
    let request = http::Request::get("/api/v1/pods").extension(User::new("inside", []));
    let (parts, ()) = request.body(()).unwrap().into_parts();
    assert_eq!(
        Authentication::new([]).authenticate(&parts).await.unwrap().name,
        "inside"
    );
    for name in ["x-remote-user", "x-remote-group", "user", "impersonate-user"] {
        assert_eq!(
            check("/api/v1/pods", Some((name, "system:admin")), PeerCertificate::None).await,
            "401 Unauthorized"
        );
    }
}
