//! `/dashboard/`: the files of the dashboard, and opening and closing a browser's session.
//!
//! The files are handed in by the program ([`ApiServer::serve_dashboard`](super::ApiServer)); this module
//! knows nothing of what is in them. They are public; what the page then asks goes through the ordinary API.
//! Every path below that is no file is the page itself, which reads the rest from its address.

use axum::body::Body;
use brotli_decompressor::BrotliDecompress;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
    SET_COOKIE, VARY,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use mizzen_api::status::{ApiError, ApiResult};
use serde::Deserialize;
use serde_json::json;

use super::authentication::session::{CODE_LIFETIME, PAGE_HEADER, from_our_page};
use super::call::read_body;
use super::negotiation::Accept;
use super::{ApiServer, response};

/// A file of the dashboard, compressed when it was built.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Path below `/dashboard/`.
    pub path: &'static str,
    /// Media type.
    pub content_type: &'static str,
    /// Compressed with brotli.
    pub brotli: &'static [u8],
}

/// The page, among the files.
const PAGE: &str = "index.html";
/// Files below have a name that changes with their content.
const HASHED: &str = "assets/";

/// What is answered for files: no script but ours, nothing from elsewhere, in nobody's frame.
const POLICY: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("strict-transport-security", "max-age=31536000"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Stands in for a dashboard that was not built.
const NOT_BUILT: &str = "<!doctype html><meta charset=utf-8><title>Mizzen</title>
<h1>The dashboard was not built into this program</h1>
<p>In a checkout: <code>rustup target add wasm32-unknown-unknown</code> (or on Debian
<code>apt-get install rustc-web cargo-web rust-web-src lld</code>), then <code>web/build.sh</code> and
<code>cargo build --release</code>.</p>
<p>The terminal has everything too: <code>mizzen tui</code>.</p>
";

/// Whether a path is answered here.
pub(super) fn concerns(path: &str) -> bool {
    path == "/dashboard" || path.starts_with("/dashboard/")
}

/// Answers a request for such a path.
pub(super) async fn answer(server: &ApiServer, parts: &Parts, body: Body) -> ApiResult<Response<Body>> {
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    match (parts.uri.path(), &parts.method) {
        ("/dashboard", _) if reads => Ok(redirect("/dashboard/")),
        ("/dashboard/session", &Method::POST) => open(server, parts, body).await,
        ("/dashboard/session", &Method::DELETE) => close(server, parts),
        ("/dashboard/code", &Method::POST) => code(server, parts).await,
        ("/dashboard/documents", &Method::POST) => documents(server, parts, body).await,
        (path, _) if reads => Ok(file(server.dashboard(), path, &parts.headers)),
        _ => {
            let mut answer = response::error(Accept::default(), &ApiError::method_not_allowed());
            answer
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            Ok(answer)
        }
    }
}

/// What opens a session; one of the two.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Credentials {
    Code(String),
    Token(String),
}

async fn open(server: &ApiServer, parts: &Parts, body: Body) -> ApiResult<Response<Body>> {
    require_our_page(parts)?;
    let body = read_body(body).await?;
    let sessions = &server.gates.sessions;
    let cookie = match serde_json::from_slice(&body) {
        Ok(Credentials::Code(code)) => sessions.open_with_code(&code).await?,
        Ok(Credentials::Token(token)) => sessions.open_with_token(&token).await?,
        Err(_) => return Err(ApiError::bad_request("expected a code or a token")),
    };
    Ok(with_cookie(cookie))
}

fn close(server: &ApiServer, parts: &Parts) -> ApiResult<Response<Body>> {
    require_our_page(parts)?;
    Ok(with_cookie(server.gates.sessions.close(parts)?))
}

/// Another site must neither log a user in as somebody else nor log them out.
fn require_our_page(parts: &Parts) -> ApiResult<()> {
    match from_our_page(parts) {
        true => Ok(()),
        false => Err(ApiError::forbidden(format!(
            "only the dashboard's own page may ask this: header {PAGE_HEADER} or origin is wrong"
        ))),
    }
}

