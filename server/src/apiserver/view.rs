//! The forms in which objects are sent: as they are, as metadata only, as rows of a table.

use bytes::{BufMut, Bytes, BytesMut};
use mizzen_api::convert;
use mizzen_api::object::{ObjectExt, encode, splice_revision};
use mizzen_api::resource::{Resource, Text};
use mizzen_api::status::{ApiError, ApiResult};
use mizzen_api::table;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::call::Call;
use super::decode;
use crate::cache::{Include, View};

/// One object in the form that the client accepts.
pub(super) fn object(call: &Call, json: &Bytes) -> ApiResult<Bytes> {
    let json = served(&call.resource, json)?;
    Ok(match call.accept.view {
        View::Object => json,
        View::Metadata => metadata(&json)?,
        View::Table(include) => {
            let revision = revision(&json);
            let row = row(call, include, &json)?;
            whole_table(call, Some(&revision), true, &[row])
        }
    })
}

/// The stored form turned into the version of the row.
pub(super) fn served(resource: &Resource, json: &Bytes) -> ApiResult<Bytes> {
    if !resource.is_converted() {
        return Ok(json.clone());
    }
    let mut object = decode::stored(json)?;
    let revision = object.resource_version().parse().unwrap_or_default();
    convert::from_stored(resource, &mut object);
    Ok(splice_revision(&encode(&object), revision))
}

/// Version that tells apart frames of one event: only converted resources have several.
pub(super) fn frame_version(resource: &Resource) -> Text {
    if resource.is_converted() {
        resource.api_version()
    } else {
        "".into()
    }
}

#[derive(Deserialize)]
struct MetadataOnly<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RevisionOnly {
    metadata: RevisionMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RevisionMetadata {
    #[serde(default)]
    resource_version: String,
}

fn revision(json: &[u8]) -> String {
    serde_json::from_slice::<RevisionOnly>(json)
        .map(|o| o.metadata.resource_version)
        .unwrap_or_default()
}

/// `PartialObjectMetadata` of an object.
pub(super) fn metadata(json: &[u8]) -> ApiResult<Bytes> {
    let object: MetadataOnly<'_> = serde_json::from_slice(json).map_err(ApiError::internal)?;
    let metadata = object.metadata.get();
    let mut out = BytesMut::with_capacity(metadata.len() + 96);
    out.put_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#);
    out.put_slice(metadata.as_bytes());
    out.put_u8(b'}');
    Ok(out.freeze())
}

/// A row of the resource's table.
pub(super) fn row(call: &Call, include: Include, json: &Bytes) -> ApiResult<Bytes> {
    let object: Value = serde_json::from_slice(json).map_err(ApiError::internal)?;
    let cells = table::row(&call.resource, &object, jiff::Timestamp::now());
    let cells: Vec<_> = cells.iter().map(table::Cell::to_json).collect();
    let mut out = BytesMut::with_capacity(512);
    out.put_slice(b"{\"cells\":");
    out.put_slice(Value::Array(cells).to_string().as_bytes());
    if let Some(conditions) = table::row_conditions(&call.resource, &object) {
        out.put_slice(b",\"conditions\":");
        out.put_slice(conditions.to_string().as_bytes());
    }
    match include {
        Include::None => {}
        Include::Metadata => {
            out.put_slice(b",\"object\":");
            out.put_slice(&metadata(json)?);
        }
        Include::Object => {
            out.put_slice(b",\"object\":");
            out.put_slice(json);
        }
    }
    out.put_u8(b'}');
    Ok(out.freeze())
}

/// Definitions of the columns of the resource's table.
pub(super) fn columns(resource: &Resource) -> Bytes {
    let columns = table::columns(resource).iter().map(table::Column::to_json);
    Value::Array(columns.collect()).to_string().into()
}

/// A table of rows.
pub(super) fn whole_table(call: &Call, revision: Option<&str>, headers: bool, rows: &[Bytes]) -> Bytes {
    let mut out = BytesMut::with_capacity(1024);
    out.put_slice(br#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"#);
    if let Some(revision) = revision {
        out.put_slice(format!("\"resourceVersion\":\"{revision}\"").as_bytes());
    }
    out.put_slice(br#"},"columnDefinitions":"#);
    if headers {
        out.put_slice(&columns(&call.resource));
    } else {
        out.put_slice(b"null");
    }
    out.put_slice(br#","rows":["#);
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        out.put_slice(row);
    }
    out.put_slice(b"]}");
    out.freeze()
}
