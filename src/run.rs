//! `mizzen run`: runs an image in a Pod of its own.

use std::process::ExitCode;
use std::time::Duration;

use http::Method;
use mizzen_api::client::exec::Exit;
use mizzen_api::view;
use serde_json::{Map, Value, json};

use crate::attach;
use crate::cli::error::fail;
use crate::cli::{self, Call, Connect, Session, follow, say, tell};
use crate::create::Making;

/// How long the Pod may take to run before we give up connecting to it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Run an image in a Pod of its own.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the Pod.
    name: String,
    /// Image.
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// When to pull it: Always, IfNotPresent or Never.
    #[arg(long, value_name = "POLICY")]
    image_pull_policy: Option<String>,
    /// Variables as NAME=VALUE.
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Labels as KEY=VALUE,….
    #[arg(short, long, value_name = "LABELS")]
    labels: Option<String>,
    /// Port that the container listens on.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Always, OnFailure or Never.
    #[arg(long, value_name = "POLICY", default_value = "Always")]
    restart: String,
    /// What follows -- is the command, not its arguments.
    #[arg(long)]
    command: bool,
    /// Keep the container's input open, and connect to it.
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the container a terminal.
    #[arg(short, long)]
    tty: bool,
    /// Connect to the container.
    #[arg(long)]
    attach: bool,
    /// Delete the Pod afterwards.
    #[arg(long)]
    rm: bool,
    /// Print nothing of our own.
    #[arg(short, long)]
    quiet: bool,
    /// Arguments or command, after --.
    #[arg(value_name = "ARGUMENT", last = true)]
    arguments: Vec<String>,
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        let attached = self.attach || self.stdin;
        if self.rm && !attached {
            return fail("--rm should only be used for attached containers");
        }
        let pod = self.pod()?;
        cli::run(connect, async |session| {
            if !attached {
                self.making.make(&session, &pod, "created").await?;
                return Ok(ExitCode::SUCCESS);
            }
            let pods = session.resource("pods").await?;
            let made = Call::to(Method::POST, &pods, &session.namespace, "").body("application/json", &pod);
            session.call(made).await?;
            let code = self.follow(&session).await;
            if self.rm {
                session
                    .call(Call::to(Method::DELETE, &pods, &session.namespace, &self.name))
                    .await?;
                if !self.quiet {
                    say(format!(
                        "pod {:?} deleted from {} namespace",
                        self.name, session.namespace
                    ))?;
                }
            }
            code
        })
    }

    fn pod(&self) -> anyhow::Result<Value> {
        let mut container = json!({"name": self.name, "image": self.image, "resources": {}});
        if let Some(policy) = &self.image_pull_policy {
            container["imagePullPolicy"] = json!(policy);
        }
        let mut env = Vec::new();
        for text in &self.env {
            let Some((name, value)) = text.split_once('=') else {
                return fail(format!("invalid env: {text}"));
            };
            env.push(json!({"name": name, "value": value}));
        }
        if !env.is_empty() {
            container["env"] = json!(env);
        }
        if let Some(port) = self.port {
            container["ports"] = json!([{"containerPort": port}]);
        }
        if !self.arguments.is_empty() {
            container[if self.command { "command" } else { "args" }] = json!(self.arguments);
        }
        if self.stdin {
            container["stdin"] = json!(true);
            container["stdinOnce"] = json!(true);
        }
        if self.tty {
            container["tty"] = json!(true);
        }
        let mut labels = Map::new();
        for text in self.labels.iter().flat_map(|labels| labels.split(',')) {
            let Some((key, value)) = text.split_once('=') else {
                return fail(format!("unexpected label: {text}"));
            };
            labels.insert(key.to_owned(), json!(value));
        }
        if labels.is_empty() {
            labels.insert("run".to_owned(), json!(self.name));
        }
        Ok(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name, "labels": labels},
            "spec": {"containers": [container], "restartPolicy": self.restart}}),
        )
    }

    /// Connects to the container as soon as it runs, and shows the log of one that was faster. Then, where it is not
    /// started again, ends as it ended.
    async fn follow(&self, session: &Session) -> anyhow::Result<ExitCode> {
        match self.phase(session, Some(PATIENCE), &["Pending"]).await? {
            None => return fail("timed out waiting for the condition"),
            Some(pod) if view::text(&pod, "/status/phase") == "Running" => {
                let connected = attach::connect(session, &self.name, self.tty, self.stdin, self.quiet).await;
                let reason = match connected {
                    Ok(Exit::Failed(reason)) => Some(reason),
                    Ok(_) => None,
                    Err(error) => Some(format!("{error:#}")),
                };
                if let Some(reason) = reason {
                    let (name, why) = (&self.name, "falling back to streaming logs");
                    tell(format!("warning: couldn't attach to pod/{name}, {why}: {reason}"));
                    self.show_log(session).await?;
                }
            }
            Some(_) => self.show_log(session).await?,
        }
        if self.restart == "Always" {
            return Ok(ExitCode::SUCCESS);
        }
        let ended = self.phase(session, None, &["Pending", "Running"]).await?;
        Ok(ended.map_or(ExitCode::SUCCESS, |pod| self.conclude(session, &pod)))
    }

    /// The Pod as soon as its phase is another than these.
    async fn phase(&self, session: &Session, timeout: Option<Duration>, not: &[&str]) -> anyhow::Result<Option<Value>> {
        let pods = session.resource("pods").await?;
        let at = (&*session.namespace, &*self.name);
        follow::until(session, &pods, at, timeout, |pod| {
            let Some(pod) = pod else {
                return fail(format!("pod {:?} is gone", self.name));
            };
            Ok((!not.contains(&view::text(pod, "/status/phase"))).then(|| pod.clone()))
        })
        .await
    }

    async fn show_log(&self, session: &Session) -> anyhow::Result<()> {
        let pods = session.resource("pods").await?;
        let call = Call::to(Method::GET, &pods, &session.namespace, &self.name)
            .sub("log")
            .query("follow", "true");
        let mut log = session.stream(call).await?;
        tokio::io::copy(&mut log, &mut tokio::io::stdout()).await?;
        Ok(())
    }

    /// Says how a Pod failed, and gives its container's exit code.
    fn conclude(&self, session: &Session, pod: &Value) -> ExitCode {
        if view::text(pod, "/status/phase") == "Succeeded" {
            return ExitCode::SUCCESS;
        }
        let name = format!("{}/{}", session.namespace, self.name);
        let ended = pod.pointer("/status/containerStatuses/0/state/terminated");
        let code = ended.and_then(|ended| ended["exitCode"].as_u64()).unwrap_or_default();
        match (ended, u8::try_from(code)) {
            (Some(ended), Ok(code)) if code > 0 => {
                let reason = view::text(ended, "/reason");
                tell(format!("error: pod {name} terminated ({reason})"));
                ExitCode::from(code)
            }
            _ => {
                tell(format!("error: pod {name} failed with unknown exit code"));
                ExitCode::FAILURE
            }
        }
    }
}
