//! Our table in nftables: its fixed part, and the text of transactions.
//!
//! Transactions go through `nft -f -`, one process per batch, because the program and the kernel it came with agree on
//! what they support. A batch is atomic: the kernel takes all of it or nothing.

use std::fmt::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::rules::Map;
use super::ruleset::Operation;
use crate::network;

/// Packets with this bit leave with the node's address, unless they go to a Pod on this node.
const FROM_OUTSIDE_MARK: &str = "0x4000";

/// A named table of family inet.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    name: String,
    base: String,
}

impl Table {
    pub(crate) fn new(settings: &network::Settings) -> Self {
        Self {
            name: settings.table.clone(),
            base: base(settings),
        }
    }

    /// Replaces the whole table in one transaction; connections go on.
    pub(crate) async fn reset(&self, operations: &[Operation]) -> anyhow::Result<()> {
        let name = &self.name;
        let mut script = format!("add table inet {name}\ndelete table inet {name}\n{}", self.base);
        self.render(operations, &mut script);
        nft(&script).await
    }

    /// Applies a difference.
    pub(crate) async fn apply(&self, operations: &[Operation]) -> anyhow::Result<()> {
        let mut script = String::new();
        self.render(operations, &mut script);
        nft(&script).await
    }

    fn render(&self, operations: &[Operation], script: &mut String) {
        for operation in operations {
            self.line(operation, script);
        }
    }

    fn line(&self, operation: &Operation, script: &mut String) {
        let table = &self.name;
        let _ = match operation {
            Operation::AddSet(name, seconds) => writeln!(
                script,
                "add set inet {table} {name} {{ type ipv4_addr; flags dynamic,timeout; timeout {seconds}s; }}"
            ),
            Operation::AddChain(name) => writeln!(script, "add chain inet {table} {name}"),
            Operation::Flush(name) => writeln!(script, "flush chain inet {table} {name}"),
            Operation::AddRules(name, rules) => rules
                .iter()
                .try_for_each(|rule| writeln!(script, "add rule inet {table} {name} {rule}")),
            Operation::DeleteElement(map, key, value) => element(script, "delete", table, *map, key, value),
            Operation::AddElement(map, key, value) => element(script, "add", table, *map, key, value),
            Operation::DeleteChain(name) => writeln!(script, "delete chain inet {table} {name}"),
            Operation::DeleteSet(name) => writeln!(script, "delete set inet {table} {name}"),
        };
    }
}

fn element(script: &mut String, verb: &str, table: &str, map: Map, key: &str, value: &str) -> std::fmt::Result {
    let colon = if value.is_empty() { "" } else { " : " };
    writeln!(
        script,
        "{verb} element inet {table} {} {{ {key}{colon}{value} }}",
        map.name()
    )
}

/// Removes the table, if it is there.
pub(crate) async fn remove(name: &str) -> anyhow::Result<()> {
    nft(&format!("add table inet {name}\ndelete table inet {name}\n")).await
}

async fn nft(script: &str) -> anyhow::Result<()> {
    if script.is_empty() {
        return Ok(());
    }
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("nft is not installed")?;
    let mut input = child.stdin.take().context("nft has no input")?;
    input.write_all(script.as_bytes()).await?;
    drop(input);
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!("nft: {}", message.lines().take(3).collect::<Vec<_>>().join(": "));
    }
    Ok(())
}

/// The part of the table that no Service changes.
fn base(settings: &network::Settings) -> String {
    let network::Settings {
        table,
        bridge,
        pod_cidr,
        cluster_cidr,
        service_cidr,
        ..
    } = settings;
    let dns = settings
        .dns_ip
        .map(|ip| format!("ip daddr != {ip} "))
        .unwrap_or_default();
    let hook = |name: &str, kind: &str, priority: &str, rules: &str| {
        format!(
            "  chain {name}_hook {{\n    type {kind} hook {name} priority {priority}; policy accept;\n{rules}  }}\n"
        )
    };
    let mut text = format!(
        "table inet {table} {{
  map services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map node_ports {{ type inet_proto . inet_service : verdict; }}
  set refused {{ type ipv4_addr . inet_proto . inet_service; }}
  set refused_node_ports {{ type inet_proto . inet_service; }}
  set hairpin {{ type ipv4_addr . ipv4_addr; }}
  map host_ports {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map host_ports_at {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
  chain from_outside {{
    meta mark set meta mark or {FROM_OUTSIDE_MARK}
  }}
  chain to_node {{
    meta l4proto . th dport vmap @node_ports
    dnat ip to ip daddr . meta l4proto . th dport map @host_ports_at
    dnat ip to meta l4proto . th dport map @host_ports
  }}
  chain translate {{
    ip daddr . meta l4proto . th dport vmap @services
    meta nfproto ipv4 fib daddr type local jump to_node
  }}
  # A reset is told at once; the kernel limits how many ICMP messages it sends to one host.
  chain answer_no {{
    meta l4proto tcp reject with tcp reset
    reject
  }}
  chain refuse {{
    ip daddr . meta l4proto . th dport @refused goto answer_no
    meta nfproto ipv4 fib daddr type local meta l4proto . th dport @refused_node_ports goto answer_no
    ip daddr {service_cidr} {dns}goto answer_no
  }}
"
    );
    text.push_str(&hook("output", "nat", "-100", "    jump translate\n"));
    text.push_str(&hook("prerouting", "nat", "dstnat", "    jump translate\n"));
    text.push_str(&hook(
        "postrouting",
        "nat",
        "srcnat",
        &format!(
            "    ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random
    ct status dnat ip saddr 127.0.0.0/8 oifname != \"lo\" masquerade fully-random
    oifname {{ \"lo\", \"{bridge}\" }} return
    meta mark & {FROM_OUTSIDE_MARK} == {FROM_OUTSIDE_MARK} masquerade fully-random
    ip saddr {pod_cidr} ip daddr != {cluster_cidr} masquerade fully-random
"
        ),
    ));
    for name in ["input", "forward"] {
        text.push_str(&hook(name, "filter", "filter", "    ct state new jump refuse\n"));
    }
    let _ = write!(
        text,
        "  chain output_filter_hook {{
    type filter hook output priority filter; policy accept;
    ct state new jump refuse
  }}
  # Loopback addresses are routable on the bridge for hostPorts on 127.0.0.1; Pods must not use that.
  chain bridge_hook {{
    type filter hook prerouting priority raw; policy accept;
    iifname \"{bridge}\" ip daddr 127.0.0.0/8 drop
  }}
}}
"
    );
    text
}
