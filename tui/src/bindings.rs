//! The one table of keys. Help, hint bar, key lookup and the remap file all derive from it.
//!
//! To add a binding: one row in [`bindings!`] below; handle its [`Act`] in the view (or in the app) that
//! answers to one of its contexts. A context is a word that views list in [`crate::view::View::contexts`]: a
//! kind of view (`table`, `text`, `logs`), or the plural of a resource (`pods`) for keys that only its tables
//! have. Contexts are tried in the view's order, then `everywhere`.
//!
//! `~/.config/mizzen/keys.yaml` maps names to keys (`delete: [ctrl-x, X]`); what it names wrongly is told.

pub mod k9s;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde::{Deserialize, Serialize};

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// What it does.
    pub act: Act,
    /// Its name in the remap file.
    pub name: &'static str,
    /// Its keys, as [`parse`] reads them.
    pub keys: &'static [&'static str],
    /// Where it works.
    pub contexts: &'static [&'static str],
    /// Heading in the help.
    pub group: &'static str,
    /// What it does, in a few words.
    pub description: &'static str,
}

macro_rules! bindings {
    ($($act:ident $name:literal [$($key:literal)*] [$($context:literal)*] $group:literal $description:literal;)*) => {
        /// Everything that a key can do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "the table describes them")]
        pub enum Act { $($act,)* }

        /// The table.
        pub const BINDINGS: &[Binding] = &[$(Binding {
            act: Act::$act, name: $name, keys: &[$($key),*], contexts: &[$($context),*],
            group: $group, description: $description,
        },)*];
    };
}

