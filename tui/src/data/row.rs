//! A row: what is kept of one object.
//!
//! Kept are the object's JSON without what no list shows (managed fields, the applied manifest, probes and
//! the like), and the console model's row, by which tables show, sort and filter.

use std::sync::Arc;

use jiff::Timestamp;
use mizzen_api::console::metrics::{self, Bounds, Used};
use mizzen_api::console::rows;
use mizzen_api::resource::Resource;
use mizzen_api::table::{self, Cell};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// What is kept of one object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// What tables show, sort and filter by.
    pub row: rows::Row,
    /// The object, compacted.
    pub object: Arc<RawValue>,
    /// What it may use, where use is measured.
    #[serde(default)]
    pub bounds: Bounds,
    /// What it uses, when that was measured.
    #[serde(default)]
    pub used: Option<Used>,
}

impl Row {
    /// The object.
    pub fn object(&self) -> Value {
        serde_json::from_str(self.object.get()).unwrap_or_default()
    }

    /// Shows what it uses.
    pub(super) fn measure(&mut self, resource: &Resource, used: Option<Used>) {
        metrics::measure(&mut self.row.cells, resource, self.bounds, used);
        self.used = used;
    }

    /// Namespace and name.
    pub fn key(&self) -> (&str, &str) {
        (&self.row.namespace, &self.row.name)
    }
}

impl rows::Shows for Row {
    fn row(&self) -> &rows::Row {
        &self.row
    }
}

/// The row of an object. `served` are the cells that the server made, for kinds that we do not know.
pub fn row_of(resource: &Resource, mut object: Value, served: Option<Vec<Cell>>, now: Timestamp) -> Row {
    compact(&mut object);
    let bounds = Bounds::of(resource, &object);
    let cells = served.unwrap_or_else(|| {
        let mut cells = table::row(resource, &object, now);
        cells.extend(metrics::cells(resource, bounds, None));
        cells
    });
    let row = rows::Row::with_cells(&object, cells, now);
    if let Value::Object(fields) = &mut object {
        fields.entry("kind").or_insert_with(|| (&*resource.kind).into());
        fields
            .entry("apiVersion")
            .or_insert_with(|| (&*resource.api_version()).into());
    }
    let object = serde_json::value::to_raw_value(&object).expect("a JSON value encodes");
    Row {
        row,
        object: object.into(),
        bounds,
        used: None,
    }
}

/// Drops what no list, relation or summary reads. Descriptions and YAML are read from the server.
pub fn compact(object: &mut Value) {
    let remove = |at: Option<&mut Value>, keys: &[&str]| {
        if let Some(Value::Object(fields)) = at {
            fields.retain(|key, _| !keys.contains(&key.as_str()));
        }
    };
    remove(object.get_mut("metadata"), &["managedFields", "selfLink"]);
    remove(
        object.pointer_mut("/metadata/annotations"),
        &["kubectl.kubernetes.io/last-applied-configuration"],
    );
    remove(object.get_mut("spec"), &["tolerations", "affinity", "securityContext"]);
    for pod in ["/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec"] {
        for list in ["initContainers", "containers"] {
            let Some(Value::Array(containers)) = object.pointer_mut(&format!("{pod}/{list}")) else {
                continue;
            };
            for container in containers {
                remove(Some(container), UNSEEN);
            }
        }
    }
    for list in ["initContainerStatuses", "containerStatuses"] {
        let Some(Value::Array(statuses)) = object.pointer_mut(&format!("/status/{list}")) else {
            continue;
        };
        for status in statuses {
            remove(Some(status), &["imageID", "volumeMounts", "resources", "user"]);
        }
    }
    // Only their keys are shown.
    let is_secret = object["kind"] == "Secret";
    for data in ["data", "binaryData"] {
        if let Some(Value::Object(fields)) = object.get_mut(data) {
            for value in fields.values_mut() {
                if is_secret || value.as_str().is_some_and(|text| text.len() > 64) {
                    *value = Value::from("");
                }
            }
        }
    }
}

const UNSEEN: &[&str] = &[
    "volumeMounts",
    "securityContext",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "imagePullPolicy",
    "command",
    "args",
    "lifecycle",
];
