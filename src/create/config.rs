//! Generators of ConfigMaps and Secrets.

use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::pair;
use crate::cli::error::fail;

/// Where entries come from.
#[derive(clap::Args)]
struct Sources {
    /// KEY=VALUE.
    #[arg(long, value_name = "KEY=VALUE")]
    from_literal: Vec<String>,
    /// FILE, KEY=FILE, or a directory.
    #[arg(long, value_name = "FILE")]
    from_file: Vec<String>,
    /// File of KEY=VALUE lines.
    #[arg(long, value_name = "FILE")]
    from_env_file: Vec<String>,
}

impl Sources {
    fn read(&self) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        let mut entries: Vec<(String, Vec<u8>)> = Vec::new();
        for text in &self.from_literal {
            let (key, value) = pair(text, "literal source")?;
            entries.push((key.to_owned(), value.into()));
        }
        for text in &self.from_file {
            let (key, path) = match text.split_once('=') {
                Some((key, path)) => (Some(key.to_owned()), path),
                None => (None, text.as_str()),
            };
            let path = Path::new(path);
            if path.is_dir() {
                let mut files: Vec<_> = std::fs::read_dir(path)?
                    .map(|e| e.map(|e| e.path()))
                    .collect::<Result<_, _>>()?;
                files.sort();
                for file in files.iter().filter(|f| f.is_file()) {
                    entries.push((base_name(file), read(file)?));
                }
            } else {
                entries.push((key.unwrap_or_else(|| base_name(path)), read(path)?));
            }
        }
        for file in &self.from_env_file {
            let text = String::from_utf8(read(Path::new(file))?).with_context(|| format!("{file} is not text"))?;
            let lines = text.lines().map(str::trim_start);
            for line in lines.filter(|l| !l.is_empty() && !l.starts_with('#')) {
                let (key, value) = pair(line, "line of an env file")?;
                entries.push((key.to_owned(), value.into()));
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        match entries.iter().find(|(key, _)| !seen.insert(key.clone())) {
            Some((key, _)) => fail(format!(
                "cannot add key {key:?}, another key by that name already exists"
            )),
            None => Ok(entries),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("error reading {}", path.display()))
}

fn base_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[derive(clap::Args)]
pub(super) struct ConfigMap {
    /// Name of the ConfigMap.
    name: String,
    #[command(flatten)]
    sources: Sources,
}

impl ConfigMap {
    pub(super) fn object(&self) -> anyhow::Result<Value> {
        let (mut data, mut binary) = (Map::new(), Map::new());
        for (key, bytes) in self.sources.read()? {
            match String::from_utf8(bytes) {
                Ok(text) => data.insert(key, text.into()),
                Err(error) => binary.insert(key, STANDARD.encode(error.as_bytes()).into()),
            };
        }
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.name}});
        for (field, entries) in [("data", data), ("binaryData", binary)] {
            if !entries.is_empty() {
                object[field] = Value::Object(entries);
            }
        }
        Ok(object)
    }
}

#[derive(clap::Args)]
pub(super) struct Secret {
    #[command(subcommand)]
    kind: SecretKind,
}

#[derive(clap::Subcommand)]
enum SecretKind {
    /// Any entries.
    Generic(Generic),
    /// A certificate with its key.
    Tls(Tls),
    /// Credentials for an image registry.
    DockerRegistry(Registry),
}

#[derive(clap::Args)]
struct Generic {
    /// Name of the Secret.
    name: String,
    #[command(flatten)]
    sources: Sources,
    /// Type of the Secret.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

#[derive(clap::Args)]
struct Tls {
    /// Name of the Secret.
    name: String,
    /// File with the certificate.
    #[arg(long, value_name = "FILE")]
    cert: String,
    /// File with the key.
    #[arg(long, value_name = "FILE")]
    key: String,
}

#[derive(clap::Args)]
struct Registry {
    /// Name of the Secret.
    name: String,
    /// The registry.
    #[arg(long, value_name = "SERVER", default_value = "https://index.docker.io/v1/")]
    docker_server: String,
    /// Name of the user.
    #[arg(long, value_name = "NAME")]
    docker_username: String,
    /// Password of the user.
    #[arg(long, value_name = "PASSWORD")]
    docker_password: String,
    /// Mail address of the user.
    #[arg(long, value_name = "ADDRESS")]
    docker_email: Option<String>,
}

impl Secret {
    pub(super) fn object(&self) -> anyhow::Result<Value> {
        match &self.kind {
            SecretKind::Generic(generic) => {
                let kind = generic.kind.as_deref().unwrap_or("Opaque");
                Ok(secret(&generic.name, kind, generic.sources.read()?))
            }
            SecretKind::Tls(tls) => {
                let entries = [("tls.crt", &tls.cert), ("tls.key", &tls.key)];
                let entries = entries.map(|(key, file)| read(Path::new(file)).map(|bytes| (key.to_owned(), bytes)));
                let entries = entries.into_iter().collect::<Result<_, _>>()?;
                Ok(secret(&tls.name, "kubernetes.io/tls", entries))
            }
            SecretKind::DockerRegistry(registry) => {
                let entries = vec![(
                    ".dockerconfigjson".to_owned(),
                    registry.config().to_string().into_bytes(),
                )];
                Ok(secret(&registry.name, "kubernetes.io/dockerconfigjson", entries))
            }
        }
    }
}

fn secret(name: &str, kind: &str, entries: Vec<(String, Vec<u8>)>) -> Value {
    let data: Map<_, _> = entries
        .into_iter()
        .map(|(key, bytes)| (key, STANDARD.encode(bytes).into()))
        .collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "data": data})
}

impl Registry {
    fn config(&self) -> Value {
        let (user, password) = (&self.docker_username, &self.docker_password);
        let mut entry =
            json!({"username": user, "password": password, "auth": STANDARD.encode(format!("{user}:{password}"))});
        if let Some(email) = &self.docker_email {
            entry["email"] = json!(email);
        }
        let mut auths = Map::new();
        auths.insert(self.docker_server.clone(), entry);
        json!({"auths": auths})
    }
}