bindings! {
    Command "command" [":"] ["everywhere"] "General" "command prompt";
    Filter "filter" ["/"] ["everywhere"] "General" "filter rows, search text";
    Help "help" ["?"] ["everywhere"] "General" "this help";
    Back "back" ["esc" "q"] ["everywhere"] "General" "clear the filter, else one level up";
    Quit "quit" ["ctrl-c"] ["everywhere"] "General" "quit";
    Aliases "aliases" ["ctrl-a"] ["everywhere"] "General" "every kind with its names";
    HistoryBack "history-back" ["["] ["everywhere"] "General" "previous view, as it was";
    HistoryForward "history-forward" ["]"] ["everywhere"] "General" "next view, as it was";
    HistoryLast "history-last" ["-"] ["everywhere"] "General" "the view before this one";
    Refresh "refresh" ["ctrl-r"] ["everywhere"] "General" "repaint; lists are always current";
    Header "toggle-header" ["ctrl-e"] ["everywhere"] "General" "show or hide the header";
    Crumbs "toggle-crumbs" ["ctrl-g"] ["everywhere"] "General" "show or hide the crumbs";
    ReadOnly "toggle-read-only" ["f2"] ["everywhere"] "General" "read-only on or off";
    Notices "notices" ["f3"] ["everywhere"] "General" "what was done and said";
    Skin "next-skin" ["f4"] ["everywhere"] "General" "next skin";
    TabNew "tab-new" ["ctrl-t"] ["everywhere"] "General" "a tab beside this one";
    TabNext "tab-next" ["tab"] ["everywhere"] "General" "next tab";
    TabClose "tab-close" ["f10"] ["everywhere"] "General" "close the tab";
    Suspend "suspend" ["f12"] ["everywhere"] "General" "stop the program, as job control does";

    Up "up" ["up" "k"] ["table" "text" "tree"] "Navigation" "up";
    Down "down" ["down" "j"] ["table" "text" "tree"] "Navigation" "down";
    Left "left" ["left" "h"] ["table" "text" "tree"] "Navigation" "left";
    Right "right" ["right" "l"] ["text"] "Navigation" "right";
    RightColumns "right-columns" ["right" "l"] ["table" "tree"] "Navigation" "right";
    Top "top" ["g" "home"] ["table" "text" "tree"] "Navigation" "to the top";
    Bottom "bottom" ["G" "end"] ["table" "text" "tree"] "Navigation" "to the bottom";
    PageDown "page-down" ["ctrl-f" "pagedown"] ["table" "text" "tree"] "Navigation" "a page down";
    PageUp "page-up" ["ctrl-b" "pageup"] ["table" "text" "tree"] "Navigation" "a page up";
    ClearFilter "clear-filter" ["ctrl-u" "ctrl-q"] ["table" "text" "tree"] "Navigation" "clear the filter";

    Actions "actions" ["m"] ["table" "tree"] "Actions" "everything that can be done to the row";
    Edit "edit" ["e"] ["table" "tree" "text"] "Actions" "edit";
    Create "create" ["ctrl-n"] ["table"] "Actions" "a new object of this kind, from a template";
    ApplyFile "apply-file" ["a"] ["dir"] "Actions" "apply the file";
    Scale "scale" ["s"] ["deployments" "statefulsets" "replicasets" "replicationcontrollers"] "Actions" "scale";
    Restart "restart" ["r"] ["deployments" "statefulsets" "daemonsets"] "Actions" "restart: replace all Pods";
    Rollback "rollback" ["ctrl-l"] ["replicasets" "controllerrevisions" "deployments" "statefulsets" "daemonsets"] "Actions" "back to an earlier revision";
    SetImage "set-image" ["i"] ["pods" "deployments" "statefulsets" "daemonsets" "replicasets" "cronjobs"] "Actions" "set images";
    Delete "delete" ["ctrl-d"] ["table" "tree"] "Actions" "delete, after a question";
    Kill "kill" ["ctrl-k"] ["pods"] "Actions" "delete at once, after a question";
    Cordon "cordon" ["c"] ["nodes"] "Actions" "cordon";
    Uncordon "uncordon" ["u"] ["nodes"] "Actions" "uncordon";
    Drain "drain" ["r"] ["nodes"] "Actions" "drain";
    Trigger "trigger" ["t"] ["cronjobs"] "Actions" "run a Job of it now";
    SuspendJobs "suspend-cron-job" ["s"] ["cronjobs"] "Actions" "suspend, or resume";

    UsedBy "used-by" ["u"] ["secrets" "configmaps" "serviceaccounts" "persistentvolumeclaims" "persistentvolumes" "storageclasses" "priorityclasses" "roles" "clusterroles" "ingressclasses" "services"] "Row" "who uses it";
    Unfold "unfold" ["x"] ["tree"] "Navigation" "unfold everything";
    Enter "enter" ["enter"] ["table" "tree"] "Row" "into the row";
    Describe "describe" ["d"] ["table" "tree"] "Row" "describe";
    Yaml "yaml" ["y"] ["table" "tree"] "Row" "YAML";
    CopyName "copy-name" ["c"] ["table" "tree"] "Row" "copy the name";
    CopyNamespace "copy-namespace" ["n"] ["table" "tree"] "Row" "copy the namespace";
    Owner "owner" ["J"] ["table" "tree"] "Row" "to the owner";
    Warp "warp" ["w"] ["table"] "Row" "to the row's namespace";
    ReplicaSets "replica-sets" ["z"] ["deployments"] "Row" "its ReplicaSets";
    UseNamespace "use-namespace" ["u"] ["namespaces"] "Row" "use this namespace";
    Mark "mark" ["space"] ["table"] "Marks" "mark the row";
    MarkRange "mark-range" ["ctrl-space"] ["table"] "Marks" "mark from the last mark to here";
    MarkClear "mark-clear" ["ctrl-\\"] ["table"] "Marks" "clear marks";
    SortName "sort-name" ["N"] ["table"] "Sort" "by name";
    SortAge "sort-age" ["A"] ["table"] "Sort" "by age";
    SortStatus "sort-status" ["S"] ["table"] "Sort" "by status";
    SortNamespace "sort-namespace" ["P"] ["table"] "Sort" "by namespace";
    SortReady "sort-ready" ["R"] ["pods" "deployments" "statefulsets" "daemonsets" "replicasets"] "Sort" "by readiness";
    SortRestarts "sort-restarts" ["T"] ["pods"] "Sort" "by restarts";
    SortIp "sort-ip" ["I"] ["pods"] "Sort" "by address";
    SortCpu "sort-cpu" ["C"] ["pods" "nodes"] "Sort" "by CPU";
    SortMem "sort-memory" ["M"] ["pods" "nodes"] "Sort" "by memory";
    SortCpuOfRequest "sort-cpu-of-request" ["X"] ["pods"] "Sort" "by CPU of what is asked for";
    SortMemOfRequest "sort-memory-of-request" ["Z"] ["pods"] "Sort" "by memory of what is asked for";
    SortCpuOfLimit "sort-cpu-of-limit" ["ctrl-x"] ["pods"] "Sort" "by CPU of the limit";
    SortRoles "sort-roles" ["R"] ["nodes"] "Sort" "by roles";
    SortUpToDate "sort-up-to-date" ["U"] ["deployments" "daemonsets"] "Sort" "by Pods of the newest template";
    SortAvailable "sort-available" ["L"] ["deployments" "daemonsets"] "Sort" "by available Pods";
    SortDesired "sort-desired" ["D"] ["daemonsets"] "Sort" "by wanted Pods";
    SortCurrent "sort-current" ["C"] ["daemonsets"] "Sort" "by Pods";
    SortLastSeen "sort-last-seen" ["L"] ["events"] "Sort" "by when it was last seen";
    SortFirstSeen "sort-first-seen" ["F"] ["events"] "Sort" "by when it was first seen";
    SortType "sort-type" ["T"] ["events"] "Sort" "by type";
    SortReason "sort-reason" ["R"] ["events"] "Sort" "by reason";
    SortSource "sort-source" ["S"] ["events"] "Sort" "by source";
    SortCount "sort-count" ["C"] ["events"] "Sort" "by count";
    SortVolume "sort-volume" ["V"] ["persistentvolumeclaims"] "Sort" "by volume";
    SortCapacity "sort-capacity" ["C"] ["persistentvolumeclaims"] "Sort" "by capacity";
    ColumnLeft "column-left" ["shift-left" "<"] ["table"] "Sort" "choose the column to the left";
    ColumnRight "column-right" ["shift-right" ">"] ["table"] "Sort" "choose the column to the right";
    SortColumn "sort-column" ["O"] ["table"] "Sort" "by the chosen column; again to reverse";
    Wide "wide" ["ctrl-w"] ["table"] "Columns" "all columns";
    Columns "columns" ["f5"] ["table"] "Columns" "choose columns";
    Faults "faults" ["ctrl-z"] ["table"] "Columns" "only what has a fault";
    Save "save" ["ctrl-s"] ["table" "text"] "Copy" "save to a file";
    Namespace0 "namespace-all" ["0"] ["table"] "Namespaces" "all namespaces";
    Namespace1 "namespace-1" ["1"] ["table"] "Namespaces" "first namespace in use";
    Namespace2 "namespace-2" ["2"] ["table"] "Namespaces" "second";
    Namespace3 "namespace-3" ["3"] ["table"] "Namespaces" "third";
    Namespace4 "namespace-4" ["4"] ["table"] "Namespaces" "fourth";
    Namespace5 "namespace-5" ["5"] ["table"] "Namespaces" "fifth";
    Namespace6 "namespace-6" ["6"] ["table"] "Namespaces" "sixth";
    Namespace7 "namespace-7" ["7"] ["table"] "Namespaces" "seventh";
    Namespace8 "namespace-8" ["8"] ["table"] "Namespaces" "eighth";
    Namespace9 "namespace-9" ["9"] ["table"] "Namespaces" "ninth";

    Logs "logs" ["l"] ["pods" "containers" "deployments" "daemonsets" "statefulsets" "jobs" "services"] "Row" "logs; several rows merge";
    PreviousLogs "previous-logs" ["p"] ["pods" "containers" "deployments" "daemonsets" "statefulsets" "jobs" "services"] "Row" "logs of before the last restart";
    Shell "shell" ["s"] ["pods" "containers"] "Row" "a shell in the container";
    Attach "attach" ["a"] ["pods" "containers"] "Row" "attach to what runs there";
    PortForward "port-forward" ["F"] ["pods" "containers" "services" "deployments" "statefulsets" "daemonsets"] "Row" "forward ports";
    PortForwards "port-forwards" ["f"] ["pods" "containers" "services" "deployments" "statefulsets" "daemonsets"] "Row" "ports that are forwarded";
    Transfer "transfer" ["t"] ["pods" "containers"] "Row" "copy files to and from the container";
    Node "show-node" ["o"] ["pods"] "Row" "to the node";
    ForwardEnd "end-forward" ["ctrl-d"] ["forwards"] "Row" "end the forward";

    LogSearch "log-search" ["F"] ["logs"] "Logs" "search: highlight, hide nothing";
    LogTail "log-tail" ["0"] ["logs"] "Logs" "the last lines";
    LogHead "log-head" ["1"] ["logs"] "Logs" "from the beginning";
    Log1m "log-1m" ["2"] ["logs"] "Logs" "the last minute";
    Log5m "log-5m" ["3"] ["logs"] "Logs" "5 minutes";
    Log15m "log-15m" ["4"] ["logs"] "Logs" "15 minutes";
    Log30m "log-30m" ["5"] ["logs"] "Logs" "30 minutes";
    Log1h "log-1h" ["6"] ["logs"] "Logs" "an hour";
    LogScroll "log-autoscroll" ["s"] ["logs"] "Logs" "follow the end, or stop";
    LogTime "log-time" ["t"] ["logs"] "Logs" "show times";
    LogColumns "log-column-lock" ["L"] ["logs"] "Logs" "new lines leave the column where it is";
    LogMark "log-mark" ["m"] ["logs"] "Logs" "mark this place";
    LogClear "log-clear" ["C"] ["logs"] "Logs" "forget all lines";
    LogAll "log-all-containers" ["a"] ["logs"] "Logs" "all containers, or one";
    LogPrevious "log-previous" ["p"] ["logs"] "Logs" "before the last restart, or now";
    LogFaults "log-faults" ["ctrl-z"] ["logs"] "Logs" "only warnings and errors";
    LogJson "log-json" ["x"] ["logs"] "Logs" "spread JSON out";

    SearchNext "search-next" ["n"] ["text"] "Text" "next match";
    SearchPrevious "search-previous" ["N"] ["text"] "Text" "previous match";
    CopyAll "copy-all" ["c"] ["text"] "Copy" "copy all";
    Fullscreen "fullscreen" ["f"] ["text"] "Text" "full screen";
    WrapLines "wrap" ["w"] ["text"] "Text" "wrap lines";
    ManagedFields "managed-fields" ["m"] ["text"] "Text" "show managed fields";
    Decode "decode" ["x"] ["text" "secrets"] "Text" "decode the secret";
    Reload "reload" ["r"] ["text"] "Text" "read again";
}

