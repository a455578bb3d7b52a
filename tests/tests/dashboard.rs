//! The dashboard in a real browser, served by the real program.

use std::path::{Path, PathBuf};
use std::process::Command;

use mizzen_tests::browser::{Browser, has_browser};
use mizzen_tests::{Cluster, program, succeed};

/// What a browser may load at first, compressed. The aim is 500,000: this only ever shrinks.
const FIRST_LOAD_MAX_BYTES: u64 = 650_000;

fn dist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/dist")
}

fn ready() -> bool {
    let built = dist().join("index.html.br").exists();
    if !built {
        eprintln!("skipped: needs web/build.sh to have run before the program was built");
    }
    built && program().exists() && has_browser()
}

struct World {
    cluster: Cluster,
    browser: Browser,
}

impl World {
    /// A control plane without nodes, and a browser.
    fn start() -> Self {
        Self {
            cluster: Cluster::start_with(&["--disable-agent"]),
            browser: Browser::start(1300, 800),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}/dashboard/{path}", self.cluster.port())
    }

    fn open(&self, path: &str) {
        self.browser.open(&self.url(path));
    }

    /// Opens a page as the administrator, by the code that `mizzen dashboard` prints.
    fn log_in(&self) {
        let url = succeed(&mut self.cluster.client("mizzen", &["dashboard", "--no-browser"]));
        self.browser.open(url.trim());
        self.browser
            .wait("return document.querySelector('#user')?.innerText.length > 0");
        let address = self.browser.script("return location.href");
        assert!(!address.as_str().expect("text").contains("code"), "{address}");
    }

    fn log_in_with(&self, token: &str) {
        self.browser.wait("return !!document.querySelector('#token')");
        self.browser.script("document.querySelector('#token').focus()");
        self.browser.keys(token);
        self.browser.click(".dialog button.first");
    }
}

#[test]
fn tables_change_as_the_cluster_does() {
    if !ready() {
        return;
    }
    let world = World::start();
    let (cluster, browser) = (&world.cluster, &world.browser);
    world.open("configmaps?ns=default");
    browser.wait("return !!document.querySelector('#token')");
    world.log_in();
    assert_eq!(
        browser.script("return document.cookie"),
        "",
        "scripts cannot read the session"
    );
    assert_eq!(
        browser.script("return Object.keys(localStorage).join()"),
        "mizzen.language,mizzen.theme"
    );

    world.open("configmaps?ns=default");
    browser.wait_text("kube-root-ca.crt");
    cluster.run(&["create", "configmap", "one", "--from-literal=a=1"]);
    browser.wait_text("one");
    cluster.run(&["delete", "configmap", "one"]);
    browser.wait("return ![...document.querySelectorAll('.window .row')].some(r => r.innerText.includes('one'))");

    // The filter is the TUI's, and part of the address.
    cluster.run(&["create", "deployment", "web", "--image=none", "--replicas=3"]);
    world.open("pods?ns=default");
    browser.wait("return document.querySelectorAll('.window .row').length == 3");
    browser.keys("/");
    browser.keys("status:nothing");
    browser.wait_text("None match the filter.");
    assert!(
        browser
            .script("return location.search")
            .to_string()
            .contains("filter=status:nothing")
    );
    browser.click(".empty button");
    browser.wait("return document.querySelectorAll('.window .row').length == 3");

    // Scaled in the dashboard, seen by everybody.
    world.open("deployments.apps/default/web");
    browser.wait("return [...document.querySelectorAll('button')].some(b => b.innerText == 'Scale')");
    browser.script("[...document.querySelectorAll('button')].find(b => b.innerText == 'Scale').click()");
    browser.wait("return !!document.querySelector('#replicas')");
    browser.script("const i = document.querySelector('#replicas'); i.value = 5; i.dispatchEvent(new Event('input', {bubbles: true}))");
    browser.wait_text("kubectl scale deployments.apps web -n default --replicas=5");
    browser.click("#confirm");
    cluster.wait("scale", |c| {
        c.get("deployment web").is_ok_and(|d| d["spec"]["replicas"] == 5)
    });
    browser.wait_text("5 desired");

    // Edited, with a look at what would change.
    world.open("deployments.apps/default/web?tab=edit");
    browser.wait("return document.querySelector('#editor')?.value.includes('replicas: 5')");
    browser.script(
        "const e = document.querySelector('#editor'); e.value = e.value.replace('replicas: 5', 'replicas: 2'); \
         e.dispatchEvent(new Event('input', {bubbles: true}))",
    );
    browser.click("#check");
    browser.wait_text("+   replicas: 2");
    browser.click("#save");
    cluster.wait("edit", |c| {
        c.get("deployment web").is_ok_and(|d| d["spec"]["replicas"] == 2)
    });

    // Two languages.
    browser.click("#language");
    browser.wait_text("退出登录");
    browser.click("#language");

    // A restart is lived through without a new login.
    world.open("configmaps?ns=default");
    browser.wait_text("kube-root-ca.crt");
    let mut world = world;
    world.cluster.kill();
    world.browser.wait_text("Disconnected");
    world.cluster.launch();
    world.cluster.run(&["create", "configmap", "afterwards"]);
    world.browser.wait_text("afterwards");

    world.browser.click("#logout");
    world.browser.wait("return !!document.querySelector('#token')");
}

