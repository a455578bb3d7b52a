//! Sessions of browsers: a cookie that stands for a user or for a bearer token.
//!
//! The cookie holds all of it, so sessions outlive a restart and hold on every server with these keys: for
//! who logged in with a token, the token itself, judged anew with every request; for who came with a
//! one-time code, claims that we signed. Codes wait in memory, and are good once.
//!
//! Invariant: a cookie counts only on requests that our own page made (see [`from_our_page`]): neither
//! another site's forms and scripts nor a link that somebody follows act in the user's name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderValue, ORIGIN, UPGRADE};
use http::request::Parts;
use jiff::Timestamp;
use mizzen_api::status::{ApiError, ApiResult};
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Authenticator, bearer_token};
use crate::identity::User;
use crate::pki::{Keys, PeerCertificate};

/// The header that our page sends with every request; no other site can, without our consent.
pub const PAGE_HEADER: &str = "x-mizzen-dashboard";
/// The prefix binds the cookie to this host and to TLS.
const NAME: &str = "__Host-mizzen";
const ISSUER: &str = "mizzen/dashboard";
/// A working day.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// How long a code waits for the browser to open.
pub const CODE_LIFETIME: Duration = Duration::from_secs(120);
/// Codes that may wait at once.
const CODES: usize = 100;
/// Browsers drop larger cookies.
const COOKIE_MAX_BYTES: usize = 3800;

/// What a session stands for.
#[derive(Clone, Debug)]
enum Grant {
    /// A user, until then.
    User(User, SystemTime),
    /// Whomever this token stands for.
    Token(String),
}

/// Gives out sessions and recognises them.
pub struct Sessions {
    keys: Arc<Keys>,
    /// Judges bearer tokens.
    tokens: Arc<dyn Authenticator>,
    codes: Mutex<HashMap<String, (SystemTime, Grant)>>,
    /// Signed sessions that were logged out before their end: their ids, and when they end.
    ended: Mutex<HashMap<String, i64>>,
}

/// Claims of a signed session.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
    exp: i64,
    jti: String,
}

impl Sessions {
    /// Sessions signed with these keys; `tokens` judges bearer tokens.
    pub fn new(keys: Arc<Keys>, tokens: Arc<dyn Authenticator>) -> Self {
        Self {
            keys,
            tokens,
            codes: Mutex::default(),
            ended: Mutex::default(),
        }
    }

    /// A code by which a browser becomes the sender of this request, once.
    pub fn issue_code(&self, user: &User, parts: &Parts) -> ApiResult<String> {
        let end = SystemTime::now() + LIFETIME;
        let grant = match (bearer_token(parts), parts.extensions.get::<PeerCertificate>()) {
            // No session outlives what it was opened with.
            (Some(token), _) => Grant::Token(token),
            (None, Some(PeerCertificate::Trusted(_, not_after))) => Grant::User(user.clone(), end.min(*not_after)),
            _ => {
                return Err(ApiError::forbidden(
                    "a code is only given to who shows a client certificate or a token",
                ));
            }
        };
        let code = random()?;
        let now = SystemTime::now();
        let mut codes = self.codes.lock();
        codes.retain(|_, (end, _)| *end > now);
        if codes.len() >= CODES {
            return Err(ApiError::too_many_requests("too many codes wait to be used", 30));
        }
        codes.insert(code.clone(), (now + CODE_LIFETIME, grant));
        Ok(code)
    }

    /// The `Set-Cookie` of the session that a code opens.
    pub async fn open_with_code(&self, code: &str) -> ApiResult<HeaderValue> {
        let found = self.codes.lock().remove(code);
        match found {
            Some((end, grant)) if end > SystemTime::now() => self.open(grant).await,
            _ => Err(ApiError::unauthorized()),
        }
    }

    /// The `Set-Cookie` of the session that a token opens.
    pub async fn open_with_token(&self, token: &str) -> ApiResult<HeaderValue> {
        self.open(Grant::Token(token.trim().to_owned())).await
    }