/// The table as it is in force, after remapping.
#[derive(Debug)]
pub struct Bindings {
    keys: HashMap<(&'static str, KeyEvent), Act>,
    shown: BTreeMap<Act, Vec<String>>,
}

impl Default for Bindings {
    fn default() -> Self {
        Self::remapped(&BTreeMap::new()).0
    }
}

impl Bindings {
    /// The table with other keys for some names, and what was wrong with those.
    pub fn remapped(overrides: &BTreeMap<String, Vec<String>>) -> (Self, Vec<String>) {
        let mut bindings = Self {
            keys: HashMap::new(),
            shown: BTreeMap::new(),
        };
        let mut warnings: Vec<String> = overrides
            .keys()
            .filter(|name| BINDINGS.iter().all(|b| b.name != name.as_str()))
            .map(|name| format!("keys.yaml: there is no binding named {name:?}"))
            .collect();
        for binding in BINDINGS {
            let own = || binding.keys.iter().map(ToString::to_string).collect();
            let keys: Vec<String> = overrides.get(binding.name).cloned().unwrap_or_else(own);
            for key in &keys {
                match parse(key) {
                    Some(event) => {
                        for context in binding.contexts {
                            bindings.keys.insert((*context, event), binding.act);
                        }
                    }
                    None => warnings.push(format!("keys.yaml: {key:?} of {:?} is not a key", binding.name)),
                }
            }
            bindings.shown.insert(binding.act, keys);
        }
        (bindings, warnings)
    }

