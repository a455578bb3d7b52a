//! containerd's content store and image list, as far as importing needs them.
//!
//! What an import writes is held by a lease until an image record refers to it: containerd's garbage collector follows
//! the `containerd.io/gc.ref.content.*` labels from the image's target on, so every manifest is labelled with its
//! children before it is tagged.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::{
    CreateImageRequest, CreateRequest, DeleteRequest, GetImageRequest, Image, Info, ReadContentRequest,
    UpdateImageRequest, UpdateRequest, WriteAction, WriteContentRequest,
};
use containerd_client::tonic::metadata::MetadataValue;
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Code, Request, Status};
use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;
use prost_types::FieldMask;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// containerd's namespace of everything that the CRI plugin sees.
pub(crate) const NAMESPACE: &str = "k8s.io";
/// How long an interrupted import keeps its content.
const LEASE_LIFETIME: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// A reference to a blob, as OCI writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: Box<str>,
    pub(crate) digest: Box<str>,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) annotations: HashMap<Box<str>, Box<str>>,
}

/// An image index or manifest: only what it refers to.
#[derive(Deserialize)]
pub(crate) struct References {
    #[serde(default)]
    pub(crate) manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

impl References {
    /// The garbage collector's labels, with the child that each names.
    fn labels(&self) -> impl Iterator<Item = (String, &Descriptor)> {
        let named =
            |kind: &'static str| move |(index, child)| (format!("containerd.io/gc.ref.content.{kind}.{index}"), child);
        let config = self
            .config
            .iter()
            .map(|child| ("containerd.io/gc.ref.content.config".to_owned(), child));
        self.manifests
            .iter()
            .enumerate()
            .map(named("m"))
            .chain(config)
            .chain(self.layers.iter().enumerate().map(named("l")))
    }
}

/// One connection to containerd.
#[derive(Clone)]
pub(crate) struct ImageStore {
    channel: Channel,
}

/// One import: its lease keeps what it wrote until it is closed.
pub(crate) struct Session {
    channel: Channel,
    lease: String,
}

impl ImageStore {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// The digest that an image's name stands for.
    pub(crate) async fn target(&self, name: &str) -> anyhow::Result<Option<String>> {
        let request = namespaced(GetImageRequest { name: name.to_owned() });
        match ImagesClient::new(self.channel.clone()).get(request).await {
            Ok(response) => Ok(response
                .into_inner()
                .image
                .and_then(|image| image.target)
                .map(|target| target.digest)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status).with_context(|| format!("image {name}")),
        }
    }

    pub(crate) async fn session(&self) -> anyhow::Result<Session> {
        let id = format!("mizzen-import-{}", uuid::Uuid::new_v4());
        let expires = jiff::Timestamp::now() + LEASE_LIFETIME;
        let labels = [("containerd.io/gc.expire".to_owned(), expires.to_string())].into();
        LeasesClient::new(self.channel.clone())
            .create(namespaced(CreateRequest { id: id.clone(), labels }))
            .await
            .context("image import: lease")?;
        Ok(Session {
            channel: self.channel.clone(),
            lease: id,
        })
    }
}

impl Session {
    /// Stores a small blob.
    pub(crate) async fn put(&self, digest: &str, bytes: &'static [u8]) -> anyhow::Result<()> {
        let chunk = futures::stream::iter([bytes.to_vec()]);
        self.write(Some(digest), digest, bytes.len() as u64, chunk)
            .await
            .map(drop)
    }

    /// Stores a blob chunk by chunk, unless it is there already; returns its digest.
    pub(crate) async fn write<S>(
        &self,
        expected: Option<&str>,
        name: &str,
        size: u64,
        chunks: S,
    ) -> anyhow::Result<String>
    where
        S: Stream<Item = Vec<u8>> + Send + 'static,
    {
        let hash = Arc::new(Mutex::new(Sha256::new()));
        let commit = WriteContentRequest {
            action: WriteAction::Commit as i32,
            r#ref: format!("mizzen-{name}"),
            total: i64::try_from(size)?,
            expected: expected.unwrap_or_default().to_owned(),
            ..WriteContentRequest::default()
        };
        let (write, hasher, mut offset) = (commit.clone(), hash.clone(), 0);
        let writes = chunks.map(move |data| {
            hasher.lock().update(&data);
            offset += data.len() as i64;
            WriteContentRequest {
                action: WriteAction::Write as i32,
                offset: offset - data.len() as i64,
                data,
                ..write.clone()
            }
        });
        let end = WriteContentRequest {
            offset: commit.total,
            ..commit
        };
        let request = self.leased(writes.chain(futures::stream::iter([end])));
        match self.commit(request).await {
            Err(status) if status.code() != Code::AlreadyExists => Err(status).with_context(|| format!("blob {name}")),
            _ => Ok(expected.map_or_else(|| hex_digest(hash.lock().clone()), str::to_owned)),
        }
    }

