//! The copies that NetworkPolicies are planned from, and what a change of one of them makes dirty.
//!
//! Policies are watched always; Pods and namespaces of the whole cluster from the first policy on, so that a cluster that
//! has none pays nothing. Cluster DNS, which runs in no Pod here, is what policies take for its Pod elsewhere.

use std::net::Ipv4Addr;
use std::sync::Arc;

use mizzen_api::client::reflector::{Change, Projection as _, Reflector};
use mizzen_api::client::rest::{Gvr, Rest};
use mizzen_api::selector::LabelSelector;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Dirty;
use super::policy::{self, Namespace, NetworkPolicy, PolicyPod, World};
use super::rules::Plan;
use super::ruleset::Owner;
use crate::services::Protocol;

const POLICIES: Gvr<'static> = Gvr::new("networking.k8s.io", "v1", "networkpolicies");
const PODS: Gvr<'static> = Gvr::new("", "v1", "pods");
const NAMESPACES: Gvr<'static> = Gvr::new("", "v1", "namespaces");
/// Where cluster DNS is elsewhere, and how its Pods are labelled there.
const DNS_NAMESPACE: &str = "kube-system";
const DNS_LABEL: (&str, &str) = ("k8s-app", "kube-dns");
const DNS_PORT: u16 = 53;

/// The copies.
pub(crate) struct Policies {
    client: kube::Client,
    node: Box<str>,
    pub(crate) policies: Arc<Reflector<NetworkPolicy>>,
    pods: Arc<Reflector<PolicyPod>>,
    namespaces: Arc<Reflector<Namespace>>,
    needed: Arc<Notify>,
    dns: Option<Arc<PolicyPod>>,
}

impl Policies {
    pub(crate) fn new(client: kube::Client, node: &str, dns_ip: Option<Ipv4Addr>, dirty: &Arc<Dirty>) -> Arc<Self> {
        let made = Arc::new(Self {
            client,
            node: node.into(),
            policies: Reflector::new(POLICIES),
            pods: Reflector::new(PODS),
            namespaces: Reflector::new(NAMESPACES),
            needed: Arc::default(),
            dns: dns_ip.map(dns_pod),
        });
        let (mark, needed) = (dirty.clone(), made.needed.clone());
        made.policies.subscribe(move |change| {
            needed.notify_one();
            mark.mark(Owner::Policy(change.latest().key()));
        });
        let (mark, me) = (dirty.clone(), Arc::downgrade(&made));
        made.pods.subscribe(move |change| {
            if let Some(me) = me.upgrade() {
                me.pod_changed(change, &mark);
            }
        });
        let (mark, policies) = (dirty.clone(), made.policies.clone());
        made.namespaces.subscribe(move |change| {
            let same = matches!((change.old, change.new), (Some(old), Some(new)) if old.labels == new.labels);
            if !same {
                mark.mark_all(policies.all().iter().map(|policy| Owner::Policy(policy.key())));
            }
        });
        made
    }

    /// Keeps the copies up to date until `stop`.
    pub(crate) async fn run(&self, dirty: &Dirty, stop: &CancellationToken) {
        let rest = Rest::new(self.client.clone(), "mizzen-network-policy");
        let policies = self.policies.clone().run(rest.clone(), stop.clone());
        let others = async {
            self.needed.notified().await;
            let complete = async {
                tokio::join!(self.pods.synced(), self.namespaces.synced());
                dirty.mark_all(self.policies.all().iter().map(|policy| Owner::Policy(policy.key())));
            };
            let (pods, namespaces) = (self.pods.clone(), self.namespaces.clone());
            tokio::join!(
                pods.run(rest.clone(), stop.clone()),
                namespaces.run(rest, stop.clone()),
                complete
            );
        };
        tokio::join!(policies, others);
    }

    /// Waits until everything is there that the policies need.
    pub(crate) async fn synced(&self) {
        self.policies.synced().await;
        if !self.policies.all().is_empty() {
            tokio::join!(self.pods.synced(), self.namespaces.synced());
        }
    }

    fn pod_changed(&self, change: &Change<'_, PolicyPod>, dirty: &Dirty) {
        if matches!((change.old, change.new), (Some(old), Some(new)) if old.same(new)) {
            return;
        }
        let states = || change.old.into_iter().chain(change.new);
        let mut owners = Vec::new();
        if states().any(|pod| pod.node == self.node) {
            owners.push(Owner::Pod(change.latest().key()));
        }
        for policy in self.policies.all() {
            if states().any(|pod| policy.mentions(pod)) {
                owners.push(Owner::Policy(policy.key()));
            }
        }
        dirty.mark_all(owners.into_iter());
    }

    /// The plan of a policy: nothing, unless it is about a Pod of this node.
    pub(crate) fn plan(&self, namespace: &str, name: &str) -> Plan {
        let complete = self.pods.is_synced() && self.namespaces.is_synced();
        match self.policies.get(namespace, name) {
            Some(policy) if complete && self.local(namespace).iter().any(|pod| policy.selects(pod)) => {
                policy::plan(&policy, self)
            }
            _ => Plan::default(),
        }
    }

    /// The Pods of this node in a namespace.
    pub(crate) fn local(&self, namespace: &str) -> Vec<Arc<PolicyPod>> {
        self.pods
            .select(namespace, |pod| pod.node == self.node && pod.address.is_some())
    }

    /// Adds what keeps a Pod to the policies that select it, of those that `planned` knows.
    pub(crate) fn isolate(&self, namespace: &str, name: &str, planned: impl Fn(&Owner) -> bool, plan: &mut Plan) {
        let Some(pod) = self.pods.get(namespace, name).filter(|pod| pod.node == self.node) else {
            return;
        };
        let policies = self.policies.select(namespace, |policy| {
            policy.selects(&pod) && planned(&Owner::Policy(policy.key()))
        });
        policy::isolate(&pod, &policies, plan);
    }
}

impl World for Policies {
    fn pods(&self, namespace: &str) -> Vec<Arc<PolicyPod>> {
        let dns = self.dns.iter().filter(|_| namespace == DNS_NAMESPACE).cloned();
        let mut pods = self.pods.select(namespace, |pod| pod.address.is_some());
        pods.extend(dns);
        pods
    }

    fn namespaces(&self, selector: &LabelSelector) -> Vec<Box<str>> {
        let all = self
            .namespaces
            .select("", |namespace| selector.matches(&*namespace.labels));
        all.iter().map(|namespace| namespace.name().into()).collect()
    }
}

fn dns_pod(address: Ipv4Addr) -> Arc<PolicyPod> {
    let (key, value) = DNS_LABEL;
    Arc::new(PolicyPod {
        namespace: DNS_NAMESPACE.into(),
        name: "dns".into(),
        resource_version: "".into(),
        node: "".into(),
        labels: [(key.into(), value.into())].into(),
        address: Some(address),
        ports: [
            ("dns".into(), Protocol::Udp, DNS_PORT),
            ("dns-tcp".into(), Protocol::Tcp, DNS_PORT),
        ]
        .into(),
    })
}