    async fn open(&self, grant: Grant) -> ApiResult<HeaderValue> {
        let (value, lifetime) = match grant {
            Grant::Token(token) => {
                self.token_user(&token).await?;
                (format!("t.{}", URL_SAFE_NO_PAD.encode(token)), LIFETIME)
            }
            Grant::User(user, end) => {
                let left = end.duration_since(SystemTime::now()).unwrap_or_default();
                let claims = Claims {
                    iss: ISSUER.into(),
                    sub: user.name,
                    uid: user.uid,
                    groups: user.groups,
                    extra: user.extra,
                    exp: Timestamp::now().as_second() + left.as_secs().cast_signed(),
                    jti: random()?,
                };
                let signed = self.keys.sign(&json!(claims)).map_err(ApiError::internal)?;
                (format!("s.{signed}"), left)
            }
        };
        if value.len() > COOKIE_MAX_BYTES {
            return Err(ApiError::bad_request("the token is too long for a browser's session"));
        }
        set_cookie(&value, lifetime)
    }

    /// Ends the session of a request; gives the `Set-Cookie` that makes the browser forget it.
    pub fn close(&self, parts: &Parts) -> ApiResult<HeaderValue> {
        if let Some(claims) = cookie(parts).and_then(|value| self.claims(value.strip_prefix("s.")?).ok()) {
            let now = Timestamp::now().as_second();
            let mut ended = self.ended.lock();
            ended.retain(|_, end| *end > now);
            ended.insert(claims.jti, claims.exp);
        }
        set_cookie("", Duration::ZERO)
    }

    fn claims(&self, signed: &str) -> ApiResult<Claims> {
        let claims: Claims = self.keys.verify(signed).map_err(|_| ApiError::unauthorized())?;
        let lives = claims.iss == ISSUER && claims.exp > Timestamp::now().as_second();
        if !lives || self.ended.lock().contains_key(&claims.jti) {
            return Err(ApiError::unauthorized());
        }
        Ok(claims)
    }

    async fn token_user(&self, token: &str) -> ApiResult<User> {
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ApiError::unauthorized())?;
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.headers.insert(AUTHORIZATION, bearer);
        let user = self.tokens.authenticate(&parts).await?;
        user.ok_or_else(ApiError::unauthorized)
    }
}

#[async_trait]
impl Authenticator for Sessions {
    async fn authenticate(&self, parts: &Parts) -> ApiResult<Option<User>> {
        let Some(value) = cookie(parts) else {
            return Ok(None);
        };
        if bearer_token(parts).is_some() || !from_our_page(parts) {
            return Ok(None);
        }
        if let Some(token) = value.strip_prefix("t.") {
            let token = URL_SAFE_NO_PAD.decode(token).ok();
            let token = token.and_then(|bytes| String::from_utf8(bytes).ok());
            return self.token_user(&token.unwrap_or_default()).await.map(Some);
        }
        let claims = self.claims(value.strip_prefix("s.").unwrap_or_default())?;
        Ok(Some(User {
            name: claims.sub,
            uid: claims.uid,
            groups: claims.groups,
            extra: claims.extra,
        }))
    }
}

/// Whether our own page sent this request: it has our header, which browsers let other sites' scripts send
/// only after asking us, and no other origin. WebSockets cannot have the header; their origin must be ours.
pub fn from_our_page(parts: &Parts) -> bool {
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let host = parts.uri.authority().map(|a| a.as_str()).or_else(|| header(HOST));
    let ours = |origin: &str| {
        origin
            .strip_prefix("https://")
            .is_some_and(|origin| Some(origin) == host)
    };
    match header(ORIGIN) {
        Some(origin) if !ours(origin) => false,
        Some(_) if parts.headers.contains_key(UPGRADE) => true,
        _ => parts.headers.contains_key(PAGE_HEADER),
    }
}

fn cookie(parts: &Parts) -> Option<&str> {
    // HTTP/2 may carry each cookie in a header of its own.
    let all = parts.headers.get_all(COOKIE).iter();
    let mut pairs = all
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    let value = pairs.find_map(|pair| pair.trim().strip_prefix(NAME)?.strip_prefix('='))?;
    (!value.is_empty()).then_some(value)
}

fn set_cookie(value: &str, lifetime: Duration) -> ApiResult<HeaderValue> {
    let seconds = lifetime.as_secs();
    let text = format!("{NAME}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict");
    let mut header = HeaderValue::from_str(&text).map_err(ApiError::internal)?;
    header.set_sensitive(true);
    Ok(header)
}

