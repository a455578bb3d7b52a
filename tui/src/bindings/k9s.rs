//! The keys that k9s users have in their fingers: each means the same here, or is listed with the reason why
//! not. Help shows what differs; a test holds this table against the bindings.

use crossterm::event::KeyEvent;

/// A row: where, keys, the binding of ours that they lead to (none: they do nothing), and how that differs from
/// k9s (nothing: it does not).
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    /// Contexts of bindings.
    pub contexts: &'static [&'static str],
    /// Keys, as [`super::parse`] reads them, with spaces between.
    pub keys: &'static str,
    /// Name of the binding; empty for none.
    pub binding: &'static str,
    /// What is different, and why.
    pub differs: &'static str,
}

const fn same(contexts: &'static [&'static str], keys: &'static str, binding: &'static str) -> Habit {
    differs(contexts, keys, binding, "")
}

const fn differs(
    contexts: &'static [&'static str],
    keys: &'static str,
    binding: &'static str,
    differs: &'static str,
) -> Habit {
    Habit {
        contexts,
        keys,
        binding,
        differs,
    }
}

const TABLE: &[&str] = &["table"];
const TEXT: &[&str] = &["text"];
const LOGS: &[&str] = &["logs", "text"];
const PODS: &[&str] = &["pods", "table"];
const CONTAINERS: &[&str] = &["containers", "table"];
const NODES: &[&str] = &["nodes", "table"];
const DEPLOYMENTS: &[&str] = &["deployments", "table"];
const STATEFUL_SETS: &[&str] = &["statefulsets", "table"];
const DAEMON_SETS: &[&str] = &["daemonsets", "table"];
const SERVICES: &[&str] = &["services", "table"];
const CRON_JOBS: &[&str] = &["cronjobs", "table"];
const EVENTS: &[&str] = &["events", "table"];
const JOBS: &[&str] = &["jobs", "table"];
const KUBE_CONTEXTS: &[&str] = &["contexts", "table"];
const FORWARDS: &[&str] = &["forwards", "text"];
const CLAIMS: &[&str] = &["persistentvolumeclaims", "table"];

