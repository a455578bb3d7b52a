//! The dashboard in a real browser, served by the real program.

use std::path::{Path, PathBuf};
use std::process::Command;

use mizzen_tests::browser::{Browser, has_browser};
use mizzen_tests::{Cluster, can_run_containers, program, succeed};

/// What a browser may load at first, compressed.
const FIRST_LOAD_MAX_BYTES: u64 = 500_000;

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
        browser.script("return Object.keys(localStorage).sort().join()"),
        "mizzen.language,mizzen.theme"
    );

    world.open("configmaps?ns=default");
    browser.wait_text("kube-root-ca.crt");
    let modules = "performance.getEntriesByType('resource').filter(e => e.name.endsWith('.wasm')).length";
    assert_eq!(
        browser.script(&format!("return {modules}")),
        1,
        "what a click leads to is not loaded before"
    );
    browser.script("document.querySelector('.window .row a').click()");
    browser.wait("return !!document.querySelector('.tabs')");
    browser.wait(&format!("return {modules} == 2"));
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

    // What is marked is part of the address too.
    browser.script("document.activeElement.blur()");
    browser.keys("j ");
    browser.wait("return /sel=default\\/web-/.test(location.search) && document.querySelectorAll('.window .row.marked').length == 1");
    let address = browser.script("return location.href");
    browser.open(address.as_str().expect("an address"));
    browser.wait("return document.querySelector('.window .row.marked input')?.checked");
    browser.keys("\u{e00c}");
    browser.wait("return !location.search.includes('sel=') && !document.querySelector('.window .row.marked')");

    // Columns are chosen, one or all.
    let columns = "[...document.querySelectorAll('.heading')].map(h => h.innerText.trim())";
    browser.click(".chooser summary");
    browser.script("[...document.querySelectorAll('.chooser label')].find(l => l.innerText == 'Node').querySelector('input').click()");
    browser.wait(&format!(
        "return {columns}.includes('Node') && !{columns}.includes('Readiness Gates')"
    ));
    browser.click(".chooser input");
    browser.wait(&format!(
        "return {columns}.includes('Node') && {columns}.includes('Readiness Gates')"
    ));

    // Scaled in the dashboard, seen by everybody.
    world.open("deployments.apps/default/web");
    browser.wait("return [...document.querySelectorAll('button')].some(b => b.innerText == 'Scale')");
    browser.script("[...document.querySelectorAll('button')].find(b => b.innerText == 'Scale').click()");
    browser.wait("return !!document.querySelector('#replicas')");
    browser.script("const i = document.querySelector('#replicas'); i.value = 5; i.dispatchEvent(new Event('input', {bubbles: true}))");
    browser.wait_text("kubectl scale deployment/web --replicas=5 -n default");
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
    browser.wait("return document.querySelector('.diff .added')?.innerText.includes('replicas: 2')");
    browser.click("#save");
    cluster.wait("edit", |c| {
        c.get("deployment web").is_ok_and(|d| d["spec"]["replicas"] == 2)
    });

    // What is read and written has colours; the server's schema says what a field means and what may follow.
    browser.wait("return document.querySelectorAll('.behind .y-key').length > 5");
    browser.script(
        "const e = document.querySelector('#editor'), at = e.value.indexOf('replicas:') + 3; e.focus(); \
         e.setSelectionRange(at, at); e.click()",
    );
    browser.wait("return /integer.*desired pods/.test(document.querySelector('.told')?.innerText)");
    browser.script("const e = document.querySelector('#editor'), at = e.value.indexOf('\\nspec:') + 6; e.setSelectionRange(at, at)");
    browser.keys("\u{e007}  pau");
    browser.wait("return document.querySelector('.offer')?.innerText.includes('paused')");
    browser.keys("\u{e007}");
    browser.wait("return document.querySelector('.offer')?.innerText.includes('true')");
    browser.keys("\u{e015}\u{e007}");
    browser.wait("return document.querySelector('#editor').value.includes('\\n  paused: false\\n')");
    world.open("deployments.apps/default/web?tab=yaml");
    browser.wait("return document.querySelector('.yaml .y-key')?.innerText == 'apiVersion'");

    // Somebody else is faster: their change stays, and this one stands on top of it.
    world.open("deployments.apps/default/web?tab=edit");
    browser.wait("return document.querySelector('#editor')?.value.includes('replicas: 2')");
    cluster.run(&["annotate", "deployment", "web", "theirs=stays"]);
    browser.script(
        "const e = document.querySelector('#editor'); e.value = e.value.replace('replicas: 2', 'replicas: 4'); \
         e.dispatchEvent(new Event('input', {bubbles: true}))",
    );
    browser.click("#save");
    browser.wait_text("Somebody changed it meanwhile.");
    browser.click("#save");
    cluster.wait("edit on top of another's", |c| {
        c.get("deployment web")
            .is_ok_and(|d| d["spec"]["replicas"] == 4 && d["metadata"]["annotations"]["theirs"] == "stays")
    });

    // Another template, the revisions, and back.
    cluster.run(&["set", "image", "deployment/web", "*=other"]);
    world.open("deployments.apps/default/web?tab=rollout");
    browser.wait("return document.querySelectorAll('#revisions tbody tr').length == 2");
    browser.wait("return document.querySelector('.diff .added')?.innerText.includes('image: other')");
    browser.script("[...document.querySelectorAll('#revisions button')].pop().click()");
    browser.wait_text("kubectl rollout undo deployment/web --to-revision=1 -n default");
    browser.click(".dialog #check");
    browser.wait("return document.querySelector('.dialog .diff .added')?.innerText.includes('image: none')");
    browser.click("#confirm");
    cluster.wait("rollback", |c| {
        c.get("deployment web")
            .is_ok_and(|d| d["spec"]["template"]["spec"]["containers"][0]["image"] == "none")
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
    // What may not be done cannot be pressed, and says why.
    world.open("configmaps/default/kube-root-ca.crt");
    browser.wait("return document.querySelector('[data-act=delete]')?.disabled");
    assert_eq!(
        browser.script("return document.querySelector('[data-act=delete]').title"),
        "missing permission: delete configmaps"
    );
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
fn a_shell_and_logs_come_from_a_pod() {
    if !ready() || !can_run_containers() {
        return;
    }
    let world = World {
        cluster: Cluster::start_with_shell(),
        browser: Browser::start(1300, 800),
    };
    let (cluster, browser) = (&world.cluster, &world.browser);
    cluster.apply(
        r#"{apiVersion: apps/v1, kind: Deployment, metadata: {name: talker, namespace: default}, spec: {replicas: 2,
        selector: {matchLabels: {app: talker}}, template: {metadata: {labels: {app: talker}}, spec: {
        terminationGracePeriodSeconds: 0, containers: [{name: main, image: "mizzen.test/busybox:1",
        command: [sh, -c, 'echo "I am $(hostname)"; printf "\033[31mred\n"; echo "level=error msg=boom";
        printf "<img src=x onerror=window.pwned=1>\033]0;<script>window.pwned=1</script>\007\n"; sleep 3600']}]}}}}"#,
    );
    cluster.wait("Pods", |c| {
        c.get("deployment talker")
            .is_ok_and(|d| d["status"]["availableReplicas"] == 2)
    });
    world.log_in();
    world.open("deployments.apps/default/talker?tab=logs");
    browser.wait("return document.querySelector('#log')?.innerText.match(/I am talker-/g)?.length == 2");
    browser.wait_text("red");
    let pods = cluster.get("pods -l app=talker").expect("pods");
    let name = pods["items"][0]["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned();

    // What is bad is found, and what is hostile is text.
    browser.wait("return document.querySelector('.count').innerText.startsWith('8 ')");
    browser.script(
        "const s = document.querySelector('#level'); s.value = 3; s.dispatchEvent(new Event('change', {bubbles: true}))",
    );
    browser.wait("return document.querySelector('.count').innerText.startsWith('2/8 ')");
    browser.wait("return document.querySelector('#log .sev-failure').innerText.includes('boom')");
    browser.script(
        "const s = document.querySelector('#level'); s.value = 0; s.dispatchEvent(new Event('change', {bubbles: true})); \
         const i = document.querySelector('#filter'); i.value = 'onerror'; i.dispatchEvent(new Event('input', {bubbles: true}))",
    );
    browser.wait("return document.querySelector('.count').innerText.startsWith('2/8 ')");
    browser.wait_text("<img src=x onerror=window.pwned=1>");

    world.open(&format!("pods/default/{name}?tab=shell"));
    browser.wait("return !!document.querySelector('#connected')");
    browser.script("document.querySelector('#terminal').focus()");
    browser.keys("echo $((6*7))\u{e007}");
    browser.wait("return [...document.querySelectorAll('#terminal div')].some(l => l.innerText.trim() == '42')");
    // What a container prints commands the terminal, never the page.
    browser.keys(
        "printf '<img src=x onerror=window.pwned=1>\\033]0;<script>window.pwned=1</script>\\007\\033[31mok'\u{e007}",
    );
    browser.wait("return [...document.querySelectorAll('#terminal .f1')].some(s => s.innerText.includes('ok'))");
    assert_eq!(browser.script("return typeof window.pwned"), "undefined");
    assert_eq!(
        browser.script("return document.querySelectorAll('main img, main script').length"),
        0
    );
    browser.keys("\u{e007}");
    // A program that takes the whole screen, and a file that it writes.
    browser.keys("vi /note\u{e007}");
    browser.wait("return document.querySelector('#terminal').innerText.includes('~')");
    browser.keys("ihello");
    browser.wait("return document.querySelector('#terminal').innerText.includes('hello')");
    // Keys that follow Escape at once would be taken for a sequence.
    browser.keys("\u{e00c}");
    browser.wait("return /^- /m.test(document.querySelector('#terminal').innerText)");
    browser.keys(":wq\u{e007}");
    browser.wait("return !document.querySelector('#terminal').innerText.includes('~')");
    browser.keys("cat /note\u{e007}");
    browser.wait("return [...document.querySelectorAll('#terminal div')].some(l => l.innerText.trim() == 'hello')");
}

#[test]
fn pages_tell_what_belongs_together() {
    if !ready() {
        return;
    }
    let world = World::start();
    let (cluster, browser) = (&world.cluster, &world.browser);
    let _nodes = cluster.simulate(2);
    cluster.run(&["create", "namespace", "shop"]);
    cluster.run(&["create", "quota", "small", "-n", "shop", "--hard=pods=4,services=10"]);
    cluster.run(&[
        "create",
        "deployment",
        "web",
        "-n",
        "shop",
        "--image=web",
        "--replicas=3",
        "--port=80",
    ]);
    cluster.run(&["expose", "deployment", "web", "-n", "shop"]);
    cluster.wait("Pods", |c| {
        c.get("deployment web -n shop")
            .is_ok_and(|d| d["status"]["availableReplicas"] == 3)
    });
    let pods = cluster.get("pods -n shop -l app=web").expect("pods");
    let name = |at: usize| {
        pods["items"][at]["metadata"]["name"]
            .as_str()
            .expect("a name")
            .to_owned()
    };
    let node = pods["items"][0]["spec"]["nodeName"]
        .as_str()
        .expect("a node")
        .to_owned();
    world.log_in();

    // The overview: what the nodes have and what is asked of it, as it goes on, of every kind followed once.
    world.open("overview");
    browser.wait("return document.querySelector('[data-chart=cpu] .requested')?.getAttribute('d').startsWith('M')");
    browser.wait("return [...document.querySelectorAll('.tile')].some(t => /^pods\\s+3/.test(t.innerText))");
    assert_eq!(
        browser.script("return performance.getEntries().filter(e => e.name.includes('/api/v1/pods?limit')).length"),
        1
    );

    // A namespace: what is left of its quota, and what is in it.
    world.open("namespaces/shop");
    browser.wait("return document.querySelector('.facts')?.innerText.includes('3 of 4')");
    browser.wait("return /pods\\s+3/.test(document.querySelector('#contents')?.innerText)");
    cluster.run(&["scale", "deployment", "web", "-n", "shop", "--replicas=4"]);
    browser.wait("return document.querySelector('.facts')?.innerText.includes('4 of 4')");

    // A Service: where it leads, and whose addresses those are.
    world.open("services/shop/web");
    browser.wait("return document.querySelectorAll('#endpoints tbody tr').length == 4");
    browser.wait(&format!(
        "return document.querySelector('#endpoints').innerText.includes('Pod/{}')",
        name(0)
    ));
    browser.wait_text("kubectl port-forward -n shop service/web 8080:80");
    cluster.run(&["scale", "deployment", "web", "-n", "shop", "--replicas=2"]);
    browser.wait("return document.querySelectorAll('#endpoints tbody tr').length == 2");
    cluster.run(&["scale", "deployment", "web", "-n", "shop", "--replicas=3"]);
    browser.script("[...document.querySelectorAll('#endpoints a')].find(a => a.innerText.startsWith('Pod/')).click()");
    browser.wait("return document.querySelector('#title')?.innerText.startsWith('shop/web-')");

    // A node: how it is used, its conditions, and what runs on it.
    world.open(&format!("nodes/{node}"));
    browser.wait("return /CPU[^]*% asked/.test(document.querySelector('.facts')?.innerText)");
    browser.wait("return document.querySelector('#conditions')?.innerText.includes('MemoryPressure')");
    browser.wait("return [...document.querySelectorAll('.aside td a')].some(a => a.innerText.startsWith('web-'))");
    browser.wait("return document.querySelector('#content').innerText.includes('Allocated resources')");

    // A Deployment: its revisions, its Pods, who uses it, and its events as they come.
    world.open("deployments.apps/shop/web");
    browser.wait("return document.querySelector('.facts')?.innerText.includes('revision 1')");
    browser.wait("return document.querySelectorAll('.aside tbody td a').length == 3");
    world.open("deployments.apps/shop/web?tab=events");
    browser.wait("return document.querySelector('#happened')?.innerText.includes('ScalingReplicaSet')");
    cluster.run(&["create", "configmap", "settings", "-n", "shop", "--from-literal=a=1"]);
    cluster.run(&[
        "set",
        "env",
        "deployment/web",
        "-n",
        "shop",
        "--from=configmap/settings",
    ]);
    world.open("configmaps/shop/settings?tab=related");
    browser.wait_text("Deployment/web");

    // The map: from the Service through the Deployment to the nodes, as it changes.
    world.open("map?ns=shop");
    let has = |label: &str| {
        let found =
            format!("return [...document.querySelectorAll('.group')].some(g => g.innerText.includes({label:?}))");
        browser.wait(&found);
    };
    has("Deployment web");
    has(&node);
    browser.wait("return document.querySelectorAll('.group .pod').length == 3");
    browser.wait("return document.querySelectorAll('.edges path').length >= 2");
    browser.script("[...document.querySelectorAll('.group')].find(g => g.innerText.includes('Deployment web')).dispatchEvent(new PointerEvent('pointerenter'))");
    browser.wait("return document.querySelectorAll('.edges path.lit').length >= 2");
    cluster.run(&["scale", "deployment", "web", "-n", "shop", "--replicas=4"]);
    browser.wait("return document.querySelectorAll('.group .pod').length == 4");
    cluster.run(&["create", "job", "once", "-n", "shop", "--image=once"]);
    world.open("map");
    has("Deployment web");

    // Events in time, with what they are about.
    world.open("timeline?ns=shop");
    browser
        .wait("return [...document.querySelectorAll('.lanes li')].some(l => l.innerText.includes('Deployment/web'))");
    // The quota leaves no room for the Job's Pod: a warning.
    browser.wait("return [...document.querySelectorAll('.lanes li')].some(l => l.innerText.includes('Job/once') && l.innerText.includes('exceeded quota'))");
    browser.click("#warnings-only");
    browser
        .wait("return [...document.querySelectorAll('.lanes li')].every(l => !l.innerText.includes('Deployment/web'))");
    browser.wait("return document.querySelectorAll('.histogram .warned').length > 0");
    browser.script("const i = document.querySelector('#filter'); i.value = 'nothing says this'; i.dispatchEvent(new Event('input', {bubbles: true}))");
    browser.wait_text("Nothing happened.");
}

#[test]
fn the_map_is_readable_when_there_is_much() {
    if !ready() {
        return;
    }
    let world = World::start();
    let (cluster, browser) = (&world.cluster, &world.browser);
    let _nodes = cluster.simulate(30);
    let some = |namespace: usize, deployments: usize, replicas: usize| {
        let one = |n: usize| {
            format!(
                "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: d{n}, namespace: team-{namespace}}}, spec: {{replicas: {replicas}, \
                 selector: {{matchLabels: {{app: d{n}}}}}, template: {{metadata: {{labels: {{app: d{n}}}}}, \
                 spec: {{containers: [{{name: a, image: a}}]}}}}}}}}"
            )
        };
        let all: Vec<_> = (0..deployments).map(one).collect();
        format!(
            "---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: team-{namespace}}}}}\n---\n{}\n",
            all.join("\n---\n")
        )
    };
    // 500 Pods one by one, then some 1,500 by namespace.
    cluster.apply(&(0..5).map(|n| some(n, 10, 10)).collect::<String>());
    world.log_in();
    world.open("map");
    browser.wait("return document.querySelectorAll('.group .pod.sev-ok').length == 500");
    cluster.apply(&(5..15).map(|n| some(n, 10, 10)).collect::<String>());
    browser.wait("return document.querySelector('.count').innerText == '1500 Pods'");
    browser.wait("return document.querySelectorAll('.group').length == 15 + 30");
    browser.script("[...document.querySelectorAll('.group a')].find(a => a.innerText == 'team-3').click()");
    browser.wait("return document.querySelectorAll('.group .pod').length == 100");
}

#[test]
fn everybody_can_use_every_page() {
    let axe = mizzen_tests::tool("axe.min.js");
    if !ready() || !axe.exists() {
        return;
    }
    let axe = std::fs::read_to_string(axe).expect("a script");
    let world = World::start();
    let (cluster, browser) = (&world.cluster, &world.browser);
    cluster.run(&["create", "deployment", "web", "--image=none", "--replicas=2"]);
    cluster.run(&["set", "image", "deployment/web", "*=other"]);
    cluster.run(&["expose", "deployment", "web", "--port=80"]);
    cluster.run(&["create", "quota", "small", "--hard=pods=10"]);
    let _nodes = cluster.simulate(1);
    // Looked at by people, kept with the run.
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    std::fs::create_dir_all(&pictures).expect("a folder");
    let picture = |browser: &Browser, theme: &str, page: &str| {
        let name: String = page
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '-' })
            .collect();
        browser.screenshot(&pictures.join(format!("{theme}-{name}.png")));
    };
    world.log_in();
    let pages = [
        ("overview", ".tiles"),
        ("pods?ns=default", ".window .row"),
        ("secrets?ns=nowhere", ".empty"),
        ("deployments.apps/default/web", "pre.text"),
        ("deployments.apps/default/web?tab=yaml", ".y-key"),
        ("deployments.apps/default/web?tab=rollout", ".diff"),
        ("deployments.apps/default/web?tab=edit", "#editor"),
        ("deployments.apps/default/web?tab=related", "main h2"),
        ("deployments.apps/default/web?tab=logs", "#log"),
        ("deployments.apps/default/web?tab=events", "#happened li"),
        ("namespaces/default", "#contents .number"),
        ("services/default/web", "#endpoints td"),
        ("nodes/sim-0", "#conditions td"),
        ("map?ns=default", ".group .pod"),
        ("timeline", ".lanes li"),
    ];
    let dialogs = [
        ("[data-act=scale]", "#replicas"),
        ("[data-act=delete]", "#propagation"),
        ("[data-act=set-image]", "#check"),
        ("header button", "#manifest"),
        ("header button[aria-label]", ".keys"),
    ];
    let mut found = Vec::new();
    let mut check = |what: &str| {
        browser.script(&axe);
        browser.script("window.axed = null; axe.run().then(r => window.axed = r.violations)");
        browser.wait("return !!window.axed");
        let violations = browser.script(
            "return window.axed.map(v => v.id + ': ' + v.nodes.map(n => n.target + ' ' + n.html.slice(0, 120)).slice(0, 3).join(' | '))",
        );
        found.extend(
            violations
                .as_array()
                .into_iter()
                .flatten()
                .map(|v| format!("{what}: {v}")),
        );
    };
    for theme in ["light", "dark", "contrast"] {
        browser.script(&format!("localStorage.setItem('mizzen.theme', '{theme}')"));
        for (page, there) in pages {
            world.open(page);
            browser.wait(&format!("return !!document.querySelector('{there}')"));
            check(&format!("{theme} {page}"));
            picture(browser, theme, page);
        }
        for (button, there) in dialogs {
            world.open("deployments.apps/default/web");
            browser.click(button);
            browser.wait(&format!("return !!document.querySelector('{there}')"));
            check(&format!("{theme} {there}"));
            picture(browser, theme, there);
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    // Nothing hangs over the edge of a telephone.
    let world = World {
        browser: Browser::start(375, 700),
        ..world
    };
    world.log_in();
    for (page, there) in pages {
        world.open(page);
        world
            .browser
            .wait(&format!("return !!document.querySelector('{there}')"));
        let width = world.browser.script("return document.documentElement.scrollWidth");
        picture(&world.browser, "narrow", page);
        assert_eq!(width, 375, "{page}");
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
            // What only a click leads to is left out.
            .args(["-name", "*.br", "!", "-name", "more-*", "-printf", "%s %P\n"]),
    );
    let sizes = found
        .lines()
        .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok());
    let total: u64 = sizes.sum();
    println!("{found}first load: {total} bytes in brotli");
    assert!(found.contains("mizzen-"), "{found}");
    assert!(total <= FIRST_LOAD_MAX_BYTES, "{total} bytes");
}
