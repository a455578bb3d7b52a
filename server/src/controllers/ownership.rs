//! Which children belong to a parent: the rules of adoption and release that all workloads share.

use std::sync::Arc;

use mizzen_api::client::reflector::{Change, Key, Reflector};
use mizzen_api::client::rest::{self, Gvr, Rest};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::expectations::Expectations;
use super::kinds::Pod;
use super::queue::Queue;
use crate::projection::{LabelSelector, Labels, Meta, Watched};

/// What becomes of one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Not ours.
    Ignore,
    /// Ours.
    Keep,
    /// An orphan that matches: becomes ours.
    Adopt,
    /// Ours, but it no longer matches: is let go.
    Release,
}

/// Decides about one child of a parent with this uid and selector.
pub(super) fn claim<P, C>(parent: &Meta<P>, selector: &LabelSelector, child: &Meta<C>) -> Claim {
    let matches = selector.matches(&child.labels);
    match child.controller() {
        Some(owner) if *owner.uid != *parent.uid => Claim::Ignore,
        Some(_) if matches => Claim::Keep,
        Some(_) if parent.is_deleting() => Claim::Ignore,
        Some(_) => Claim::Release,
        None if !matches || parent.is_deleting() || child.is_deleting() => Claim::Ignore,
        None => Claim::Adopt,
    }
}

/// A parent that claims children.
#[derive(Debug)]
pub(super) struct Parent<'a, P> {
    /// Its client.
    pub(super) rest: &'a Rest,
    /// Its metadata.
    pub(super) meta: &'a Meta<P>,
    /// Its selector.
    pub(super) selector: &'a LabelSelector,
    /// Where it is found.
    pub(super) at: Gvr<'a>,
    /// Its `apiVersion` and `kind`.
    pub(super) kind: (&'static str, &'static str),
}

