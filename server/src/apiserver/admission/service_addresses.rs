//! Gives Services their cluster addresses and node ports.
//!
//! What is taken is derived from the Services themselves, so there is no second record that could disagree
//! with them. A choice is also held in memory for a while, until the Service that it was made for shows up
//! in the cache: two requests at once never get the same. State: [`Claims`], behind one lock.
//!
//! Where several servers choose, each choice is also put down in the store for that while
//! ([`Reservations`]): whoever comes second chooses again.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use ipnet::Ipv4Net;
use mizzen_api::object::{Object, encode};
use mizzen_api::resource::Resource;
use mizzen_api::status::{ApiError, ApiResult, FieldError};
use parking_lot::Mutex;
use rand::Rng;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admission, AdmissionRequest, Operation};
use crate::cache::Reader;
use crate::kinds::check::{each, existing, text};
use crate::store::copy::RESERVATIONS;
use crate::store::{Durability, Expect, Put, Revision, Store, StoreError};

/// How long a choice is held for a request that may still fail.
const HOLD: Duration = Duration::from_secs(30);

/// Something only one Service can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Claim {
    Address(Ipv4Addr),
    /// A node port is taken for one protocol; the same number may serve another protocol of the same Service.
    Port(u16),
}

/// Where servers tell each other what they have chosen.
#[derive(Clone)]
pub struct Reservations(pub Arc<dyn Store>);

impl std::fmt::Debug for Reservations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reservations")
    }
}

impl Reservations {
    /// Takes something for a Service for a while; whoever has it when somebody does.
    async fn take(&self, claim: Claim, owner: &str) -> ApiResult<Option<String>> {
        // Of one part, as no object's key is: the cache passes over it.
        let key = match claim {
            Claim::Address(address) => format!("{RESERVATIONS}serviceip-{address}"),
            Claim::Port(port) => format!("{RESERVATIONS}servicenodeport-{port}"),
        };
        let put = Put {
            key: key.into(),
            value: Bytes::copy_from_slice(owner.as_bytes()),
            expect: Expect::Absent,
            ttl: Some(HOLD),
            durability: Durability::Relaxed,
        };
        match self.0.put(put).await {
            Ok(_) => Ok(None),
            Err(StoreError::Conflict { current }) => {
                let holder = current.map(|record| String::from_utf8_lossy(&record.value).into_owned());
                Ok(holder.filter(|holder| holder != owner))
            }
            Err(error) => Err(ApiError::new(500, "", error.to_string())),
        }
    }
}

/// The plugin.
pub struct ServiceAddresses {
    reader: Arc<dyn Reader>,
    reservations: Option<Reservations>,
    addresses: Ipv4Net,
    ports: RangeInclusive<u16>,
    claims: Mutex<Claims>,
}

#[derive(Default)]
struct Claims {
    /// Store key of a Service → revision it was read at, and what it has.
    services: HashMap<Arc<str>, (Revision, Vec<Claim>)>,
    owners: HashMap<Claim, Arc<str>>,
    held: HashMap<Claim, (String, Instant)>,
}

