//! One small cluster, and what it answers.

use std::fmt::Write as _;
use std::sync::Arc;

use super::*;
use crate::services::{Endpoint, EndpointPort, EndpointSlice, Protocol, Service, ServicePort, ServiceType};

struct Cluster {
    services: Vec<Arc<Service>>,
    slices: Vec<Arc<EndpointSlice>>,
}

impl Directory for Cluster {
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services
            .iter()
            .find(|service| &*service.namespace == namespace && &*service.name == name)
            .cloned()
    }

    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>> {
        let own = |slice: &&Arc<EndpointSlice>| &*slice.namespace == namespace && &*slice.service == service;
        self.slices.iter().filter(own).cloned().collect()
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        self.services.iter().any(|service| &*service.namespace == namespace)
    }

    fn service_at(&self, address: Ipv4Addr) -> Option<Arc<Service>> {
        self.services
            .iter()
            .find(|service| service.cluster_ip == Some(address))
            .cloned()
    }

    fn slice_at(&self, address: Ipv4Addr) -> Option<Arc<EndpointSlice>> {
        self.slices
            .iter()
            .find(|slice| slice.endpoints.iter().any(|endpoint| endpoint.address == address))
            .cloned()
    }
}

fn cluster() -> Cluster {
    let port = |name: &str, port| ServicePort {
        name: name.into(),
        port,
        ..ServicePort::default()
    };
    let service = |name: &str| Service {
        namespace: "default".into(),
        name: name.into(),
        ..Service::default()
    };
    let endpoint = |ip, hostname: &str, ready| Endpoint {
        address: [10, 42, 0, ip].into(),
        node: "".into(),
        hostname: hostname.into(),
        ready,
        serving: ready,
        terminating: false,
    };
    Cluster {
        services: [
            Service {
                cluster_ip: Some([10, 43, 0, 7].into()),
                ports: vec![port("http", 80)],
                ..service("web")
            },
            Service {
                headless: true,
                ports: vec![port("sql", 5432)],
                ..service("db")
            },
            Service {
                kind: ServiceType::ExternalName,
                external_name: "www.example.org".into(),
                ..service("elsewhere")
            },
        ]
        .map(Arc::new)
        .into(),
        slices: vec![Arc::new(EndpointSlice {
            namespace: "default".into(),
            name: "db-1".into(),
            service: "db".into(),
            ports: vec![EndpointPort {
                name: "sql".into(),
                protocol: Protocol::Tcp,
                port: 15432,
            }],
            endpoints: vec![
                endpoint(5, "db-0", true),
                endpoint(6, "", true),
                endpoint(7, "db-2", false),
            ],
            ..EndpointSlice::default()
        })],
    }
}

/// One line per question: the code, then each record in order of its text.
fn ask(questions: &[(&str, RecordType)]) -> String {
    let zone = Zone::new("cluster.local", [10, 43, 0, 10].into()).expect("a zone");
    let mut text = String::new();
    for (name, kind) in questions {
        let mut request = Message::query();
        request.add_query(Query::query(Name::from_ascii(name).expect("a name"), *kind));
        let (answer, mark) = match zone.decide(&request, &cluster()) {
            Decision::Answer(answer) => (answer, ""),
            Decision::Chase(answer, _) => (answer, " chase"),
            Decision::Forward => {
                let _ = writeln!(text, "{name} {kind}: forward");
                continue;
            }
        };
        let mut records: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
        records.sort();
        let soa = if answer.authorities.is_empty() { "" } else { " +soa" };
        let _ = writeln!(
            text,
            "{name} {kind}: {:?}{soa}{mark} {}",
            answer.metadata.response_code,
            records.join(", ")
        );
        assert_eq!(
            Message::from_vec(&answer.to_vec().expect("bytes"))
                .expect("a message")
                .answers,
            answer.answers
        );
    }
    text
}

#[test]
fn answers() {
    use RecordType::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
    insta::assert_snapshot!(ask(&[
        ("web.default.svc.cluster.local.", A),
        ("WEB.default.svc.cluster.LOCAL.", A),
        ("web.default.svc.cluster.local.", AAAA),
        ("web.default.svc.cluster.local.", SRV),
        ("_http._tcp.web.default.svc.cluster.local.", SRV),
        ("_http._udp.web.default.svc.cluster.local.", SRV),
        ("_tcp.web.default.svc.cluster.local.", SRV),
        ("none.default.svc.cluster.local.", A),
        ("web.other.svc.cluster.local.", A),
        ("default.svc.cluster.local.", A),
        ("other.svc.cluster.local.", A),
        ("svc.cluster.local.", A),
        ("cluster.local.", SOA),
        ("db.default.svc.cluster.local.", A),
        ("db-0.db.default.svc.cluster.local.", A),
        ("db-2.db.default.svc.cluster.local.", A),
        ("10-42-0-6.db.default.svc.cluster.local.", A),
        ("_sql._tcp.db.default.svc.cluster.local.", SRV),
        ("10-42-0-99.default.pod.cluster.local.", A),
        ("10-42-0.default.pod.cluster.local.", A),
        ("elsewhere.default.svc.cluster.local.", A),
        ("elsewhere.default.svc.cluster.local.", CNAME),
        ("7.0.43.10.in-addr.arpa.", PTR),
        ("5.0.42.10.in-addr.arpa.", PTR),
        ("9.9.9.9.in-addr.arpa.", PTR),
        ("dns-version.cluster.local.", TXT),
        ("ns.dns.cluster.local.", A),
        ("www.example.org.", A),
        ("web.default.svc.cluster.local.example.org.", A),
    ]));
}
