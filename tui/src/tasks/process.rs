//! A process in a container for a view: a shell, or what the container runs.

use std::time::Duration;

use futures::future::BoxFuture;
use mizzen_api::client::exec::{self, Exit, Process, Size, Streams};
use mizzen_api::client::rest;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Job, Link};
use crate::effect::Input;
use crate::event::Reply;

const BUFFER_BYTES: usize = 32 << 10;
/// A proxy on the way may cut off a connection over which nothing goes; the size is sent again this often.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// News of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum News {
    /// It is connected.
    Started,
    /// It printed this.
    Output(Vec<u8>),
    /// It ended by itself, with this code.
    Ended(u8),
    /// It could not be started, or the connection was lost.
    Failed(String),
}

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The best shell that there is.
    Shell,
    /// What the container runs.
    Attach,
}

/// A process to connect to.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Namespace.
    pub namespace: String,
    /// Pod.
    pub pod: String,
    /// Container; the Pod's default one when `None`.
    pub container: Option<String>,
    /// What to connect to.
    pub what: What,
    /// Columns and rows.
    pub size: (u16, u16),
    /// Whether it has a terminal and an input.
    pub tty: bool,
    /// Whether it has an input.
    pub stdin: bool,
}

/// One exec that takes bash where there is one.
const SHELL: &str = "TERM=xterm-256color; export TERM; command -v bash >/dev/null 2>&1 && exec bash || exec sh";

impl Job for Connect {
    fn run(self: Box<Self>, link: Link) -> BoxFuture<'static, ()> {
        Box::pin(self.connect(link))
    }
}

impl Connect {
    async fn connect(self: Box<Self>, mut link: Link) {
        let streams = Streams {
            container: self.container.clone(),
            stdin: self.stdin,
            tty: self.tty,
        };
        let (client, at) = (link.rest.client().clone(), (&*self.namespace, &*self.pod));
        let opened = match self.what {
            What::Shell => {
                let command = ["sh", "-c", SHELL].map(str::to_owned);
                exec::exec(&client, at, &command, &streams).await
            }
            What::Attach => exec::attach(&client, at, &streams).await,
        };
        let news = match opened {
            Ok(process) => {
                link.reply(Reply::Process(News::Started)).await;
                match self.serve(process, &mut link).await {
                    Exit::Code(code) => News::Ended(code),
                    Exit::Failed(reason) => News::Failed(reason),
                    Exit::Lost if self.what == What::Attach => {
                        News::Failed("detached: the container's end, or the connection's".to_owned())
                    }
                    Exit::Lost => News::Failed("the connection was lost".to_owned()),
                }
            }
            Err(error) => News::Failed(rest::message(&error)),
        };
        link.reply(Reply::Process(news)).await;
    }

    async fn serve(&self, mut process: Process, link: &mut Link) -> Exit {
        let exit = process.exit();
        let mut stdin = process.stdin();
        let mut size = process.size();
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let (sender, mut output) = tokio::sync::mpsc::channel(4);
        pump(stdout, sender.clone());
        pump(stderr, sender);
        let mut dimensions = self.size;
        set(&mut size, dimensions).await;
        loop {
            tokio::select! {
                bytes = output.recv() => match bytes {
                    Some(bytes) => link.reply(Reply::Process(News::Output(bytes))).await,
                    None => return exit.await,
                },
                input = link.input.recv() => match input {
                    Some(Input::Bytes(bytes)) => {
                        if let Some(to) = &mut stdin && to.write_all(&bytes).await.is_err() {
                            // It takes no more input; what it still prints is wanted all the same.
                            stdin = None;
                        }
                    }
                    Some(Input::Size(width, height)) => {
                        dimensions = (width, height);
                        set(&mut size, dimensions).await;
                    }
                    Some(Input::Go) => {}
                    None => return Exit::Lost,
                },
                () = tokio::time::sleep(KEEP_ALIVE) => set(&mut size, dimensions).await,
            }
        }
    }
}

async fn set(size: &mut Option<Size>, (width, height): (u16, u16)) {
    if let Some(to) = size
        && !to.set(width, height).await
    {
        *size = None;
    }
}

/// Reads an output to its end.
fn pump(from: Option<impl tokio::io::AsyncRead + Send + Unpin + 'static>, to: tokio::sync::mpsc::Sender<Vec<u8>>) {
    let Some(mut from) = from else {
        return;
    };
    tokio::spawn(async move {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if to.send(buffer[..length].to_vec()).await.is_err() {
                return;
            }
        }
    });
}
