//! Which claim gets which volume, and what becomes of each next. Pure.
//!
//! A binding is made in four writes, one per reconcile, each of which can be the last for a while: the
//! volume names the claim (a compare-and-swap, so one claim wins), the volume is Bound, the claim names
//! the volume, the claim is Bound.
//!
//! Invariant: a claim names a volume only after the volume names the claim, by uid.

use std::sync::Arc;

use crate::controllers::kinds::storage::{Claim, StorageClass, Volume};

/// No one makes volumes of such a class.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// What the binder knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct World<'a> {
    /// All volumes.
    pub(super) volumes: &'a [Arc<Volume>],
    /// All classes.
    pub(super) classes: &'a [Arc<StorageClass>],
}

/// An Event about a claim: whether it warns, reason, message.
pub(super) type Words = (bool, &'static str, String);

/// What to do about a claim.
#[derive(Debug)]
pub(super) enum ForClaim<'a> {
    /// Nothing.
    Rest,
    /// It stays Pending, and says why.
    Wait(Option<Words>),
    /// It gets the default class.
    Classify(&'a str),
    /// A provisioner is asked to make a volume.
    Ask(&'a str),
    /// The volume is to name the claim.
    Reserve(&'a Volume),
    /// The volume names the claim, which is to say so too.
    Complete(&'a Volume),
    /// Its volume is gone.
    Lose(Words),
}

/// What to do about a volume.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ForVolume {
    /// It is in this phase.
    Phase(&'static str),
    /// Its claim is gone.
    Release,
    /// Its claim has another volume: it is free again, or again reserved for that claim's name.
    Free {
        /// Whether a person reserved it.
        keep_name: bool,
    },
}

fn is_for(volume: &Volume, claim: &Claim) -> bool {
    let named = volume.spec.claim_ref.as_ref();
    named.is_some_and(|to| {
        to.name == claim.metadata.name
            && to.namespace == claim.metadata.namespace
            && (to.uid.is_empty() || to.uid == claim.metadata.uid)
    })
}

fn has(volume: &Volume, claim: &Claim) -> bool {
    is_for(volume, claim) && volume.spec.claim_ref.as_ref().is_some_and(|to| !to.uid.is_empty())
}

/// What to do about a claim.
pub(super) fn for_claim<'a>(claim: &Claim, world: World<'a>) -> ForClaim<'a> {
    let done = claim.metadata.annotations.bind_completed.is_some();
    if !claim.spec.volume_name.is_empty() {
        return for_named(claim, done, world);
    }
    if done {
        let words = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return ForClaim::Lose((true, "ClaimLost", words.to_owned()));
    }
    if let Some(volume) = world.volumes.iter().find(|volume| has(volume, claim)) {
        return ForClaim::Complete(volume);
    }
    if claim.metadata.is_deleting() {
        return ForClaim::Rest;
    }
    if claim.wants_default_class()
        && let Some(class) = StorageClass::default_of(world.classes)
    {
        return ForClaim::Classify(&class.metadata.name);
    }
    let class = world
        .classes
        .iter()
        .find(|class| &*class.metadata.name == claim.class());
    let waits = class.is_some_and(|class| class.waits());
    match find(claim, waits, world.volumes) {
        Some(volume) => ForClaim::Reserve(volume),
        None => provision(claim, class.map(AsRef::as_ref)),
    }
}

/// What to do about a claim that names its volume.
fn for_named<'a>(claim: &Claim, done: bool, world: World<'a>) -> ForClaim<'a> {
    let mut volumes = world.volumes.iter();
    let Some(volume) = volumes.find(|volume| volume.metadata.name == claim.spec.volume_name) else {
        let words = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        return match done {
            true => ForClaim::Lose((true, "ClaimLost", words.to_owned())),
            false => ForClaim::Wait(None),
        };
    };
    let name = &volume.metadata.name;
    match &volume.spec.claim_ref {
        _ if has(volume, claim) => ForClaim::Complete(volume),
        None if done => ForClaim::Reserve(volume),
        _ if done => {
            let words = "Two claims are bound to the same volume, this one is bound incorrectly";
            ForClaim::Lose((true, "ClaimMisbound", words.to_owned()))
        }
        _ if claim.metadata.is_deleting() => ForClaim::Rest,
        Some(_) if !is_for(volume, claim) => {
            let words = format!("volume {name:?} already bound to a different claim.");
            ForClaim::Wait(Some((true, "FailedBinding", words)))
        }
        _ => match mismatch(claim, volume) {
            None => ForClaim::Reserve(volume),
            Some(why) => {
                let words = format!("Cannot bind to requested volume {name:?}: {why}");
                ForClaim::Wait(Some((true, "VolumeMismatch", words)))
            }
        },
    }
}

