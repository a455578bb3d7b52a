//! ServiceAccount tokens for projected volumes: asked of the API bound to the Pod, kept until
//! 80 % of their life is over, then asked anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection, Volume};
use kube::Api;
use kube::api::PostParams;
use mizzen_api::client::rest::message;
use parking_lot::Mutex;

use super::payload::{TokenFiles, token_projections};
use crate::kubelet::podinfo::PodInfo;

/// How long a token lives when the volume does not say.
const DEFAULT_LIFE_S: i64 = 3600;
/// No token is kept longer, whatever its life.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone)]
struct Kept {
    token: String,
    refresh_at: Timestamp,
}

/// A Pod's UID, and what its tokens differ by: audience and life.
type TokenKey = (String, String, i64);

/// All tokens of the node's Pods.
#[derive(Clone)]
pub struct Tokens {
    client: kube::Client,
    kept: Arc<Mutex<HashMap<TokenKey, Kept>>>,
}

impl Tokens {
    /// None yet.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self {
            client,
            kept: Arc::default(),
        }
    }

    /// The volume's tokens, fresh enough.
    ///
    /// # Errors
    /// What the API answered.
    pub async fn all_of(&self, pod: &Pod, volume: &Volume) -> Result<TokenFiles, String> {
        let mut files = TokenFiles::new();
        for projection in token_projections(volume) {
            files.insert(projection.path.clone(), self.one(pod, projection).await?);
        }
        Ok(files)
    }

    async fn one(&self, pod: &Pod, projection: &ServiceAccountTokenProjection) -> Result<String, String> {
        let audience = projection.audience.clone().unwrap_or_default();
        let life_s = projection.expiration_seconds.unwrap_or(DEFAULT_LIFE_S);
        let key = (pod.uid().to_owned(), audience.clone(), life_s);
        let old = self.kept.lock().get(&key).cloned();
        if let Some(kept) = &old
            && kept.refresh_at > Timestamp::now()
        {
            return Ok(kept.token.clone());
        }
        match self.request(pod, audience, life_s).await {
            Ok(kept) => {
                let token = kept.token.clone();
                self.kept.lock().insert(key, kept);
                Ok(token)
            }
            // The old one is still good for a fifth of its life.
            Err(error) => old.map(|kept| kept.token).ok_or(error),
        }
    }

    async fn request(&self, pod: &Pod, audience: String, life_s: i64) -> Result<Kept, String> {
        let account = pod
            .spec()
            .service_account_name
            .as_deref()
            .filter(|name| !name.is_empty())
            .unwrap_or("default");
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: (!audience.is_empty()).then(|| vec![audience]),
                expiration_seconds: Some(life_s),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), pod.namespace());
        let answer = api
            .create_token_request(account, &PostParams::default(), &request)
            .await;
        let status = answer
            .map_err(|error| format!("failed to fetch token: {}", message(&error)))?
            .status;
        let status = status.ok_or("failed to fetch token: the answer has no status")?;
        let now = Timestamp::now();
        let token = status.token.ok_or("failed to fetch token: the answer has no token")?;
        let ends = status.expiration_timestamp.map_or(now, |time| time.0);
        let life = Duration::try_from(ends.duration_since(now)).unwrap_or_default();
        let refresh_at = now + (life.mul_f64(0.8)).min(LONGEST);
        Ok(Kept { token, refresh_at })
    }

    /// How long until one of the Pod's tokens should be replaced.
    #[must_use]
    pub fn next_refresh(&self, uid: &str) -> Option<Duration> {
        let kept = self.kept.lock();
        let next = kept
            .iter()
            .filter(|((owner, ..), _)| owner == uid)
            .map(|(_, kept)| kept.refresh_at)
            .min()?;
        // Never at once: a token that cannot be replaced must not make a busy loop.
        Some(
            Duration::try_from(next.duration_since(Timestamp::now()))
                .unwrap_or_default()
                .max(Duration::from_secs(1)),
        )
    }

    /// Forgets a Pod's tokens.
    pub fn forget(&self, uid: &str) {
        self.kept.lock().retain(|(owner, ..), _| owner != uid);
    }
}