    /// The table with the user's remap file, if there is one.
    pub fn load(file: &Path) -> (Self, Vec<String>) {
        let Ok(text) = std::fs::read_to_string(file) else {
            return (Self::default(), Vec::new());
        };
        match serde_saphyr::from_str(&text) {
            Ok(overrides) => Self::remapped(&overrides),
            Err(error) => (Self::default(), vec![format!("keys.yaml: {error}")]),
        }
    }

    /// What a key does in these contexts.
    pub fn find(&self, contexts: &[&'static str], key: KeyEvent) -> Option<Act> {
        let key = normal(key);
        let places = contexts.iter().copied().chain(["everywhere"]);
        places
            .into_iter()
            .find_map(|context| self.keys.get(&(context, key)).copied())
    }

    /// The keys of an act, as shown to people.
    pub fn keys(&self, act: Act) -> &[String] {
        self.shown.get(&act).map_or(&[], Vec::as_slice)
    }

    /// The rows that work in these contexts, with their keys.
    pub fn rows<'a>(&'a self, contexts: &'a [&'static str]) -> impl Iterator<Item = (&'static Binding, &'a [String])> {
        let here = move |b: &&Binding| b.contexts.iter().any(|c| *c == "everywhere" || contexts.contains(c));
        BINDINGS.iter().filter(here).map(|b| (b, self.keys(b.act)))
    }
}