/// Why a volume does not satisfy a claim.
fn mismatch(claim: &Claim, volume: &Volume) -> Option<&'static str> {
    if volume.spec.capacity.bytes() < claim.spec.resources.requests.bytes() {
        return Some("requested PV is too small");
    }
    if volume.class() != claim.class() {
        return Some("storageClassName does not match");
    }
    if mode(&volume.spec.volume_mode) != mode(&claim.spec.volume_mode) {
        return Some("incompatible volumeMode");
    }
    let modes = &volume.spec.access_modes;
    let offered = claim.spec.access_modes.iter().all(|mode| modes.contains(mode));
    (!offered).then_some("incompatible accessMode")
}

fn mode(mode: &str) -> &str {
    if mode.is_empty() { "Filesystem" } else { mode }
}

/// The volume that is reserved for a claim, or else the smallest that satisfies it; none of those yet
/// when the node of the claim's first Pod decides.
fn find<'a>(claim: &Claim, waits: bool, volumes: &'a [Arc<Volume>]) -> Option<&'a Volume> {
    let suits = |volume: &&Arc<Volume>| mismatch(claim, volume).is_none() && !volume.metadata.is_deleting();
    if let Some(reserved) = volumes.iter().filter(suits).find(|volume| is_for(volume, claim)) {
        return Some(reserved);
    }
    let free = |volume: &&Arc<Volume>| {
        let selector = claim.spec.selector.as_ref();
        volume.spec.claim_ref.is_none()
            && &*volume.status.phase == "Available"
            && selector.is_none_or(|selector| selector.matches(&volume.metadata.labels))
    };
    let candidates = volumes.iter().filter(suits).filter(free);
    let smallest = candidates.min_by_key(|volume| (volume.spec.capacity.bytes(), volume.metadata.name.clone()));
    smallest.filter(|_| !waits).map(AsRef::as_ref)
}

fn provision<'a>(claim: &Claim, class: Option<&'a StorageClass>) -> ForClaim<'a> {
    let wait = |warns, reason, words: String| ForClaim::Wait(Some((warns, reason, words)));
    let Some(class) = class else {
        return match claim.class() {
            "" => {
                let words = "no persistent volumes available for this claim and no storage class is set";
                wait(false, "FailedBinding", words.to_owned())
            }
            name => wait(
                true,
                "ProvisioningFailed",
                format!("storageclass.storage.k8s.io {name:?} not found"),
            ),
        };
    };
    if class.waits() && claim.metadata.annotations.selected_node.is_none() {
        let words = "waiting for first consumer to be created before binding";
        return wait(false, "WaitForFirstConsumer", words.to_owned());
    }
    if &*class.provisioner == NO_PROVISIONER {
        let words = "no persistent volumes available for this claim and its class makes none";
        return wait(false, "FailedBinding", words.to_owned());
    }
    match claim.metadata.annotations.provisioner.as_deref() == Some(&*class.provisioner) {
        true => ForClaim::Wait(None),
        false => ForClaim::Ask(&class.provisioner),
    }
}

/// What to do about a volume; `claim` is the one that it names, if that is still there.
pub(super) fn for_volume(volume: &Volume, claim: Option<&Claim>) -> ForVolume {
    let Some(named) = volume.spec.claim_ref.as_ref().filter(|named| !named.uid.is_empty()) else {
        return ForVolume::Phase("Available");
    };
    let Some(claim) = claim.filter(|claim| claim.metadata.uid == named.uid) else {
        return ForVolume::Release;
    };
    let chosen = &*claim.spec.volume_name;
    if chosen.is_empty() || chosen == &*volume.metadata.name {
        return ForVolume::Phase("Bound");
    }
    let made = volume.metadata.annotations.provisioned_by.is_some();
    if made && &*volume.spec.persistent_volume_reclaim_policy == "Delete" {
        // Made for a claim that found another meanwhile: nobody will ever want it.
        return ForVolume::Release;
    }
    ForVolume::Free {
        keep_name: volume.metadata.annotations.bound_by_controller.is_none(),
    }
}

#[cfg(test)]
mod tests;
