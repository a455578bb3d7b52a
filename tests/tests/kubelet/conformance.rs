//! What upstream's conformance suite asks of a node, of the lines that no other test is about.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};

use super::*;

/// A Pod of one container that runs a script to its end.
fn once(text: &str, container: Value, spec: Value) -> Value {
    let mut own = script("a", text);
    let mut pod = json!({ "restartPolicy": "Never", "terminationGracePeriodSeconds": 1 });
    for (target, more) in [(&mut own, container), (&mut pod, spec)] {
        target
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().cloned().unwrap_or_default());
    }
    pod["containers"] = json!([own]);
    pod
}

impl World {
    /// Makes the ConfigMap and Secret that the Pods of these tests use.
    async fn objects(&self) {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "default");
        let map =
            json!({ "metadata": { "name": "m" }, "data": { "one": "1", "two": "2" }, "binaryData": { "bin": "/u0=" } });
        maps.create(&PostParams::default(), &serde_json::from_value(map).expect("a map"))
            .await
            .expect("made");
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "default");
        let secret = json!({ "metadata": { "name": "s" }, "stringData": { "key": "hidden" } });
        secrets
            .create(
                &PostParams::default(),
                &serde_json::from_value(secret).expect("a secret"),
            )
            .await
            .expect("made");
    }

    /// Waits for the end of a Pod, and gives what it printed.
    async fn printed(&self, name: &str) -> String {
        let pod = self
            .pod(name, "ended", |pod| {
                matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
            })
            .await;
        self.log(&pod, "a", 0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_environment_and_security() {
    let Some(world) = World::start(8).await else { return };
    world.objects().await;
    let modes = "cd /v; stat -Lc '%a %u %g %n' secret/key secret/dir/key all/one all/key all/labels all/cpu; od -An -tx1 bin/bin; \
                 cat all/key all/name; echo; test $(cat all/cpu) -gt 0 -a $(cat all/memory) -gt 1000000 && echo whole node; stat -c '%a' /disk /memory; grep ' /memory ' /proc/mounts; \
                 touch /disk/f /memory/f; stat -c '%g' /disk/f; id -G";
    let mounts = |names: &[&str]| {
        names
            .iter()
            .map(|n| json!({ "name": n, "mountPath": format!("/v/{n}") }))
            .collect::<Vec<_>>()
    };
    let mut mounts_of_modes = mounts(&["secret", "all", "bin"]);
    mounts_of_modes.extend([
        json!({ "name": "disk", "mountPath": "/disk" }),
        json!({ "name": "memory", "mountPath": "/memory" }),
    ]);
    let limit = |what: &str| json!({ "path": what, "resourceFieldRef": { "containerName": "a", "resource": format!("limits.{what}") } });
    let field = |path: &str, field: &str| json!({ "path": path, "fieldRef": { "fieldPath": field } });
    let volumes = json!([
        { "name": "secret", "secret": { "secretName": "s", "defaultMode": 0o440,
            "items": [{ "key": "key", "path": "key" }, { "key": "key", "path": "dir/key", "mode": 0o400 }] } },
        { "name": "all", "projected": { "defaultMode": 0o440, "sources": [{ "configMap": { "name": "m" } }, { "secret": { "name": "s" } },
            { "downwardAPI": { "items": [field("labels", "metadata.labels"), field("name", "metadata.name"), limit("cpu"), limit("memory")] } }] } },
        { "name": "bin", "configMap": { "name": "m", "items": [{ "key": "bin", "path": "bin" }] } },
        { "name": "disk", "emptyDir": {} }, { "name": "memory", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } },
    ]);
    let user = json!({ "securityContext": { "runAsUser": 1000, "fsGroup": 2000, "supplementalGroups": [3000] }, "volumes": volumes });
    world
        .create("modes", once(modes, json!({ "volumeMounts": mounts_of_modes }), user))
        .await;

    let env = json!([{ "name": "FOO", "value": "foo" }, { "name": "BAR", "value": "$(FOO);;$(NONE);;$$(FOO)" },
        { "name": "IPS", "valueFrom": { "fieldRef": { "fieldPath": "status.hostIPs" } } },
        { "name": "CPU", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu" } } },
        { "name": "GONE", "valueFrom": { "secretKeyRef": { "name": "none", "key": "k", "optional": true } } }]);
    let container = json!({ "command": ["sh", "-c", "echo \"$BAR ips=$IPS cpu=${CPU:+whole} gone=$GONE $p_one$p_two $KUBERNETES_SERVICE_HOST $0\"", "arg-$(FOO)"],
        "env": env, "envFrom": [{ "prefix": "p_", "configMapRef": { "name": "m" } }, { "secretRef": { "name": "none", "optional": true } }] });
    world.create("env", once("", container, json!({}))).await;

    let confined = "cat /proc/sys/kernel/shm_rmid_forced; grep NoNewPrivs /proc/self/status; touch /x 2>&1; ip link add d0 type bridge 2>&1; \
                    id -u; id -g; cat /etc/resolv.conf; cat /etc/hosts | head -1";
    let context = json!({ "securityContext": { "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "privileged": false,
        "runAsUser": 65534, "runAsGroup": 65533 } });
    let spec = json!({ "securityContext": { "sysctls": [{ "name": "kernel.shm_rmid_forced", "value": "1" }] }, "dnsPolicy": "None",
        "dnsConfig": { "nameservers": ["1.1.1.1"], "searches": ["resolv.conf.local"], "options": [{ "name": "ndots", "value": "2" }] } });
    world.create("confined", once(confined, context, spec)).await;
    let hosts = json!({ "hostNetwork": true });
    world
        .create("onhost", once("head -1 /etc/hosts; hostname", json!({}), hosts))
        .await;

    // A path below a volume that is made of the environment; one that leads nowhere is put right by an annotation.
    let path = |name: &str| {
        let env =
            json!([{ "name": "SUB", "valueFrom": { "fieldRef": { "fieldPath": "metadata.annotations['sub']" } } }]);
        let mounts = json!([{ "name": "disk", "mountPath": "/whole" }, { "name": "disk", "mountPath": "/part", "subPathExpr": "$(SUB)/d" }]);
        once(
            name,
            json!({ "env": env, "volumeMounts": mounts }),
            json!({ "volumes": [{ "name": "disk", "emptyDir": {} }] }),
        )
    };
    world
        .create("subpath", path("echo in > /part/f; ls /whole; cat /whole/dir/d/f"))
        .await;
    let refused = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    };

    let mut later = once(
        WAIT,
        json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }, { "name": "info", "mountPath": "/info" }] }),
        json!({ "volumes": [{ "name": "v", "configMap": { "name": "later", "optional": true } },
            { "name": "info", "downwardAPI": { "items": [field("annotations", "metadata.annotations")] } }] }),
    );
    later["containers"][0]["command"][2] = json!(
        "until cat /v/k 2>/dev/null; do sleep 0.1; done; while cat /v/k >/dev/null 2>&1; do sleep 0.1; done; echo gone; \
         until grep noted /info/annotations; do sleep 0.1; done"
    );
    world.create("optional", later).await;

    // What this node cannot do is said, not skipped.
    world
        .create("userns", once("true", json!({}), json!({ "hostUsers": false })))
        .await;
    let image = json!({ "volumes": [{ "name": "i", "image": { "reference": IMAGE } }] });
    world
        .create(
            "imagevolume",
            once(
                "true",
                json!({ "volumeMounts": [{ "name": "i", "mountPath": "/i" }] }),
                image,
            ),
        )
        .await;

    world.pod("subpath", "refused", refused).await;
    let annotated = Patch::Merge(json!({ "metadata": { "annotations": { "sub": "dir" } } }));
    world
        .pods()
        .patch("subpath", &PatchParams::default(), &annotated)
        .await
        .expect("annotated");

    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), "default");
    world.pod("optional", "ready", ready).await;
    let map = json!({ "metadata": { "name": "later" }, "data": { "k": "came\n" } });
    maps.create(&PostParams::default(), &serde_json::from_value(map).expect("a map"))
        .await
        .expect("made");
    let pod = world.get("optional").await;
    wait("the map to come", async || world.log(&pod, "a", 0).contains("came")).await;
    let noted = Patch::Merge(json!({ "metadata": { "annotations": { "noted": "yes" } } }));
    world
        .pods()
        .patch("optional", &PatchParams::default(), &noted)
        .await
        .expect("annotated");
    maps.delete("later", &DeleteParams::default()).await.expect("deleted");

    let files = [
        "secret/key",
        "secret/dir/key",
        "all/one",
        "all/key",
        "all/labels",
        "all/cpu",
    ];
    let mut expected: String = files.map(|file| format!("440 0 2000 {file}\n")).concat();
    expected += " fe ed\nhiddenmodes\nwhole node\n2777\n2777\n\
                 tmpfs /memory tmpfs rw,nosuid,nodev,relatime,size=1024k 0 0\n2000\n0 2000 3000\n";
    assert_eq!(world.printed("modes").await, expected);
    assert_eq!(
        world.printed("env").await,
        "foo;;$(NONE);;$(FOO) ips=127.0.0.1 cpu=whole gone= 12 10.218.0.1 arg-foo\n"
    );
    assert_eq!(
        world.printed("confined").await,
        "1\nNoNewPrivs:\t1\ntouch: /x: Read-only file system\nip: RTNETLINK answers: Operation not permitted\n65534\n65533\n\
         search resolv.conf.local\nnameserver 1.1.1.1\noptions ndots:2\n# Kubernetes-managed hosts file.\n"
    );
    let onhost = world.printed("onhost").await;
    assert!(
        onhost.starts_with("# Kubernetes-managed hosts file (host network).\n"),
        "{onhost}"
    );
    assert_eq!(world.printed("optional").await, "came\ngone\nnoted=\"yes\"\n");
    let words = "FailedCreatePodSandBox Failed to create pod sandbox: RuntimeClass handler \"\" does not support user namespaces";
    world.wait_for_event("userns", words).await;
    let words =
        "FailedMount MountVolume.SetUp failed for volume \"i\" : no volume plugin matched: image is not supported";
    world.wait_for_event("imagevolume", words).await;
    assert_eq!(world.printed("subpath").await, "dir\nin\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_probes_and_hooks_over_the_network() {
    let Some(world) = World::start(9).await else { return };
    let fallback = json!({ "terminationMessagePolicy": "FallbackToLogsOnError" });
    world
        .create("logs", once("echo from the log; exit 1", fallback.clone(), json!({})))
        .await;
    world
        .create(
            "file",
            once(
                "echo of log; echo -n of file > /dev/termination-log",
                fallback.clone(),
                json!({}),
            ),
        )
        .await;
    world.create("nothing", once("echo of log", fallback, json!({}))).await;
    let own = json!({ "terminationMessagePath": "/dev/own", "securityContext": { "runAsUser": 1000 } });
    world
        .create("own", once("echo -n mine > /dev/own", own, json!({})))
        .await;

    let init = |text: &str| json!({ "initContainers": [script("i", text), script("j", "true")] });
    world.create("initfails", once("true", json!({}), init("exit 1"))).await;
    let mut again = once("true", json!({}), init("exit 1"));
    again["restartPolicy"] = json!("Always");
    world.create("initagain", again).await;

    // Served over HTTP until the page is taken away; the hooks ask another Pod.
    let serve =
        "mkdir -p /tmp/w && cd /tmp/w && touch ok started stopping && exec busybox httpd -f -p 8080 -vv -h /tmp/w";
    world
        .create(
            "server",
            json!({ "terminationGracePeriodSeconds": 1, "containers": [script("a", serve)] }),
        )
        .await;
    let server = world.pod("server", "ready", ready).await;
    let to = |path: &str| json!({ "httpGet": { "path": path, "port": 8080, "host": server["status"]["podIP"] } });
    let hooked = json!({ "lifecycle": { "postStart": to("/started"), "preStop": to("/stopping") } });
    let mut hooked = once(WAIT, hooked, json!({}));
    hooked["terminationGracePeriodSeconds"] = json!(5);
    world.create("hooked", hooked).await;

    let probe = |how: Value, threshold: i32| {
        let mut probe = how;
        probe["periodSeconds"] = json!(1);
        probe["failureThreshold"] = json!(threshold);
        probe
    };
    let http = |path: &str, threshold| probe(json!({ "httpGet": { "path": path, "port": 8080 } }), threshold);
    let served = |liveness: Value, readiness: Value, spec: Value| {
        let mut pod = once(
            serve,
            json!({ "livenessProbe": liveness, "readinessProbe": readiness }),
            spec,
        );
        pod["restartPolicy"] = json!("Always");
        pod
    };
    let tcp = |port: i32| probe(json!({ "tcpSocket": { "port": port } }), 1);
    world
        .create("fine", served(http("/ok", 30), tcp(8080), json!({})))
        .await;
    // At first nobody may listen yet, which is another failure.
    let mut dies = http("/none", 5);
    dies["terminationGracePeriodSeconds"] = json!(1);
    world
        .create(
            "dies",
            served(dies, tcp(8080), json!({ "terminationGracePeriodSeconds": 600 })),
        )
        .await;
    world
        .create("unready", served(http("/ok", 30), http("/none", 1), json!({})))
        .await;
    let grpc = probe(json!({ "grpc": { "port": 8080 } }), 1);
    world.create("nogrpc", served(grpc, tcp(8080), json!({}))).await;

    // Wanted resources are what a container starts with; until it does, nobody is told that it has them.
    let asks = |cpu: &str| json!({ "requests": { "cpu": cpu } });
    let mut grows = once(WAIT, json!({ "resources": asks("10m") }), json!({}));
    grows["restartPolicy"] = json!("Always");
    world.create("grows", grows).await;
    let pod = world.pod("grows", "ready", ready).await;
    let wanted = Patch::Strategic(json!({ "spec": { "containers": [{ "name": "a", "resources": asks("20m") }] } }));
    let none = PatchParams::default();
    world
        .pods()
        .patch_subresource("resize", "grows", &none, &wanted)
        .await
        .expect("accepted");
    let has = |pod: &Value, cpu: &str| pod["status"]["containerStatuses"][0]["resources"] == asks(cpu);
    let pending = |pod: &Value| holds(pod, "PodResizePending");
    world.pod("grows", "told", |pod| pending(pod) && has(pod, "10m")).await;
    kill(world.process(&pod, 0));
    world
        .pod("grows", "grown", |pod| !pending(pod) && has(pod, "20m"))
        .await;

    let ended = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["terminated"].clone();
    for (name, reason, message) in [
        ("logs", "Error", json!("from the log\n")),
        ("file", "Completed", json!("of file")),
        ("nothing", "Completed", Value::Null),
        ("own", "Completed", json!("mine")),
    ] {
        let pod = world.pod(name, "ended", |pod| !ended(pod).is_null()).await;
        assert_eq!(
            (&ended(&pod)["reason"], &ended(&pod)["message"]),
            (&json!(reason), &message),
            "{name}"
        );
    }
    let waiting =
        |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing";
    let pod = world.pod("initfails", "failed", phase("Failed")).await;
    assert!(waiting(&pod), "{:#}", pod["status"]);
    let restarted = |pod: &Value| pod["status"]["initContainerStatuses"][0]["restartCount"].as_i64() >= Some(2);
    let pod = world.pod("initagain", "restarted", restarted).await;
    assert!(
        waiting(&pod) && pod["status"]["phase"] == "Pending",
        "{:#}",
        pod["status"]
    );

    world.pod("dies", "restarted", |pod| restarts(pod) >= 1).await;
    world
        .wait_for_event("dies", "Liveness probe failed: HTTP probe failed with statuscode: 404")
        .await;
    world.pod("nogrpc", "restarted", |pod| restarts(pod) >= 1).await;
    let pod = world.pod("unready", "running", phase("Running")).await;
    world.wait_for_event("unready", "Readiness probe failed").await;
    let fine = world.pod("fine", "ready", ready).await;
    assert!(!ready(&pod) && restarts(&fine) == 0);

    world.pod("hooked", "ready", ready).await;
    world.delete("hooked").await;
    world.gone("hooked").await;
    let log = world.log(&server, "a", 0);
    assert!(log.contains("started") && log.contains("stopping"), "{log}");
    for name in ["fine", "unready"] {
        let pod = world.get(name).await;
        assert_eq!((restarts(&pod), ready(&pod)), (0, name == "fine"), "{name}");
    }
    world.end().await;
}
