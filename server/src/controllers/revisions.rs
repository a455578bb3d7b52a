//! ControllerRevisions: the history of templates that StatefulSets and DaemonSets keep.
//!
//! A revision holds a patch that brings its owner back to a template. The newest template has the
//! highest number: going back to an old one raises that one's number instead of storing it twice.

use std::sync::Arc;

use kube::core::params::DeleteParams;
use mizzen_api::client::rest::{self, Gvr, Rest};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::kinds::sets::ControllerRevision;
use super::template;
use crate::projection::{Meta, Watched, update};

/// As many old revisions as kept upstream unless said otherwise.
const HISTORY: i64 = 10;
/// Annotations of an owner that its revisions do not need.
const NOT_INHERITED: &[&str] = &["kubectl.kubernetes.io/last-applied-configuration"];

/// Whose history it is.
#[derive(Debug)]
pub(super) struct History<'a, A> {
    /// Its controller's client.
    pub(super) rest: &'a Rest,
    /// Its metadata.
    pub(super) meta: &'a Meta<A>,
    /// Where it is found.
    pub(super) at: Gvr<'a>,
    /// Its `apiVersion` and `kind`.
    pub(super) kind: (&'static str, &'static str),
    /// The label of revisions that carries the hash.
    pub(super) hash_label: &'static str,
    /// How often the hash of a template met a foreign revision.
    pub(super) collisions: Option<i64>,
}

/// The revision of the owner's present template.
#[derive(Debug)]
pub(super) enum Present {
    /// This one.
    Revision(Arc<ControllerRevision>),
    /// Its name is taken by something else: the owner has to count one collision more.
    Collision,
}

/// What is to be done so that the newest revision is that of a template.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Keep(&'a str),
    Raise(&'a str, i64),
    Create(i64),
}

/// The template that a revision holds.
pub(super) fn template_of(revision: &ControllerRevision) -> Value {
    let data: Value = revision
        .data
        .as_ref()
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default();
    let mut template = data["spec"]["template"].clone();
    if let Some(template) = template.as_object_mut() {
        template.remove("$patch");
    }
    template
}

fn step<'a>(template: &Value, revisions: &'a [Arc<ControllerRevision>]) -> Step<'a> {
    let newest = revisions.iter().map(|revision| revision.revision).max().unwrap_or(0);
    let same = revisions.iter().filter(|revision| template_of(revision) == *template);
    match same.max_by_key(|revision| revision.revision) {
        Some(found) if found.revision == newest => Step::Keep(&found.metadata.name),
        Some(found) => Step::Raise(&found.metadata.name, newest + 1),
        None => Step::Create(newest + 1),
    }
}

