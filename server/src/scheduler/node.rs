//! Nodes as the scheduler keeps them.

use std::collections::BTreeMap;

use mizzen_api::quantity::Quantity;
use serde::Deserialize;

use super::resources::Resources;
use crate::projection::{Meta, projection};

/// A Node as the scheduler sees it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "NodeForm")]
pub struct Node {
    /// Metadata.
    pub metadata: Meta,
    /// Whether it was cordoned.
    pub unschedulable: bool,
    /// Its taints.
    pub taints: Box<[Taint]>,
    /// What Pods may use of it.
    pub allocatable: Resources,
    /// How many Pods it takes.
    pub max_pods: i64,
    /// Names of images that it has, sorted, with their sizes in bytes.
    pub images: Box<[(Box<str>, i64)]>,
}
projection!(Node, "", "v1", "nodes");

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeForm {
    metadata: Meta,
    spec: NodeSpecForm,
    status: NodeStatusForm,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeSpecForm {
    unschedulable: bool,
    taints: Box<[Taint]>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeStatusForm {
    allocatable: BTreeMap<Box<str>, Box<str>>,
    images: Vec<ImageForm>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ImageForm {
    names: Vec<Box<str>>,
    size_bytes: i64,
}

impl From<NodeForm> for Node {
    fn from(form: NodeForm) -> Self {
        let pods = form.status.allocatable.get("pods");
        let images = form.status.images.into_iter();
        let images = images.flat_map(|image| image.names.into_iter().map(move |name| (name, image.size_bytes)));
        let mut images: Vec<_> = images.collect();
        images.sort_unstable();
        Self {
            metadata: form.metadata,
            unschedulable: form.spec.unschedulable,
            taints: form.spec.taints,
            max_pods: pods.and_then(|p| p.parse::<Quantity>().ok()).map_or(0, Quantity::value),
            allocatable: Resources::read(&form.status.allocatable),
            images: images.into(),
        }
    }
}

impl Node {
    /// Whether Pods see no difference between the two: heartbeats change what nobody here reads.
    pub fn is_same(&self, other: &Self) -> bool {
        !self.moves(other)
            && self.unschedulable == other.unschedulable
            && self.allocatable == other.allocatable
            && self.max_pods == other.max_pods
            && self.images == other.images
    }

    /// Size of an image that it has; zero without.
    pub fn image_size(&self, image: &str) -> i64 {
        match self.images.binary_search_by(|(name, _)| (**name).cmp(image)) {
            Ok(at) => self.images[at].1,
            Err(_) => 0,
        }
    }

    /// Whether topologies or what may count in them differ: labels and taints.
    pub fn moves(&self, other: &Self) -> bool {
        self.metadata.labels != other.metadata.labels || self.taints != other.taints
    }

    /// The taints that keep Pods away.
    pub fn hard_taints(&self) -> impl Iterator<Item = &Taint> {
        let hard = |taint: &&Taint| matches!(&*taint.effect, "NoSchedule" | "NoExecute");
        self.taints.iter().filter(hard)
    }
}

/// A taint of a node.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Taint {
    /// Key.
    pub key: Box<str>,
    /// Value.
    pub value: Box<str>,
    /// `NoSchedule`, `PreferNoSchedule`, `NoExecute`.
    pub effect: Box<str>,
}
