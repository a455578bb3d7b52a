//! A network namespace at the end of a cable that can be cut: packets are lost, and nobody is told.

use std::process::Command;

use mizzen_tests::succeed;

/// The cable, and what is at its end.
pub struct Cable {
    namespace: String,
    /// The address of this machine at its end.
    pub address: String,
}

impl Cable {
    pub fn lay() -> Self {
        let number = std::process::id() % 250;
        let namespace = format!("mztui-{number}");
        let link = format!("mztui{number}");
        let (here, there) = (format!("10.249.{number}.1"), format!("10.249.{number}.2/30"));
        ip(&["netns", "add", &namespace]);
        let cable = Self {
            namespace,
            address: here,
        };
        let name = cable.namespace.as_str();
        ip(&[
            "link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", name,
        ]);
        ip(&["address", "add", &format!("{}/30", cable.address), "dev", &link]);
        ip(&["link", "set", &link, "up"]);
        ip(&["-n", name, "address", "add", &there, "dev", "eth0"]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        ip(&["-n", name, "link", "set", "eth0", "up"]);
        cable
    }

    /// What a command starts with to run at the end.
    pub fn enter(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/run/netns/{}", self.namespace)]
    }

    /// Nothing arrives at the end any more.
    pub fn cut(&self) {
        self.nft("add table inet cut; add chain inet cut input { type filter hook input priority 0; policy drop; }");
    }

    pub fn mend(&self) {
        self.nft("delete table inet cut");
    }

    fn nft(&self, rules: &str) {
        let enter = self.enter();
        succeed(Command::new(&enter[0]).arg(&enter[1]).args(["nft", rules]));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // The cable goes with its end.
        let gone = Command::new("ip").args(["netns", "del", &self.namespace]).status();
        if !gone.is_ok_and(|status| status.success()) {
            eprintln!("namespace {} was not removed", self.namespace);
        }
    }
}

fn ip(arguments: &[&str]) {
    succeed(Command::new("ip").args(arguments));
}