/// The table.
pub const HABITS: &[Habit] = &[
    same(TABLE, ":", "command"),
    same(TABLE, "/", "filter"),
    same(TABLE, "?", "help"),
    same(TABLE, "ctrl-a", "aliases"),
    same(TABLE, "esc q", "back"),
    same(TABLE, "[", "history-back"),
    same(TABLE, "]", "history-forward"),
    same(TABLE, "-", "history-last"),
    same(TABLE, "enter", "enter"),
    differs(
        TABLE,
        "ctrl-r",
        "refresh",
        "lists are watched and always current; only what is measured is read again",
    ),
    same(TABLE, "ctrl-c", "quit"),
    same(TABLE, "ctrl-e", "toggle-header"),
    same(TABLE, "ctrl-g", "toggle-crumbs"),
    same(TABLE, "j down", "down"),
    same(TABLE, "k up", "up"),
    same(TABLE, "h left", "left"),
    same(TABLE, "l right", "right-columns"),
    same(TABLE, "g", "top"),
    same(TABLE, "G", "bottom"),
    same(TABLE, "ctrl-f", "page-down"),
    same(TABLE, "ctrl-b", "page-up"),
    same(TABLE, "ctrl-u ctrl-q", "clear-filter"),
    same(TABLE, "0", "namespace-all"),
    same(TABLE, "1", "namespace-1"),
    same(TABLE, "2", "namespace-2"),
    same(TABLE, "3", "namespace-3"),
    same(TABLE, "4", "namespace-4"),
    same(TABLE, "5", "namespace-5"),
    same(TABLE, "6", "namespace-6"),
    same(TABLE, "7", "namespace-7"),
    same(TABLE, "8", "namespace-8"),
    same(TABLE, "9", "namespace-9"),
    same(TABLE, "w", "warp"),
    same(TABLE, "space", "mark"),
    same(TABLE, "ctrl-space", "mark-range"),
    same(TABLE, "ctrl-\\", "mark-clear"),
    differs(
        TABLE,
        "ctrl-s",
        "save",
        "saves CSV into the directory that the console was started in",
    ),
    same(TABLE, "ctrl-w", "wide"),
    same(TABLE, "ctrl-z", "faults"),
    differs(
        TABLE,
        "ctrl-p",
        "",
        "there is no configuration to write back: options and keys.yaml hold it",
    ),
    same(TABLE, "c", "copy-name"),
    same(TABLE, "n", "copy-namespace"),
    same(TABLE, "d", "describe"),
    same(TABLE, "y", "yaml"),
    differs(
        TABLE,
        "e",
        "edit",
        "the server tries the change and the difference is shown before it is sent",
    ),
    same(TABLE, "ctrl-d", "delete"),
    differs(
        PODS,
        "ctrl-k",
        "kill",
        "asks first: one slip of a finger shall not end a Pod",
    ),
    same(PODS, "l", "logs"),
    same(CONTAINERS, "l", "logs"),
    same(DEPLOYMENTS, "l", "logs"),
    same(STATEFUL_SETS, "l", "logs"),
    same(DAEMON_SETS, "l", "logs"),
    same(SERVICES, "l", "logs"),
    same(JOBS, "l", "logs"),
    same(PODS, "p", "previous-logs"),
    same(CONTAINERS, "p", "previous-logs"),
    same(DEPLOYMENTS, "p", "previous-logs"),
    same(STATEFUL_SETS, "p", "previous-logs"),
    same(DAEMON_SETS, "p", "previous-logs"),
    same(SERVICES, "p", "previous-logs"),
    same(JOBS, "p", "previous-logs"),
    differs(
        PODS,
        "s",
        "shell",
        "opens in a pane; ctrl-] f gives it the whole screen",
    ),
    same(CONTAINERS, "s", "shell"),
    differs(
        NODES,
        "s",
        "",
        "a shell on a node takes a privileged Pod, which this console does not make",
    ),
    differs(
        &["customresources", "table"],
        "s",
        "",
        "custom resources that scale are scaled by editing them (e)",
    ),
    same(DEPLOYMENTS, "s", "scale"),
    same(STATEFUL_SETS, "s", "scale"),
    differs(
        &["horizontalpodautoscalers", "table"],
        "s",
        "",
        "what an autoscaler scales is scaled in its own table, where the autoscaler would undo it",
    ),
    same(CRON_JOBS, "s", "suspend-cron-job"),
    same(CRON_JOBS, "t", "trigger"),
    same(PODS, "a", "attach"),
    same(CONTAINERS, "a", "attach"),
    same(&["dir", "table"], "a", "apply-file"),
    same(PODS, "F", "port-forward"),
    same(SERVICES, "F", "port-forward"),
    same(CONTAINERS, "F", "port-forward"),
    same(DEPLOYMENTS, "F", "port-forward"),
    same(STATEFUL_SETS, "F", "port-forward"),
    same(DAEMON_SETS, "F", "port-forward"),
    same(PODS, "f", "port-forwards"),
    same(SERVICES, "f", "port-forwards"),
    same(CONTAINERS, "f", "port-forwards"),
    same(DEPLOYMENTS, "f", "port-forwards"),
    same(STATEFUL_SETS, "f", "port-forwards"),
    same(DAEMON_SETS, "f", "port-forwards"),
    same(FORWARDS, "ctrl-d", "end-forward"),
    differs(
        FORWARDS,
        "b",
        "",
        "no HTTP benchmarks of forwards: load generators do it better",
    ),
    differs(
        KUBE_CONTEXTS,
        "r",
        "",
        "contexts are not renamed: who wrote the kubeconfig may write it again",
    ),
    differs(
        KUBE_CONTEXTS,
        "ctrl-d",
        "delete",
        "contexts are not deleted: who wrote the kubeconfig may do that too",
    ),
    differs(
        TABLE,
        "v",
        "",
        "no view of Helm's releases, so neither values (v), history nor rollback (r) of them",
    ),
    same(TABLE, "J", "owner"),
    same(PODS, "o", "show-node"),
    same(PODS, "t", "transfer"),
    differs(
        PODS,
        "z",
        "",
        "no sanitizer: ctrl-z shows what has a fault, and those are marked and deleted",
    ),
    same(DEPLOYMENTS, "z", "replica-sets"),
    same(DEPLOYMENTS, "r", "restart"),
    same(STATEFUL_SETS, "r", "restart"),
    same(DAEMON_SETS, "r", "restart"),
    same(NODES, "r", "drain"),
    same(NODES, "c", "cordon"),
    same(NODES, "u", "uncordon"),
    same(&["serviceaccounts", "table"], "u", "used-by"),
    same(&["configmaps", "table"], "u", "used-by"),
    same(&["secrets", "table"], "u", "used-by"),
    same(CLAIMS, "u", "used-by"),
    same(&["priorityclasses", "table"], "u", "used-by"),
    same(&["namespaces", "table"], "u", "use-namespace"),
    same(&["secrets", "table"], "x", "decode"),
    same(&["tree"], "x", "unfold"),
    same(&["replicasets", "table"], "ctrl-l", "rollback"),
    same(PODS, "i", "set-image"),
    same(DEPLOYMENTS, "i", "set-image"),
    same(STATEFUL_SETS, "i", "set-image"),
    same(DAEMON_SETS, "i", "set-image"),
    differs(SERVICES, "b", "", "no HTTP benchmarks: load generators do it better"),
    differs(PODS, "v", "", "no image scans"),
    same(TEXT, "/", "filter"),
    same(TEXT, "n", "search-next"),
    same(TEXT, "N", "search-previous"),
    same(TEXT, "c", "copy-all"),
    same(TEXT, "f", "fullscreen"),
    same(TEXT, "m", "managed-fields"),
    same(TEXT, "x", "decode"),
    same(TEXT, "e", "edit"),
    differs(
        TEXT,
        "r",
        "reload",
        "reads once: texts follow their objects by themselves",
    ),
    same(TEXT, "ctrl-s", "save"),
    same(LOGS, "0", "log-tail"),
    same(LOGS, "1", "log-head"),
    same(LOGS, "2", "log-1m"),
    same(LOGS, "3", "log-5m"),
    same(LOGS, "4", "log-15m"),
    same(LOGS, "5", "log-30m"),
    same(LOGS, "6", "log-1h"),
    same(LOGS, "s", "log-autoscroll"),
    same(LOGS, "f", "fullscreen"),
    same(LOGS, "t", "log-time"),
    same(LOGS, "w", "wrap"),
    same(LOGS, "L", "log-column-lock"),
    same(LOGS, "m", "log-mark"),
    same(LOGS, "C", "log-clear"),
    same(LOGS, "c", "copy-all"),
    same(LOGS, "ctrl-s", "save"),
    same(LOGS, "a", "log-all-containers"),
    same(TABLE, "N", "sort-name"),
    same(TABLE, "A", "sort-age"),
    same(TABLE, "S", "sort-status"),
    same(TABLE, "P", "sort-namespace"),
    same(TABLE, "shift-left", "column-left"),
    same(TABLE, "shift-right", "column-right"),
    same(TABLE, "O", "sort-column"),
    // Sort keys of before v0.50.18.
    same(PODS, "C", "sort-cpu"),
    same(PODS, "M", "sort-memory"),
    same(NODES, "C", "sort-cpu"),
    same(NODES, "M", "sort-memory"),
    differs(CONTAINERS, "C M", "", "containers stand in the order of their Pod"),
    same(PODS, "X", "sort-cpu-of-request"),
    same(PODS, "Z", "sort-memory-of-request"),
    same(PODS, "ctrl-x", "sort-cpu-of-limit"),
    differs(
        PODS,
        "ctrl-q",
        "clear-filter",
        "today's meaning; it sorted by %MEM/L once",
    ),
    same(PODS, "R", "sort-ready"),
    same(PODS, "T", "sort-restarts"),
    same(PODS, "I", "sort-ip"),
    differs(PODS, "O", "sort-column", "today's meaning; it sorted by node once"),
    same(NODES, "R", "sort-roles"),
    differs(
        NODES,
        "O",
        "sort-column",
        "today's meaning; it sorted by the number of Pods once",
    ),
    same(DEPLOYMENTS, "R", "sort-ready"),
    same(DEPLOYMENTS, "U", "sort-up-to-date"),
    same(DEPLOYMENTS, "L", "sort-available"),
    same(DAEMON_SETS, "R", "sort-ready"),
    same(DAEMON_SETS, "U", "sort-up-to-date"),
    same(DAEMON_SETS, "L", "sort-available"),
    same(DAEMON_SETS, "D", "sort-desired"),
    same(DAEMON_SETS, "C", "sort-current"),
    same(EVENTS, "L", "sort-last-seen"),
    same(EVENTS, "F", "sort-first-seen"),
    same(EVENTS, "T", "sort-type"),
    same(EVENTS, "R", "sort-reason"),
    same(EVENTS, "S", "sort-source"),
    same(EVENTS, "C", "sort-count"),
    same(CLAIMS, "V", "sort-volume"),
    same(CLAIMS, "C", "sort-capacity"),
    differs(
        CLAIMS,
        "O",
        "sort-column",
        "today's meaning; it sorted by storage class once",
    ),
];

