//! `mizzen token`: the bootstrap tokens that machines join with.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use mizzen_api::duration;
use mizzen_api::join_token::{Credentials, JoinToken, split_bootstrap};
use mizzen_api::resource::{Resource, builtin};
use mizzen_server::apiserver::authentication::join::{SECRET_PREFIX, SECRET_TYPE};
use mizzen_server::join::{NAMESPACE, NODE_BOOTSTRAPPERS, bootstrap_token, ca_hash};
use serde_json::{Value, json};

use crate::cli::error::fail;
use crate::cli::output::{Columns, json_text};
use crate::cli::{self, Call, Connect, Session, say};

/// Make, list and delete the tokens that machines join with.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a token that agents can join with, and print it.
    Create(Connected<Create>),
    /// List tokens.
    #[command(visible_alias = "ls")]
    List(Connected<List>),
    /// Delete tokens.
    Delete(Connected<Delete>),
    /// Print a token that could be made, and make nothing.
    Generate,
}

#[derive(clap::Args)]
struct Connected<T: clap::Args> {
    #[command(flatten)]
    what: T,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args)]
struct Create {
    /// The token, as `mizzen token generate` prints one (default: a random one).
    token: Option<String>,
    /// What the token is for.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Groups of those who join with it.
    #[arg(long, value_name = "GROUP", value_delimiter = ',', default_value = NODE_BOOTSTRAPPERS)]
    groups: Vec<String>,
    /// How long it lasts, such as 1h; 0 is for ever.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration::parse)]
    ttl: SignedDuration,
    /// What it may be used for.
    #[arg(
        long,
        value_name = "USAGE",
        value_delimiter = ',',
        default_value = "authentication,signing"
    )]
    usages: Vec<String>,
}

#[derive(clap::Args)]
struct List {
    /// Form of the output.
    #[arg(short, long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

#[derive(clap::Args)]
struct Delete {
    /// Tokens, or just their first parts.
    #[arg(required = true)]
    tokens: Vec<String>,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Create(create) => cli::run(create.connect, async |session| create.what.run(session).await),
            Command::List(list) => cli::run(list.connect, async |session| list.what.run(session).await),
            Command::Delete(delete) => cli::run(delete.connect, async |session| delete.what.run(session).await),
            Command::Generate => {
                say(bootstrap_token())?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn secrets() -> &'static Resource {
    builtin().by_kind("", "v1", "Secret").expect("a row of the table")
}

impl Create {
    async fn run(&self, session: Session) -> anyhow::Result<ExitCode> {
        let token = self.token.clone().unwrap_or_else(bootstrap_token);
        let Some((id, secret)) = split_bootstrap(&token) else {
            return fail("the token must be six characters, a dot and sixteen characters of a-z and 0-9");
        };
        if let Some(group) = self
            .groups
            .iter()
            .find(|group| !group.starts_with("system:bootstrappers:"))
        {
            return fail(format!(
                "group {group:?} is not allowed: groups must begin with system:bootstrappers:"
            ));
        }
        let request = http::Request::get("/cacerts").body(Vec::new())?;
        let pem = session.client.request_text(request).await;
        let pem = pem.context("this server does not show its CA: is it Mizzen?")?;
        let now = Timestamp::now();
        let object = self.secret((id, secret), Timestamp::from_second(now.as_second())?);
        let created = Call::to(Method::POST, secrets(), NAMESPACE, "").body("application/json", &object);
        session.call(created).await?;
        let whole = JoinToken {
            ca_hash: Some(ca_hash(&pem)),
            credentials: Credentials::Bootstrap {
                id: id.to_owned(),
                secret: secret.to_owned(),
            },
        };
        say(whole.reveal())?;
        Ok(ExitCode::SUCCESS)
    }

