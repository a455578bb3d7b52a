//! The views, a file each, and the table of command words that open them.
//!
//! A word that is in no row is looked up among the kinds that the server serves, by any of their names.

pub mod list;
pub mod table;
pub mod text;

use std::sync::Arc;

use mizzen_api::resource::Resource;

use crate::view::{Cx, View};

/// A view that a command line opened.
#[derive(Debug)]
pub struct Opened {
    /// The view.
    pub view: Box<dyn View>,
    /// Namespaces that the line chose, for the views to come; empty for all.
    pub namespaces: Option<Vec<String>>,
}

type Open = fn(arguments: &str, cx: &Cx<'_>) -> Result<Box<dyn View>, String>;

/// A row: the words, and what opens the view.
struct Word {
    names: &'static [&'static str],
    open: Open,
}

/// The table of words that are no kinds.
const WORDS: &[Word] = &[
    Word {
        names: &["help", "h", "?"],
        open: |_, cx| Ok(list::help(cx)),
    },
    Word {
        names: &["aliases", "alias", "a"],
        open: |_, cx| Ok(list::aliases(cx)),
    },
    Word {
        names: &["contexts", "context", "ctx"],
        open: |_, cx| Ok(list::contexts(cx)),
    },
    Word {
        names: &["notices", "messages"],
        open: |_, cx| Ok(list::notices(cx)),
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

/// Opens what a command line names: `KIND [NS[,NS]] [/FILTER | -f FUZZY] [LABELS]`.
pub fn open(line: &str, current: &[String], cx: &Cx<'_>) -> Result<Opened, String> {
    let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    if let Some(row) = WORDS.iter().find(|row| row.names.contains(&word)) {
        let view = (row.open)(rest.trim(), cx)?;
        return Ok(Opened { view, namespaces: None });
    }
    let resource = resource(word, cx)?;
    let (before, filter) = match (rest.find('/'), rest.find("-f ")) {
        (Some(at), _) => (&rest[..at], rest[at + 1..].to_owned()),
        (None, Some(at)) => (&rest[..at], rest[at..].to_owned()),
        (None, None) => (rest, String::new()),
    };
    let (mut chosen, mut labels) = (None, String::new());
    let before = before.trim();
    if let Some(quoted) = before.find(['\'', '"']) {
        labels = before[quoted..].trim_matches(['\'', '"']).to_owned();
    }
    let plain = before.split(['\'', '"']).next().unwrap_or_default();
    for argument in plain.split_whitespace() {
        match argument.contains('=') {
            true => labels = argument.to_owned(),
            false => chosen = Some(namespaces(argument)),
        }
    }
    let scope = chosen.clone().unwrap_or_else(|| current.to_vec());
    let mut table = table::Table::new(resource, &scope).labelled(&labels);
    if !filter.is_empty() {
        table.filter_with(&filter)?;
    }
    Ok(Opened {
        view: Box::new(table),
        namespaces: chosen,
    })
}

/// The kind that a word stands for.
pub fn resource(word: &str, cx: &Cx<'_>) -> Result<Arc<Resource>, String> {
    let found = cx.registry.resolve(word).filter(|r| r.allows("list"));
    found
        .cloned()
        .ok_or_else(|| format!("{word:?} is no kind that the server lists, and no command (ctrl-a shows them)"))
}

/// What a command line may become.
pub fn completions(text: &str, cx: &Cx<'_>) -> Vec<String> {
    let begins = |word: &str| word.len() > text.len() && word.starts_with(text);
    if let Some((head, last)) = text.rsplit_once(' ') {
        let names = cx
            .namespaces
            .iter()
            .filter(|n| n.starts_with(last) && n.as_str() != last);
        return names.map(|name| format!("{head} {name}")).collect();
    }
    if let Some((head, last)) = text.split_once('@') {
        let names = cx.cluster.contexts.iter().filter(|c| c.name.starts_with(last));
        return names.map(|context| format!("{head}@{}", context.name)).collect();
    }
    let words = WORDS.iter().map(|row| row.names[0].to_owned());
    let kinds = cx
        .registry
        .iter()
        .filter(|r| r.allows("list"))
        .map(|r| r.plural.to_string());
    let mut found: Vec<String> = kinds.chain(words).filter(|word| begins(word)).collect();
    found.sort_by_key(|word| word.len());
    found.dedup();
    found
}
