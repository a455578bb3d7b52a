//! The plugins, a file each, under upstream's names.

mod default_binder;
mod default_preemption;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced_allocation;
mod node_resources_fit;
mod node_unschedulable;
mod priority_sort;
mod scheduling_gates;
mod taint_toleration;

use super::framework::Plugin;

/// The default profile, in the order in which upstream's filters run.
pub fn default_profile() -> Vec<Box<dyn Plugin>> {
    vec![
        Box::new(scheduling_gates::SchedulingGates),
        Box::new(priority_sort::PrioritySort),
        Box::new(node_unschedulable::NodeUnschedulable),
        Box::new(node_name::NodeName),
        Box::new(taint_toleration::TaintToleration),
        Box::new(node_affinity::NodeAffinity),
        Box::new(node_ports::NodePorts),
        Box::new(node_resources_fit::NodeResourcesFit),
        Box::new(default_preemption::DefaultPreemption),
        Box::new(node_resources_balanced_allocation::NodeResourcesBalancedAllocation),
        Box::new(default_binder::DefaultBinder),
    ]
}