fn random() -> ApiResult<String> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| ApiError::internal("the system has no random numbers"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the token `good`.
    struct Fixed;

    #[async_trait]
    impl Authenticator for Fixed {
        async fn authenticate(&self, parts: &Parts) -> ApiResult<Option<User>> {
            match bearer_token(parts).as_deref() {
                Some("good") => Ok(Some(User::new("jane", []))),
                _ => Err(ApiError::unauthorized()),
            }
        }
    }

    fn sessions() -> Sessions {
        Sessions::new(Arc::new(Keys::generate().expect("keys")), Arc::new(Fixed))
    }

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder()
            .uri("/api/v1/pods")
            .header("host", "mizzen:6443");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn value(cookie: &HeaderValue) -> String {
        let text = cookie.to_str().expect("text");
        assert!(
            text.ends_with("; Path=/; Max-Age=43199; Secure; HttpOnly; SameSite=Strict") || text.contains("=43200;")
        );
        text.split(';').next().expect("a pair").to_owned()
    }

    async fn name(sessions: &Sessions, headers: &[(&str, &str)]) -> Result<Option<String>, u16> {
        let user = sessions.authenticate(&parts(headers)).await;
        user.map(|user| user.map(|user| user.name)).map_err(|error| error.code)
    }

    #[tokio::test]
    async fn a_cookie_counts_only_from_our_page() {
        let sessions = sessions();
        let cookie = value(&sessions.open_with_token("good").await.expect("a session"));
        let jane = Ok(Some("jane".to_owned()));
        let cookie = ("cookie", &*cookie);
        for (headers, expect) in [
            (vec![cookie], Ok(None)),
            (vec![cookie, (PAGE_HEADER, "1")], jane.clone()),
            (
                vec![cookie, (PAGE_HEADER, "1"), ("origin", "https://mizzen:6443")],
                jane.clone(),
            ),
            (vec![cookie, (PAGE_HEADER, "1"), ("origin", "https://evil")], Ok(None)),
            (vec![cookie, (PAGE_HEADER, "1"), ("origin", "null")], Ok(None)),
            (vec![cookie, ("origin", "https://mizzen:6443")], Ok(None)),
            (vec![cookie, ("upgrade", "websocket")], Ok(None)),
            (
                vec![cookie, ("upgrade", "websocket"), ("origin", "https://evil")],
                Ok(None),
            ),
            (
                vec![cookie, ("upgrade", "websocket"), ("origin", "https://mizzen:6443")],
                jane,
            ),
            (
                vec![cookie, (PAGE_HEADER, "1"), ("authorization", "Bearer x")],
                Ok(None),
            ),
            (
                vec![("cookie", "a=b; __Host-mizzen=s.x.y.z"), (PAGE_HEADER, "1")],
                Err(401),
            ),
            (vec![("cookie", "__Host-mizzen=t.x"), (PAGE_HEADER, "1")], Err(401)),
        ] {
            assert_eq!(name(&sessions, &headers).await, expect, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn a_code_is_good_once_and_a_session_ends_when_it_is_closed() {
        let sessions = sessions();
        let admin = User::new("admin", ["system:masters"]);
        let mut asked = parts(&[]);
        assert!(
            sessions.issue_code(&admin, &asked).is_err(),
            "no credentials of its own"
        );
        let end = SystemTime::now() + Duration::from_secs(60 * 60 * 24);
        asked
            .extensions
            .insert(PeerCertificate::Trusted(Arc::new(admin.clone()), end));
        let code = sessions.issue_code(&admin, &asked).expect("a code");
        let cookie = value(&sessions.open_with_code(&code).await.expect("a session"));
        assert!(sessions.open_with_code(&code).await.is_err(), "it was used");
        let headers = [("cookie", &*cookie), (PAGE_HEADER, "1")];
        assert_eq!(name(&sessions, &headers).await, Ok(Some("admin".to_owned())));
        let user = sessions.authenticate(&parts(&headers)).await.expect("known");
        assert_eq!(user, Some(admin));
        sessions.close(&parts(&headers)).expect("closed");
        assert_eq!(name(&sessions, &headers).await, Err(401));
    }
}