#[derive(Deserialize)]
struct Service {
    spec: ServiceSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceSpec {
    #[serde(default, rename = "clusterIP")]
    cluster_ip: Option<Box<str>>,
    #[serde(default)]
    ports: Vec<ServicePort>,
    #[serde(default)]
    health_check_node_port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServicePort {
    #[serde(default)]
    node_port: Option<u16>,
}

impl ServiceAddresses {
    /// A plugin that hands out these addresses and ports.
    pub fn new(reader: Arc<dyn Reader>, addresses: Ipv4Net, ports: RangeInclusive<u16>) -> Self {
        Self {
            reader,
            reservations: None,
            addresses,
            ports,
            claims: Mutex::default(),
        }
    }

    /// The plugin, one of several that hand out the same.
    #[must_use]
    pub fn among(mut self, reservations: Option<Reservations>) -> Self {
        self.reservations = reservations;
        self
    }

    /// Puts down what was chosen; false when another server was quicker with any of it.
    async fn reserve(&self, owner: &str, object: &Object, old: Option<&Object>) -> ApiResult<bool> {
        let Some(reservations) = &self.reservations else {
            return Ok(true);
        };
        let had = old.map(|old| claims_of(&encode(old))).unwrap_or_default();
        let chosen = claims_of(&encode(object));
        for claim in chosen.into_iter().filter(|claim| !had.contains(claim)) {
            if let Some(holder) = reservations.take(claim, owner).await? {
                let held = (holder, Instant::now());
                self.claims.lock().held.insert(claim, held);
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn refresh(&self, resource: &Resource, claims: &mut Claims) {
        let entries = self.reader.list(resource, None);
        let same = |key: &Arc<str>, revision| claims.services.get(key).is_some_and(|(seen, _)| *seen == revision);
        if entries.len() == claims.services.len() && entries.iter().all(|e| same(&e.key, e.revision)) {
            return;
        }
        let mut services = HashMap::with_capacity(entries.len());
        for entry in entries {
            let known = claims
                .services
                .remove(&entry.key)
                .filter(|(revision, _)| *revision == entry.revision);
            let known = known.unwrap_or_else(|| (entry.revision, claims_of(&entry.json)));
            services.insert(Arc::clone(&entry.key), known);
        }
        claims.owners = services
            .iter()
            .flat_map(|(key, (_, all))| all.iter().map(|claim| (*claim, Arc::clone(key))))
            .collect();
        claims.services = services;
        claims.held.retain(|_, (_, since)| since.elapsed() < HOLD);
    }

    fn assign(&self, claims: &mut Claims, owner: &str, object: &mut Object, old: Option<&Object>) -> Vec<FieldError> {
        let Some(spec) = existing(object, "spec") else {
            return Vec::new();
        };
        let kind = text(spec, "type").to_owned();
        let mut errors = Vec::new();
        if kind == "ExternalName" {
            for name in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                spec.remove(name);
            }
        } else {
            errors.extend(self.assign_address(claims, owner, spec));
        }
        let wants_ports = kind == "NodePort"
            || kind == "LoadBalancer" && spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false));
        if wants_ports {
            errors.extend(self.assign_ports(claims, owner, spec, old));
        } else if kind != "LoadBalancer" {
            each(spec, "ports").for_each(|port| drop(port.remove("nodePort")));
        }
        let wants_health = kind == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local";
        match wants_health {
            true if spec
                .get("healthCheckNodePort")
                .and_then(Value::as_u64)
                .is_none_or(|port| port == 0) =>
            {
                let port = self.free_port(claims, owner);
                spec.insert("healthCheckNodePort".into(), port.map_or(Value::Null, Value::from));
            }
            false => drop(spec.remove("healthCheckNodePort")),
            true => {}
        }
        errors
    }

    fn assign_address(&self, claims: &mut Claims, owner: &str, spec: &mut Object) -> Option<FieldError> {
        let listed = spec
            .get("clusterIPs")
            .and_then(|list| list.get(0))
            .and_then(Value::as_str);
        let wanted = match text(spec, "clusterIP") {
            "" => listed.unwrap_or_default().to_owned(),
            one => one.to_owned(),
        };
        let chosen = match wanted.as_str() {
            "None" => "None".to_owned(),
            "" => match self.free_address(claims, owner) {
                Some(address) => address.to_string(),
                None => {
                    return Some(FieldError::invalid(
                        "spec.clusterIPs",
                        json!([]),
                        "failed to allocate a serviceIP: range is full",
                    ));
                }
            },
            address => match self.claim_address(claims, owner, address) {
                Ok(()) => address.to_owned(),
                Err(why) => {
                    let detail = format!("failed to allocate IP {address}: {why}");
                    return Some(FieldError::invalid("spec.clusterIPs", json!([address]), detail));
                }
            },
        };
        spec.insert("clusterIP".into(), chosen.clone().into());
        spec.insert("clusterIPs".into(), json!([chosen]));
        spec.insert("ipFamilies".into(), json!(["IPv4"]));
        crate::kinds::check::default(spec, "ipFamilyPolicy", "SingleStack");
        None
    }

    fn claim_address(&self, claims: &mut Claims, owner: &str, address: &str) -> Result<(), String> {
        let parsed: Ipv4Addr = address.parse().map_err(|_| "not an IPv4 address".to_owned())?;
        if !self.addresses.contains(&parsed)
            || parsed == self.addresses.network()
            || parsed == self.addresses.broadcast()
        {
            let range = self.addresses;
            return Err(format!(
                "the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}"
            ));
        }
        match claims.claim(Claim::Address(parsed), owner) {
            true => Ok(()),
            false => Err("provided IP is already allocated".into()),
        }
    }

    /// A free address out of the upper part of the range; the lower part is left to those who choose their own.
    fn free_address(&self, claims: &mut Claims, owner: &str) -> Option<Ipv4Addr> {
        let (first, last) = (
            u32::from(self.addresses.network()) + 1,
            u32::from(self.addresses.broadcast()) - 1,
        );
        let reserved = first + ((last - first + 1) / 16).clamp(16, 256).min(last - first);
        let start = rand::rng().random_range(reserved..=last);
        let order = (start..=last).chain(reserved..start).chain(first..reserved);
        order
            .map(Ipv4Addr::from)
            .find(|address| claims.is_free(Claim::Address(*address)) && claims.claim(Claim::Address(*address), owner))
    }

    fn free_port(&self, claims: &mut Claims, owner: &str) -> Option<u16> {
        let (first, last) = (*self.ports.start(), *self.ports.end());
        let start = rand::rng().random_range(first..=last);
        (start..=last)
            .chain(first..start)
            .find(|port| claims.is_free(Claim::Port(*port)) && claims.claim(Claim::Port(*port), owner))
    }

    fn assign_ports(
        &self,
        claims: &mut Claims,
        owner: &str,
        spec: &mut Object,
        old: Option<&Object>,
    ) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut chosen: HashMap<Value, u16> = HashMap::new();
        for (index, port) in each(spec, "ports").enumerate() {
            let number = port.get("port").cloned().unwrap_or_default();
            let kept = port.get("nodePort").and_then(Value::as_u64).filter(|p| *p != 0);
            let wanted = kept
                .or_else(|| old_node_port(old, port))
                .or_else(|| chosen.get(&number).map(|p| u64::from(*p)));
            let field = format!("spec.ports[{index}].nodePort");
            let got = match wanted {
                None => self
                    .free_port(claims, owner)
                    .ok_or_else(|| FieldError::invalid(&*field, 0, "failed to allocate a nodePort: range is full")),
                Some(port) => match u16::try_from(port).ok().filter(|port| self.ports.contains(port)) {
                    None => {
                        let (first, last) = (self.ports.start(), self.ports.end());
                        let detail = format!(
                            "provided port is not in the valid range. The range of valid ports is {first}-{last}"
                        );
                        Err(FieldError::invalid(&*field, port, detail))
                    }
                    Some(port) if claims.claim(Claim::Port(port), owner) => Ok(port),
                    Some(port) => Err(FieldError::invalid(&*field, port, "provided port is already allocated")),
                },
            };
            match got {
                Ok(got) => {
                    chosen.insert(number, got);
                    port.insert("nodePort".into(), got.into());
                }
                Err(error) => errors.push(error),
            }
        }
        errors
    }
}

impl Claims {
    fn is_free(&self, claim: Claim) -> bool {
        !self.owners.contains_key(&claim) && !self.held.contains_key(&claim)
    }

