//! Names: a Pod's hostname, its `/etc/hosts`, and what its resolver is told. Pure.

use std::fmt::Write;
use std::net::IpAddr;

use k8s_cri::v1::DnsConfig;
use k8s_openapi::api::core::v1::Pod;

use super::podinfo::PodInfo;

/// The kernel's limit of a hostname.
const HOSTNAME_MAX: usize = 63;

/// What the node knows of name resolution.
#[derive(Clone, Debug)]
pub struct Resolver {
    /// The cluster DNS addresses.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// The text of the host's resolver configuration.
    pub host_config: String,
}

/// The Pod's hostname, and its fully qualified name if it has a subdomain.
#[must_use]
pub fn hostname(pod: &Pod, cluster_domain: &str, node_name: &str) -> (String, Option<String>) {
    let spec = pod.spec();
    if pod.on_host_network() && spec.hostname_override.is_none() {
        return (node_name.to_owned(), None);
    }
    if let Some(name) = &spec.hostname_override {
        return (name.clone(), None);
    }
    let given = spec.hostname.as_deref().filter(|name| !name.is_empty());
    let name = given.unwrap_or_else(|| pod.name());
    let name = name[..name.len().min(HOSTNAME_MAX)]
        .trim_end_matches(['-', '.'])
        .to_owned();
    let subdomain = spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty());
    let full = subdomain.map(|subdomain| format!("{name}.{subdomain}.{}.svc.{cluster_domain}", pod.namespace()));
    match (spec.set_hostname_as_fqdn, full) {
        (Some(true), Some(full)) => (full.clone(), Some(full)),
        (_, full) => (name, full),
    }
}

/// The text of the Pod's hosts file; `host` is the host's own, for Pods on its network.
#[must_use]
pub fn etc_hosts(pod: &Pod, ips: &[String], hostname: &str, full_name: Option<&str>, host: &str) -> String {
    let mut text = if pod.on_host_network() {
        format!("# Kubernetes-managed hosts file (host network).\n{host}")
    } else {
        let mut text = "# Kubernetes-managed hosts file.\n\
             127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\n\
             fe00::0\tip6-mcastprefix\n\
             fe00::1\tip6-allnodes\n\
             fe00::2\tip6-allrouters\n"
            .to_owned();
        let short = full_name.map_or(hostname, |full| full.split('.').next().unwrap_or(full));
        for ip in ips {
            let _ = match full_name {
                Some(full) => writeln!(text, "{ip}\t{full}\t{short}"),
                None => writeln!(text, "{ip}\t{hostname}"),
            };
        }
        text
    };
    let aliases = pod.spec().host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let _ = writeln!(
            text,
            "{}\t{}",
            alias.ip,
            alias.hostnames.as_deref().unwrap_or_default().join("\t")
        );
    }
    text
}

/// What the Pod's `/etc/resolv.conf` says.
#[must_use]
pub fn resolver(pod: &Pod, node: &Resolver) -> DnsConfig {
    let spec = pod.spec();
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirst" => !pod.on_host_network(),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let host = parse(&node.host_config);
    let mut config = match policy {
        "None" => DnsConfig::default(),
        _ if cluster && !node.cluster_dns.is_empty() => {
            let (namespace, domain) = (pod.namespace(), &node.cluster_domain);
            let own = [
                format!("{namespace}.svc.{domain}"),
                format!("svc.{domain}"),
                domain.clone(),
            ];
            DnsConfig {
                servers: node.cluster_dns.iter().map(ToString::to_string).collect(),
                searches: own.into_iter().chain(host.searches).collect(),
                options: vec!["ndots:5".to_owned()],
            }
        }
        _ => host,
    };
    if let Some(own) = &spec.dns_config {
        config.servers.extend(own.nameservers.iter().flatten().cloned());
        config.searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let name = option.name.as_deref().unwrap_or_default();
            config.options.retain(|old| old.split(':').next() != Some(name));
            config
                .options
                .push(match option.value.as_deref().filter(|value| !value.is_empty()) {
                    Some(value) => format!("{name}:{value}"),
                    None => name.to_owned(),
                });
        }
    }
    for list in [&mut config.servers, &mut config.searches] {
        let mut seen = std::collections::HashSet::new();
        list.retain(|item| seen.insert(item.clone()));
    }
    config
}

fn parse(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let rest = match words.next() {
            Some("nameserver") => {
                config.servers.extend(words.next().map(str::to_owned));
                continue;
            }
            Some("search") => &mut config.searches,
            Some("options") => &mut config.options,
            _ => continue,
        };
        *rest = words.map(str::to_owned).collect();
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        let mut spec = spec;
        spec["containers"] = serde_json::json!([]);
        let metadata = serde_json::json!({ "name": "web-0", "namespace": "shop" });
        serde_json::from_value(serde_json::json!({ "metadata": metadata, "spec": spec })).expect("a pod")
    }

    fn node() -> Resolver {
        Resolver {
            cluster_dns: vec!["10.43.0.10".parse().expect("an address")],
            cluster_domain: "cluster.local".into(),
            host_config: "# hello\nnameserver 1.1.1.1\nsearch lan example.org\noptions edns0\n".into(),
        }
    }

    #[test]
    fn names() {
        let check = |spec: serde_json::Value| hostname(&pod(spec), "cluster.local", "node-1");
        assert_eq!(check(serde_json::json!({})), ("web-0".into(), None));
        assert_eq!(check(serde_json::json!({ "hostNetwork": true })).0, "node-1");
        let full = check(serde_json::json!({ "hostname": "a", "subdomain": "b" }));
        assert_eq!(full, ("a".into(), Some("a.b.shop.svc.cluster.local".into())));
    }

    #[test]
    fn policies() {
        let check = |spec: serde_json::Value| resolver(&pod(spec), &node());
        let cluster = check(serde_json::json!({}));
        assert_eq!(cluster.servers, ["10.43.0.10"]);
        assert_eq!(
            cluster.searches.join(" "),
            "shop.svc.cluster.local svc.cluster.local cluster.local lan example.org"
        );
        assert_eq!(cluster.options, ["ndots:5"]);
        assert_eq!(
            check(serde_json::json!({ "dnsPolicy": "Default" })).servers,
            ["1.1.1.1"]
        );
        assert_eq!(check(serde_json::json!({ "hostNetwork": true })).servers, ["1.1.1.1"]);
        let own = check(
            serde_json::json!({ "dnsPolicy": "None", "dnsConfig": { "nameservers": ["9.9.9.9"],
            "options": [{ "name": "ndots", "value": "2" }, { "name": "rotate" }] } }),
        );
        assert_eq!(
            (own.servers, own.options),
            (vec!["9.9.9.9".into()], vec!["ndots:2".into(), "rotate".into()])
        );
        let added = check(serde_json::json!({ "dnsConfig": { "options": [{ "name": "ndots", "value": "2" }] } }));
        assert_eq!(added.options, ["ndots:2"]);
    }

    #[test]
    fn hosts_file_with_aliases() {
        let pod = pod(serde_json::json!({ "hostAliases": [{ "ip": "1.2.3.4", "hostnames": ["x", "y"] }] }));
        let text = etc_hosts(&pod, &["10.42.0.7".into()], "a", Some("a.b.shop.svc.cluster.local"), "");
        assert!(text.contains("10.42.0.7\ta.b.shop.svc.cluster.local\ta\n"), "{text}");
        assert!(
            text.ends_with("# Entries added by HostAliases.\n1.2.3.4\tx\ty\n"),
            "{text}"
        );
    }
}
