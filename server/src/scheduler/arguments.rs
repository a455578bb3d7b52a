//! Arguments of plugins, as `pluginConfig` spells them.

use serde::Deserialize;

use super::affinity::{SpreadConstraint, SpreadForm};
use super::pod::NodeAffinity;
use crate::projection::Meta;

/// The arguments of all plugins that take any.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    pub(super) node_affinity: NodeAffinityArgs,
    pub(super) fit: NodeResourcesFitArgs,
    pub(super) volume_binding: VolumeBindingArgs,
    pub(super) spread: PodTopologySpreadArgs,
    pub(super) pod_affinity: InterPodAffinityArgs,
    pub(super) preemption: DefaultPreemptionArgs,
}

impl Arguments {
    /// Takes in the arguments of one plugin; false if it takes none.
    pub fn set(&mut self, plugin: &str, arguments: serde_json::Value) -> serde_json::Result<bool> {
        fn read<T: for<'de> Deserialize<'de>>(to: &mut T, from: serde_json::Value) -> serde_json::Result<()> {
            *to = serde_json::from_value(from)?;
            Ok(())
        }
        match plugin {
            "NodeAffinity" => read(&mut self.node_affinity, arguments)?,
            "NodeResourcesFit" => read(&mut self.fit, arguments)?,
            "VolumeBinding" => read(&mut self.volume_binding, arguments)?,
            "PodTopologySpread" => read(&mut self.spread, arguments)?,
            "InterPodAffinity" => read(&mut self.pod_affinity, arguments)?,
            "DefaultPreemption" => read(&mut self.preemption, arguments)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NodeAffinityArgs {
    pub(super) added_affinity: Option<NodeAffinity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NodeResourcesFitArgs {
    pub(super) ignored_resources: Vec<Box<str>>,
    pub(super) scoring_strategy: ScoringStrategy,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ScoringStrategy {
    #[serde(rename = "type")]
    pub(super) kind: Box<str>,
    pub(super) resources: Vec<WeightedResource>,
    pub(super) requested_to_capacity_ratio: Ratio,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WeightedResource {
    pub(super) name: Box<str>,
    pub(super) weight: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ratio {
    pub(super) shape: Vec<Point>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Point {
    pub(super) utilization: i64,
    pub(super) score: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct VolumeBindingArgs {
    pub(super) bind_timeout_seconds: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodTopologySpreadArgs {
    defaulting_type: Box<str>,
    default_constraints: Vec<SpreadForm>,
}

impl PodTopologySpreadArgs {
    /// The default constraints, unless they are the built-in ones.
    pub(super) fn defaults(&self) -> Option<Vec<SpreadConstraint>> {
        let list = &*self.defaulting_type == "List";
        list.then(|| {
            SpreadForm::all(
                self.default_constraints.clone(),
                &Meta::<crate::projection::Labels>::default(),
            )
            .into()
        })
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct InterPodAffinityArgs {
    pub(super) hard_pod_affinity_weight: Option<i64>,
    pub(super) ignore_preferred_terms_of_existing_pods: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DefaultPreemptionArgs {
    pub(super) min_candidate_nodes_percentage: Option<usize>,
    pub(super) min_candidate_nodes_absolute: Option<usize>,
}
