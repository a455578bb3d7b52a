//! From a query to its answer on the wire, as far as the cluster itself knows it.

use std::net::Ipv4Addr;

use hickory_proto::op::{Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use rand::seq::SliceRandom as _;

use super::names::{self, Directory, Found};

/// How long clients may keep an answer: short, since Pods come and go.
const TTL_SECONDS: u32 = 5;

/// What to do with a query.
pub(super) enum Decision {
    /// The cluster's own answer.
    Answer(Message),
    /// A name elsewhere.
    Forward,
    /// The cluster's answer is an alias for a name elsewhere, whose records belong to the answer too.
    Chase(Message, Query),
}

/// The cluster's domain, and what belongs to it.
#[derive(Debug, Clone)]
pub(super) struct Zone {
    domain: Name,
    address: Ipv4Addr,
}

impl Zone {
    pub(super) fn new(domain: &str, address: Ipv4Addr) -> anyhow::Result<Self> {
        Ok(Self {
            domain: Name::from_ascii(format!("{}.", domain.trim_matches('.')))?,
            address,
        })
    }

    /// Decides on a query.
    pub(super) fn decide(&self, request: &Message, directory: &impl Directory) -> Decision {
        let [query] = &request.queries[..] else {
            return Decision::Answer(error(request, ResponseCode::FormErr));
        };
        if request.metadata.message_type != MessageType::Query || request.metadata.op_code != OpCode::Query {
            return Decision::Answer(error(request, ResponseCode::NotImp));
        }
        if query.query_class() != DNSClass::IN {
            return Decision::Forward;
        }
        let name = query.name().to_lowercase();
        let found = if self.domain.zone_of(&name) {
            let labels: Vec<String> = name
                .iter()
                .map(|label| String::from_utf8_lossy(label).into_owned())
                .collect();
            let own = labels.len() - usize::from(self.domain.num_labels());
            let labels: Vec<&str> = labels[..own].iter().map(String::as_str).collect();
            match labels[..] {
                ["ns", "dns"] => Some(Found {
                    addresses: vec![self.address],
                    ..Found::default()
                }),
                ["dns"] => Some(Found::default()),
                _ => names::find(&labels, directory),
            }
        } else if let Some(found) = reversed(&name).and_then(|address| names::reverse(address, directory)) {
            Some(found)
        } else {
            return Decision::Forward;
        };
        self.answer(request, query, found)
    }

    fn answer(&self, request: &Message, query: &Query, found: Option<Found>) -> Decision {
        let mut answer = response(request);
        answer.metadata.authoritative = true;
        let Some(found) = found else {
            answer.metadata.response_code = ResponseCode::NXDomain;
            answer.add_authority(self.authority());
            return Decision::Answer(answer);
        };
        if let Some(alias) = found
            .alias
            .as_deref()
            .and_then(|alias| Name::from_ascii(format!("{}.", alias.trim_end_matches('.'))).ok())
        {
            answer.add_answer(record(query.name().clone(), RData::CNAME(CNAME(alias.clone()))));
            return match query.query_type() {
                RecordType::CNAME => Decision::Answer(answer),
                other => Decision::Chase(answer, Query::query(alias, other)),
            };
        }
        let mut records = self.records(query, found, &mut answer.additionals);
        // Clients mostly take the first.
        records.shuffle(&mut rand::rng());
        if records.is_empty() {
            answer.add_authority(self.authority());
        }
        answer.insert_answers(records);
        Decision::Answer(answer)
    }

    fn records(&self, query: &Query, found: Found, additionals: &mut Vec<Record>) -> Vec<Record> {
        let name = query.name();
        let own = |data| record(name.clone(), data);
        match query.query_type() {
            RecordType::A => found
                .addresses
                .into_iter()
                .map(|address| own(RData::A(A(address))))
                .collect(),
            RecordType::PTR => {
                let names = found.pointers.iter().filter_map(|pointer| self.absolute(pointer));
                names.map(|pointer| own(RData::PTR(PTR(pointer)))).collect()
            }
            RecordType::SRV => {
                let mut records = Vec::new();
                let weight = 100 / u16::try_from(found.servers.len()).unwrap_or(100).max(1);
                for (port, target, address) in found.servers {
                    let Some(target) = self.absolute(&target) else { continue };
                    records.push(own(RData::SRV(SRV::new(0, weight.max(1), port, target.clone()))));
                    let address = record(target, RData::A(A(address)));
                    if !additionals.contains(&address) {
                        additionals.push(address);
                    }
                }
                records
            }
            RecordType::TXT => found
                .texts
                .into_iter()
                .map(|text| own(RData::TXT(TXT::new(vec![text]))))
                .collect(),
            RecordType::SOA if *name == self.domain => vec![self.authority()],
            RecordType::NS if *name == self.domain => self
                .absolute("ns.dns")
                .map(|server| own(RData::NS(NS(server))))
                .into_iter()
                .collect(),
            _ => Vec::new(),
        }
    }

    fn absolute(&self, relative: &str) -> Option<Name> {
        Name::from_ascii(relative).ok()?.append_domain(&self.domain).ok()
    }

    /// The record whose minimum tells how long "there is none" may be kept.
    fn authority(&self) -> Record {
        let named = |name: &str| self.absolute(name).unwrap_or_else(|| self.domain.clone());
        let soa = SOA::new(
            named("ns.dns"),
            named("hostmaster"),
            1,
            7_200,
            1_800,
            86_400,
            TTL_SECONDS,
        );
        record(self.domain.clone(), RData::SOA(soa))
    }
}

/// The address that a name below `in-addr.arpa` asks for.
fn reversed(name: &Name) -> Option<Ipv4Addr> {
    let text = name.to_ascii();
    let digits = text.strip_suffix(".in-addr.arpa.")?;
    let mut octets: Vec<&str> = digits.split('.').collect();
    octets.reverse();
    octets.join(".").parse().ok()
}

fn record(name: Name, data: RData) -> Record {
    Record::from_rdata(name, TTL_SECONDS, data)
}

/// An empty answer to a request.
pub(super) fn response(request: &Message) -> Message {
    let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
    answer.metadata = Metadata::response_from_request(&request.metadata);
    answer.metadata.recursion_available = true;
    answer.add_queries(request.queries.iter().cloned());
    answer
}

/// An answer that tells of a failure.
pub(super) fn error(request: &Message, code: ResponseCode) -> Message {
    let mut answer = response(request);
    answer.metadata.response_code = code;
    answer
}

#[cfg(test)]
mod tests;
