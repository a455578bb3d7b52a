//! Requests to the API over the browser's fetch: HTTP/2 carries them all on one connection.

use std::time::Duration;

use serde_json::Value;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, Headers, ReadableStreamDefaultReader, RequestInit, Response, TextDecoder};

/// Why a request did not do what it was to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody is logged in.
    Unauthorized,
    /// The server said no.
    Status {
        /// HTTP code.
        code: u16,
        /// The server's message.
        message: String,
    },
    /// There was no answer.
    Network,
}

impl Failure {
    /// The server's code, if it answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Unauthorized => Some(401),
            Self::Status { code, .. } => Some(*code),
            Self::Network => None,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unauthorized => f.write_str("401"),
            Self::Status { message, .. } => f.write_str(message),
            Self::Network => f.write_str("no answer from the server"),
        }
    }
}

/// First and longest pause before a request is sent again that nobody answered.
const AGAIN: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(10));

/// One request.
#[derive(Clone, Copy, Default)]
pub struct Call<'a> {
    /// HTTP method; empty for GET.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Media type of the answer; empty for JSON.
    pub accept: &'a str,
    /// Media type of the body.
    pub content_type: &'a str,
    /// Body.
    pub body: Option<&'a str>,
    /// Ends the request.
    pub signal: Option<&'a AbortSignal>,
}

impl<'a> Call<'a> {
    /// Reads a path.
    pub fn get(path: &'a str) -> Self {
        Self {
            path,
            ..Self::default()
        }
    }

    /// Sends JSON.
    pub fn with(method: &'a str, path: &'a str, body: &'a str) -> Self {
        Self {
            method,
            path,
            content_type: "application/json",
            body: Some(body),
            ..Self::default()
        }
    }

    /// Sends it; anything but success is a failure.
    pub async fn send(self) -> Result<Response, Failure> {
        let response = self.fetch().await.map_err(|_| Failure::Network)?;
        match response.status() {
            200..300 => Ok(response),
            401 => Err(Failure::Unauthorized),
            code => {
                let text = read_text(&response).await.unwrap_or_default();
                let status: Value = serde_json::from_str(&text).unwrap_or_default();
                let message = status["message"].as_str().unwrap_or(&text).to_owned();
                Err(Failure::Status { code, message })
            }
        }
    }

    async fn fetch(self) -> Result<Response, JsValue> {
        let init = RequestInit::new();
        init.set_method(if self.method.is_empty() { "GET" } else { self.method });
        let headers = Headers::new()?;
        headers.set("x-mizzen-dashboard", "1")?;
        headers.set(
            "accept",
            if self.accept.is_empty() {
                "application/json"
            } else {
                self.accept
            },
        )?;
        if !self.content_type.is_empty() {
            headers.set("content-type", self.content_type)?;
        }
        init.set_headers(&headers);
        if let Some(body) = self.body {
            init.set_body(&JsValue::from_str(body));
        }
        init.set_signal(self.signal);
        let window = web_sys::window().ok_or(JsValue::NULL)?;
        let response = JsFuture::from(window.fetch_with_str_and_init(self.path, &init)).await?;
        response.dyn_into()
    }

    /// Sends it and reads the answer as JSON.
    pub async fn json(self) -> Result<Value, Failure> {
        let text = self.text().await?;
        serde_json::from_str(&text).map_err(|error| Failure::Status {
            code: 200,
            message: error.to_string(),
        })
    }

    /// Sends it until somebody answers, and reads the answer as JSON. For what the page cannot be without.
    pub async fn insist(self) -> Result<Value, Failure> {
        let mut pause = AGAIN.0;
        loop {
            match self.json().await {
                Err(Failure::Network) => super::live::sleep(pause).await,
                answer => return answer,
            }
            pause = (pause * 2).min(AGAIN.1);
        }
    }

    /// Sends it and reads the answer as text.
    pub async fn text(self) -> Result<String, Failure> {
        let response = self.send().await?;
        read_text(&response).await.map_err(|_| Failure::Network)
    }
}

/// Hands on every line of an answer as it comes, until the answer ends.
pub async fn lines_of(response: &Response, mut each: impl FnMut(&str)) -> Result<(), Failure> {
    read_lines(response, &mut each).await.map_err(|_| Failure::Network)
}

async fn read_text(response: &Response) -> Result<String, JsValue> {
    let text = JsFuture::from(response.text()?).await?;
    Ok(text.as_string().unwrap_or_default())
}

async fn read_lines(response: &Response, each: &mut impl FnMut(&str)) -> Result<(), JsValue> {
    let Some(body) = response.body() else { return Ok(()) };
    let reader: ReadableStreamDefaultReader = body.get_reader().dyn_into()?;
    let decoder = TextDecoder::new()?;
    let (done, value) = (JsValue::from_str("done"), JsValue::from_str("value"));
    // A character may be cut in two between chunks.
    let decode: js_sys::Function = js_sys::Reflect::get(&decoder, &JsValue::from_str("decode"))?.dyn_into()?;
    let streaming = js_sys::Object::new();
    js_sys::Reflect::set(&streaming, &JsValue::from_str("stream"), &JsValue::TRUE)?;
    let mut rest = String::new();
    loop {
        let chunk = JsFuture::from(reader.read()).await?;
        if js_sys::Reflect::get(&chunk, &done)?.is_truthy() {
            if !rest.is_empty() {
                each(&rest);
            }
            return Ok(());
        }
        let bytes: js_sys::Uint8Array = js_sys::Reflect::get(&chunk, &value)?.dyn_into()?;
        let text = decode.call2(&decoder, &bytes, &streaming)?;
        rest.push_str(&text.as_string().unwrap_or_default());
        let Some(end) = rest.rfind('\n') else { continue };
        let tail = rest.split_off(end + 1);
        for line in rest.lines() {
            each(line);
        }
        rest = tail;
    }
}
