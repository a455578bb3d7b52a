//! A real browser, driven through WebDriver: Debian's chromium and chromium-driver.
//!
//! It lives in a network namespace of its own, from where the ports of the servers that it opens lead to the
//! machine's: Chromium gives up whatever it loads when an interface of its machine comes or goes, and other
//! tests make and remove many.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};

use crate::{PATIENCE, pause};

/// Windows are not narrower than this; a narrower page is a telephone's.
const NARROWEST: u32 = 500;

/// Whether there is a browser to drive.
pub fn has_browser() -> bool {
    let found = |program: &str| {
        let mut command = Command::new(program);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let able = found("chromium") && found("chromedriver");
    if !able {
        eprintln!("skipped: needs chromium and chromium-driver");
    }
    able
}

/// A network with nothing but a loopback interface.
struct Network {
    namespace: File,
    /// Ports that lead to the machine's.
    ports: Mutex<BTreeSet<u16>>,
    /// Bytes that went through them, either way.
    traffic: Arc<AtomicU64>,
}

impl Network {
    fn new() -> Self {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace; tests run as root");
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(
                up.is_ok_and(|status| status.success()),
                "the loopback interface comes up"
            );
            File::open("/proc/thread-self/ns/net").expect("the namespace")
        });
        Self {
            namespace: made.join().expect("a network"),
            ports: Mutex::new(BTreeSet::new()),
            traffic: Arc::default(),
        }
    }

    /// Does something in the network. A namespace is a thread's, so this has one of its own.
    fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            setns(&self.namespace, CloneFlags::CLONE_NEWNET).expect("the network is entered");
            what()
        };
        thread::scope(|scope| scope.spawn(entered).join().expect("it is done"))
    }

    /// Leads a port to the same one of the machine.
    fn lead(&self, port: u16) {
        if !self.ports.lock().expect("no panic").insert(port) {
            return;
        }
        let listener = self.inside(|| TcpListener::bind(("127.0.0.1", port)).expect("a port that nobody has"));
        let traffic = self.traffic.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // When nobody listens there, the connection ends.
                if let Ok(far) = TcpStream::connect(("127.0.0.1", port)) {
                    join(&near, &far, &traffic);
                }
            }
        });
    }
}

