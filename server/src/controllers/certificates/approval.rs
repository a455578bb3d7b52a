//! Which requests are approved without a person: those of nodes, for themselves.
//!
//! A node's client certificate goes to whoever may ask for one (upstream's subject access reviews); one who
//! joins with a token must also know the node's password, if the name has one, so that a token does not
//! suffice to become another node. A serving certificate goes to the node itself, for its own name and for
//! addresses that no other node and no server has: whoever holds one could pose as those.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::core::params::ListParams;
use mizzen_api::client::rest::{self, Gvr};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{Certificates, KUBELET_CLIENT, KUBELET_SERVING, Request, refusal};
use crate::join::{NAMESPACE, NODE_PASSWORD_EXTRA};
use crate::pki::request::Subject;

const REVIEWS: Gvr<'static> = Gvr::new("authorization.k8s.io", "v1", "subjectaccessreviews");
const NODES: Gvr<'static> = Gvr::new("", "v1", "nodes");
const SECRETS: Gvr<'static> = Gvr::new("", "v1", "secrets");
const ENDPOINTS: Gvr<'static> = Gvr::new("", "v1", "endpoints");
const NODE_USER: &str = "system:node:";

/// The name of the Secret that holds a node's password.
pub fn password_secret_name(node: &str) -> String {
    format!("{node}.node-password.mizzen")
}

/// The Secret that holds a node's password, as a hash.
pub fn password_secret(node: &str, hash: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": password_secret_name(node), "namespace": NAMESPACE},
        "data": {"hash": STANDARD.encode(hash)}})
}

/// What is decided about a request.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Approve(&'static str),
    Deny(&'static str, String),
    /// A person has to.
    Leave,
}

/// What is read of a Node.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Node {
    metadata: Named,
    status: NodeStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    addresses: Vec<Address>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Address {
    address: Box<str>,
}

impl Certificates {
    /// Decides about a request that nobody decided about yet.
    pub(super) async fn approve(&self, request: &Request) -> rest::Result<()> {
        let Ok(subject) = Subject::read(&request.pem()) else {
            return Ok(());
        };
        if refusal(request, &subject).is_some() {
            return Ok(());
        }
        let verdict = match &*request.spec.signer_name {
            KUBELET_CLIENT => self.client(request, &subject).await?,
            KUBELET_SERVING => self.serving(&subject).await?,
            _ => Verdict::Leave,
        };
        let (kind, reason, message) = match &verdict {
            Verdict::Approve(message) => ("Approved", "AutoApproved", *message),
            Verdict::Deny(reason, message) => {
                tracing::warn!(request = %request.metadata.name, user = %request.spec.username, "denied a certificate: {message}");
                ("Denied", *reason, &**message)
            }
            Verdict::Leave => return Ok(()),
        };
        self.add_condition(request, "approval", kind, (reason, message), None)
            .await
    }

    async fn client(&self, request: &Request, subject: &Subject) -> rest::Result<Verdict> {
        let own = *request.spec.username == *subject.common_name;
        let (part, message) = match own {
            true => (
                "selfnodeclient",
                "Auto approving self kubelet client certificate after SubjectAccessReview.",
            ),
            false => (
                "nodeclient",
                "Auto approving kubelet client certificate after SubjectAccessReview.",
            ),
        };
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": request.spec.username, "groups": request.spec.groups,
            "resourceAttributes": {"group": "certificates.k8s.io", "resource": "certificatesigningrequests",
                "verb": "create", "subresource": part}}});
        let answer: Value = self.rest.create(&REVIEWS, "", &review).await?;
        if answer["status"]["allowed"] != true {
            return Ok(Verdict::Leave);
        }
        let node = subject.common_name.strip_prefix(NODE_USER).unwrap_or_default();
        match own || self.knows_password(node, said(request)).await? {
            true => Ok(Verdict::Approve(message)),
            false => Ok(Verdict::Deny(
                "NodePasswordRejected",
                format!(
                    "node password rejected: a node named {node:?} has joined before with another password; \
                     give this machine another name (--node-name or --with-node-id), or delete that node and \
                     its Secret {NAMESPACE}/{} first",
                    password_secret_name(node)
                ),
            )),
        }
    }

    /// Whether this is the node's password; the first one that is said becomes it.
    async fn knows_password(&self, node: &str, said: Option<&str>) -> rest::Result<bool> {
        let kept = self
            .rest
            .get::<Value>(&SECRETS, NAMESPACE, &password_secret_name(node))
            .await?;
        match (kept, said) {
            (Some(kept), Some(said)) => Ok(kept["data"]["hash"] == STANDARD.encode(said)),
            (Some(_), None) => Ok(false),
            (None, Some(said)) => {
                let secret = password_secret(node, said);
                match self.rest.create::<IgnoredAny>(&SECRETS, NAMESPACE, &secret).await {
                    Ok(_) => Ok(true),
                    Err(error) => Err(error),
                }
            }
            // A kubelet of another make, which has none; the name must be free.
            (None, None) => Ok(self.rest.get::<IgnoredAny>(&NODES, "", node).await?.is_none()),
        }
    }

    async fn serving(&self, subject: &Subject) -> rest::Result<Verdict> {
        let nodes = self.rest.list::<Node>(&NODES, "", &ListParams::default()).await?;
        let servers: Option<Value> = self.rest.get(&ENDPOINTS, "default", "kubernetes").await?;
        let name = subject.common_name.strip_prefix(NODE_USER).unwrap_or_default();
        let taken = |address: &IpAddr| {
            let text = address.to_string();
            let has = |node: &&Node| node.status.addresses.iter().any(|own| *own.address == *text);
            let holder = nodes.items.iter().find(has);
            match holder {
                Some(holder) if *holder.metadata.name == *name => None,
                Some(holder) => Some(format!("node {:?}", holder.metadata.name)),
                None => is_server(servers.as_ref(), &text).then(|| "a server".to_owned()),
            }
        };
        Ok(judge(name, subject, taken))
    }
}

