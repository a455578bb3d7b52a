//! Manifests: files are read, what applying them would change is asked of the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use mizzen_api::client::rest;
use mizzen_api::console::action::Plan;
use mizzen_api::resource::Resource;
use serde_json::{Value, json};

use super::fetch::gvr;
use super::perform::send;
use super::{Job, Link};
use crate::event::Reply;

/// Endings of files that may hold manifests.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Work on manifests.
#[derive(Clone, Debug)]
pub enum Manifests {
    /// A file, told as [`Reply::Text`].
    Read(PathBuf),
    /// What a directory holds, told as [`Reply::Object`]: an array of names; those of directories end in `/`.
    Names(PathBuf),
    /// Each object as it is and as it would be, told as [`Reply::Each`].
    Compare(Vec<(Arc<Resource>, Plan)>),
}

impl Job for Manifests {
    fn run(self: Box<Self>, link: Link) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let reply = match *self {
                Self::Read(path) => in_background(move || read(&path).map(Reply::Text)).await,
                Self::Names(path) => in_background(move || names(&path).map(Reply::Object)).await,
                Self::Compare(all) => {
                    let compared = all.iter().map(|(resource, plan)| compare(&link, resource, plan));
                    Reply::Each(futures::future::join_all(compared).await)
                }
            };
            link.reply(reply).await;
        })
    }
}

/// Files may lie on slow disks.
async fn in_background(work: impl FnOnce() -> Result<Reply, String> + Send + 'static) -> Reply {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(why)) => Reply::Failed(why),
        Err(error) => Reply::Failed(error.to_string()),
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

fn names(path: &Path) -> Result<Value, String> {
    let entries = std::fs::read_dir(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let name = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let manifest = Path::new(&name)
            .extension()
            .is_some_and(|e| ENDINGS.iter().any(|known| e == *known));
        match (name.starts_with('.'), entry.path().is_dir()) {
            (true, _) => None,
            (_, true) => Some(format!("{name}/")),
            (_, false) => manifest.then_some(name),
        }
    };
    let mut names: Vec<String> = entries.flatten().filter_map(name).collect();
    names.sort();
    Ok(json!(names))
}

async fn compare(link: &Link, resource: &Resource, plan: &Plan) -> Result<Value, String> {
    let request = plan.requests.first().ok_or("nothing to apply")?;
    let (namespace, name) = (
        mizzen_api::view::namespace(&request.body),
        mizzen_api::view::name(&request.body),
    );
    let before: Option<Value> = link
        .rest
        .get(&gvr(resource), namespace, name)
        .await
        .map_err(|error| rest::message(&error))?;
    let after = send(link, request.dry_run())
        .await
        .map_err(|error| rest::message(&error))?;
    Ok(json!({"before": before, "after": after}))
}
