//! Which form a client wants its answer in: the `Accept` header.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use mizzen_api::status::{ApiError, ApiResult};

use crate::cache::{Include, View};

use super::query::Query;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    #[default]
    Json,
    /// `application/yaml`.
    Yaml,
}

impl Format {
    /// Media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
        }
    }
}

/// The form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    /// Encoding.
    pub format: Format,
    /// The object itself, a table or metadata only.
    pub view: View,
    /// Whether the client takes gzip.
    pub gzip: bool,
    /// Whether people will read it.
    pub pretty: bool,
}

impl Default for Accept {
    fn default() -> Self {
        Self {
            format: Format::Json,
            view: View::Object,
            gzip: false,
            pretty: false,
        }
    }
}

impl Accept {
    /// What the headers ask for; `transformable` says whether tables and metadata can be had.
    pub fn negotiate(headers: &HeaderMap, query: &Query, transformable: bool) -> ApiResult<Self> {
        let mut accept = Self {
            gzip: accepts_gzip(headers),
            pretty: query.flag("pretty"),
            ..Self::default()
        };
        let all: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
        let all = all.join(",");
        if all.trim().is_empty() {
            return Ok(accept);
        }
        let include = include(query);
        for clause in all.split(',') {
            if let Some((format, view)) = parse(clause, transformable, include) {
                accept.format = format;
                accept.view = view;
                return Ok(accept);
            }
        }
        Err(ApiError::new(
            406,
            "NotAcceptable",
            "only the following media types are accepted: application/json, application/yaml",
        ))
    }
}

fn parse(clause: &str, transformable: bool, include: Include) -> Option<(Format, View)> {
    let mut parts = clause.split(';').map(str::trim);
    let format = match parts.next()? {
        "application/json" | "*/*" | "application/*" => Format::Json,
        "application/yaml" => Format::Yaml,
        _ => return None,
    };
    let (mut kind, mut group, mut version) = ("", "", "");
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name.trim() {
            "as" => kind = value.trim(),
            "g" => group = value.trim(),
            "v" => version = value.trim(),
            _ => {}
        }
    }
    let known = group == "meta.k8s.io" && matches!(version, "v1" | "v1beta1") && transformable;
    match kind {
        "" => Some((format, View::Object)),
        "Table" if known => Some((format, View::Table(include))),
        "PartialObjectMetadata" | "PartialObjectMetadataList" if known => Some((format, View::Metadata)),
        _ => None,
    }
}

fn include(query: &Query) -> Include {
    match query.get("includeObject") {
        "None" => Include::None,
        "Object" => Include::Object,
        _ => Include::Metadata,
    }
}

/// Whether the client takes gzip.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    let mut clauses = values.flat_map(|value| value.split(','));
    clauses.any(|clause| {
        let (name, quality) = clause.split_once(';').unwrap_or((clause, ""));
        name.trim() == "gzip" && quality.trim() != "q=0"
    })
}
