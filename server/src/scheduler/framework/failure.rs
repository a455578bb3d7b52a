//! Why a Pod got no node: the verdict of every node, and upstream's words for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Rejection;
use crate::scheduler::pod::Pod;

/// What one node's verdict was.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Slot of the node.
    pub slot: usize,
    /// Plugin that rejected.
    pub plugin: &'static str,
    /// Why.
    pub rejection: Rejection,
}

/// Room that is to be made for a Pod.
#[derive(Clone, Debug)]
pub struct Nomination {
    /// Node that it will get.
    pub node: Box<str>,
    /// Pods that go first.
    pub victims: Vec<Arc<Pod>>,
    /// Less important Pods that hoped for the same node and shall look elsewhere.
    pub displaced: Vec<Arc<Pod>>,
}

/// Why no node was found.
#[derive(Debug, Default)]
pub struct Failure {
    /// How many nodes there are.
    pub nodes: usize,
    /// Verdicts of the nodes that were looked at.
    pub verdicts: Vec<Verdict>,
    /// The verdict of all others, which were not worth a look.
    pub others: Option<Rejection>,
    /// A plugin rejected the Pod before nodes were looked at.
    pub at_once: bool,
    /// Plugins that rejected.
    pub plugins: Vec<&'static str>,
    /// What PostFilter said.
    pub after: String,
    /// What PostFilter wants done.
    pub nomination: Option<Nomination>,
    /// Whether room that is being made for the Pod already still helps it.
    pub keep_nomination: bool,
}

impl Failure {
    /// The failure of a Pod that one plugin rejected for all nodes alike.
    pub fn of(plugin: &'static str, rejection: Rejection, nodes: usize) -> Self {
        Self {
            nodes,
            others: Some(rejection),
            at_once: true,
            plugins: vec![plugin],
            ..Self::default()
        }
    }

    pub(super) fn blame(&mut self, plugin: &'static str) {
        if !self.plugins.contains(&plugin) {
            self.plugins.push(plugin);
        }
    }

    /// How many nodes were not looked at one by one.
    pub fn unseen(&self) -> usize {
        self.nodes - self.verdicts.len()
    }

    /// How many nodes rejected the Pod whatever else runs on them.
    pub fn unresolvable(&self) -> usize {
        let seen = self.verdicts.iter().filter(|v| v.rejection.unresolvable).count();
        let others = self.others.as_ref().is_some_and(|rejection| rejection.unresolvable);
        seen + if others { self.unseen() } else { 0 }
    }

    /// How often each reason was given.
    pub fn reasons(&self) -> BTreeMap<&str, usize> {
        let mut reasons = BTreeMap::new();
        for verdict in &self.verdicts {
            for reason in verdict.rejection.reasons() {
                *reasons.entry(&**reason).or_default() += 1;
            }
        }
        for reason in self.others.iter().flat_map(Rejection::reasons) {
            *reasons.entry(&**reason).or_default() += self.unseen();
        }
        reasons
    }
}

/// How upstream tells of nodes and counted reasons: counts first, sorted as text.
pub fn verdict<'a>(nodes: usize, reasons: impl IntoIterator<Item = (&'a str, usize)>) -> String {
    let counted = reasons.into_iter().filter(|(_, count)| *count > 0);
    let mut words: Vec<String> = counted.map(|(reason, count)| format!("{count} {reason}")).collect();
    words.sort();
    match words.is_empty() {
        true => format!("0/{nodes} nodes are available"),
        false => format!("0/{nodes} nodes are available: {}.", words.join(", ")),
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        match &self.others {
            Some(rejection) if self.at_once => {
                write!(f, "0/{} nodes are available: {}.", self.nodes, rejection.text())?;
            }
            _ => f.write_str(&verdict(self.nodes, self.reasons()))?,
        }
        if !self.after.is_empty() {
            write!(f, " {}", self.after)?;
        }
        Ok(())
    }
}
