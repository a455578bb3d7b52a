//! The network of several nodes, seen from Pods and from the nodes themselves: Pods of other nodes, Services of every
//! kind, DNS, hostPorts, traffic policies, session affinity and NetworkPolicies.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Child;

use mizzen_tests::image::IMAGE;
use mizzen_tests::nodes::{Bed, SERVER};
use mizzen_tests::web::{answered, containers, fetch, fetch_on, service, shell};
use mizzen_tests::{Cluster, can_run_containers, condition};

const NODES: [&str; 3] = [SERVER, "one", "two"];
/// Port of the node that leads to its own Pod of the DaemonSet.
const HOST_PORT: u16 = 8081;
/// Where somebody on a node answers datagrams.
const UDP_PORT: u16 = 9053;
/// What the Pod network takes off a packet of 1500 bytes to wrap it.
const POD_MTU: &str = "1450";
/// ConfigMaps that one Pod uses: each is a watch, and more than a server lets one connection have.
const MANY: usize = 260;

fn daemon_set() -> String {
    format!(
        "apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      {}",
        containers(&format!(", hostPort: {HOST_PORT}"))
    )
}

fn pod(name: &str, node: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
      nodeName: {node}
      {}",
        containers("")
    )
}

/// Whether a Pod gets an answer; what is not allowed is dropped, so that a refusal takes its time.
fn reaches(cluster: &Cluster, pod: &str, url: &str) -> bool {
    shell(cluster, pod, &format!("timeout 2 wget -q -O - {url} || true")).contains("Node: ")
}

/// Answers datagrams while this lives.
struct Echo(Child);

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

struct World {
    bed: Bed,
    /// The DaemonSet's Pods by node: names and addresses.
    pods: Vec<(String, String)>,
}

impl World {
    fn start() -> Self {
        let bed = Bed::start(&[], &NODES[1..]);
        for node in NODES {
            bed.cluster.wait("nodes to take Pods", |c| {
                c.get(&format!("node {node}"))
                    .is_ok_and(|node| node["spec"]["taints"].is_null())
            });
        }
        let port = bed.cluster.node_port();
        let web = "ports: [{port: 80, targetPort: http}]";
        let node_port =
            |number: u16| format!("type: NodePort, ports: [{{port: 80, targetPort: http, nodePort: {number}}}]");
        let local = format!("externalTrafficPolicy: Local, {}", node_port(port + 1));
        bed.cluster.apply(
            &[
                daemon_set(),
                pod("solo", "one"),
                pod("friend", "two"),
                pod("stranger", "two"),
                service("web", "web", web),
                service("sticky", "web", &format!("sessionAffinity: ClientIP, {web}")),
                service("everywhere", "web", &node_port(port)),
                service("outside", "solo", &local),
                service("inside", "solo", &format!("internalTrafficPolicy: Local, {web}")),
            ]
            .concat(),
        );
        bed.cluster
            .run(&["rollout", "status", "daemonset/web", "--timeout=120s"]);
        let ready = ["wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s"];
        bed.cluster.run(&ready);
        let list = bed.cluster.get("pods -l app=web").expect("Pods");
        let pods = list["items"].as_array().expect("a list");
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        let pods = NODES.map(|node| {
            let pod = pods.iter().find(|pod| pod["spec"]["nodeName"] == node);
            let pod = pod.expect("a Pod on every node");
            (text(&pod["metadata"]["name"]), text(&pod["status"]["podIP"]))
        });
        Self { bed, pods: pods.into() }
    }

    fn cluster(&self) -> &Cluster {
        &self.bed.cluster
    }

    fn url_of(&self, service: &str) -> String {
        let service = self.cluster().get(&format!("service {service}")).expect("a Service");
        format!("http://{}/", service["spec"]["clusterIP"].as_str().expect("an address"))
    }

    /// Pods reach each other wherever they are, and Services balance over all of them.
    fn pods_and_services(&self) {
        let all = BTreeSet::from(NODES);
        let pods: Vec<_> = self.pods.iter().map(|(_, ip)| format!("http://{ip}:8080/")).collect();
        for (pod, _) in &self.pods {
            let mtu = shell(self.cluster(), pod, "cat /sys/class/net/eth0/mtu");
            assert_eq!(mtu.trim(), POD_MTU);
            let answers = fetch(self.cluster(), pod, &pods, 1);
            assert_eq!(answered(&answers), all, "from {pod} to {pods:?}: {answers}");
            self.cluster()
                .wait(&format!("Service to lead {pod} to every node"), |c| {
                    let answers = fetch(c, pod, &[self.url_of("web")], 20);
                    assert!(!answers.contains("lost"), "{answers}");
                    answered(&answers) == all
                });
            let sticky = fetch(self.cluster(), pod, &[self.url_of("sticky")], 10);
            assert!(!sticky.contains("lost"), "{sticky}");
            assert_eq!(answered(&sticky).len(), 1, "one and the same: {sticky}");
            for name in ["web", "web.default.svc.cluster.local"] {
                let get = format!("http://{name}/");
                let answer = self
                    .cluster()
                    .run(&["exec", pod, "-c", "hello", "--", "/hello", "--get", &get]);
                assert!(answer.contains("Node: "), "{pod} to {name}: {answer}");
            }
        }
    }

