//! Services and NetworkPolicies in nftables: ClusterIPs, NodePorts, load balancer addresses, hostPorts, masquerade and who
//! may reach whom, in one table of ours.
//!
//! Entry point: [`Proxy::run`]. Changes of Services, EndpointSlices, Pods and policies mark their owner dirty (a Service, a
//! Pod or a policy); the one task takes what is dirty, plans it anew ([`rules`] and [`policy`], pure), and sends the
//! difference ([`ruleset`], pure) to the kernel ([`table`]) in one transaction. While that runs, further changes gather for the next. The first
//! transaction is sent when all copies are complete and replaces the table that an earlier Mizzen left, so that a
//! restart interrupts nothing; after a failed transaction the next one replaces the whole table too.
//!
//! Invariant: only this module writes to the table, and it writes nowhere else.

mod conntrack;
mod enforce;
mod host_ports;
mod policy;
mod rules;
mod ruleset;
mod table;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use mizzen_api::client::reflector::{Change, Key, Projection, Reflector, Selector};
use mizzen_api::client::rest::{Gvr, Rest};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::network;
use crate::services::Services;
use enforce::Policies;
use host_ports::HostPod;
use rules::{Node, Plan};
use ruleset::{Difference, Owner, Ruleset};
use table::Table;

const PODS: Gvr<'static> = Gvr::new("", "v1", "pods");
/// How long Services wait for policies that an earlier table may hold.
const POLICIES_PATIENCE: Duration = Duration::from_secs(10);
/// Pause before a failed transaction is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// The owners whose plan may have changed.
#[derive(Default)]
struct Dirty {
    owners: Mutex<HashSet<Owner>>,
    changed: Notify,
}

impl Dirty {
    fn mark(&self, owner: Owner) {
        self.mark_all(std::iter::once(owner));
    }

    fn mark_all(&self, owners: impl Iterator<Item = Owner>) {
        self.owners.lock().extend(owners);
        self.changed.notify_one();
    }

    /// Waits until something is dirty and takes it.
    async fn take(&self) -> HashSet<Owner> {
        loop {
            let owners = std::mem::take(&mut *self.owners.lock());
            if !owners.is_empty() {
                return owners;
            }
            self.changed.notified().await;
        }
    }
}

/// The proxy.
pub struct Proxy {
    services: Option<Services>,
    policies: Option<Arc<Policies>>,
    pods: Arc<Reflector<HostPod>>,
    client: kube::Client,
    node: Node,
    table: Table,
    dirty: Arc<Dirty>,
    ruleset: Ruleset,
}