/// Command words of k9s that open nothing here, and why.
pub const WORDS: &[(&[&str], &str)] = &[
    (
        &["screendumps", "screendump", "sd"],
        "what is saved lies in the directory that the console was started in",
    ),
    (
        &["benchmarks", "benchmark", "bench", "be"],
        "no HTTP benchmarks, so no list of them",
    ),
    (
        &["helm", "charts", "chart", "hm"],
        "no view of Helm's releases: helm list tells them",
    ),
];

/// Why a command word of k9s opens nothing here.
pub fn why_not(word: &str) -> Option<&'static str> {
    let row = WORDS.iter().find(|(words, _)| words.contains(&word))?;
    Some(row.1)
}

/// Why a key of k9s does nothing in these contexts.
pub fn why_nothing(contexts: &[&'static str], key: KeyEvent) -> Option<&'static str> {
    let key = super::normal(key);
    let here = |habit: &&Habit| habit.binding.is_empty() && contexts.contains(&habit.contexts[0]);
    let means = |habit: &&Habit| habit.keys.split(' ').any(|text| super::parse(text) == Some(key));
    let mut found: Vec<&Habit> = HABITS.iter().filter(here).filter(means).collect();
    found.sort_by_key(|habit| contexts.iter().position(|context| *context == habit.contexts[0]));
    found.first().map(|habit| habit.differs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::{BINDINGS, Bindings, parse};

    #[test]
    fn every_habit_means_the_same_or_says_why_not() {
        let bindings = Bindings::default();
        for habit in HABITS {
            for key in habit.keys.split(' ') {
                let event = parse(key).unwrap_or_else(|| panic!("{key}"));
                let act = bindings.find(habit.contexts, event);
                let found = act
                    .and_then(|act| BINDINGS.iter().find(|b| b.act == act))
                    .map_or("", |b| b.name);
                assert_eq!(found, habit.binding, "{key} in {:?}", habit.contexts);
            }
            assert!(
                !habit.binding.is_empty() || !habit.differs.is_empty(),
                "{habit:?} does nothing and says not why"
            );
        }
    }

    #[test]
    fn the_documentation_lists_what_differs() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/terminal-ui.md");
        let text = std::fs::read_to_string(file).expect("the documentation");
        let keys = HABITS.iter().map(|habit| habit.differs);
        for differs in keys.chain(WORDS.iter().map(|(_, why)| *why)) {
            assert!(text.contains(differs), "docs/terminal-ui.md does not say: {differs}");
        }
    }
}
