//! Copying files to and from a container, with a notice at the end.

use std::path::PathBuf;

use futures::future::BoxFuture;
use mizzen_api::client::transfer::{self, Place};

use super::{Job, Link};
use crate::event::{Event, Notice, Tone};

/// What to copy.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The container.
    pub place: Place,
    /// Path in the container.
    pub remote: String,
    /// Path here.
    pub local: PathBuf,
    /// Whether it goes there.
    pub upload: bool,
}

impl Transfer {
    /// The command that does the same.
    pub fn command(&self) -> String {
        let Place {
            namespace,
            pod,
            container,
        } = &self.place;
        let container = container.as_ref().map(|name| format!(" -c {name}")).unwrap_or_default();
        let (remote, local) = (format!("{namespace}/{pod}:{}", self.remote), self.local.display());
        match self.upload {
            true => format!("mizzen cp{container} {local} {remote}"),
            false => format!("mizzen cp{container} {remote} {local}"),
        }
    }
}

impl Job for Transfer {
    fn run(self: Box<Self>, link: Link) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let client = link.rest.client();
            let copied = match self.upload {
                true => transfer::upload(client, &self.local, &self.place, &self.remote).await,
                false => transfer::download(client, &self.place, &self.remote, &self.local).await,
            };
            let (tone, text) = match copied {
                Ok(copied) => {
                    let left_out = match copied.left_out {
                        0 => String::new(),
                        links => format!(", {links} links left out"),
                    };
                    let what = match copied.entries {
                        1 => "1 file".to_owned(),
                        entries => format!("{entries} files and folders"),
                    };
                    let text = format!("copied {what}, {} bytes{left_out}", copied.bytes);
                    (Tone::Good, text)
                }
                Err(error) => (Tone::Bad, format!("not copied: {error}")),
            };
            let command = Some(self.command());
            link.send(Event::Notice(Notice { tone, text, command })).await;
        })
    }
}
