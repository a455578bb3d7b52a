//! What `apply` and `diff` share: server-side apply of the objects of files.

use http::Method;
use mizzen_api::resource::Resource;
use serde_json::Value;

use super::Call;
use super::error::fail;
use super::manifest::{Files, Manifest};

/// What is applied, and in whose name.
#[derive(clap::Args)]
pub(crate) struct Applying {
    #[command(flatten)]
    files: Files,
    /// Take over fields that others manage.
    #[arg(long)]
    force_conflicts: bool,
    /// Name under which the fields are managed.
    #[arg(long, value_name = "NAME", default_value = "mizzen")]
    field_manager: String,
    /// Accepted for the sake of habit: apply always is server-side.
    #[arg(long, hide = true)]
    server_side: bool,
}

impl Applying {
    /// The objects of all files, of which there must be one.
    pub(crate) fn manifests(&self) -> anyhow::Result<Vec<Manifest>> {
        if self.files.is_empty() {
            return fail("must specify --filename");
        }
        self.files.read()
    }

    /// The call that applies an object.
    pub(crate) fn call(&self, resource: &Resource, (namespace, name): (&str, &str), object: &Value) -> Call {
        Call::to(Method::PATCH, resource, namespace, name)
            .query("fieldManager", self.field_manager.clone())
            .query("force", self.force_conflicts.to_string())
            .query("fieldValidation", "Strict")
            // JSON is YAML.
            .body("application/apply-patch+yaml", object)
    }
}
