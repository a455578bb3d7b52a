//! `mizzen cp`: copies files to and from containers.

use std::path::Path;
use std::process::ExitCode;

use mizzen_api::client::transfer::{self, Error, Place};

use crate::cli::error::{Failure, fail};
use crate::cli::{self, Connect, Session, pods, tell};

/// Copy files and folders to and from containers.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// PATH, POD:PATH or NAMESPACE/POD:PATH.
    #[arg(value_name = "FROM")]
    from: String,
    /// PATH, POD:PATH or NAMESPACE/POD:PATH.
    #[arg(value_name = "TO")]
    to: String,
    /// Container, where the Pod has several.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

/// One side of a copy.
#[derive(Debug, PartialEq)]
enum Side<'a> {
    Local(&'a str),
    Remote {
        namespace: Option<&'a str>,
        pod: &'a str,
        path: &'a str,
    },
}

impl<'a> Side<'a> {
    fn parse(text: &'a str) -> Result<Self, Failure> {
        let Some((place, path)) = text.split_once(':') else {
            return Ok(Self::Local(text));
        };
        // A colon in a path is none of ours.
        if place.starts_with(['.', '/']) {
            return Ok(Self::Local(text));
        }
        let (namespace, pod) = match place.split_once('/') {
            Some((namespace, pod)) => (Some(namespace), pod),
            None => (None, place),
        };
        if pod.is_empty() || pod.contains('/') || namespace == Some("") {
            return Err(Failure(format!(
                "invalid file or folder {text:?}: want NAMESPACE/POD:PATH"
            )));
        }
        if path.is_empty() {
            return Err(Failure("filepath can not be empty".to_owned()));
        }
        Ok(Self::Remote { namespace, pod, path })
    }
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| self.copy(&session).await)
    }

    async fn copy(&self, session: &Session) -> anyhow::Result<ExitCode> {
        let copied = match (Side::parse(&self.from)?, Side::parse(&self.to)?) {
            (Side::Local(from), Side::Remote { namespace, pod, path }) => {
                let place = self.place(session, namespace, pod).await?;
                transfer::upload(&session.client, Path::new(from), &place, path).await
            }
            (Side::Remote { namespace, pod, path }, Side::Local(to)) => {
                let place = self.place(session, namespace, pod).await?;
                transfer::download(&session.client, &place, path, Path::new(to)).await
            }
            _ => return fail("one of src or dest must be a local file specification, the other one POD:PATH"),
        };
        match copied {
            Ok(copied) if copied.left_out > 0 => {
                tell(format!("warning: {} links were left out", copied.left_out));
                Ok(ExitCode::SUCCESS)
            }
            Ok(_) => Ok(ExitCode::SUCCESS),
            Err(Error::Api(error)) => Err(error.into()),
            Err(error) => fail(error.to_string()),
        }
    }

    async fn place(&self, session: &Session, namespace: Option<&str>, pod: &str) -> anyhow::Result<Place> {
        let namespace = namespace.unwrap_or(&session.namespace);
        let resource = session.resource("pods").await?;
        let object = session.get(&resource, namespace, pod).await?;
        let container = match &self.container {
            Some(name) => name.clone(),
            None => pods::default_container(&object)?,
        };
        Ok(Place {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: Some(container),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_read_as_kubectl_reads_them() {
        let remote = |namespace, pod, path| Side::Remote { namespace, pod, path };
        let check = |text: &'static str| Side::parse(text).map_err(|error| error.0);
        assert_eq!(check("/tmp/x"), Ok(Side::Local("/tmp/x")));
        assert_eq!(check("./a:b"), Ok(Side::Local("./a:b")));
        assert_eq!(check("web:/tmp"), Ok(remote(None, "web", "/tmp")));
        assert_eq!(check("ns/web:a/b"), Ok(remote(Some("ns"), "web", "a/b")));
        assert_eq!(check("web:"), Err("filepath can not be empty".to_owned()));
        assert!(check("a/b/c:/x").is_err() && check(":/x").is_err());
    }
}
