//! `hello`: the HTTP server behind the built-in demo images.
//!
//! It answers with who it is (Pod, namespace, node, version), and can be told to misbehave, so that probes, rollouts and
//! restarts can be watched without an image registry. One thread per connection; std only.
//!
//! Arguments make it a tool for trying things out in a container that has no shell: `--version`, `--get URL` (fetches
//! over HTTP), `--echo` (copies its input to its output), `--exit CODE`, `--read FILE`, `--write FILE TEXT`.
//!
//! Environment: `PORT` (8080), `VERSION`, `POD_NAME`, `POD_NAMESPACE`, `NODE_NAME`, `START_DELAY`, `CRASH_AFTER`,
//! `STOP_DELAY` (durations: `5`, `5s`, `500ms`), `FAIL_READY`, `FAIL_LIVE`, `FAIL_START` (any value but `false`).

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long an idle kept-alive connection may stay open.
const IDLE: Duration = Duration::from_secs(60);
/// How long requests are still accepted after SIGTERM, so that the Service stops sending before the server stops.
const STOP_DELAY: Duration = Duration::from_secs(1);
const HEADERS_MAX: u64 = 64 << 10;

static READY: AtomicBool = AtomicBool::new(true);
static LIVE: AtomicBool = AtomicBool::new(true);
static STOPPING: AtomicBool = AtomicBool::new(false);
static REQUESTS: AtomicU64 = AtomicU64::new(0);
static OPEN: AtomicU64 = AtomicU64::new(0);

struct Identity {
    version: String,
    pod: String,
    namespace: String,
    node: String,
}

struct Answer {
    status: u16,
    body: String,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.is_empty() {
        return tool(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }
    stop_on_signal();
    if flag("FAIL_START") {
        eprintln!("FAIL_START is set: exiting with 1");
        std::process::exit(1);
    }
    if let Some(delay) = duration("START_DELAY") {
        println!("starting in {delay:?}");
        std::thread::sleep(delay);
    }
    if let Some(delay) = duration("CRASH_AFTER") {
        std::thread::spawn(move || {
            std::thread::sleep(delay);
            eprintln!("CRASH_AFTER {delay:?} is over: exiting with 1");
            std::process::exit(1);
        });
    }
    READY.store(!flag("FAIL_READY"), Ordering::Relaxed);
    LIVE.store(!flag("FAIL_LIVE"), Ordering::Relaxed);
    let identity: &'static Identity = Box::leak(Box::new(Identity {
        version: variable("VERSION", "dev"),
        pod: variable("POD_NAME", &hostname()),
        namespace: variable("POD_NAMESPACE", "-"),
        node: variable("NODE_NAME", "-"),
    }));
    let port = variable("PORT", "8080");
    let listener = match port.parse().map(|port: u16| listen(port)) {
        Ok(Ok(listener)) => listener,
        Ok(Err(error)) => fail(&format!("port {port}: {error}")),
        Err(_) => fail(&format!("PORT {port} is not a port number")),
    };
    println!("hello {} listens on port {port} as {}", identity.version, identity.pod);
    for stream in listener.incoming().flatten() {
        let thread = std::thread::Builder::new().stack_size(128 << 10);
        let _ = thread.spawn(move || {
            OPEN.fetch_add(1, Ordering::Relaxed);
            let _ = serve(&stream, identity);
            OPEN.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn tool(arguments: &[&str]) {
    let done = match arguments {
        ["--version", ..] => Ok(println!("hello {}", variable("VERSION", "dev"))),
        ["--get", url] => get(url),
        ["--echo"] => std::io::copy(&mut std::io::stdin(), &mut std::io::stdout()).map(drop),
        ["--exit", code] => std::process::exit(code.parse().unwrap_or(1)),
        ["--read", file] => std::fs::read(file).and_then(|data| std::io::stdout().write_all(&data)),
        ["--write", file, text] => std::fs::write(file, text),
        _ => fail("usage: hello [--version | --get URL | --echo | --exit CODE | --read FILE | --write FILE TEXT]"),
    };
    if let Err(error) = done {
        fail(&format!("{}: {error}", arguments.join(" ")));
    }
}

fn get(url: &str) -> std::io::Result<()> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(0, |end| end + 4);
    std::io::stdout().write_all(&answer[body..])
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    // The IPv6 wildcard takes IPv4 too, unless the kernel has no IPv6.
    TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))
}

fn fail(message: &str) -> ! {
    eprintln!("{message}");
    std::process::exit(1)
}

