//! Asking a container: by a command in it, an HTTP request, a TCP connection or gRPC's health
//! service. Probes and lifecycle hooks do it in the same ways.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mizzen_api::client::tls::any_server;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::runtime::Runtime;

/// What is asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// Run a command.
    Exec(ExecAction),
    /// Get a path.
    Http(HTTPGetAction),
    /// Connect.
    Tcp(TCPSocketAction),
    /// Check health.
    Grpc(GRPCAction),
    /// Wait.
    Sleep(Duration),
}

impl Question {
    /// A probe's question.
    #[must_use]
    pub fn of_probe(probe: &Probe) -> Option<Self> {
        let exec = probe.exec.clone().map(Self::Exec);
        let http = probe.http_get.clone().map(Self::Http);
        let tcp = probe.tcp_socket.clone().map(Self::Tcp);
        exec.or(http).or(tcp).or_else(|| probe.grpc.clone().map(Self::Grpc))
    }

    /// A hook's question.
    #[must_use]
    pub fn of_hook(hook: &LifecycleHandler) -> Option<Self> {
        let exec = hook.exec.clone().map(Self::Exec);
        let http = hook.http_get.clone().map(Self::Http);
        let tcp = hook.tcp_socket.clone().map(Self::Tcp);
        let seconds =
            |sleep: &k8s_openapi::api::core::v1::SleepAction| u64::try_from(sleep.seconds).unwrap_or_default();
        exec.or(http).or(tcp).or_else(|| {
            hook.sleep
                .as_ref()
                .map(|s| Self::Sleep(Duration::from_secs(seconds(s))))
        })
    }
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Well.
    Good,
    /// Badly, with what was said.
    Bad(String),
    /// It could not be asked.
    Unasked(String),
}

/// The container that is asked.
#[derive(Clone)]
pub struct Target {
    /// The runtime, for commands.
    pub runtime: Runtime,
    /// The runtime's id of the container.
    pub id: String,
    /// The Pod's address.
    pub ip: String,
    /// The container, for named ports.
    pub container: Arc<Container>,
}

const BODY_BYTES: usize = 10 << 10;
const USER_AGENT: &str = concat!("kube-probe/1.37 mizzen/", env!("CARGO_PKG_VERSION"));

/// Asks, and waits at most `timeout` for the answer.
pub async fn ask(target: &Target, question: &Question, timeout: Duration) -> Answer {
    match question {
        Question::Exec(exec) => run_command(target, exec, timeout).await,
        Question::Sleep(time) => {
            tokio::time::sleep((*time).min(timeout)).await;
            Answer::Good
        }
        Question::Http(get) => match tokio::time::timeout(timeout, http_get(target, get)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Bad(format!(
                "Get \"{}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                url(target, get).unwrap_or_default()
            )),
        },
        Question::Tcp(tcp) => match address(target, tcp.host.as_deref(), &tcp.port) {
            Err(message) => Answer::Unasked(message),
            Ok(address) => match tokio::time::timeout(timeout, TcpStream::connect(&address)).await {
                Ok(Ok(_)) => Answer::Good,
                Ok(Err(error)) => Answer::Bad(format!("dial tcp {address}: connect: {}", plain(&error))),
                Err(_) => Answer::Bad(format!("dial tcp {address}: i/o timeout")),
            },
        },
        Question::Grpc(grpc) => match tokio::time::timeout(timeout, grpc::check(&target.ip, grpc)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Bad(format!(
                "timeout: failed to connect service \"{}:{}\" within {timeout:?}",
                target.ip, grpc.port
            )),
        },
    }
}

async fn run_command(target: &Target, exec: &ExecAction, timeout: Duration) -> Answer {
    let command = exec.command.as_deref().unwrap_or_default();
    match target.runtime.exec(&target.id, command, timeout).await {
        Ok(output) if output.exit_code == 0 => Answer::Good,
        Ok(output) => Answer::Bad(output.output),
        Err(status) if status.code() == tonic::Code::DeadlineExceeded => Answer::Bad(format!(
            "command timed out: \"{}\" timed out after {}s",
            command.join(" "),
            timeout.as_secs()
        )),
        Err(status) => Answer::Unasked(format!(
            "rpc error: code = {:?} desc = {}",
            status.code(),
            status.message()
        )),
    }
}