/// Reads a key: `c`, `G`, `/`, `ctrl-d`, `shift-left`, `f5`, `esc`, `space`.
pub fn parse(text: &str) -> Option<KeyEvent> {
    let mut modifiers = KeyModifiers::NONE;
    let mut rest = text;
    loop {
        if let Some(after) = rest.strip_prefix("ctrl-").filter(|a| !a.is_empty()) {
            modifiers |= KeyModifiers::CONTROL;
            rest = after;
        } else if let Some(after) = rest.strip_prefix("shift-").filter(|a| !a.is_empty()) {
            modifiers |= KeyModifiers::SHIFT;
            rest = after;
        } else if let Some(after) = rest.strip_prefix("alt-").filter(|a| !a.is_empty()) {
            modifiers |= KeyModifiers::ALT;
            rest = after;
        } else {
            break;
        }
    }
    let mut characters = rest.chars();
    let code = match (characters.next()?, characters.next()) {
        (only, None) => KeyCode::Char(only),
        _ => match rest {
            "enter" => KeyCode::Enter,
            "esc" => KeyCode::Esc,
            "tab" => KeyCode::Tab,
            "backtab" => KeyCode::BackTab,
            "space" => KeyCode::Char(' '),
            "up" => KeyCode::Up,
            "down" => KeyCode::Down,
            "left" => KeyCode::Left,
            "right" => KeyCode::Right,
            "home" => KeyCode::Home,
            "end" => KeyCode::End,
            "pageup" => KeyCode::PageUp,
            "pagedown" => KeyCode::PageDown,
            "delete" => KeyCode::Delete,
            "insert" => KeyCode::Insert,
            "backspace" => KeyCode::Backspace,
            _ => KeyCode::F(rest.strip_prefix('f')?.parse().ok().filter(|n| (1..=24).contains(n))?),
        },
    };
    Some(normal(KeyEvent::new(code, modifiers)))
}

/// Terminals differ in how they tell of shifted letters and of some control keys.
fn normal(key: KeyEvent) -> KeyEvent {
    let mut modifiers = key.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
    let code = match key.code {
        KeyCode::Char(c) if modifiers.contains(KeyModifiers::CONTROL) => match c {
            // What legacy terminals send for Ctrl-Space and Ctrl-\.
            '4' => KeyCode::Char('\\'),
            c => KeyCode::Char(c.to_ascii_lowercase()),
        },
        KeyCode::Char(c) if modifiers.contains(KeyModifiers::SHIFT) => KeyCode::Char(c.to_ascii_uppercase()),
        code => code,
    };
    if matches!(code, KeyCode::Char(_)) {
        modifiers -= KeyModifiers::SHIFT;
    }
    KeyEvent::new(code, modifiers)
}

/// A key as people write it.
pub fn shown(key: KeyEvent) -> String {
    let key = normal(key);
    let mut text = String::new();
    for (modifier, word) in [
        (KeyModifiers::CONTROL, "ctrl-"),
        (KeyModifiers::ALT, "alt-"),
        (KeyModifiers::SHIFT, "shift-"),
    ] {
        if key.modifiers.contains(modifier) {
            text.push_str(word);
        }
    }
    match key.code {
        KeyCode::Char(' ') => text.push_str("space"),
        KeyCode::Char(c) => text.push(c),
        KeyCode::F(n) => text.push_str(&format!("f{n}")),
        other => text.push_str(&format!("{other:?}").to_lowercase()),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_key_parses_and_means_one_thing_where_it_works() {
        let mut seen = HashMap::new();
        let mut names = HashSet::new();
        for binding in BINDINGS {
            assert!(names.insert(binding.name), "{}", binding.name);
            for key in binding.keys {
                let event = parse(key).unwrap_or_else(|| panic!("{key}"));
                for context in binding.contexts {
                    let other = seen.insert((*context, event), binding.name);
                    assert_eq!(other, None, "{key} in {context} is also {}", binding.name);
                }
            }
        }
    }

    #[test]
    fn keys_read_as_they_are_shown() {
        for text in [
            "c",
            "G",
            "ctrl-d",
            "shift-left",
            "f5",
            "esc",
            "space",
            "/",
            "ctrl-\\",
            "-",
            "alt-x",
        ] {
            assert_eq!(shown(parse(text).unwrap()), text);
        }
        assert_eq!(parse("hyper-x"), None);
    }

    #[test]
    fn a_remap_file_moves_keys_and_is_told_what_it_gets_wrong() {
        let overrides = [("describe", "D"), ("fly", "f"), ("yaml", "blah")];
        let overrides = overrides.map(|(name, key)| (name.to_owned(), vec![key.to_owned()]));
        let (bindings, warnings) = Bindings::remapped(&overrides.into());
        assert_eq!(bindings.find(&["table"], parse("D").unwrap()), Some(Act::Describe));
        assert_eq!(bindings.find(&["table"], parse("d").unwrap()), None);
        insta::assert_snapshot!(warnings.join("\n"), @r#"
        keys.yaml: there is no binding named "fly"
        keys.yaml: "blah" of "yaml" is not a key
        "#);
    }
}