    /// Takes something for a Service, unless another one has it.
    fn claim(&mut self, claim: Claim, owner: &str) -> bool {
        let foreign = self.owners.get(&claim).is_some_and(|key| **key != *owner)
            || self.held.get(&claim).is_some_and(|(holder, _)| holder != owner);
        if !foreign {
            self.held.insert(claim, (owner.to_owned(), Instant::now()));
        }
        !foreign
    }
}

fn claims_of(json: &[u8]) -> Vec<Claim> {
    let Ok(service) = serde_json::from_slice::<Service>(json) else {
        return Vec::new();
    };
    let address = service
        .spec
        .cluster_ip
        .and_then(|ip| ip.parse().ok())
        .map(Claim::Address);
    let ports = service.spec.ports.iter().filter_map(|port| port.node_port);
    address
        .into_iter()
        .chain(ports.chain(service.spec.health_check_node_port).map(Claim::Port))
        .collect()
}

/// The node port that this port had: a client that sends the Service without it means to keep it.
fn old_node_port(old: Option<&Object>, port: &Object) -> Option<u64> {
    let ports = old?.get("spec")?.get("ports")?.as_array()?;
    let same = |key: &str, other: &Value| port.get(key) == other.get(key);
    let before = ports
        .iter()
        .find(|other| same("port", other) && same("protocol", other))?;
    before.get("nodePort")?.as_u64().filter(|port| *port != 0)
}

#[async_trait]
impl Admission for ServiceAddresses {
    fn name(&self) -> &'static str {
        "ServiceAddresses"
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        let concerned =
            request.resource.kind == "Service" && request.resource.group.is_empty() && request.subresource.is_empty();
        if !concerned || !matches!(request.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        let resource = request.resource;
        let (name, namespace) = (request.name, request.namespace);
        let Some(object) = request.object.as_deref_mut() else {
            return Ok(());
        };
        let owner = format!("/registry/services/specs/{namespace}/{name}");
        if self.reservations.is_some() {
            self.reader.fresh().await;
        }
        let asked = object.clone();
        loop {
            let errors = {
                let mut claims = self.claims.lock();
                self.refresh(resource, &mut claims);
                self.assign(&mut claims, &owner, object, request.old)
            };
            if !errors.is_empty() {
                return Err(ApiError::invalid(resource, name, &errors));
            }
            if request.dry_run || self.reserve(&owner, object, request.old).await? {
                return Ok(());
            }
            *object = asked.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Entry;
    use crate::identity::User;

    struct Fixed(Vec<Arc<Entry>>);

    impl Reader for Fixed {
        fn get(&self, _: &Resource, _: &str, _: &str) -> Option<Arc<Entry>> {
            None
        }
        fn list(&self, _: &Resource, _: Option<&str>) -> Vec<Arc<Entry>> {
            self.0.clone()
        }
        fn last_change(&self, _: &Resource) -> Revision {
            0
        }
    }

    fn plugin(existing: Value) -> ServiceAddresses {
        let entry = Entry {
            key: "/registry/services/specs/default/other".into(),
            revision: 3,
            json: existing.to_string().into(),
            namespace: "default".into(),
            name: "other".into(),
            labels: Box::default(),
            fields: Box::default(),
            shape: Arc::default(),
        };
        let range = "10.43.0.0/24".parse().expect("a range");
        ServiceAddresses::new(Arc::new(Fixed(vec![Arc::new(entry)])), range, 30000..=30002)
    }

    async fn admit(plugin: &ServiceAddresses, name: &str, spec: Value, old: Option<Value>) -> Result<Value, String> {
        let resource = mizzen_api::resource::builtin()
            .by_path("", "v1", "services")
            .expect("a row")
            .clone();
        let object = |spec: Value| json!({"spec": spec}).as_object().expect("an object").clone();
        let (mut new, old) = (object(spec), old.map(object));
        let mut request = AdmissionRequest {
            user: &User::anonymous(),
            operation: Operation::Create,
            resource: &resource,
            subresource: "",
            namespace: "default",
            name,
            object: Some(&mut new),
            old: old.as_ref(),
            dry_run: false,
        };
        plugin.admit(&mut request).await.map_err(|e| e.message)?;
        Ok(new["spec"].clone())
    }

    #[tokio::test]
    async fn nothing_is_given_twice() {
        let plugin = plugin(json!({"spec": {"clusterIP": "10.43.0.10", "ports": [{"nodePort": 30001}]}}));
        let mut seen = std::collections::HashSet::from(["10.43.0.10".to_owned()]);
        for i in 0..253 {
            let spec = admit(&plugin, &format!("s{i}"), json!({"type": "ClusterIP"}), None)
                .await
                .expect("an address");
            assert!(
                seen.insert(spec["clusterIP"].as_str().expect("a string").to_owned()),
                "{spec}"
            );
        }
        let full = admit(&plugin, "full", json!({"type": "ClusterIP"}), None).await;
        assert!(full.expect_err("full").contains("range is full"));
    }

    #[tokio::test]
    async fn ports_follow_type_and_are_kept() {
        let plugin = plugin(json!({"spec": {"ports": [{"nodePort": 30001}]}}));
        let ports = json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]);
        let spec = admit(
            &plugin,
            "dns",
            json!({"type": "NodePort", "clusterIP": "None", "ports": ports}),
            None,
        )
        .await
        .expect("ports");
        let node_port = &spec["ports"][0]["nodePort"];
        assert!([30000, 30002].map(Value::from).contains(node_port), "{spec}");
        assert_eq!(*node_port, spec["ports"][1]["nodePort"]);

        let bare = json!({"type": "NodePort", "ports": [{"port": 53, "protocol": "UDP"}]});
        let again = admit(&plugin, "dns", bare, Some(spec.clone())).await.expect("ports");
        assert_eq!(again["ports"][0]["nodePort"], *node_port);

        let back = admit(
            &plugin,
            "dns",
            json!({"type": "ClusterIP", "ports": again["ports"]}),
            Some(again),
        )
        .await
        .expect("ports");
        assert!(back["ports"][0].get("nodePort").is_none());
    }

    #[tokio::test]
    async fn what_is_taken_or_out_of_range_is_refused() {
        let plugin = plugin(json!({"spec": {"clusterIP": "10.43.0.10", "ports": [{"nodePort": 30001}]}}));
        for (spec, expect) in [
            (
                json!({"clusterIP": "10.43.0.10"}),
                r#"Service "x" is invalid: spec.clusterIPs: Invalid value: ["10.43.0.10"]: failed to allocate IP 10.43.0.10: provided IP is already allocated"#,
            ),
            (
                json!({"clusterIP": "1.2.3.4"}),
                r#"Service "x" is invalid: spec.clusterIPs: Invalid value: ["1.2.3.4"]: failed to allocate IP 1.2.3.4: the provided IP (1.2.3.4) is not in the valid range. The range of valid IPs is 10.43.0.0/24"#,
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30001}]}),
                r#"Service "x" is invalid: spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated"#,
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 9}]}),
                r#"Service "x" is invalid: spec.ports[0].nodePort: Invalid value: 9: provided port is not in the valid range. The range of valid ports is 30000-30002"#,
            ),
        ] {
            assert_eq!(admit(&plugin, "x", spec, None).await.expect_err("refused"), expect);
        }
    }
}