/// The operating system's words without Rust's number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container
                .ports
                .iter()
                .flatten()
                .find(|port| port.name.as_deref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| match port {
            IntOrString::Int(number) => format!("invalid port number: {number}"),
            IntOrString::String(name) => format!("couldn't find port: {name:?}"),
        })
}

fn address(target: &Target, host: Option<&str>, to: &IntOrString) -> Result<String, String> {
    let host = host.filter(|host| !host.is_empty()).unwrap_or(&target.ip);
    let port = port(&target.container, to)?;
    Ok(if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    })
}

fn url(target: &Target, get: &HTTPGetAction) -> Result<String, String> {
    let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let path = get.path.as_deref().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(format!(
        "{scheme}://{}{slash}{path}",
        address(target, get.host.as_deref(), &get.port)?
    ))
}

async fn http_get(target: &Target, get: &HTTPGetAction) -> Answer {
    let (address, url) = match (address(target, get.host.as_deref(), &get.port), url(target, get)) {
        (Ok(address), Ok(url)) => (address, url),
        (Err(message), _) | (_, Err(message)) => return Answer::Unasked(message),
    };
    let request = match request(get, &address, &url) {
        Ok(request) => request,
        Err(error) => return Answer::Unasked(error.to_string()),
    };
    let stream = match TcpStream::connect(&address).await {
        Ok(stream) => stream,
        Err(error) => return Answer::Bad(format!("Get \"{url}\": dial tcp {address}: connect: {}", plain(&error))),
    };
    let outcome = if get
        .scheme
        .as_deref()
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
    {
        match secured(stream, &target.ip).await {
            Ok(stream) => exchange(stream, request).await,
            Err(error) => Err(error.to_string()),
        }
    } else {
        exchange(stream, request).await
    };
    match outcome {
        Ok((code, _)) if (200..400).contains(&code) => Answer::Good,
        Ok((code, body)) if body.is_empty() => Answer::Bad(format!("HTTP probe failed with statuscode: {code}")),
        Ok((code, _)) => Answer::Bad(format!("HTTP probe failed with statuscode: {code}")),
        Err(error) => Answer::Bad(format!("Get \"{url}\": {error}")),
    }
}

fn request(get: &HTTPGetAction, address: &str, url: &str) -> Result<http::Request<Empty<Bytes>>, http::Error> {
    let uri: http::Uri = url.parse()?;
    let path = uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str)
        .to_owned();
    let given = get.http_headers.as_deref().unwrap_or_default();
    let has = |name: &str| given.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    let mut request = http::Request::get(path);
    for (name, value) in [
        ("host", address),
        ("user-agent", USER_AGENT),
        ("accept", "*/*"),
        ("connection", "close"),
    ] {
        if !has(name) {
            request = request.header(name, value);
        }
    }
    for header in given {
        request = request.header(&header.name, &header.value);
    }
    request.body(Empty::new())
}

async fn exchange<S>(stream: S, request: http::Request<Empty<Bytes>>) -> Result<(u16, Bytes), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let words = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(words)?;
    // The connection makes progress only while somebody polls it; both end together.
    let ask = async {
        let response = sender.send_request(request).await.map_err(words)?;
        let code = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_BYTES).collect().await;
        Ok((code, body.map(http_body_util::Collected::to_bytes).unwrap_or_default()))
    };
    let mut ask = std::pin::pin!(ask);
    tokio::select! {
        outcome = &mut ask => outcome,
        _ = connection => ask.await,
    }
}

/// TLS without verifying who answers: a probe asks whether, not who.
async fn secured(stream: TcpStream, host: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
    TlsConnector::from(Arc::new(any_server())).connect(name, stream).await
}

/// gRPC's standard health check, whose two messages are too small to generate code for.
mod grpc {
    use bytes::BufMut;
    use k8s_openapi::api::core::v1::GRPCAction;
    use prost::Message;
    use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
    use tonic::transport::Endpoint;