impl<P> Parent<'_, P> {
    /// The children that are the parent's, of those that `keep` keeps, after adopting and releasing what has to be.
    ///
    /// Before the first adoption the parent is read live: one that was deleted and made anew under the
    /// same name must not adopt in the name of the old.
    pub(super) async fn claim<T: Watched, C>(
        &self,
        copy: &Reflector<T>,
        keep: impl Fn(&T) -> bool,
        meta: impl Fn(&T) -> &Meta<C>,
    ) -> rest::Result<Vec<Arc<T>>> {
        let namespace = &self.meta.namespace;
        let mut children = copy.children(namespace, &self.meta.uid, &keep);
        let adoptable = |child: &T| keep(child) && self.selector.matches(&meta(child).labels);
        children.extend(copy.children(namespace, "", adoptable));
        let mut may_adopt = None;
        let mut ours = Vec::with_capacity(children.len());
        for child in children {
            let target = meta(&child);
            match claim(self.meta, self.selector, target) {
                Claim::Ignore => {}
                Claim::Keep => ours.push(child),
                Claim::Adopt => {
                    let allowed = match may_adopt {
                        Some(allowed) => allowed,
                        None => *may_adopt.insert(self.is_live().await?),
                    };
                    if allowed && self.patch(T::AT, target, self.adoption(target)).await? {
                        ours.push(child);
                    }
                }
                Claim::Release => {
                    self.patch(T::AT, target, self.release(target)).await?;
                }
            }
        }
        Ok(ours)
    }

    async fn is_live(&self) -> rest::Result<bool> {
        let live: Option<Value> = self.rest.get(&self.at, &self.meta.namespace, &self.meta.name).await?;
        Ok(live.is_some_and(|live| {
            live["metadata"]["uid"].as_str() == Some(&*self.meta.uid) && live["metadata"]["deletionTimestamp"].is_null()
        }))
    }

    fn adoption<C>(&self, child: &Meta<C>) -> Value {
        let owner = self.meta.controller_reference(self.kind.0, self.kind.1);
        json!({"metadata": {"uid": child.uid, "ownerReferences": [owner]}})
    }

    fn release<C>(&self, child: &Meta<C>) -> Value {
        json!({"metadata": {
            "uid": child.uid,
            "ownerReferences": [{"$patch": "delete", "uid": self.meta.uid}],
        }})
    }

    /// Whether the child was there to be patched. The uid in the patch keeps it from meeting a
    /// successor of the same name.
    async fn patch<C>(&self, at: Gvr<'_>, child: &Meta<C>, patch: Value) -> rest::Result<bool> {
        use kube::core::params::{Patch, PatchParams};
        let target = (&*child.namespace, &*child.name);
        let params = PatchParams::default();
        match self
            .rest
            .patch::<IgnoredAny>(&at, target, "", &params, &Patch::Strategic(patch))
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if rest::is_not_found(&error) => Ok(false),
            Err(kube::Error::Api(status)) if status.is_invalid() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The parents of one kind that a change of a child concerns: whoever had it, whoever has it, and, of a
/// child that nobody has, those that `adopters` finds for its labels.
pub(super) fn concerned<C>(
    (old, new): (Option<&Meta<C>>, Option<&Meta<C>>),
    kind: (&str, &str),
    adopters: impl FnOnce(&Labels) -> Vec<Key>,
) -> Vec<Key> {
    let key = |meta| owner_key(meta, kind);
    let mut keys: Vec<Key> = [old, new].into_iter().flatten().filter_map(key).collect();
    keys.dedup();
    if let Some(orphan) = new.filter(|meta| meta.controller().is_none()) {
        let known = old.is_some_and(|old| old.labels == orphan.labels && old.controller().is_none());
        if !known {
            keys.extend(adopters(&orphan.labels));
        }
    }
    keys
}

/// The key of the parent of this `apiVersion` and `kind` that a child has.
pub(super) fn owner_key<C>(child: &Meta<C>, (api_version, kind): (&str, &str)) -> Option<Key> {
    let owner = child.controller()?;
    let ours = *owner.kind == *kind && group(&owner.api_version) == group(api_version);
    ours.then(|| Key::new(&child.namespace, &owner.name))
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Queues the parents of one kind that a changed Pod concerns, after settling what each expected of it: whoever has
/// it was waiting for it to come or to go, and whoever no longer has it does not wait for it any more.
pub(super) fn pod_changed(
    change: &Change<'_, Pod>,
    kind: (&str, &str),
    expectations: &Expectations,
    queue: &Queue,
    adopters: impl FnOnce(&Labels) -> Vec<Key>,
) {
    let pod = &change.latest().metadata;
    let owner = change.new.and_then(|new| owner_key(&new.metadata, kind));
    let metas = (change.old.map(|old| &old.metadata), change.new.map(|new| &new.metadata));
    for key in concerned(metas, kind, adopters) {
        if pod.is_deleting() || owner.as_ref() != Some(&key) {
            expectations.deleted(&key, &pod.uid);
        } else if change.old.is_none() {
            expectations.created(&key, 1);
        }
        queue.add(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parent: Value, child: Value, expect: Claim) {
        let parent: Meta = serde_json::from_value(parent).expect("metadata");
        let child: Meta = serde_json::from_value(child).expect("metadata");
        let selector = LabelSelector::equalities([("app", "web")].into_iter().collect());
        assert_eq!(claim(&parent, &selector, &child), expect);
    }

    #[test]
    fn orphans_are_adopted_and_strays_released() {
        let (parent, dying) = (
            json!({"uid": "p"}),
            json!({"uid": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}),
        );
        let owned = |uid: &str, app: &str| json!({"labels": {"app": app}, "ownerReferences": [{"uid": uid, "controller": true}]});
        check(parent.clone(), owned("p", "web"), Claim::Keep);
        check(parent.clone(), owned("p", "db"), Claim::Release);
        check(parent.clone(), owned("q", "web"), Claim::Ignore);
        check(parent.clone(), json!({"labels": {"app": "web"}}), Claim::Adopt);
        check(parent.clone(), json!({"labels": {"app": "db"}}), Claim::Ignore);
        check(
            parent,
            json!({"labels": {"app": "web"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}),
            Claim::Ignore,
        );
        check(dying.clone(), json!({"labels": {"app": "web"}}), Claim::Ignore);
        check(dying.clone(), owned("p", "db"), Claim::Ignore);
        check(dying, owned("p", "web"), Claim::Keep);
    }

    #[test]
    fn what_was_expected_is_settled_before_parents_look() {
        let pod = |uid: &str, owner: Option<&str>, dying: bool| {
            let owners: Vec<_> = owner
                .map(|name| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": name, "controller": true}))
                .into_iter()
                .collect();
            let at = dying.then_some("2026-01-01T00:00:00Z");
            let meta =
                json!({"namespace": "n", "name": uid, "uid": uid, "ownerReferences": owners, "deletionTimestamp": at});
            Arc::new(serde_json::from_value::<Pod>(json!({"metadata": meta})).expect("a Pod"))
        };
        let (a, b) = (Key::new("n", "a"), Key::new("n", "b"));
        // After `a` began to wait, and one change: whether it still waits, and who is queued.
        let check = |creations,
                     deletions: &[&str],
                     old: Option<Arc<Pod>>,
                     new: Option<Arc<Pod>>,
                     waits: bool,
                     expect: &[&Key]| {
            let (expectations, queue) = (Expectations::default(), Queue::default());
            expectations.expect(&a, creations, deletions.iter().copied());
            let change = Change {
                old: old.as_ref(),
                new: new.as_ref(),
                initial: false,
            };
            pod_changed(&change, ("apps/v1", "ReplicaSet"), &expectations, &queue, |_| {
                vec![b.clone()]
            });
            assert_eq!(expectations.satisfied(&a), !waits, "{old:?} {new:?}");
            for key in expect {
                let work = futures::FutureExt::now_or_never(queue.next()).expect("a key");
                assert_eq!(work.key, **key);
            }
            assert_eq!(queue.depth().0, 0);
        };
        let (ours, dying, free) = (
            pod("p", Some("a"), false),
            pod("p", Some("a"), true),
            pod("p", None, false),
        );
        check(1, &[], None, Some(ours.clone()), false, &[&a]);
        check(2, &[], None, Some(ours.clone()), true, &[&a]);
        // Somebody else's orphan is not what was waited for.
        check(1, &[], None, Some(free.clone()), true, &[&b]);
        check(0, &["p"], Some(ours.clone()), Some(ours.clone()), true, &[&a]);
        check(0, &["p"], Some(ours.clone()), Some(dying.clone()), false, &[&a]);
        check(0, &["p"], Some(dying), None, false, &[&a]);
        check(0, &["p"], Some(ours.clone()), Some(free), false, &[&a, &b]);
        check(0, &["q"], Some(ours), None, true, &[&a]);
    }
}