    /// Ports of the nodes.
    fn ports(&self) {
        let port = self.cluster().node_port();
        let all = BTreeSet::from(NODES);
        for node in NODES {
            let address = self.bed.address(node);
            let mut seen = BTreeSet::new();
            self.cluster()
                .wait(&format!("node port of {node} to lead everywhere"), |_| {
                    let answer = fetch_on(&self.bed, SERVER, &format!("http://{address}:{port}/"));
                    let answer = answer.unwrap_or_else(|| panic!("no answer from {node}"));
                    seen.extend(answered(&answer).into_iter().map(str::to_owned));
                    seen.iter().map(String::as_str).collect::<BTreeSet<_>>() == all
                });
            let other = if node == "one" { "two" } else { "one" };
            let own = fetch_on(&self.bed, other, &format!("http://{address}:{HOST_PORT}/"));
            assert_eq!(
                answered(&own.unwrap_or_default()),
                BTreeSet::from([node]),
                "hostPort of {node}"
            );
        }

        // What stays on a node that has the Pod keeps its sender; another node has nobody.
        let outside = |node: &str| format!("http://{}:{}/", self.bed.address(node), port + 1);
        let answer = fetch_on(&self.bed, SERVER, &outside("one")).expect("an answer");
        assert_eq!(answered(&answer), BTreeSet::from(["one"]));
        let seen = self.cluster().run(&["logs", "solo", "-c", "hello"]);
        assert!(seen.contains(&format!("{} in", self.bed.address(SERVER))), "{seen}");
        assert_eq!(fetch_on(&self.bed, SERVER, &outside("two")), None);
        let inside = self.url_of("inside");
        assert!(reaches(self.cluster(), &self.pods[1].0, &inside));
        assert!(!reaches(self.cluster(), &self.pods[2].0, &inside));
    }

    /// One address with a port of each protocol, behind it what somebody listed by hand, in several lists.
    fn protocols(&self) {
        let (solo, port) = (self.cluster().get("pod solo").expect("the Pod"), UDP_PORT);
        let slice = |name: &str, protocol: &str, port: u16, address: &str| {
            format!(
                "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: listed-{name}, labels: {{kubernetes.io/service-name: listed}}}}
addressType: IPv4
ports: [{{name: {name}, protocol: {protocol}, port: {port}}}]
endpoints: [{{addresses: ['{address}'], conditions: {{ready: true}}}}]
"
            )
        };
        let pod = solo["status"]["podIP"].as_str().expect("an address");
        self.cluster().apply(&format!(
            "apiVersion: v1
kind: Service
metadata: {{name: listed}}
spec: {{ports: [{{name: tcp, port: 80}}, {{name: udp, port: 80, protocol: UDP}}]}}
{}{}",
            slice("tcp", "TCP", 8080, pod),
            slice("udp", "UDP", port, &self.bed.address("two")),
        ));
        let echo = format!(
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', {port}))\n\
             while True: data, peer = s.recvfrom(99); s.sendto(b'heard ' + data, peer)"
        );
        let mut echo = Echo(
            self.bed
                .on("two", "python3")
                .args(["-c", &echo])
                .spawn()
                .expect("it starts"),
        );
        let url = self.url_of("listed");
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let script = format!("exec 3<>/dev/udp/{address}/80; echo this >&3; timeout 1 head -n 1 <&3");
        self.cluster().wait("an answer to a datagram", |_| {
            let output = self.bed.on("one", "bash").args(["-c", &script]).output();
            output.expect("bash runs").stdout == b"heard this\n"
        });
        assert!(echo.0.try_wait().expect("it can be asked").is_none(), "it still runs");
        let answers = fetch(self.cluster(), &self.pods[2].0, &[url], 1);
        assert_eq!(answered(&answers), BTreeSet::from(["one"]), "{answers}");
    }