fn with_cookie(cookie: HeaderValue) -> Response<Body> {
    let mut answer = response::text(StatusCode::NO_CONTENT, Body::empty());
    answer.headers_mut().insert(SET_COOKIE, cookie);
    answer
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// A code for the sender's browser.
async fn code(server: &ApiServer, parts: &Parts) -> ApiResult<Response<Body>> {
    let user = server.gates.authentication.authenticate(parts).await?;
    let code = server.gates.sessions.issue_code(&user, parts)?;
    let document = json!({"code": code, "expiresInSeconds": CODE_LIFETIME.as_secs()});
    let mut answer = response::document(Accept::default(), StatusCode::CREATED, document.to_string().into())?;
    answer
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// What a manifest holds, as JSON: so that the page need not bring a reader of YAML.
async fn documents(server: &ApiServer, parts: &Parts, body: Body) -> ApiResult<Response<Body>> {
    require_our_page(parts)?;
    server.gates.authentication.authenticate(parts).await?;
    let body = read_body(body).await?;
    let text = std::str::from_utf8(&body).map_err(|_| ApiError::bad_request("yaml: invalid UTF-8"))?;
    let documents = mizzen_api::yaml::documents(text).map_err(ApiError::bad_request)?;
    response::document(
        Accept::default(),
        StatusCode::OK,
        serde_json::Value::from(documents).to_string().into(),
    )
}

fn redirect(to: &'static str) -> Response<Body> {
    let mut answer = response::text(StatusCode::PERMANENT_REDIRECT, Body::empty());
    answer.headers_mut().insert(LOCATION, HeaderValue::from_static(to));
    answer
}

fn file(assets: &[Asset], path: &str, headers: &HeaderMap) -> Response<Body> {
    let name = path.strip_prefix("/dashboard/").unwrap_or_default();
    let named = |name: &str| assets.iter().find(|asset| asset.path == name);
    let hashed = name.starts_with(HASHED);
    let mut answer = match named(name).or_else(|| named(PAGE).filter(|_| !hashed)) {
        Some(asset) => compressed(asset, headers),
        None if hashed => response::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        None => {
            let mut answer = response::text(StatusCode::SERVICE_UNAVAILABLE, NOT_BUILT);
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            answer.headers_mut().insert(CONTENT_TYPE, html);
            answer
        }
    };
    let ok = answer.status() == StatusCode::OK;
    let caching = match hashed && ok {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    for (name, value) in POLICY {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    answer
}

fn compressed(asset: &Asset, headers: &HeaderMap) -> Response<Body> {
    // Every browser of today reads brotli; a second compressed copy would be there for nobody.
    let as_it_is = accepts(headers, "br");
    let body = if as_it_is {
        Body::from(asset.brotli)
    } else {
        Body::from(plain(asset))
    };
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    if as_it_is {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    answer
}

fn plain(asset: &Asset) -> Vec<u8> {
    let mut plain = Vec::new();
    // It was compressed by our own build; what cannot be read is left out.
    if let Err(error) = BrotliDecompress(&mut &*asset.brotli, &mut plain) {
        tracing::error!(path = asset.path, %error, "a file of the dashboard is broken");
    }
    plain
}

fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| {
        let mut terms = item.split(';').map(str::trim);
        let refused = |term: &str| matches!(term.replace(' ', "").as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
        terms.next() == Some(encoding) && !terms.any(refused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASSETS: &[Asset] = &[
        Asset {
            path: "index.html",
            content_type: "text/html; charset=utf-8",
            brotli: b"page in br",
        },
        Asset {
            path: "assets/app-1.js",
            content_type: "text/javascript",
            brotli: b"app in br",
        },
    ];

    async fn get(assets: &[Asset], path: &str, encoding: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, encoding.parse().expect("a value"));
        let answer = file(assets, path, &headers);
        for (name, value) in POLICY {
            assert_eq!(answer.headers()[*name], *value);
        }
        let line = format!(
            "{} {} {}",
            answer.status().as_u16(),
            answer.headers()[CONTENT_TYPE].to_str().expect("text"),
            answer.headers()[CACHE_CONTROL].to_str().expect("text"),
        );
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.expect("a body");
        let body = String::from_utf8_lossy(&body);
        format!("{line}: {}", body.lines().next().unwrap_or_default())
    }

    #[tokio::test]
    async fn files_are_found_or_are_the_page() {
        let mut lines = Vec::new();
        for (path, encoding) in [
            ("/dashboard/", "gzip, deflate, br"),
            ("/dashboard/pods?x", "gzip, deflate, br"),
            ("/dashboard/assets/app-1.js", "br"),
            ("/dashboard/assets/app-2.js", "br"),
            ("/dashboard/../secret", "br"),
        ] {
            lines.push(get(ASSETS, path, encoding).await);
        }
        lines.push(get(&[], "/dashboard/", "br").await);
        insta::assert_snapshot!(lines.join("\n"), @"
        200 text/html; charset=utf-8 no-cache: page in br
        200 text/html; charset=utf-8 no-cache: page in br
        200 text/javascript public, max-age=31536000, immutable: app in br
        404 text/plain; charset=utf-8 no-cache: 404 page not found
        200 text/html; charset=utf-8 no-cache: page in br
        503 text/html; charset=utf-8 no-cache: <!doctype html><meta charset=utf-8><title>Mizzen</title>
        ");
    }

    #[test]
    fn who_does_not_read_brotli_gets_the_file_plain() {
        let (content, mut brotli) = ("a page ".repeat(10_000), Vec::new());
        brotli::BrotliCompress(&mut content.as_bytes(), &mut brotli, &Default::default()).expect("compressed");
        let asset = Asset {
            brotli: brotli.leak(),
            ..ASSETS[0]
        };
        for (encoding, expect) in [("gzip, deflate, br", Some("br")), ("gzip, br;q=0", None), ("", None)] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, encoding.parse().expect("a value"));
            let answer = compressed(&asset, &headers);
            let told = answer
                .headers()
                .get(CONTENT_ENCODING)
                .map(|value| value.to_str().expect("text"));
            assert_eq!(told, expect, "{encoding}");
        }
        assert!(plain(&asset) == content.as_bytes());
        assert_eq!(plain(&ASSETS[0]), b"", "what is broken");
    }
}