    fn secret(&self, (id, secret): (&str, &str), now: Timestamp) -> Value {
        let mut data = BTreeMap::from([
            ("token-id".to_owned(), id.to_owned()),
            ("token-secret".to_owned(), secret.to_owned()),
            ("auth-extra-groups".to_owned(), self.groups.join(",")),
        ]);
        for usage in &self.usages {
            data.insert(format!("usage-bootstrap-{usage}"), "true".to_owned());
        }
        if !self.description.is_empty() {
            data.insert("description".to_owned(), self.description.clone());
        }
        if self.ttl.is_positive() {
            data.insert("expiration".to_owned(), (now + self.ttl).to_string());
        }
        json!({"apiVersion": "v1", "kind": "Secret", "type": SECRET_TYPE, "stringData": data,
            "metadata": {"name": format!("{SECRET_PREFIX}{id}"), "namespace": NAMESPACE}})
    }
}

/// What a list shows of a token: everything but its secret.
fn row(secret: &Value, now: Timestamp) -> [String; 6] {
    let text = |key: &str| {
        let bytes = STANDARD.decode(secret["data"][key].as_str().unwrap_or_default());
        String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    };
    let expires = text("expiration");
    let ttl = match expires.parse::<Timestamp>() {
        Ok(end) if end <= now => "<expired>".to_owned(),
        Ok(end) => duration::human(end.duration_since(now)),
        Err(_) => "<forever>".to_owned(),
    };
    let keys = secret["data"].as_object().into_iter().flatten().map(|(key, _)| key);
    let usages: Vec<&str> = keys.filter_map(|key| key.strip_prefix("usage-bootstrap-")).collect();
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    [
        text("token-id"),
        ttl,
        or(expires, "<never>"),
        usages.join(","),
        or(text("description"), "<none>"),
        or(text("auth-extra-groups"), "<none>"),
    ]
}

impl List {
    async fn run(&self, session: Session) -> anyhow::Result<ExitCode> {
        let call =
            Call::to(Method::GET, secrets(), NAMESPACE, "").query("fieldSelector", format!("type={SECRET_TYPE}"));
        let answer = session.call(call).await?;
        let headings = ["TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS"];
        let now = Timestamp::now();
        let items = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let rows = items.iter().map(|secret| row(secret, now));
        if self.output == "json" {
            let keys = ["token", "ttl", "expires", "usages", "description", "groups"];
            let all: Vec<Value> = rows.map(|row| keys.into_iter().zip(row).collect::<Value>()).collect();
            say(json_text(&Value::from(all)).trim_end())?;
            return Ok(ExitCode::SUCCESS);
        }
        let table: Vec<Vec<String>> = std::iter::once(headings.map(str::to_owned))
            .chain(rows)
            .map(Vec::from)
            .collect();
        say(Columns::default().lay_out(&table).trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Delete {
    async fn run(&self, session: Session) -> anyhow::Result<ExitCode> {
        for token in &self.tokens {
            let id = match token.parse::<JoinToken>()?.credentials {
                Credentials::Bootstrap { id, .. } => id,
                Credentials::Password { password, .. } => password,
            };
            let name = format!("{SECRET_PREFIX}{id}");
            session
                .call(Call::to(Method::DELETE, secrets(), NAMESPACE, &name))
                .await?;
            say(format_args!("token {id:?} deleted"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(ttl: SignedDuration) -> Value {
        let create = Create {
            token: None,
            description: "for ci".into(),
            groups: vec!["system:bootstrappers:a".into()],
            ttl,
            usages: vec!["authentication".into()],
        };
        create.secret(("abcdef", "0123456789abcdef"), "2030-01-01T00:00:00Z".parse().unwrap())
    }

    /// As the server would show it.
    fn stored(mut secret: Value) -> Value {
        let data = secret["stringData"].take();
        let encoded = data.as_object().unwrap().iter();
        let encoded = encoded.map(|(key, value)| (key.clone(), json!(STANDARD.encode(value.as_str().unwrap()))));
        secret["data"] = encoded.collect();
        secret
    }

    #[test]
    fn a_list_shows_everything_but_secrets() {
        let now = "2030-01-01T01:00:00Z".parse().unwrap();
        let check = |ttl| row(&stored(create(ttl)), now).join(" | ");
        insta::assert_snapshot!(check(SignedDuration::from_hours(24)), @"abcdef | 23h | 2030-01-02T00:00:00Z | authentication | for ci | system:bootstrappers:a");
        insta::assert_snapshot!(check(SignedDuration::from_mins(10)), @"abcdef | <expired> | 2030-01-01T00:10:00Z | authentication | for ci | system:bootstrappers:a");
        insta::assert_snapshot!(check(SignedDuration::ZERO), @"abcdef | <forever> | <never> | authentication | for ci | system:bootstrappers:a");
    }
}
