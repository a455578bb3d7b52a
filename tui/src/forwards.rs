//! The console's port-forwards: what is known of each. The work is done by [`crate::tasks::forward`].

use std::net::IpAddr;

use mizzen_api::client::forward::{LOCALHOST, Mapping, Traffic};
use mizzen_api::client::pods::Target;
use serde::{Deserialize, Serialize};

use crate::effect::Effect;
use crate::event::ViewId;
use crate::tasks::forward::Open;

/// Forwards are jobs of views that do not exist, so that no view's closing ends them.
const FIRST_ID: u64 = 1 << 48;

/// How a forward is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It is being opened.
    Opening,
    /// It leads to this Pod.
    Active(String),
    /// It waits for a Pod that serves.
    Alone,
    /// It could not be opened.
    Failed(String),
}

/// News of a forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// Where it listens, and to which port of the Pod that leads.
    Listening(Vec<(String, u16)>),
    /// How it is now.
    Status(Status),
    /// What passed through.
    Traffic(Traffic),
    /// A connection failed.
    Trouble(String),
}

/// A forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub id: u64,
    /// Where it leads.
    pub target: Target,
    /// Where it listens.
    pub listening: Vec<(String, u16)>,
    /// How it is.
    pub status: Status,
    /// What passed through.
    pub traffic: Traffic,
    /// The last connection's trouble.
    pub trouble: Option<String>,
}

/// A forward that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Where it leads.
    pub target: Target,
    /// Where to listen.
    pub addresses: Vec<IpAddr>,
    /// Which ports.
    pub mappings: Vec<Mapping>,
}

impl Request {
    /// Reads what people fill in: ports as `LOCAL:REMOTE`, separated by spaces or commas, and an address.
    pub fn parse(target: Target, ports: &str, address: &str) -> Result<Self, String> {
        let mappings = ports
            .split([' ', ','])
            .filter(|port| !port.is_empty())
            .map(str::parse)
            .collect::<Result<Vec<Mapping>, String>>()?;
        if mappings.is_empty() {
            return Err("no port was named".to_owned());
        }
        let addresses = match address.trim() {
            "" | "localhost" => LOCALHOST.to_vec(),
            other => vec![other.parse().map_err(|_| format!("{other:?} is not an address"))?],
        };
        Ok(Self {
            target,
            addresses,
            mappings,
        })
    }

    /// The command that does the same.
    pub fn command(&self) -> String {
        let ports = self.mappings.iter().map(|m| match m.local {
            0 => format!(":{}", m.remote),
            local => format!("{local}:{}", m.remote),
        });
        let ports = ports.collect::<Vec<_>>().join(" ");
        let address = match self.addresses == LOCALHOST {
            true => String::new(),
            false => format!(" --address {}", self.addresses[0]),
        };
        format!(
            "mizzen port-forward -n {}{address} {} {ports}",
            self.target.namespace, self.target
        )
    }
}

/// All forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwards {
    entries: Vec<Entry>,
    next: u64,
}

fn job_of(id: u64) -> ViewId {
    ViewId(FIRST_ID + id)
}

impl Forwards {
    /// All of them, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Begins one.
    pub fn open(&mut self, request: Request) -> Effect {
        let id = self.next;
        self.next += 1;
        self.entries.push(Entry {
            id,
            target: request.target.clone(),
            listening: Vec::new(),
            status: Status::Opening,
            traffic: Traffic::default(),
            trouble: None,
        });
        let job = Open {
            id,
            target: request.target,
            addresses: request.addresses,
            mappings: request.mappings,
        };
        Effect::Start(job_of(id), Box::new(job))
    }

    /// Ends one.
    pub fn close(&mut self, id: u64) -> Effect {
        self.entries.retain(|entry| entry.id != id);
        Effect::Stop(job_of(id))
    }

    /// Ends all, with the connection that they used.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Takes in news.
    pub fn apply(&mut self, id: u64, news: News) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) else {
            return;
        };
        match news {
            News::Listening(listening) => entry.listening = listening,
            News::Status(status) => entry.status = status,
            News::Traffic(traffic) => entry.traffic = traffic,
            News::Trouble(trouble) => entry.trouble = Some(trouble),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_from_what_people_fill_in() {
        let check = |ports: &str, address: &str| {
            let request = Request::parse(Target::new("shop", "apps", "Deployment", "web"), ports, address);
            request.map_or_else(|error| error, |request| request.command())
        };
        insta::assert_snapshot!(check("8080:80", "localhost"), @"mizzen port-forward -n shop deployment/web 8080:80");
        insta::assert_snapshot!(check("8080:http, :81", "0.0.0.0"), @"mizzen port-forward -n shop --address 0.0.0.0 deployment/web 8080:http :81");
        insta::assert_snapshot!(check("", ""), @"no port was named");
        insta::assert_snapshot!(check("80", "here"), @r#""here" is not an address"#);
    }

    #[test]
    fn forwards_come_change_and_go() {
        let mut forwards = Forwards::default();
        let request = Request::parse(Target::pod("a", "b"), "80", "").expect("a request");
        assert!(matches!(forwards.open(request.clone()), Effect::Start(id, _) if id == job_of(0)));
        forwards.open(request);
        forwards.apply(1, News::Status(Status::Active("b".into())));
        forwards.apply(7, News::Status(Status::Alone));
        assert!(matches!(forwards.close(0), Effect::Stop(id) if id == job_of(0)));
        assert_eq!(forwards.entries().len(), 1);
        assert_eq!(forwards.entries()[0].status, Status::Active("b".into()));
    }
}
