//! The views, a file each, and the table of command words that open them.
//!
//! What is in no row is read by the grammar that all consoles share, or as a locator.

pub mod apply;
pub mod containers;
pub mod dir;
pub mod forwards;
pub mod list;
pub mod logs;
pub mod perform;
pub mod policy;
pub mod process;
pub mod pulse;
pub mod streams;
pub mod table;
pub mod text;
pub mod tree;

use std::sync::Arc;

use mizzen_api::console::command::{self, Command, Namespaces, Words};
use mizzen_api::console::locator::{Locator, LocatorError};
use mizzen_api::resource::Resource;

use crate::bindings::k9s;
use crate::view::{Cx, View};

/// A view that a command line opened.
#[derive(Debug)]
pub struct Opened {
    /// The view.
    pub view: Box<dyn View>,
    /// Namespaces that the line chose, for the views to come; empty for all.
    pub namespaces: Option<Vec<String>>,
}

/// Arguments, namespaces in use (all, when empty), what views read.
type Open = fn(&str, &[String], &Cx<'_>) -> Result<Box<dyn View>, String>;

/// A row: the words, and what opens the view.
struct Word {
    names: &'static [&'static str],
    open: Open,
}

/// The table of words that are no kinds.
const WORDS: &[Word] = &[
    Word {
        names: &["help", "h", "?"],
        open: |_, _, cx| Ok(list::help(cx)),
    },
    Word {
        names: &["aliases", "alias", "a"],
        open: |_, _, cx| Ok(list::aliases(cx)),
    },
    Word {
        names: &["contexts", "context", "ctx"],
        open: |_, _, cx| Ok(list::contexts(cx)),
    },
    Word {
        names: &["pulse", "pulses", "pu", "hz"],
        open: |_, namespaces, cx| Ok(pulse::open(namespaces, cx)),
    },
    Word {
        names: &["xray", "xr", "x"],
        open: tree::xray,
    },
    Word {
        names: &["workloads", "workload", "wk"],
        open: |argument, current, cx| {
            let chosen = (!argument.is_empty()).then(|| namespaces(argument));
            Ok(Box::new(table::Table::workloads(
                chosen.as_deref().unwrap_or(current),
                cx,
            )))
        },
    },
    Word {
        names: &["create", "new"],
        open: |kind, namespaces, cx| {
            let namespace = namespaces.first().map_or("", String::as_str);
            let resource = resource(if kind.is_empty() { "pods" } else { kind }, cx)?;
            Ok(Box::new(apply::Apply::create(&resource, namespace)))
        },
    },
    Word {
        names: &["apply"],
        open: |file, namespaces, _| match file {
            "" => Err("say which file: apply web.yaml".to_owned()),
            file => Ok(Box::new(apply::Apply::file(file.into(), namespaces))),
        },
    },
    Word {
        names: &["dir", "ls", "d"],
        open: |path, namespaces, _| {
            let path = if path.is_empty() { "." } else { path };
            Ok(Box::new(dir::Dir::new(path.into(), namespaces)))
        },
    },
    Word {
        names: &["port-forwards", "portforwards", "portforward", "pf"],
        open: |_, _, _| Ok(Box::new(forwards::Forwards::default())),
    },
    Word {
        names: &["can"],
        open: policy::can,
    },
    Word {
        names: &["users", "user", "usr"],
        open: |_, _, cx| policy::bound(false, cx),
    },
    Word {
        names: &["groups", "group", "grp"],
        open: |_, _, cx| policy::bound(true, cx),
    },
    Word {
        names: &["notices", "messages", "history"],
        open: |_, _, cx| Ok(list::notices(cx)),
    },
];

/// The namespaces of a list; empty for all.
pub fn namespaces(text: &str) -> Vec<String> {
    let names = text.split(',').filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(ToOwned::to_owned).collect();
    match names.iter().any(|name| name == "all" || name == "-" || name == "*") {
        true => Vec::new(),
        false => names,
    }
}

/// Opens what a command line or a locator names.
pub fn open(line: &str, current: &[String], cx: &Cx<'_>) -> Result<Opened, String> {
    let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    if let Some(row) = WORDS.iter().find(|row| row.names.contains(&word)) {
        let view = (row.open)(rest.trim(), current, cx)?;
        return Ok(Opened { view, namespaces: None });
    }
    if let Some(why) = k9s::why_not(word)
        && command::resource(cx.registry, word).is_none()
    {
        return Err(why.to_owned());
    }
    if line.contains('?') {
        return located(line, cx);
    }
    match command::parse(line, cx.registry).map_err(|error| error.to_string())? {
        Command::Table {
            resource,
            namespaces,
            filter,
            ..
        } => {
            let chosen = chosen(namespaces);
            let scope = chosen.clone().unwrap_or_else(|| current.to_vec());
            let mut table = table::Table::new(resource, &scope);
            table.filter_with(&filter)?;
            Ok(Opened {
                view: Box::new(table),
                namespaces: chosen,
            })
        }
        Command::Namespace(_) => Err("say which kind to show in the namespace".to_owned()),
        Command::Special { .. } => Err(format!("{word:?} has no view in the terminal yet")),
    }
}

/// Opens what a locator names: `pods?ns=a,b&filter=web&sort=age:desc`, `deployments.apps/shop/web?tab=yaml`.
fn located(text: &str, cx: &Cx<'_>) -> Result<Opened, String> {
    let locator: Locator = text.parse().map_err(|error: LocatorError| error.to_string())?;
    let resource = resource(&locator.resource, cx)?;
    if let Some(place) = &locator.object {
        let what = match locator.tab.as_str() {
            "yaml" => text::What::Yaml,
            _ => text::What::Describe,
        };
        let view = text::Text::new(resource, &place.namespace, &place.name, what);
        return Ok(Opened {
            view: Box::new(view),
            namespaces: None,
        });
    }
    let mut table = table::Table::new(resource, &locator.namespaces).sorted(locator.sort);
    if let Some(place) = locator.selected.first() {
        table = table.selecting(&place.namespace, &place.name);
    }
    table.filter_with(&locator.filter)?;
    Ok(Opened {
        view: Box::new(table),
        namespaces: Some(locator.namespaces),
    })
}

fn chosen(namespaces: Namespaces) -> Option<Vec<String>> {
    match namespaces {
        Namespaces::Keep => None,
        Namespaces::All => Some(Vec::new()),
        Namespaces::These(names) => Some(names),
    }
}

/// The kind that a word stands for.
pub fn resource(word: &str, cx: &Cx<'_>) -> Result<Arc<Resource>, String> {
    let found = command::resource(cx.registry, word).cloned();
    found.ok_or_else(|| format!("{word:?} is no kind that the server lists"))
}

/// What a command line may become, best first.
pub fn completions(text: &str, namespaces: &[String], cx: &Cx<'_>) -> Vec<String> {
    let contexts: Vec<String> = cx.cluster.contexts.iter().map(|c| c.name.clone()).collect();
    let words = Words {
        registry: cx.registry,
        namespaces,
        contexts: &contexts,
    };
    let head = text.rfind(' ').map_or("", |at| &text[..=at]);
    let candidates = command::candidates(text, words).into_iter();
    candidates.map(|word| format!("{head}{word}")).collect()
}