#[test]
fn a_restricted_user_is_told_what_is_missing() {
    if !ready() {
        return;
    }
    let world = World::start();
    let (cluster, browser) = (&world.cluster, &world.browser);
    cluster.run(&["create", "serviceaccount", "jane"]);
    cluster.run(&[
        "create",
        "role",
        "looks",
        "--verb=get,list,watch",
        "--resource=configmaps",
    ]);
    cluster.run(&[
        "create",
        "rolebinding",
        "looks",
        "--role=looks",
        "--serviceaccount=default:jane",
    ]);
    let token = cluster.run(&["create", "token", "jane"]);
    world.open("configmaps?ns=default");
    world.log_in_with("nonsense");
    browser.wait_text("These credentials are not accepted.");
    world.open("configmaps?ns=default");
    world.log_in_with(token.trim());
    browser.wait_text("system:serviceaccount:default:jane");
    browser.wait_text("kube-root-ca.crt");
    world.open("secrets?ns=default");
    browser.wait_text("You may not see this");
    browser.wait_text("cannot list resource \"secrets\"");
    // The session dies with the token's account.
    cluster.run(&["delete", "serviceaccount", "jane"]);
    world.open("configmaps?ns=default");
    browser.wait("return !!document.querySelector('#token')");
}

#[test]
fn hostile_objects_run_no_script() {
    if !ready() {
        return;
    }
    let world = World::start();
    let (cluster, browser) = (&world.cluster, &world.browser);
    let evil = "<img src=x onerror=window.pwned=1>";
    cluster.apply(&format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {{name: '{evil}', \
         annotations: {{note: '{evil}<script>window.pwned=1</script>'}}}}, rules: []}}"
    ));
    cluster.apply(&format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: evil, annotations: {{note: '{evil}'}}}}, \
         data: {{script: '</pre><script>window.pwned=1</script>{evil}', link: 'javascript:window.pwned=1'}}}}"
    ));
    world.log_in();
    world.open("clusterroles.rbac.authorization.k8s.io");
    browser.wait_text(evil);
    for page in [
        "configmaps/default/evil",
        "configmaps/default/evil?tab=yaml",
        "configmaps/default/evil?tab=related",
    ] {
        world.open(page);
        browser.wait_text("evil");
        browser.wait("return document.querySelector('#title')?.innerText.includes('evil')");
    }
    world.open("clusterroles.rbac.authorization.k8s.io/%3Cimg%20src=x%20onerror=window.pwned=1%3E");
    browser.wait_text(evil);
    browser.wait_text("window.pwned=1</script>");
    assert_eq!(browser.script("return typeof window.pwned"), "undefined");
    assert_eq!(
        browser.script("return document.querySelectorAll('main img, main script').length"),
        0
    );

    // Script that somebody does put into the page is not run either.
    browser.script(
        "const s = document.createElement('script'); s.textContent = 'window.pwned=1'; document.body.append(s)",
    );
    assert_eq!(browser.script("return typeof window.pwned"), "undefined");
    let headers = browser.script(
        "const x = new XMLHttpRequest(); x.open('GET', '/dashboard/', false); x.send(); return x.getAllResponseHeaders()",
    );
    let headers = headers.as_str().expect("headers");
    for wanted in [
        "script-src 'self' 'wasm-unsafe-eval';",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "strict-transport-security: max-age=",
        "referrer-policy: no-referrer",
    ] {
        assert!(headers.contains(wanted), "{wanted} in {headers}");
    }
}

#[test]
fn the_first_load_is_small() {
    if !dist().exists() {
        eprintln!("skipped: needs web/build.sh to have run");
        return;
    }
    let found = succeed(
        Command::new("find")
            .arg(dist())
            .args(["-name", "*.br", "-printf", "%s %P\n"]),
    );
    let sizes = found
        .lines()
        .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok());
    let total: u64 = sizes.sum();
    println!("{found}first load: {total} bytes in brotli");
    assert!(total <= FIRST_LOAD_MAX_BYTES, "{total} bytes");
}
