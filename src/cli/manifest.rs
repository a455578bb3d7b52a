//! Objects from files: `-f FILE`, a directory, or `-` for stdin; JSON or YAML of several documents.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mizzen_api::yaml;
use serde_json::Value;

use super::error::fail;

/// Where objects come from.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Files {
    /// File, directory, or - for standard input.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// Descend into directories.
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
}

/// An object, and where it was written.
pub(crate) struct Manifest {
    /// File as it was named.
    pub(crate) source: String,
    /// The object.
    pub(crate) object: Value,
}

impl Files {
    /// Whether none was named.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Reads all objects, if any file was named.
    pub(crate) fn read_if_any(&self) -> anyhow::Result<Vec<Manifest>> {
        if self.is_empty() { Ok(Vec::new()) } else { self.read() }
    }

    /// Reads all objects, in order.
    pub(crate) fn read(&self) -> anyhow::Result<Vec<Manifest>> {
        let mut manifests = Vec::new();
        for name in &self.files {
            if name == "-" {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text)?;
                add(&text, "STDIN", &mut manifests)?;
                continue;
            }
            if name.starts_with("http://") || name.starts_with("https://") {
                return fail(format!(
                    "{name} is an address: fetch it first, and give the file or pipe it to -f -"
                ));
            }
            let path = Path::new(name);
            if !path.exists() {
                return fail(format!("the path {name:?} does not exist"));
            }
            for file in self.expand(path)? {
                let shown = file.display().to_string();
                let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {shown}"))?;
                add(&text, &shown, &mut manifests)?;
            }
        }
        match manifests.is_empty() {
            true => fail("no objects passed to apply"),
            false => Ok(manifests),
        }
    }

    /// The files of a directory in order, or the file itself.
    fn expand(&self, path: &Path) -> anyhow::Result<Vec<PathBuf>> {
        if !path.is_dir() {
            return Ok(vec![path.to_owned()]);
        }
        let mut entries: Vec<_> = std::fs::read_dir(path)?
            .map(|e| e.map(|e| e.path()))
            .collect::<Result<_, _>>()?;
        entries.sort();
        let mut files = Vec::new();
        for entry in entries {
            let known = entry
                .extension()
                .is_some_and(|e| e == "json" || e == "yaml" || e == "yml");
            if entry.is_dir() && self.recursive {
                files.extend(self.expand(&entry)?);
            } else if entry.is_file() && known {
                files.push(entry);
            }
        }
        Ok(files)
    }
}

fn add(text: &str, source: &str, manifests: &mut Vec<Manifest>) -> anyhow::Result<()> {
    let documents = yaml::documents(text)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("error parsing {source}"))?;
    for object in documents {
        if object["kind"].is_string() && object["items"].is_array() {
            for item in object["items"].as_array().into_iter().flatten() {
                push(item.clone(), source, manifests)?;
            }
        } else {
            push(object, source, manifests)?;
        }
    }
    Ok(())
}

fn push(object: Value, source: &str, manifests: &mut Vec<Manifest>) -> anyhow::Result<()> {
    for field in ["apiVersion", "kind"] {
        if object[field].as_str().is_none_or(str::is_empty) {
            return fail(format!(
                "error validating {source:?}: error validating data: {field} not set"
            ));
        }
    }
    manifests.push(Manifest {
        source: source.to_owned(),
        object,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_become_objects() {
        let mut found = Vec::new();
        let text = "# first\napiVersion: v1\nkind: A\n---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: B}\n- {apiVersion: v1, kind: C}\n";
        add(text, "x", &mut found).expect("objects");
        let kinds: Vec<_> = found.iter().map(|m| m.object["kind"].as_str()).collect();
        assert_eq!(kinds, [Some("A"), Some("B"), Some("C")]);
        let error = add("kind: A", "x.yaml", &mut found).expect_err("no version");
        assert_eq!(
            error.to_string(),
            "error validating \"x.yaml\": error validating data: apiVersion not set"
        );
    }
}