/// Serves requests on one connection until it closes.
fn serve(stream: &TcpStream, identity: &Identity) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?.ip();
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = reader.by_ref().take(HEADERS_MAX);
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let (mut length, mut close) = (0, line.trim_end().ends_with("HTTP/1.0"));
        loop {
            let mut header = String::new();
            if head.read_line(&mut header)? == 0 {
                return Ok(());
            }
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "connection" => close |= value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        let started = Instant::now();
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or("/"));
        let answer = answer(method, target, identity);
        close |= STOPPING.load(Ordering::Relaxed);
        let mut out = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n{}\r\n",
            answer.status,
            if answer.status < 400 { "OK" } else { "Error" },
            answer.body.len(),
            if close { "Connection: close\r\n" } else { "" },
        );
        if method != "HEAD" {
            out.push_str(&answer.body);
        }
        (&mut &*stream).write_all(out.as_bytes())?;
        println!("{method} {target} {} from {peer} in {:?}", answer.status, started.elapsed());
        if close {
            return Ok(());
        }
    }
}

fn answer(method: &str, target: &str, identity: &Identity) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    REQUESTS.fetch_add(1, Ordering::Relaxed);
    match path {
        "/healthz" => state(method, query, "live", &LIVE),
        "/readyz" => state(method, query, "ready", &READY),
        "/metrics" => ok(metrics(identity)),
        "/crash" if method == "POST" => fail("asked to crash: exiting with 1"),
        "/version" => ok(format!("{}\n", identity.version)),
        _ => ok(format!(
            "Hello from Mizzen!\nPod: {}\nNamespace: {}\nNode: {}\nVersion: {}\n",
            identity.pod, identity.namespace, identity.node, identity.version
        )),
    }
}

fn ok(body: String) -> Answer {
    Answer { status: 200, body }
}

/// Tells a state; `POST ?NAME=false` (or a bare POST, which flips) changes it.
fn state(method: &str, query: &str, name: &str, state: &AtomicBool) -> Answer {
    if method == "POST" || method == "PUT" {
        match query.split_once('=') {
            Some((key, value)) if key == name => state.store(value == "true", Ordering::Relaxed),
            _ => _ = state.fetch_xor(true, Ordering::Relaxed),
        }
        return ok(format!("{name}={}\n", state.load(Ordering::Relaxed)));
    }
    match state.load(Ordering::Relaxed) {
        true => ok("ok\n".to_owned()),
        false => Answer { status: 503, body: format!("not {name}\n") },
    }
}

fn metrics(identity: &Identity) -> String {
    let mut text = String::new();
    for (name, kind, value) in [
        ("hello_requests_total", "counter", REQUESTS.load(Ordering::Relaxed)),
        ("hello_connections", "gauge", OPEN.load(Ordering::Relaxed)),
        ("hello_ready", "gauge", u64::from(READY.load(Ordering::Relaxed))),
    ] {
        let _ = writeln!(text, "# TYPE {name} {kind}\n{name} {value}");
    }
    let _ = writeln!(text, "# TYPE hello_info gauge\nhello_info{{version=\"{}\"}} 1", identity.version);
    text
}

/// Ends the process some time after SIGTERM or SIGINT: as process 1 of a container it has no default action for them.
fn stop_on_signal() {
    unsafe extern "C" {
        fn pthread_sigmask(how: i32, set: *const [u64; 16], old: *mut [u64; 16]) -> i32;
        fn sigwait(set: *const [u64; 16], signal: *mut i32) -> i32;
    }
    const SIGINT: i32 = 2;
    const SIGTERM: i32 = 15;
    let set: [u64; 16] = std::array::from_fn(|word| if word == 0 { 1 << (SIGINT - 1) | 1 << (SIGTERM - 1) } else { 0 });
    // SAFETY: a signal set is 128 bytes of bits on Linux; SIG_BLOCK is 0; the threads started later inherit the mask.
    unsafe { pthread_sigmask(0, &raw const set, std::ptr::null_mut()) };
    std::thread::spawn(move || {
        let mut signal = 0;
        // SAFETY: both pointers are to live locals.
        unsafe { sigwait(&raw const set, &raw mut signal) };
        STOPPING.store(true, Ordering::Relaxed);
        println!("signal {signal}: stopping");
        if signal == SIGTERM {
            std::thread::sleep(duration("STOP_DELAY").unwrap_or(STOP_DELAY));
        }
        std::process::exit(0);
    });
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

fn flag(name: &str) -> bool {
    variable(name, "false") != "false"
}

fn duration(name: &str) -> Option<Duration> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    let (digits, unit) = value.split_at(value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len()));
    let number: u64 = digits.parse().unwrap_or_else(|_| fail(&format!("{name} {value} is not a duration, such as 5s")));
    match unit {
        "" | "s" => Some(Duration::from_secs(number)),
        "ms" => Some(Duration::from_millis(number)),
        "m" => Some(Duration::from_secs(number * 60)),
        _ => fail(&format!("{name} {value} is not a duration, such as 5s")),
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}
