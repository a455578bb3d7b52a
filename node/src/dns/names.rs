//! What a name in the cluster's domain stands for: a pure function of Services and EndpointSlices.
//!
//! The scheme is upstream's DNS specification 1.1: Services, headless Services with the names of their endpoints, named
//! ports as SRV, ExternalName as CNAME, addresses of Pods, and addresses back to names.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::services::{Endpoint, EndpointSlice, Service, ServiceType};

/// The version of the specification, at `dns-version`.
pub(super) const SPECIFICATION: &str = "1.1.0";

/// Where names are looked up.
pub(super) trait Directory {
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>>;
    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>>;
    fn has_namespace(&self, namespace: &str) -> bool;
    fn service_at(&self, address: Ipv4Addr) -> Option<Arc<Service>>;
    fn slice_at(&self, address: Ipv4Addr) -> Option<Arc<EndpointSlice>>;
}

/// What was found, whatever type of record was asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Found {
    pub(super) addresses: Vec<Ipv4Addr>,
    /// Port and target, relative to the cluster's domain, with the target's address.
    pub(super) servers: Vec<(u16, String, Ipv4Addr)>,
    /// A name outside of the cluster.
    pub(super) alias: Option<Box<str>>,
    /// Names, relative to the cluster's domain.
    pub(super) pointers: Vec<String>,
    pub(super) texts: Vec<String>,
}

/// Looks up a name given by its labels, from the left, without the cluster's domain. `None`: it does not exist.
pub(super) fn find(labels: &[&str], directory: &impl Directory) -> Option<Found> {
    match labels {
        [] | ["svc" | "pod"] => Some(Found::default()),
        ["dns-version"] => Some(Found {
            texts: vec![SPECIFICATION.to_owned()],
            ..Found::default()
        }),
        [rest @ .., namespace, "svc"] => in_namespace(rest, namespace, directory),
        [dashed, namespace, "pod"] => {
            let address = dashed
                .replace('-', ".")
                .parse()
                .ok()
                .filter(|_| directory.has_namespace(namespace))?;
            Some(Found {
                addresses: vec![address],
                ..Found::default()
            })
        }
        [namespace, "pod"] => directory.has_namespace(namespace).then(Found::default),
        _ => None,
    }
}

fn in_namespace(labels: &[&str], namespace: &str, directory: &impl Directory) -> Option<Found> {
    let service = |name: &str| directory.service(namespace, name);
    match labels {
        [] => directory.has_namespace(namespace).then(Found::default),
        [name] => Some(whole(&*service(name)?, directory)),
        [port, protocol, name] if port.starts_with('_') && protocol.starts_with('_') => {
            let found = servers(&*service(name)?, directory, |own, kind| {
                own == &port[1..] && kind == &protocol[1..]
            });
            (!found.is_empty()).then(|| Found {
                servers: found,
                ..Found::default()
            })
        }
        // Above a port's name there is nothing, but the name exists.
        [protocol, name] if protocol.starts_with('_') => service(name).map(|_| Found::default()),
        [host, name] => {
            let service = service(name)?;
            let addresses: Vec<_> = backends(&service, directory)
                .into_iter()
                .filter(|(endpoint, _)| hostname(endpoint) == *host)
                .map(|(endpoint, _)| endpoint.address)
                .collect();
            (service.headless && !addresses.is_empty()).then(|| Found {
                addresses,
                ..Found::default()
            })
        }
        _ => None,
    }
}

/// A Service by its own name.
fn whole(service: &Service, directory: &impl Directory) -> Found {
    if service.kind == ServiceType::ExternalName {
        return Found {
            alias: Some(service.external_name.clone()),
            ..Found::default()
        };
    }
    let addresses = match service.headless {
        true => backends(service, directory)
            .into_iter()
            .map(|(endpoint, _)| endpoint.address)
            .collect(),
        false => service.cluster_ip.into_iter().collect(),
    };
    Found {
        addresses,
        servers: servers(service, directory, |_, _| true),
        ..Found::default()
    }
}

/// The ports that `wanted` wants by name and protocol: on the Service's address, or on every backend when headless.
fn servers(
    service: &Service,
    directory: &impl Directory,
    wanted: impl Fn(&str, &str) -> bool,
) -> Vec<(u16, String, Ipv4Addr)> {
    let own = format!("{}.{}.svc", service.name, service.namespace);
    if let Some(address) = service.cluster_ip {
        let ports = service
            .ports
            .iter()
            .filter(|port| wanted(&port.name, port.protocol.name()));
        return ports.map(|port| (port.port, own.clone(), address)).collect();
    }
    let mut servers = Vec::new();
    for (endpoint, slice) in backends(service, directory) {
        for port in slice
            .ports
            .iter()
            .filter(|port| wanted(&port.name, port.protocol.name()))
        {
            servers.push((port.port, format!("{}.{own}", hostname(&endpoint)), endpoint.address));
        }
    }
    servers
}

/// The ready endpoints of a Service, each once.
fn backends(service: &Service, directory: &impl Directory) -> Vec<(Endpoint, Arc<EndpointSlice>)> {
    let mut backends = BTreeMap::new();
    for slice in directory.slices(&service.namespace, &service.name) {
        for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready) {
            backends
                .entry(endpoint.address)
                .or_insert_with(|| (endpoint.clone(), slice.clone()));
        }
    }
    backends.into_values().collect()
}

/// The name of one endpoint: its hostname, or its address.
fn hostname(endpoint: &Endpoint) -> String {
    match &*endpoint.hostname {
        "" => endpoint.address.to_string().replace('.', "-"),
        hostname => hostname.to_owned(),
    }
}

/// The names of an address.
pub(super) fn reverse(address: Ipv4Addr, directory: &impl Directory) -> Option<Found> {
    if let Some(service) = directory.service_at(address) {
        return Some(Found {
            pointers: vec![format!("{}.{}.svc", service.name, service.namespace)],
            ..Found::default()
        });
    }
    let slice = directory.slice_at(address)?;
    let endpoint = slice.endpoints.iter().find(|endpoint| endpoint.address == address)?;
    let name = format!("{}.{}.{}.svc", hostname(endpoint), slice.service, slice.namespace);
    Some(Found {
        pointers: vec![name],
        ..Found::default()
    })
}
