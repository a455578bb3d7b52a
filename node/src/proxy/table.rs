//! Our table in nftables: its fixed part, and the text of transactions.
//!
//! Transactions go through `nft -f -`, one process per batch, because the program and the kernel it came with agree on
//! what they support. A batch is atomic: the kernel takes all of it or nothing.

use std::fmt::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use ipnet::Ipv4Net;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::rules::{SetKind, balancer};
use super::ruleset::Operation;
use crate::network;

/// Packets with this bit leave with the node's address, unless they go to a Pod on this node.
const FROM_OUTSIDE_MARK: &str = "0x4000";

/// A named table of family inet.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    name: String,
    base: String,
    from_outside: String,
}

impl Table {
    pub(crate) fn new(settings: &network::Settings) -> Self {
        Self {
            name: settings.table.clone(),
            base: base(settings),
            from_outside: from_outside(settings.cluster_cidr),
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
        let table = &self.name;
        let mut last = None;
        for operation in operations {
            // Elements of one map are one command: that is half the work for the kernel and for nft.
            let list = match operation {
                Operation::DeleteElement(map, ..) => Some(("delete", map)),
                Operation::AddElement(map, ..) => Some(("add", map)),
                _ => None,
            };
            if list != last {
                script.push_str(if last.is_some() { " }\n" } else { "" });
                if let Some((verb, map)) = list {
                    let _ = write!(script, "{verb} element inet {table} {} {{ ", map.name());
                }
                last = list;
            } else if list.is_some() {
                script.push_str(", ");
            }
            self.line(operation, script);
        }
        script.push_str(if last.is_some() { " }\n" } else { "" });
    }

    fn line(&self, operation: &Operation, script: &mut String) {
        let table = &self.name;
        let _ = match operation {
            Operation::AddBalancer(count) => {
                let (chain, outside) = (balancer(*count), &self.from_outside);
                writeln!(
                    script,
                    "add chain inet {table} {chain}
add rule inet {table} {chain} {outside}
add rule inet {table} {chain} meta priority set numgen random mod {count} \
dnat ip to ip daddr . meta l4proto . th dport . meta priority map @endpoints"
                )
            }
            Operation::AddSet(name, kind) => {
                let kind = match kind {
                    SetKind::Clients(seconds) => {
                        format!("type ipv4_addr; flags dynamic,timeout; timeout {seconds}s;")
                    }
                    SetKind::Addresses => "type ipv4_addr;".to_owned(),
                    SetKind::Ports => "type ipv4_addr . inet_proto . inet_service;".to_owned(),
                };
                writeln!(script, "add set inet {table} {name} {{ {kind} }}")
            }
            Operation::AddChain(name) => writeln!(script, "add chain inet {table} {name}"),
            Operation::Flush(name) => writeln!(script, "flush chain inet {table} {name}"),
            Operation::AddRules(name, rules) => rules
                .iter()
                .try_for_each(|rule| writeln!(script, "add rule inet {table} {name} {rule}")),
            Operation::DeleteElement(_, key, value) | Operation::AddElement(_, key, value) => {
                let colon = if value.is_empty() { "" } else { " : " };
                write!(script, "{key}{colon}{value}")
            }
            Operation::DeleteChain(name) => writeln!(script, "delete chain inet {table} {name}"),
            Operation::DeleteSet(name) => writeln!(script, "delete set inet {table} {name}"),
        };
    }
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

/// Clients outside the Pod network must see the answer come from this node.
pub(crate) fn from_outside(cluster_cidr: Ipv4Net) -> String {
    format!("ip saddr != {cluster_cidr} jump from_outside")
}

/// The part of the table that no Service changes.
fn base(settings: &network::Settings) -> String {
    let network::Settings {
        table,
        bridge,
        overlay,
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
  # The number of an endpoint takes the way through the packet's priority: nft has no type for a bare number. Forwarding
  # sets the priority anew.
  map endpoints {{ type ipv4_addr . inet_proto . inet_service . classid : ipv4_addr . inet_service; }}
  map policy_out {{ type ipv4_addr : verdict; }}
  map policy_in {{ type ipv4_addr : verdict; }}
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
    ip saddr {cluster_cidr} ip daddr != {cluster_cidr} masquerade fully-random
"
        ),
    ));
    let to_dns = settings
        .dns_ip
        .map(|ip| format!("    iifname \"{bridge}\" ip daddr {ip} ip saddr vmap @policy_out\n"));
    let policies = [
        ("out", "forward", "10", "    ip saddr vmap @policy_out\n".to_owned()),
        ("in", "forward", "20", "    ip daddr vmap @policy_in\n".to_owned()),
        // What a Pod sends to its own node passes, but not what it reaches there through a Service or for a name.
        (
            "here",
            "input",
            "10",
            format!(
                "    iifname \"{bridge}\" ct status dnat ip saddr vmap @policy_out\n{}",
                to_dns.unwrap_or_default()
            ),
        ),
    ];
    for (name, hook, priority, rules) in policies {
        let _ = write!(
            text,
            "  chain policy_{name}_hook {{
    type filter hook {hook} priority {priority}; policy accept;
    ct state established,related accept
    ip saddr . ip daddr @hairpin accept
{rules}  }}
"
        );
    }
    for name in ["input", "forward"] {
        text.push_str(&hook(name, "filter", "filter", "    ct state new jump refuse\n"));
    }
    let _ = write!(
        text,
        "  chain output_filter_hook {{
    type filter hook output priority filter; policy accept;
    ct state new jump refuse
  }}
  # Loopback addresses are routable on our links for ports of 127.0.0.1; Pods must not use that.
  chain bridge_hook {{
    type filter hook prerouting priority raw; policy accept;
    iifname {{ \"{bridge}\", \"{overlay}\" }} ip daddr 127.0.0.0/8 drop
  }}
}}
"
    );
    text
}
