//! What lets a request in, put together: who is asking, whether they may, and what the chain says of it.

use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::admission::Admission;
use super::admission::certificates::Certificates;
use super::admission::default_storage_class::DefaultStorageClass;
use super::admission::default_toleration_seconds::DefaultTolerationSeconds;
use super::admission::limit_ranger::LimitRanger;
use super::admission::namespace_lifecycle::NamespaceLifecycle;
use super::admission::node_restriction::NodeRestriction;
use super::admission::persistent_volume_claim_resize::PersistentVolumeClaimResize;
use super::admission::priority::Priority;
use super::admission::rbac_escalation::RbacEscalation;
use super::admission::runtime_class::RuntimeClass;
use super::admission::service_account::ServiceAccount;
use super::admission::service_addresses::{Reservations, ServiceAddresses};
use super::admission::storage_object_in_use_protection::StorageObjectInUseProtection;
use super::admission::taint_nodes::TaintNodesByCondition;
use super::admission::token_secret::TokenSecret;
use super::authentication::Authentication;
use super::authentication::join::Join;
use super::authentication::service_account::Tokens;
use super::authentication::session::Sessions;
use super::authorization::Chain;
use super::authorization::node::Node;
use super::authorization::rbac::Rbac;
use crate::cache::Reader;
use crate::join;
use crate::pki::Keys;

/// What the gates are built from.
#[derive(Clone, Debug)]
pub struct Options {
    /// Keys of ServiceAccount tokens.
    pub token_keys: Arc<Keys>,
    /// Issuer of ServiceAccount tokens, which is also the API server's audience.
    pub issuer: String,
    /// Where clients reach the server, for OpenID Connect discovery.
    pub server_url: String,
    /// The CA that clients trust the server by.
    pub root_ca_pem: String,
    /// What machines join with.
    pub join_tokens: Arc<join::Tokens>,
    /// Addresses of Services.
    pub service_network: Ipv4Net,
    /// Ports of Services on nodes.
    pub node_ports: RangeInclusive<u16>,
    /// Where servers tell each other which of these they give, when there are several.
    pub reservations: Option<Reservations>,
}

/// The gates.
pub struct Gates {
    /// Who sent a request.
    pub authentication: Authentication,
    /// Whether they may do it.
    pub authorization: Arc<Chain>,
    /// Everybody's rules.
    pub rbac: Arc<Rbac>,
    /// ServiceAccount tokens.
    pub tokens: Arc<Tokens>,
    /// Sessions of browsers.
    pub sessions: Arc<Sessions>,
    /// Where clients reach the server.
    pub server_url: String,
    /// The CA that clients trust the server by.
    pub server_ca_pem: String,
    /// The admission chain.
    pub admission: Vec<Arc<dyn Admission>>,
}

impl Gates {
    /// The gates of a cluster whose state is read here.
    pub fn new(reader: Arc<dyn Reader>, options: Options) -> Self {
        let tokens = Arc::new(Tokens::new(options.token_keys.clone(), reader.clone(), options.issuer));
        let sessions = Arc::new(Sessions::new(options.token_keys, tokens.clone()));
        let join = Arc::new(Join::new(options.join_tokens, reader.clone()));
        let rbac = Arc::new(Rbac::new(reader.clone()));
        let authorization = Arc::new(Chain::new([
            Arc::new(Node::new(reader.clone())) as _,
            rbac.clone() as _,
        ]));
        let admission: Vec<Arc<dyn Admission>> = vec![
            Arc::new(NamespaceLifecycle::new(reader.clone())),
            Arc::new(LimitRanger::new(reader.clone())),
            Arc::new(NodeRestriction::new(reader.clone())),
            Arc::new(TaintNodesByCondition),
            Arc::new(ServiceAccount::new(reader.clone())),
            Arc::new(TokenSecret::new(tokens.clone(), options.root_ca_pem.clone())),
            Arc::new(Priority::new(reader.clone())),
            Arc::new(DefaultTolerationSeconds),
            Arc::new(DefaultStorageClass::new(reader.clone())),
            Arc::new(StorageObjectInUseProtection),
            Arc::new(PersistentVolumeClaimResize::new(reader.clone())),
            Arc::new(RuntimeClass::new(reader.clone())),
            Arc::new(
                ServiceAddresses::new(reader, options.service_network, options.node_ports).among(options.reservations),
            ),
            Arc::new(Certificates::new(authorization.clone())),
            Arc::new(RbacEscalation::new(rbac.clone(), authorization.clone())),
        ];
        Self {
            authentication: Authentication::new([tokens.clone() as _, sessions.clone() as _, join as _]),
            authorization,
            rbac,
            tokens,
            sessions,
            server_url: options.server_url,
            server_ca_pem: options.root_ca_pem,
            admission,
        }
    }
}

#[cfg(test)]
impl Options {
    /// Options with keys of their own and the usual numbers.
    pub(crate) fn for_tests() -> Self {
        Self {
            token_keys: Arc::new(Keys::generate().expect("keys")),
            issuer: "https://kubernetes.default.svc.cluster.local".into(),
            server_url: "https://127.0.0.1:6443".into(),
            root_ca_pem: "root".into(),
            join_tokens: Arc::new(join::Tokens::random()),
            service_network: "10.43.0.0/16".parse().expect("a network"),
            node_ports: 30000..=32767,
            reservations: None,
        }
    }
}
