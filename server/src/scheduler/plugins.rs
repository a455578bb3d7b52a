//! The plugins, a file each, under upstream's names.

mod default_binder;
mod default_preemption;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced_allocation;
mod node_resources_fit;
mod node_unschedulable;
mod node_volume_limits;
mod pod_topology_spread;
mod priority_sort;
mod scheduling_gates;
mod taint_toleration;
mod volume_binding;
mod volume_restrictions;
mod volume_zone;

use super::arguments;
use super::framework::Plugin;
use super::framework::cycle::Row;

/// What makes a plugin from its arguments in a configuration.
type Make = fn(&arguments::Arguments) -> Box<dyn Plugin>;

/// All plugins, in the order in which upstream's run.
const TABLE: &[Make] = &[
    |_| Box::new(scheduling_gates::SchedulingGates),
    |_| Box::new(priority_sort::PrioritySort),
    |_| Box::new(node_unschedulable::NodeUnschedulable),
    |_| Box::new(node_name::NodeName),
    |_| Box::new(taint_toleration::TaintToleration),
    |arguments| Box::new(arguments.node_affinity()),
    |_| Box::new(node_ports::NodePorts),
    |arguments| Box::new(arguments.fit()),
    |_| Box::new(volume_restrictions::VolumeRestrictions),
    |_| Box::new(node_volume_limits::NodeVolumeLimits),
    |arguments| Box::new(arguments.volume_binding()),
    |_| Box::new(volume_zone::VolumeZone),
    |arguments| Box::new(arguments.spread()),
    |arguments| Box::new(arguments.pod_affinity()),
    |arguments| Box::new(arguments.preemption()),
    |_| Box::new(node_resources_balanced_allocation::NodeResourcesBalancedAllocation),
    |_| Box::new(image_locality::ImageLocality),
    |_| Box::new(default_binder::DefaultBinder),
];

/// All plugins with these arguments.
pub fn all(arguments: &arguments::Arguments) -> Vec<Row> {
    TABLE.iter().map(|make| Row::new(make(arguments))).collect()
}

/// The default profile.
pub fn default_profile() -> Vec<Row> {
    all(&arguments::Arguments::default())
}

impl arguments::Arguments {
    fn node_affinity(&self) -> node_affinity::NodeAffinity {
        let added = self.node_affinity.added_affinity.clone().unwrap_or_default();
        node_affinity::NodeAffinity {
            added_required: added.required,
            added_preferred: added.preferred,
        }
    }

    fn fit(&self) -> node_resources_fit::NodeResourcesFit {
        use node_resources_fit::{NodeResourcesFit, Strategy};
        let (given, default) = (&self.fit.scoring_strategy, NodeResourcesFit::default());
        let points = given.requested_to_capacity_ratio.shape.iter();
        let strategy = match &*given.kind {
            "MostAllocated" => Strategy::MostAllocated,
            "RequestedToCapacityRatio" => {
                Strategy::RequestedToCapacityRatio(points.map(|p| (p.utilization, p.score)).collect())
            }
            _ => Strategy::LeastAllocated,
        };
        let resources: Vec<_> = given
            .resources
            .iter()
            .map(|r| (r.name.clone(), r.weight.max(1)))
            .collect();
        NodeResourcesFit {
            strategy,
            resources: if resources.is_empty() {
                default.resources
            } else {
                resources
            },
            ignored: self.fit.ignored_resources.clone(),
        }
    }

    fn volume_binding(&self) -> volume_binding::VolumeBinding {
        let mut plugin = volume_binding::VolumeBinding::default();
        if let Some(seconds) = self.volume_binding.bind_timeout_seconds {
            plugin.patience = std::time::Duration::from_secs(seconds);
        }
        plugin
    }

    fn spread(&self) -> pod_topology_spread::PodTopologySpread {
        pod_topology_spread::PodTopologySpread::new(self.spread.defaults())
    }

    fn pod_affinity(&self) -> inter_pod_affinity::InterPodAffinity {
        let given = &self.pod_affinity;
        let weight = given.hard_pod_affinity_weight.unwrap_or(1);
        inter_pod_affinity::InterPodAffinity::new(weight, given.ignore_preferred_terms_of_existing_pods)
    }

    fn preemption(&self) -> default_preemption::DefaultPreemption {
        let mut plugin = default_preemption::DefaultPreemption::default();
        let given = &self.preemption;
        plugin.least_percent = given.min_candidate_nodes_percentage.unwrap_or(plugin.least_percent);
        plugin.least_nodes = given.min_candidate_nodes_absolute.unwrap_or(plugin.least_nodes);
        plugin
    }
}