impl<A> History<'_, A> {
    /// Makes sure that the newest of the owner's revisions is that of its template.
    pub(super) async fn present(
        &self,
        raw: Option<&RawValue>,
        revisions: &[Arc<ControllerRevision>],
    ) -> rest::Result<Present> {
        let template = template::read(raw);
        let named = |name: &str| {
            let found = revisions.iter().find(|revision| &*revision.metadata.name == name);
            found.cloned().expect("the step names one of them")
        };
        match step(&template, revisions) {
            Step::Keep(name) => Ok(Present::Revision(named(name))),
            Step::Raise(name, number) => {
                let revision = named(name);
                update(self.rest, &ControllerRevision::AT, &revision.metadata, "", |live| {
                    live["revision"] = number.into();
                })
                .await?;
                Ok(Present::Revision(revision))
            }
            Step::Create(number) => self.create(&template, number).await,
        }
    }

    async fn create(&self, template: &Value, number: i64) -> rest::Result<Present> {
        let hash = template::hash(template, self.collisions);
        let name = format!("{}-{hash}", self.meta.name);
        let mut labels = template["metadata"]["labels"].clone();
        labels[self.hash_label] = hash.into();
        let mut data = template.clone();
        data["$patch"] = "replace".into();
        let revision = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": {
                "name": name, "namespace": self.meta.namespace, "labels": labels,
                "annotations": self.annotations().await?,
                "ownerReferences": [self.meta.controller_reference(self.kind.0, self.kind.1)],
            },
            "data": {"spec": {"template": data}},
            "revision": number,
        });
        let at = ControllerRevision::AT;
        match self
            .rest
            .create::<ControllerRevision>(&at, &self.meta.namespace, &revision)
            .await
        {
            Ok(created) => Ok(Present::Revision(Arc::new(created))),
            Err(error) if rest::is_already_exists(&error) => {
                let live: Option<ControllerRevision> = self.rest.get(&at, &self.meta.namespace, &name).await?;
                let ours = |live: &ControllerRevision| {
                    live.metadata.is_controlled_by(&self.meta.uid) && template_of(live) == *template
                };
                // Ours and not yet in the cache, or the hashes collide.
                Ok(match live.filter(ours) {
                    Some(live) => Present::Revision(Arc::new(live)),
                    None => Present::Collision,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// The owner's annotations, which say why it was changed.
    async fn annotations(&self) -> rest::Result<Value> {
        let live: Option<Value> = self.rest.get(&self.at, &self.meta.namespace, &self.meta.name).await?;
        let mut annotations = live
            .map(|mut live| live["metadata"]["annotations"].take())
            .unwrap_or_default();
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.retain(|key, _| !NOT_INHERITED.contains(&key.as_str()));
        }
        Ok(annotations)
    }

    /// Deletes the oldest revisions that are not `live`, beyond the limit.
    pub(super) async fn truncate(
        &self,
        revisions: &[Arc<ControllerRevision>],
        live: impl Fn(&ControllerRevision) -> bool,
        limit: Option<i64>,
    ) -> rest::Result<()> {
        let idle = revisions.iter().filter(|revision| !live(revision)).cloned().collect();
        for revision in excess(idle, limit.unwrap_or(HISTORY)) {
            let (namespace, name) = (&revision.metadata.namespace, &revision.metadata.name);
            let params = DeleteParams::default();
            self.rest
                .delete(&ControllerRevision::AT, namespace, name, &params)
                .await?;
        }
        Ok(())
    }
}

/// The oldest beyond the limit.
fn excess(mut revisions: Vec<Arc<ControllerRevision>>, limit: i64) -> Vec<Arc<ControllerRevision>> {
    revisions.sort_by_key(|revision| revision.revision);
    let kept = usize::try_from(limit).unwrap_or(0);
    revisions.truncate(revisions.len().saturating_sub(kept));
    revisions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revisions(all: &[(&str, i64, &str)]) -> Vec<Arc<ControllerRevision>> {
        let one = |(name, number, image): &(&str, i64, &str)| {
            let template = json!({"spec": {"image": image}, "$patch": "replace"});
            let revision =
                json!({"metadata": {"name": name}, "revision": number, "data": {"spec": {"template": template}}});
            Arc::new(serde_json::from_str(&revision.to_string()).expect("a revision"))
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn the_present_template_is_the_newest_revision() {
        let template = |image: &str| json!({"spec": {"image": image}});
        let all = revisions(&[("a", 1, "v1"), ("b", 2, "v2")]);
        assert_eq!(step(&template("v2"), &all), Step::Keep("b"));
        assert_eq!(step(&template("v1"), &all), Step::Raise("a", 3));
        assert_eq!(step(&template("v3"), &all), Step::Create(3));
        assert_eq!(step(&template("v1"), &[]), Step::Create(1));
    }

    #[test]
    fn the_oldest_go_first() {
        let names = |limit| -> Vec<String> {
            let all = revisions(&[("c", 3, ""), ("a", 1, ""), ("b", 2, "")]);
            excess(all, limit).iter().map(|r| r.metadata.name.to_string()).collect()
        };
        assert_eq!(names(1), ["a", "b"]);
        assert_eq!(names(3), [""; 0]);
        assert_eq!(names(0), ["a", "b", "c"]);
    }
}
