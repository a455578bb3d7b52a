//! Names elsewhere: asked of the host's own name servers, with a small memory of answers.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

/// How long one name server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The list of servers is read again when it is needed and older than this.
const SERVERS_FRESH: Duration = Duration::from_secs(5);
/// The longest that an answer is kept, whatever its TTL.
const KEEP_MAX_SECONDS: u32 = 30;
const MEMORY_MAX: usize = 1_024;
const UDP_MAX_BYTES: usize = 4_096;
const PORT: u16 = 53;

/// How a query came, and therefore goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// A query without its identifier, and the way it came: UDP answers may be shorter.
type Question = (Transport, Vec<u8>);

/// The forwarder.
pub(super) struct Forwarder {
    resolv_conf: PathBuf,
    own: SocketAddr,
    servers: Mutex<(Option<Instant>, Vec<SocketAddr>)>,
    memory: Mutex<HashMap<Question, (Instant, Vec<u8>)>>,
}

impl Forwarder {
    pub(super) fn new(resolv_conf: PathBuf, own: SocketAddr) -> Self {
        Self {
            resolv_conf,
            own,
            servers: Mutex::default(),
            memory: Mutex::default(),
        }
    }

    /// Answers a query, given and returned as its bytes.
    pub(super) async fn ask(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        // The identifier differs between two askers of the same.
        let key = (transport, query.get(2..)?.to_vec());
        let mut answer = match self.remembered(&key) {
            Some(answer) => answer,
            None => {
                let answer = self.ask_servers(query, transport).await?;
                self.remember(key, &answer);
                answer
            }
        };
        answer[..2].copy_from_slice(&query[..2]);
        Some(answer)
    }

    async fn ask_servers(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        for server in self.servers() {
            let asked = async {
                match transport {
                    Transport::Udp => udp(server, query).await,
                    Transport::Tcp => tcp(server, query).await,
                }
            };
            match timeout(PATIENCE, asked).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, "name server does not answer: {error}"),
                Err(_) => tracing::debug!(%server, "name server does not answer in time"),
            }
        }
        None
    }

    fn servers(&self) -> Vec<SocketAddr> {
        let mut servers = self.servers.lock();
        if servers.0.is_none_or(|read| read.elapsed() > SERVERS_FRESH) {
            let text = std::fs::read_to_string(&self.resolv_conf).unwrap_or_default();
            *servers = (Some(Instant::now()), parse(&text, self.own));
        }
        servers.1.clone()
    }

    fn remembered(&self, key: &Question) -> Option<Vec<u8>> {
        let memory = self.memory.lock();
        memory
            .get(key)
            .filter(|(until, _)| *until > Instant::now())
            .map(|(_, answer)| answer.clone())
    }

    fn remember(&self, key: Question, answer: &[u8]) {
        let Some(seconds) = Message::from_vec(answer).ok().as_ref().and_then(lifetime_seconds) else {
            return;
        };
        let mut memory = self.memory.lock();
        if memory.len() >= MEMORY_MAX {
            let now = Instant::now();
            memory.retain(|_, (until, _)| *until > now);
        }
        if memory.len() >= MEMORY_MAX {
            memory.clear();
        }
        memory.insert(
            key,
            (Instant::now() + Duration::from_secs(seconds.into()), answer.to_vec()),
        );
    }
}

/// How long an answer may be kept; failures and cut answers are not.
fn lifetime_seconds(answer: &Message) -> Option<u32> {
    if answer.metadata.truncation {
        return None;
    }
    let seconds = match answer.metadata.response_code {
        ResponseCode::NoError if !answer.answers.is_empty() => answer.answers.iter().map(|record| record.ttl).min()?,
        ResponseCode::NoError | ResponseCode::NXDomain => {
            let minimum = |data: &RData| {
                if let RData::SOA(soa) = data {
                    Some(soa.minimum)
                } else {
                    None
                }
            };
            answer
                .authorities
                .iter()
                .find_map(|record| Some(minimum(&record.data)?.min(record.ttl)))?
        }
        _ => return None,
    };
    (seconds > 0).then(|| seconds.min(KEEP_MAX_SECONDS))
}

/// The name servers of a resolv.conf, but not ourselves.
fn parse(text: &str, own: SocketAddr) -> Vec<SocketAddr> {
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver"))
            .then(|| words.next()?.parse::<IpAddr>().ok())
            .flatten()
    });
    addresses
        .map(|address| SocketAddr::new(address, PORT))
        .filter(|server| *server != own)
        .collect()
}

/// Asks over UDP, with a port and an identifier that cannot be guessed.
async fn udp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any = match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let mut query = query.to_vec();
    query[..2].copy_from_slice(&rand::random::<[u8; 2]>());
    socket.send(&query).await?;
    let mut answer = vec![0; UDP_MAX_BYTES];
    loop {
        let length = socket.recv(&mut answer).await?;
        if length > 12 && answer[..2] == query[..2] {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_framed(&mut stream, query).await?;
    read_framed(&mut stream).await
}

/// Reads one message with its length before it.
pub(super) async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    if message.len() <= 12 {
        Err(io::ErrorKind::InvalidData.into())
    } else {
        Ok(message)
    }
}

/// Writes one message with its length before it.
pub(super) async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_without_ourselves() {
        let text = "# nameserver 9.9.9.9\nsearch a b\nnameserver 10.43.0.10\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nnameserver ::1\n";
        let servers = parse(text, "10.43.0.10:53".parse().expect("an address"));
        assert_eq!(
            servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["192.0.2.53:53", "[::1]:53"]
        );
    }
}