    /// What a Service is can be changed.
    fn changes(&self) {
        let (pod, all) = (&*self.pods[2].0, BTreeSet::from(NODES));
        for (affinity, number) in [("None", 3), ("ClientIP", 1)] {
            let change = format!(r#"{{"spec":{{"sessionAffinity":"{affinity}"}}}}"#);
            self.cluster().run(&["patch", "service", "sticky", "-p", &change]);
            self.cluster().wait(&format!("affinity {affinity} to hold"), |c| {
                let answers = fetch(c, pod, &[self.url_of("sticky")], 20);
                answered(&answers).len() == number && answered(&answers).is_subset(&all)
            });
        }
        let port = self.cluster().node_port();
        let url = format!("http://{}:{port}/", self.bed.address("one"));
        let change = |change: &str| {
            self.cluster()
                .run(&["patch", "service", "everywhere", "--type=merge", "-p", change])
        };
        change(r#"{"spec":{"type":"ExternalName","externalName":"web.default.svc.cluster.local","ports":null}}"#);
        self.cluster().wait("node port to be closed", |_| {
            fetch_on(&self.bed, SERVER, &url).is_none()
        });
        self.cluster().wait("name to lead to the other Service", |c| {
            let get = [
                "exec",
                pod,
                "-c",
                "hello",
                "--",
                "/hello",
                "--get",
                "http://everywhere/",
            ];
            let answer = c.kubectl(&get).output().expect("kubectl runs");
            String::from_utf8_lossy(&answer.stdout).contains("Node: ")
        });
        change(&format!(
            r#"{{"spec":{{"type":"NodePort","externalName":null,"ports":[{{"port":80,"targetPort":"http","nodePort":{port}}}]}}}}"#
        ));
        self.cluster()
            .wait("node port to be open", |_| fetch_on(&self.bed, SERVER, &url).is_some());
    }

    /// Who is let in is decided where the Pod is, wherever the others are.
    fn policies(&self) {
        let solo = self.cluster().get("pod solo").expect("the Pod");
        let url = format!("http://{}:8080/", solo["status"]["podIP"].as_str().expect("an address"));
        assert!(reaches(self.cluster(), "friend", &url) && reaches(self.cluster(), "stranger", &url));
        self.cluster().apply(
            "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {matchLabels: {app: solo}}, ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]}
",
        );
        self.cluster().wait("stranger to be kept out", |c| {
            !reaches(c, "stranger", &url) && reaches(c, "friend", &url)
        });
        self.cluster().apply(
            "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: mute}
spec: {podSelector: {matchLabels: {app: friend}}, policyTypes: [Egress]}
",
        );
        self.cluster()
            .wait("friend to be mute", |c| !reaches(c, "friend", &url));
        self.cluster().run(&["delete", "networkpolicy", "--all"]);
        self.cluster().wait("all to be open again", |c| {
            reaches(c, "stranger", &url) && reaches(c, "friend", &url)
        });
    }

    /// A node whose Pods use more objects than a connection has room for is heard of like any other.
    fn many_watches(&self) {
        let (mut maps, mut sources) = (String::new(), String::new());
        for number in 0..MANY {
            let map = format!(
                "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m{number}}}\ndata: {{k{number}: v}}\n"
            );
            maps.push_str(&map);
            write!(sources, "{{configMap: {{name: m{number}}}}}, ").expect("written");
        }
        let file = self.cluster().scratch().join("many.yaml");
        std::fs::write(&file, maps).expect("a manifest");
        self.cluster().run(&["create", "-f", file.to_str().expect("a path")]);
        self.cluster().apply(&format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: many}}
spec:
  nodeName: two
  terminationGracePeriodSeconds: 0
  volumes: [{{name: all, projected: {{sources: [{sources}]}}}}]
  containers: [{{name: c, image: '{IMAGE}', command: [sleep, '1000000'], volumeMounts: [{{name: all, mountPath: /all}}]}}]
"
        ));
        self.cluster()
            .run(&["wait", "--for=condition=Ready", "pod/many", "--timeout=60s"]);
        let listed = self.cluster().run(&["exec", "many", "--", "ls", "/all"]);
        assert_eq!(listed.lines().count(), MANY);
        let beat = |c: &Cluster| c.get("lease -n kube-node-lease two").unwrap_or_default()["spec"]["renewTime"].clone();
        let before = beat(self.cluster());
        self.cluster().wait("node two to be heard of", |c| beat(c) != before);
        assert!(condition(&self.cluster().get("node two").expect("a node"), "Ready"));
    }
}

#[test]
fn the_network_spans_all_nodes() {
    if !can_run_containers() {
        return;
    }
    let world = World::start();
    world.pods_and_services();
    world.ports();
    world.protocols();
    world.changes();
    world.policies();
    world.many_watches();
}