    use super::Answer;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Request {
        #[prost(string, tag = "1")]
        service: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Response {
        #[prost(int32, tag = "1")]
        status: i32,
    }

    const SERVING: i32 = 1;

    #[derive(Default)]
    struct Plain;

    impl Codec for Plain {
        type Encode = Request;
        type Decode = Response;
        type Encoder = Self;
        type Decoder = Self;

        fn encoder(&mut self) -> Self {
            Self
        }

        fn decoder(&mut self) -> Self {
            Self
        }
    }

    impl Encoder for Plain {
        type Item = Request;
        type Error = tonic::Status;

        fn encode(&mut self, item: Request, buffer: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
            buffer.put_slice(&item.encode_to_vec());
            Ok(())
        }
    }

    impl Decoder for Plain {
        type Item = Response;
        type Error = tonic::Status;

        fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Response>, tonic::Status> {
            Response::decode(buffer)
                .map(Some)
                .map_err(|error| tonic::Status::internal(error.to_string()))
        }
    }

    pub(super) async fn check(ip: &str, action: &GRPCAction) -> Answer {
        let host = if ip.contains(':') {
            format!("[{ip}]")
        } else {
            ip.to_owned()
        };
        let address = format!("{host}:{}", action.port);
        let unreachable = |error: &dyn std::fmt::Display| {
            Answer::Bad(format!("error: failed to connect service at \"{address}\": {error}"))
        };
        let channel = match Endpoint::try_from(format!("http://{address}")) {
            Ok(endpoint) => match endpoint.connect().await {
                Ok(channel) => channel,
                Err(error) => return unreachable(&error),
            },
            Err(error) => return Answer::Unasked(error.to_string()),
        };
        let mut client = tonic::client::Grpc::new(channel);
        if let Err(error) = client.ready().await {
            return unreachable(&error);
        }
        let request = tonic::Request::new(Request {
            service: action.service.clone().unwrap_or_default(),
        });
        let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        match client.unary(request, path, Plain).await {
            Ok(answer) if answer.get_ref().status == SERVING => Answer::Good,
            Ok(answer) => Answer::Bad(format!(
                "service unhealthy (responded with \"{}\")",
                match answer.get_ref().status {
                    2 => "NOT_SERVING",
                    3 => "SERVICE_UNKNOWN",
                    _ => "UNKNOWN",
                }
            )),
            Err(status) => Answer::Bad(format!("error: health rpc failed: {}", status.message())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn serve_once(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).await.expect("a request");
            assert!(String::from_utf8_lossy(&buffer[..read]).contains("x-own: 1"));
            stream.write_all(answer.as_bytes()).await.expect("sent");
        });
        port
    }

    fn target(port: u16) -> Target {
        let container = serde_json::json!({ "name": "c", "ports": [{ "name": "web", "containerPort": port }] });
        Target {
            runtime: Runtime::connect("/nowhere".as_ref()),
            id: "c".into(),
            ip: "127.0.0.1".into(),
            container: Arc::new(serde_json::from_value(container).expect("a container")),
        }
    }

    #[tokio::test]
    async fn http_answers() {
        let get: HTTPGetAction = serde_json::from_value(serde_json::json!({
            "path": "/healthz", "port": "web", "httpHeaders": [{ "name": "X-Own", "value": "1" }] }))
        .expect("an action");
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Answer::Good),
            (
                "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
                Answer::Bad("HTTP probe failed with statuscode: 503".into()),
            ),
        ] {
            let target = target(serve_once(answer).await);
            let got = ask(&target, &Question::Http(get.clone()), Duration::from_secs(5)).await;
            assert_eq!(got, expected);
        }
    }

    #[tokio::test]
    async fn tcp_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let tcp = TCPSocketAction {
            host: None,
            port: IntOrString::String("web".into()),
        };
        let question = Question::Tcp(tcp);
        assert_eq!(
            ask(&target(port), &question, Duration::from_secs(5)).await,
            Answer::Good
        );
        drop(listener);
        let refused = ask(&target(port), &question, Duration::from_secs(5)).await;
        assert_eq!(
            refused,
            Answer::Bad(format!("dial tcp 127.0.0.1:{port}: connect: connection refused"))
        );
    }
}