/// Hands on what comes from either side, until one of them ends, and counts it.
fn join(near: &TcpStream, far: &TcpStream, traffic: &Arc<AtomicU64>) {
    for (from, to) in [(near, far), (far, near)] {
        let (mut from, mut to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
        let traffic = traffic.clone();
        thread::spawn(move || {
            let mut piece = [0; 16 * 1024];
            while let Ok(length @ 1..) = from.read(&mut piece) {
                traffic.fetch_add(length as u64, Ordering::Relaxed);
                if to.write_all(&piece[..length]).is_err() {
                    break;
                }
            }
            from.shutdown(Shutdown::Both).ok();
            to.shutdown(Shutdown::Both).ok();
        });
    }
}

/// A headless browser with a profile of its own.
pub struct Browser {
    network: Network,
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one, with a window of this size.
    pub fn start(width: u32, height: u32) -> Self {
        let profile = tempfile::Builder::new().prefix("mzb").tempdir().expect("a folder");
        let network = Network::new();
        let mut command = Command::new("chromedriver");
        command
            .arg("--port=0")
            .env("HOME", profile.path())
            .env("TMPDIR", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut driver = network.inside(|| command.spawn()).expect("chromedriver starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
        let port = lines
            .find_map(|line| {
                let line = line.ok()?;
                let port = line
                    .split("on port ")
                    .nth(1)?
                    .trim_end_matches('.')
                    .trim()
                    .parse()
                    .ok()?;
                // It first repeats what it was told, then says what it got.
                (port != 0).then_some(port)
            })
            .expect("chromedriver tells its port");
        let mut browser = Self {
            network,
            driver,
            port,
            session: String::new(),
            _profile: profile,
        };
        let arguments = [
            "--headless".to_owned(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-quic".into(),
            "--disable-dev-shm-usage".into(),
            "--no-first-run".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--disable-sync".into(),
            "--lang=en".into(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", browser._profile.path().join("profile").display()),
        ];
        let mut options = json!({"args": arguments});
        if width < NARROWEST {
            options["mobileEmulation"] = json!({"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1}});
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "acceptInsecureCerts": true, "goog:chromeOptions": options,
        }}});
        let answer = browser.call("POST", "/session", &wanted).expect("a browser");
        browser.session = format!("/session/{}", answer["sessionId"].as_str().expect("a session"));
        browser
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let connect = || TcpStream::connect(("127.0.0.1", self.port));
        let mut stream = self.network.inside(connect).map_err(|e| e.to_string())?;
        let body = if method == "POST" {
            body.to_string()
        } else {
            String::new()
        };
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all((head + &body).as_bytes()).map_err(|e| e.to_string())?;
        let (ok, body) = read_answer(BufReader::new(stream)).map_err(|e| e.to_string())?;
        let value: Value = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
        match ok {
            true => Ok(value["value"].clone()),
            false => Err(value["value"]["message"].to_string()),
        }
    }

    /// Opens an address.
    #[track_caller]
    pub fn open(&self, url: &str) {
        let port = url
            .strip_prefix("https://127.0.0.1:")
            .and_then(|rest| rest.split('/').next());
        if let Some(port) = port.and_then(|port| port.parse().ok()) {
            self.network.lead(port);
        }
        let path = format!("{}/url", self.session);
        self.call("POST", &path, &json!({"url": url})).expect("the page opens");
    }

    /// Runs a script in the page; what it returns.
    #[track_caller]
    pub fn script(&self, script: &str) -> Value {
        let path = format!("{}/execute/sync", self.session);
        let answer = self.call("POST", &path, &json!({"script": script, "args": []}));
        answer.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// The text that the page shows.
    #[track_caller]
    pub fn text(&self) -> String {
        let text = self.script("return document.body.innerText");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Types into the element that has the focus.
    #[track_caller]
    pub fn keys(&self, keys: &str) {
        let strokes = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()})));
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes.collect::<Vec<_>>()}]});
        let path = format!("{}/actions", self.session);
        self.call("POST", &path, &actions).expect("keys are taken");
    }

    /// Clicks what a CSS selector finds.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        self.wait(&format!("return !!document.querySelector({})", json!(selector)));
        self.script(&format!("document.querySelector({}).click()", json!(selector)));
    }

    /// Waits until a script returns something true.
    #[track_caller]
    pub fn wait(&self, script: &str) {
        self.wait_at_most(PATIENCE, script);
    }

    /// As [`Browser::wait`], with another patience.
    #[track_caller]
    pub fn wait_at_most(&self, patience: Duration, script: &str) {
        let start = Instant::now();
        while self.script(script) != true {
            assert!(start.elapsed() < patience, "waited for: {script}\n{}", self.text());
            pause(Duration::from_millis(20));
        }
    }

    /// Waits until the page shows a text.
    #[track_caller]
    pub fn wait_text(&self, text: &str) {
        self.wait(&format!("return document.body.innerText.includes({})", json!(text)));
    }

    /// Waits until the page no longer shows a text.
    #[track_caller]
    pub fn wait_no_text(&self, text: &str) {
        self.wait(&format!("return !document.body.innerText.includes({})", json!(text)));
    }

    /// Asks the browser what only its developer tools may ask.
    #[track_caller]
    fn tools(&self, command: &str, parameters: &Value) -> Value {
        let path = format!("{}/goog/cdp/execute", self.session);
        let asked = self.call("POST", &path, &json!({"cmd": command, "params": parameters}));
        asked.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Forgets what was loaded before.
    pub fn clear_cache(&self) {
        self.tools("Network.clearBrowserCache", &json!({}));
    }

    /// Bytes that went between the browser and the servers so far, as they are on the wire.
    pub fn traffic(&self) -> u64 {
        self.network.traffic.load(Ordering::Relaxed)
    }

    /// From the next page on, [`Browser::heap`] knows how much memory the page's program has.
    pub fn watch_memory(&self) {
        let source = "for (const name of ['instantiate', 'instantiateStreaming']) { const original = WebAssembly[name]; \
            WebAssembly[name] = async (...given) => { const made = await original.apply(WebAssembly, given); \
            const memory = (made.instance ?? made).exports.memory; if (memory) window.programMemory = memory; return made } }";
        self.tools("Page.addScriptToEvaluateOnNewDocument", &json!({"source": source}));
    }

    /// Bytes that the page keeps: objects of scripts after unused ones are collected, and the program's memory.
    pub fn heap(&self) -> (u64, u64) {
        for _ in 0..2 {
            self.tools("HeapProfiler.collectGarbage", &json!({}));
        }
        let usage = self.tools("Runtime.getHeapUsage", &json!({}));
        let program = self.script("return window.programMemory?.buffer.byteLength ?? 0");
        let number = |value: &Value| value.as_f64().unwrap_or_default() as u64;
        (number(&usage["usedSize"]), number(&program))
    }

    /// A picture of the window, as a PNG file.
    pub fn screenshot(&self, file: &std::path::Path) {
        use base64::Engine as _;
        let answer = self.call("GET", &format!("{}/screenshot", self.session), &Value::Null);
        let encoded = answer
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default();
        if let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(encoded) {
            std::fs::write(file, bytes).ok();
        }
    }

    /// What the page's console was told, errors only.
    pub fn errors(&self) -> Vec<String> {
        let path = format!("{}/se/log", self.session);
        let answer = self
            .call("POST", &path, &json!({"type": "browser"}))
            .unwrap_or_default();
        let entries = answer.as_array().cloned().unwrap_or_default();
        let severe = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].to_string()).collect()
    }
}

/// Whether the driver agrees, and the body of its answer. It says that it closes the connection, but does not.
fn read_answer(mut from: impl BufRead) -> std::io::Result<(bool, Vec<u8>)> {
    let (mut ok, mut length) = (false, 0);
    let mut line = String::new();
    while from.read_line(&mut line)? > 2 {
        ok |= line.starts_with("HTTP/1.1 200 ");
        if let Some(("content-length", bytes)) = line.to_ascii_lowercase().split_once(':') {
            length = bytes.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((ok, body))
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.call("DELETE", &self.session, &Value::Null).ok();
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}
