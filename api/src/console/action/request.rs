//! Requests as data, and command lines in words.

use serde_json::{Value, json};

use crate::resource::Resource;

/// HTTP's word for what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Create.
    Post,
    /// Replace.
    Put,
    /// Change.
    Patch,
    /// Remove.
    Delete,
}

impl Method {
    /// As HTTP spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// One request to the API.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Path, without a query.
    pub path: String,
    /// Query, each pair fit for a URL as it stands.
    pub query: Vec<(&'static str, &'static str)>,
    /// Media type of the body.
    pub content_type: &'static str,
    /// Body.
    pub body: Value,
}

pub(super) const JSON: &str = "application/json";
pub(super) const MERGE: &str = "application/merge-patch+json";
pub(super) const STRATEGIC: &str = "application/strategic-merge-patch+json";
/// JSON is YAML, and this is the type that every server knows.
pub(super) const APPLY: &str = "application/apply-patch+yaml";
pub(super) const JSON_PATCH: &str = "application/json-patch+json";

impl Request {
    /// A request about an object, or with an empty name about a collection.
    pub fn new(method: Method, resource: &Resource, (namespace, name): (&str, &str), body: Value) -> Self {
        Self {
            method,
            path: resource.path(namespace, name),
            query: match method {
                Method::Delete => Vec::new(),
                _ => vec![("fieldManager", "mizzen")],
            },
            content_type: JSON,
            body,
        }
    }

    /// A change of an object.
    pub fn patch(content_type: &'static str, resource: &Resource, at: (&str, &str), body: Value) -> Self {
        Self {
            content_type,
            ..Self::new(Method::Patch, resource, at, body)
        }
    }

    /// About a subresource.
    pub fn of(mut self, subresource: &str) -> Self {
        self.path.push('/');
        self.path.push_str(subresource);
        self
    }

    /// The same, done for show only: the server checks everything, answers what would be, and keeps
    /// nothing.
    pub fn dry_run(&self) -> Self {
        let mut request = self.clone();
        match request.method {
            Method::Delete => request.body["dryRun"] = json!(["All"]),
            _ => request.query.push(("dryRun", "All")),
        }
        request
    }

    /// Path and query.
    pub fn uri(&self) -> String {
        let mut uri = self.path.clone();
        for (at, (key, value)) in self.query.iter().enumerate() {
            let sign = if at == 0 { '?' } else { '&' };
            uri.push_str(&format!("{sign}{key}={value}"));
        }
        uri
    }
}

/// A word as a shell reads it back.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A `kubectl` command line.
pub fn command(namespace: &str, words: &[&str]) -> String {
    let mut line = "kubectl".to_owned();
    for word in words.iter().filter(|word| !word.is_empty()) {
        line.push(' ');
        line.push_str(&quote(word));
    }
    if !namespace.is_empty() {
        line.push_str(" -n ");
        line.push_str(&quote(namespace));
    }
    line
}