    async fn commit(
        &self,
        request: Request<impl Stream<Item = WriteContentRequest> + Send + 'static>,
    ) -> Result<(), Status> {
        let mut answers = ContentClient::new(self.channel.clone())
            .write(request)
            .await?
            .into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    }

    /// Reads a small blob.
    pub(crate) async fn read(&self, digest: &str) -> anyhow::Result<Vec<u8>> {
        let request = self.leased(ReadContentRequest {
            digest: digest.to_owned(),
            ..ReadContentRequest::default()
        });
        let mut answers = ContentClient::new(self.channel.clone())
            .read(request)
            .await?
            .into_inner();
        let mut bytes = Vec::new();
        while let Some(answer) = answers.message().await? {
            bytes.extend_from_slice(&answer.data);
        }
        Ok(bytes)
    }

    /// Labels a tree of manifests for the garbage collector. Blobs that an archive left out (other platforms) are
    /// passed over.
    pub(crate) async fn label(&self, root: &Descriptor) -> anyhow::Result<()> {
        let mut waiting = vec![root.clone()];
        while let Some(node) = waiting.pop() {
            if !(node.media_type.contains("manifest") || node.media_type.contains("index")) {
                continue;
            }
            let Ok(bytes) = self.read(&node.digest).await else {
                continue;
            };
            let references: References =
                serde_json::from_slice(&bytes).with_context(|| format!("manifest {}", node.digest))?;
            let labels: HashMap<String, String> = references
                .labels()
                .map(|(label, child)| (label, child.digest.to_string()))
                .collect();
            let paths = labels.keys().map(|label| format!("labels.{label}")).collect();
            let info = Info {
                digest: node.digest.to_string(),
                labels,
                ..Info::default()
            };
            let request = self.leased(UpdateRequest {
                info: Some(info),
                update_mask: Some(FieldMask { paths }),
            });
            ContentClient::new(self.channel.clone()).update(request).await?;
            waiting.extend(references.manifests);
        }
        Ok(())
    }

    /// Gives a manifest or index a name, which other content may have had before.
    pub(crate) async fn tag(&self, name: &str, target: &Descriptor) -> anyhow::Result<()> {
        self.label(target).await?;
        let image = Image {
            name: name.to_owned(),
            target: Some(containerd_client::types::Descriptor {
                media_type: target.media_type.to_string(),
                digest: target.digest.to_string(),
                size: i64::try_from(target.size)?,
                ..Default::default()
            }),
            ..Image::default()
        };
        let mut images = ImagesClient::new(self.channel.clone());
        let create = CreateImageRequest {
            image: Some(image.clone()),
            ..CreateImageRequest::default()
        };
        match images.create(self.leased(create)).await {
            Err(status) if status.code() == Code::AlreadyExists => {
                let update_mask = Some(FieldMask {
                    paths: vec!["target".to_owned()],
                });
                let update = UpdateImageRequest {
                    image: Some(image),
                    update_mask,
                    ..UpdateImageRequest::default()
                };
                images.update(self.leased(update)).await?;
                Ok(())
            }
            other => other.map(drop).with_context(|| format!("image {name}")),
        }
    }

    /// Ends the session: what no image refers to may be collected.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        let request = namespaced(DeleteRequest {
            id: self.lease.clone(),
            sync: false,
        });
        LeasesClient::new(self.channel.clone()).delete(request).await?;
        Ok(())
    }

    fn leased<T>(&self, message: T) -> Request<T> {
        let mut request = namespaced(message);
        if let Ok(lease) = self.lease.parse() {
            request.metadata_mut().insert("containerd-lease", lease);
        }
        request
    }
}

/// A request in the CRI plugin's namespace.
pub(crate) fn namespaced<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
    request
}

fn hex_digest(hash: Sha256) -> String {
    hash.finalize().iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
