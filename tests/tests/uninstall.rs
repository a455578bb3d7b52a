//! What Mizzen brings to a machine, it takes away: compared before and after.

use std::collections::BTreeSet;
use std::process::Command;

use mizzen_tests::{Cluster, can_run_containers, program, succeed};

/// What a machine has that we might add to. Other instances' things, which come and go, are left out.
fn machine(cluster: &Cluster) -> BTreeSet<String> {
    let data = cluster.data_dir().display().to_string();
    let mut found = BTreeSet::new();
    let mut add = |kind: &str, text: String, ours: &dyn Fn(&str) -> bool| {
        found.extend(
            text.lines()
                .filter(|line| ours(line))
                .map(|line| format!("{kind} {line}")),
        );
    };
    let mentions = |line: &str| line.contains(&data);
    add(
        "mount",
        std::fs::read_to_string("/proc/self/mountinfo").expect("mounts"),
        &mentions,
    );
    add("process", succeed(Command::new("ps").args(["-eo", "args"])), &|line| {
        mentions(line) && !line.contains("uninstall")
    });
    let addresses = format!("10.{}.", 50 + (cluster.port() - 22000) / 10);
    let address = |line: &str| line.contains(&addresses);
    add("address", succeed(Command::new("ip").args(["-o", "address"])), &address);
    add("route", succeed(Command::new("ip").args(["route"])), &address);
    let names = mizzen_node::names::Names::of(&cluster.data_dir());
    add("link", succeed(Command::new("ip").args(["-o", "link"])), &|line| {
        line.contains(&names.bridge)
    });
    add(
        "table",
        succeed(Command::new("nft").args(["list", "tables"])),
        &|line| line.contains(&names.table),
    );
    add(
        "cgroup",
        succeed(Command::new("find").args(["/sys/fs/cgroup", "-maxdepth", "2", "-name", &names.cgroup])),
        &|_| true,
    );
    if cluster.data_dir().exists() {
        found.insert(format!("file {data}"));
    }
    found
}

#[test]
fn nothing_of_ours_is_left() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start();
    cluster.apply(&include_str!("../../examples/demo.yaml").replace(", nodePort: 30080", ""));
    cluster.run(&["rollout", "status", "-n", "demo", "deployment/hello", "--timeout=60s"]);
    let before = machine(&cluster);
    for kind in ["mount", "process", "address", "link", "table", "cgroup", "file"] {
        assert!(
            before.iter().any(|line| line.starts_with(kind)),
            "no {kind} of ours in {before:#?}"
        );
    }
    let data = format!("--data-dir={}", cluster.data_dir().display());
    let planned = succeed(Command::new(program()).args(["uninstall", "--dry-run", &data, "--name=none"]));
    assert!(planned.contains("would remove process"), "{planned}");
    assert_eq!(machine(&cluster), before, "a dry run changes nothing");
    let removed = succeed(Command::new(program()).args(["uninstall", &data, "--name=none"]));
    assert!(removed.contains("removed nftables table"), "{removed}");
    assert_eq!(machine(&cluster), BTreeSet::new());
}
