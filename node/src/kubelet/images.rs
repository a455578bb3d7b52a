//! Making sure that an image is there: pull policies, credentials, and the words for what went
//! wrong. A present image never needs a registry unless the policy is `Always`.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use base64::Engine;
use k8s_cri::v1::AuthConfig;
use k8s_openapi::api::core::v1::{Container, Pod};
use mizzen_api::client::events::Severity;
use parking_lot::Mutex;
use serde::Deserialize;

use super::events::Events;
use super::objects::{Content, Kind};
use super::podinfo::PodInfo;
use super::runtime::{LocalImage, Runtime};
use super::volumes::Contents;

/// Why an image is not there.
#[derive(Clone, Debug)]
pub struct ImageError {
    /// The container's waiting reason.
    pub reason: &'static str,
    /// The container's waiting message.
    pub message: String,
}

/// The node's images.
#[derive(Clone)]
pub struct Images {
    runtime: Runtime,
    /// One pull of an image at a time; those who wait find it present.
    pulls: Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>,
}

impl Images {
    /// The images of `runtime`.
    #[must_use]
    pub fn new(runtime: Runtime) -> Self {
        Self {
            runtime,
            pulls: Arc::default(),
        }
    }

    /// The container's image, pulled if the policy says so.
    ///
    /// # Errors
    /// Reason and message for the status; the Events are already recorded.
    pub async fn ensure(
        &self,
        pod: &Pod,
        container: &Container,
        events: &Events,
        secrets: &Contents,
    ) -> Result<LocalImage, ImageError> {
        let name = container.image.as_deref().unwrap_or_default();
        let event = |severity, reason, message: String| events.container(pod, container, severity, reason, message);
        let present = match self.runtime.image(name).await {
            Ok(present) => present,
            Err(status) => {
                let invalid = status.code() == tonic::Code::InvalidArgument || status.message().contains("reference");
                let message = format!("Failed to apply default image tag \"{name}\": {}", status.message());
                let reason = if invalid {
                    "InvalidImageName"
                } else {
                    "ImageInspectError"
                };
                let message = if invalid {
                    message
                } else {
                    format!("Failed to inspect image \"{name}\": {}", status.message())
                };
                event(
                    Severity::Warning,
                    if invalid { "InspectFailed" } else { "Failed" },
                    message.clone(),
                );
                return Err(ImageError { reason, message });
            }
        };
        match (present, policy(container)) {
            (Some(image), "Never" | "IfNotPresent") => {
                event(
                    Severity::Normal,
                    "Pulled",
                    format!("Container image \"{name}\" already present on machine"),
                );
                Ok(image)
            }
            (None, "Never") => {
                let message = format!("Container image \"{name}\" is not present with pull policy of Never");
                event(Severity::Warning, "ErrImageNeverPull", message.clone());
                Err(ImageError {
                    reason: "ErrImageNeverPull",
                    message,
                })
            }
            _ => self.pull(pod, container, events, secrets).await,
        }
    }

    async fn pull(
        &self,
        pod: &Pod,
        container: &Container,
        events: &Events,
        secrets: &Contents,
    ) -> Result<LocalImage, ImageError> {
        let name = container.image.as_deref().unwrap_or_default();
        let event = |severity, reason, message: String| events.container(pod, container, severity, reason, message);
        event(Severity::Normal, "Pulling", format!("Pulling image \"{name}\""));
        let waited = Instant::now();
        let turn = self.turn(name);
        let _turn = turn.lock().await;
        let started = Instant::now();
        let failed = |status: tonic::Status| {
            let message = format!("failed to pull image \"{name}\": {}", status.message());
            event(
                Severity::Warning,
                "Failed",
                format!("Failed to pull image \"{name}\": {}", status.message()),
            );
            event(Severity::Warning, "Failed", "Error: ErrImagePull".to_owned());
            ImageError {
                reason: "ErrImagePull",
                message,
            }
        };
        let mut outcome = Err(tonic::Status::unknown("no credentials"));
        for auth in credentials(pod, name, secrets) {
            outcome = self.runtime.pull(name, auth).await;
            if outcome.is_ok() {
                break;
            }
        }
        let reference = outcome.map_err(failed)?;
        let image = self.runtime.image(&reference).await.map_err(failed)?;
        let image = image.ok_or_else(|| failed(tonic::Status::not_found("the pulled image is not there")))?;
        let (own, all) = (started.elapsed().as_millis(), waited.elapsed().as_millis());
        event(
            Severity::Normal,
            "Pulled",
            format!(
                "Successfully pulled image \"{name}\" in {own}ms ({all}ms including waiting). Image size: {} bytes.",
                image.size
            ),
        );
        Ok(image)
    }

    fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut pulls = self.pulls.lock();
        pulls.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = pulls.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        pulls.insert(name.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// The container's pull policy, or the one its tag implies.
fn policy(container: &Container) -> &str {
    if let Some(policy) = container
        .image_pull_policy
        .as_deref()
        .filter(|policy| !policy.is_empty())
    {
        return policy;
    }
    let image = container.image.as_deref().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or(image);
    let latest = !image.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    if latest { "Always" } else { "IfNotPresent" }
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: HashMap<String, DockerAuth>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerAuth {
    username: String,
    password: String,
    auth: String,
}

/// The credentials to try, in order; none at all is one of them.
fn credentials(pod: &Pod, image: &str, secrets: &Contents) -> Vec<Option<AuthConfig>> {
    let named = pod.spec().image_pull_secrets.iter().flatten();
    let found = named.filter_map(|secret| secrets.get(Kind::Secret, &secret.name));
    let all: Vec<Option<AuthConfig>> = found.flat_map(|content| in_secret(&content, image)).map(Some).collect();
    if all.is_empty() { vec![None] } else { all }
}

fn in_secret(content: &Content, image: &str) -> Vec<AuthConfig> {
    let auths = match (content.get(".dockerconfigjson"), content.get(".dockercfg")) {
        (Some(json), _) => serde_json::from_slice::<DockerConfig>(json).map(|config| config.auths),
        (None, Some(json)) => serde_json::from_slice(json),
        (None, None) => return vec![],
    };
    let matches = |(registry, _): &(String, DockerAuth)| {
        let registry = registry.trim_start_matches("https://").trim_start_matches("http://");
        let host = registry.split('/').next().unwrap_or(registry);
        let of_image = image
            .split('/')
            .next()
            .filter(|first| first.contains(['.', ':']))
            .unwrap_or("docker.io");
        host == of_image || (of_image == "docker.io" && host == "index.docker.io")
    };
    auths
        .into_iter()
        .flatten()
        .filter(matches)
        .map(|(_, auth)| auth_config(auth))
        .collect()
}

fn auth_config(auth: DockerAuth) -> AuthConfig {
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(&auth.auth)
        .unwrap_or_default();
    let pair = String::from_utf8(decoded).ok();
    let (username, password) = match pair.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((username, password)) if auth.username.is_empty() => (username.to_owned(), password.to_owned()),
        _ => (auth.username, auth.password),
    };
    AuthConfig {
        username,
        password,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_implies_the_policy() {
        for (image, expected) in [
            ("a", "Always"),
            ("a:latest", "Always"),
            ("host:5000/a", "Always"),
            ("host:5000/a:1", "IfNotPresent"),
            ("a@sha256:0", "IfNotPresent"),
        ] {
            let container = Container {
                image: Some(image.into()),
                ..Default::default()
            };
            assert_eq!(policy(&container), expected, "{image}");
        }
    }

    #[test]
    fn credentials_are_those_of_the_images_registry() {
        let json =
            br#"{"auths":{"https://r.example":{"auth":"dTpw"},"other.example":{"username":"x","password":"y"}}}"#;
        let content = Content::from(std::collections::BTreeMap::from([(
            ".dockerconfigjson".to_owned(),
            json.to_vec(),
        )]));
        let found = in_secret(&content, "r.example/team/app:1");
        assert_eq!(
            found
                .iter()
                .map(|auth| (auth.username.as_str(), auth.password.as_str()))
                .collect::<Vec<_>>(),
            [("u", "p")]
        );
        assert!(in_secret(&content, "app:1").is_empty());
    }
}
