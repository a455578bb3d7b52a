//! The profiles of a scheduler: which plugins decide for which Pods.

use std::sync::Arc;

use super::framework::Framework;
use super::pod::Pod;

/// The name of the profile that Pods get without choosing one.
pub const DEFAULT: &str = "default-scheduler";

/// All profiles. Clones share them.
#[derive(Clone, Debug)]
pub struct Profiles(Arc<[Framework]>);

impl Default for Profiles {
    fn default() -> Self {
        Self::new(vec![Framework::new(DEFAULT, super::plugins::default_profile(), None)])
    }
}

impl Profiles {
    /// These profiles; there must be one.
    pub fn new(profiles: Vec<Framework>) -> Self {
        assert!(!profiles.is_empty(), "a scheduler has a profile");
        Self(profiles.into())
    }

    /// The profile that a Pod chose, if it is one of ours.
    pub fn get(&self, pod: &Pod) -> Option<&Framework> {
        self.0
            .iter()
            .find(|profile| profile.scheduler_name == pod.scheduler_name)
    }

    /// The profile of a Pod that is ours.
    pub fn of(&self, pod: &Pod) -> &Framework {
        self.get(pod).unwrap_or(&self.0[0])
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Framework> {
        self.0.iter()
    }
}