impl Proxy {
    /// A proxy for one node. Without `services` only hostPorts and masquerade are kept, and another proxy does the rest.
    pub fn new(settings: &network::Settings, client: kube::Client, services: Option<Services>) -> Self {
        let fields = format!("spec.nodeName={}", settings.node_name);
        let pods: Arc<Reflector<HostPod>> = Reflector::selected(
            PODS,
            Selector {
                fields,
                ..Selector::default()
            },
        );
        let dirty = Arc::<Dirty>::default();
        if let Some(services) = &services {
            let mark = dirty.clone();
            services
                .services
                .subscribe(move |change| mark.mark(Owner::Service(change.latest().key())));
            let mark = dirty.clone();
            services.slices.subscribe(move |change: &Change<'_, _>| {
                // A slice whose label was changed leaves one Service and joins another.
                for slice in [change.old, change.new].into_iter().flatten() {
                    mark.mark(Owner::Service(Key::new(&slice.namespace, &slice.service)));
                }
            });
        }
        let mark = dirty.clone();
        pods.subscribe(move |change| mark.mark(Owner::Pod(change.latest().key())));
        let node = Node {
            name: settings.node_name.as_str().into(),
            cluster_cidr: settings.cluster_cidr,
            reserved: settings.dns_ip,
        };
        Self {
            services,
            policies: None,
            pods,
            client,
            node,
            table: Table::new(settings),
            dirty,
            ruleset: Ruleset::default(),
        }
    }

    /// Also enforces NetworkPolicies; `client` may watch them, all Pods and all namespaces.
    #[must_use]
    pub fn enforcing(mut self, client: kube::Client) -> Self {
        let policies = Policies::new(client, &self.node.name, self.node.reserved, &self.dirty);
        self.policies = Some(policies);
        self
    }

    /// Keeps the table up to date until `stop`, and leaves it in place then.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let rest = Rest::new(self.client.clone(), "mizzen-proxy");
        let watch = self.pods.clone().run(rest, stop.clone());
        let (policies, dirty, token) = (self.policies.clone(), self.dirty.clone(), stop.clone());
        let policies = async move {
            match policies {
                Some(policies) => policies.run(&dirty, &token).await,
                None => token.cancelled().await,
            }
        };
        tokio::select! {
            () = watch => {}
            () = policies => {}
            () = self.follow() => {}
            () = stop.cancelled() => {}
        }
        Ok(())
    }

    async fn follow(mut self) {
        if let Some(services) = &self.services {
            services.synced().await;
        }
        self.pods.synced().await;
        if let Some(policies) = &self.policies
            && tokio::time::timeout(POLICIES_PATIENCE, policies.synced())
                .await
                .is_err()
        {
            tracing::warn!("network policies cannot be read and are not enforced yet; Services do not wait for them");
        }
        let mut whole = true;
        loop {
            // The first time even an empty cluster gets its table: nothing is dirty then.
            let owners = match whole {
                true => std::mem::take(&mut *self.dirty.owners.lock()),
                false => self.dirty.take().await,
            };
            let mut difference = Difference::default();
            // Pods refer to the policies that there are then, so these come first.
            for owner in self.in_order(owners) {
                let plan = self.plan_of(&owner);
                self.ruleset.replace(owner, plan, &mut difference);
            }
            whole = !self.write(whole, difference).await;
        }
    }

    /// The owners in the order in which they are planned; where a policy changes, so may all Pods of its namespace.
    fn in_order(&self, mut owners: HashSet<Owner>) -> Vec<Owner> {
        let namespaces: HashSet<_> = owners
            .iter()
            .filter_map(|owner| match owner {
                Owner::Policy(key) => Some(key.namespace.clone()),
                _ => None,
            })
            .collect();
        if let Some(policies) = &self.policies {
            for namespace in namespaces {
                let there = policies.local(&namespace).into_iter().map(|pod| Owner::Pod(pod.key()));
                owners.extend(there);
                owners.extend(self.ruleset.pods_of(&namespace));
            }
        }
        let mut owners: Vec<_> = owners.into_iter().collect();
        owners.sort_by_key(|owner| !matches!(owner, Owner::Policy(_)));
        owners
    }

    /// Sends a transaction; a failure is told, and waited out.
    async fn write(&self, whole: bool, mut difference: Difference) -> bool {
        let fronts = std::mem::take(&mut difference.fronts);
        let result = match whole {
            true => self.table.reset(&self.ruleset.all()).await,
            false => self.table.apply(&difference.into_operations()).await,
        };
        if let Err(error) = result {
            tracing::error!("the kernel refused the rules for Services, all are sent again: {error:#}");
            tokio::time::sleep(RETRY).await;
            return false;
        }
        if !fronts.is_empty()
            && let Ok(Err(error)) = tokio::task::spawn_blocking(move || conntrack::forget(&fronts)).await
        {
            tracing::warn!("stale UDP connections are not forgotten: {error:#}");
        }
        true
    }

    fn plan_of(&self, owner: &Owner) -> Plan {
        match (owner, &self.services) {
            (Owner::Pod(key), _) => {
                let pod = self.pods.get(&key.namespace, &key.name);
                let mut plan = pod.map(|pod| pod.plan()).unwrap_or_default();
                if let Some(policies) = &self.policies {
                    let planned = |owner: &Owner| self.ruleset.has(owner);
                    policies.isolate(&key.namespace, &key.name, planned, &mut plan);
                }
                plan
            }
            (Owner::Policy(key), _) => self
                .policies
                .as_ref()
                .map(|policies| policies.plan(&key.namespace, &key.name))
                .unwrap_or_default(),
            (Owner::Service(key), Some(services)) => match services.services.get(&key.namespace, &key.name) {
                Some(service) => rules::plan(&service, &services.slices_of(&key.namespace, &key.name), &self.node),
                None => Plan::default(),
            },
            (Owner::Service(_), None) => Plan::default(),
        }
    }
}

/// Removes our table from the kernel.
pub async fn remove(table: &str) -> anyhow::Result<()> {
    table::remove(table).await
}