/// What the requester said of the node's password, as a hash. Authentication put it there, not the client.
fn said(request: &Request) -> Option<&str> {
    let values = request.spec.extra.get(NODE_PASSWORD_EXTRA)?;
    values.first().map(|hash| &**hash)
}

fn is_server(endpoints: Option<&Value>, address: &str) -> bool {
    let subsets = endpoints.and_then(|endpoints| endpoints["subsets"].as_array());
    let all = subsets.into_iter().flatten();
    all.filter_map(|subset| subset["addresses"].as_array())
        .flatten()
        .any(|entry| entry["ip"] == address)
}

/// Whether a node may serve with these names and addresses; `taken` tells who else has an address.
fn judge(node: &str, subject: &Subject, taken: impl Fn(&IpAddr) -> Option<String>) -> Verdict {
    let deny = |message| Verdict::Deny("NotItsOwn", message);
    // Names by which servers are known.
    if node == "localhost" || node == "kubernetes" || node.starts_with("kubernetes.") {
        return deny(format!("a node must not serve as {node:?}"));
    }
    if let Some(other) = subject.names.iter().find(|name| *name != node) {
        return deny(format!("node {node:?} must not serve as {other:?}"));
    }
    for address in &subject.addresses {
        if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
            return deny(format!("node {node:?} must not serve for address {address}"));
        }
        if let Some(holder) = taken(address) {
            return deny(format!(
                "node {node:?} must not serve for address {address}, which is that of {holder}"
            ));
        }
    }
    Verdict::Approve("Auto approving kubelet serving certificate: name and addresses are the node's own.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(node: &str, names: &[&str], addresses: &[&str], expect: Result<(), &str>) {
        let subject = Subject {
            names: names.iter().map(ToString::to_string).collect(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            ..Subject::default()
        };
        let taken = |address: &IpAddr| (*address == IpAddr::from([192, 0, 2, 9])).then(|| "node \"n9\"".to_owned());
        match (judge(node, &subject, taken), expect) {
            (Verdict::Approve(_), Ok(())) => {}
            (Verdict::Deny(_, message), Err(expect)) => assert_eq!(message, expect),
            (verdict, _) => panic!("{node} {names:?} {addresses:?}: {verdict:?}"),
        }
    }

    #[test]
    fn nodes_serve_as_themselves_only() {
        check("n1", &["n1"], &["192.0.2.1", "2001:db8::1"], Ok(()));
        check("n1", &["n2"], &[], Err("node \"n1\" must not serve as \"n2\""));
        check(
            "n1",
            &["n1", "localhost"],
            &[],
            Err("node \"n1\" must not serve as \"localhost\""),
        );
        check(
            "kubernetes.default.svc",
            &["kubernetes.default.svc"],
            &[],
            Err("a node must not serve as \"kubernetes.default.svc\""),
        );
        check(
            "n1",
            &["n1"],
            &["127.0.0.1"],
            Err("node \"n1\" must not serve for address 127.0.0.1"),
        );
        check(
            "n1",
            &["n1"],
            &["192.0.2.9"],
            Err("node \"n1\" must not serve for address 192.0.2.9, which is that of node \"n9\""),
        );
    }
}
