//! What `:` takes: `KIND [NS] [/filter | -f letters] [labels] [@context]`, or one of the [`SPECIALS`].

mod complete;

use std::sync::Arc;

pub use complete::{Words, candidates, ghost};

use crate::resource::{Registry, Resource};

/// Names that k9s knows beside those that the server tells.
pub const ALIASES: &[(&str, &str)] = &[
    ("dp", "deployments"),
    ("sec", "secrets"),
    ("jo", "jobs"),
    ("cr", "clusterroles"),
    ("crb", "clusterrolebindings"),
    ("ro", "roles"),
    ("rb", "rolebindings"),
    ("np", "networkpolicies"),
];

/// Commands that are not the table of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Special {
    /// How everything is.
    Pulse,
    /// What hangs on what.
    Xray,
    /// All workloads together.
    Workloads,
    /// Contexts, or to one of them.
    Contexts,
    /// All names that can be typed.
    Aliases,
    /// Keys.
    Help,
    /// Leave.
    Quit,
    /// Port-forwards.
    Forwards,
    /// Saved screens.
    Dumps,
    /// What somebody may do.
    Can,
    /// A directory of manifests.
    Directory,
    /// A file of manifests is applied.
    Apply,
    /// A new object.
    Create,
    /// What happened in this session.
    History,
    /// Users that roles are bound to.
    Users,
    /// Groups that roles are bound to.
    Groups,
    /// Another look.
    Skin,
    /// Switches writing off and on.
    ReadOnly,
}

/// What a special command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// A kind, then a namespace.
    Kind,
    /// A namespace.
    Namespace,
    /// A context.
    Context,
    /// A path.
    Path,
    /// Whatever is written.
    Text,
}

/// A row of the table of special commands.
#[derive(Clone, Copy, Debug)]
pub struct SpecialCommand {
    /// Which.
    pub special: Special,
    /// Its names, the first for help.
    pub names: &'static [&'static str],
    /// What it takes.
    pub takes: Takes,
    /// How help shows its arguments.
    pub usage: &'static str,
    /// What it does.
    pub description: &'static str,
}

const fn row(
    special: Special,
    names: &'static [&'static str],
    takes: Takes,
    usage: &'static str,
    description: &'static str,
) -> SpecialCommand {
    SpecialCommand {
        special,
        names,
        takes,
        usage,
        description,
    }
}

/// The special commands. They win over kinds of the same name.
pub const SPECIALS: &[SpecialCommand] = &[
    row(
        Special::Pulse,
        &["pulse", "pulses", "pu", "hz"],
        Takes::Nothing,
        "",
        "health of everything",
    ),
    row(
        Special::Xray,
        &["xray", "xr", "x"],
        Takes::Kind,
        "KIND [NS]",
        "tree of owners and references",
    ),
    row(
        Special::Workloads,
        &["workloads", "workload", "wk"],
        Takes::Namespace,
        "[NS]",
        "all workloads together",
    ),
    row(
        Special::Contexts,
        &["contexts", "context", "ctx"],
        Takes::Context,
        "[CONTEXT]",
        "contexts, or to one",
    ),
    row(
        Special::Aliases,
        &["aliases", "alias", "a"],
        Takes::Nothing,
        "",
        "all names that can be typed",
    ),
    row(Special::Help, &["help", "h", "?"], Takes::Nothing, "", "keys"),
    row(
        Special::Quit,
        &["quit", "q", "q!", "qa", "qa!", "exit"],
        Takes::Nothing,
        "",
        "leave",
    ),
    row(
        Special::Forwards,
        &["portforwards", "portforward", "pf"],
        Takes::Nothing,
        "",
        "port-forwards",
    ),
    row(
        Special::Dumps,
        &["screendumps", "screendump", "sd"],
        Takes::Nothing,
        "",
        "saved screens",
    ),
    row(
        Special::Can,
        &["can"],
        Takes::Text,
        "u:USER | g:GROUP | s:NS:NAME",
        "what somebody may do",
    ),
    row(
        Special::Directory,
        &["dir", "ls", "d"],
        Takes::Path,
        "PATH",
        "manifests in a directory",
    ),
    row(
        Special::Apply,
        &["apply"],
        Takes::Path,
        "FILE",
        "apply manifests of a file",
    ),
    row(
        Special::Create,
        &["create", "new"],
        Takes::Kind,
        "KIND",
        "a new object, from a template",
    ),
    row(
        Special::History,
        &["history"],
        Takes::Nothing,
        "",
        "what was done in this session",
    ),
    row(
        Special::Users,
        &["users", "user", "usr"],
        Takes::Nothing,
        "",
        "users that roles are bound to",
    ),
    row(
        Special::Groups,
        &["groups", "group", "grp"],
        Takes::Nothing,
        "",
        "groups that roles are bound to",
    ),
    row(Special::Skin, &["skin"], Takes::Text, "[NAME]", "another look"),
    row(
        Special::ReadOnly,
        &["readonly", "ro!"],
        Takes::Nothing,
        "",
        "switch writing off or on",
    ),
];

/// Which namespaces a command asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// It does not say: those that are shown now.
    #[default]
    Keep,
    /// All.
    All,
    /// These.
    These(Vec<String>),
}

impl Namespaces {
    fn read(text: &str) -> Self {
        match text {
            "all" | "*" | "-" => Self::All,
            list => Self::These(list.split(',').filter(|n| !n.is_empty()).map(str::to_owned).collect()),
        }
    }
}

/// A command that was understood.
#[derive(Clone, Debug)]
pub enum Command {
    /// The table of a kind.
    Table {
        /// Kind.
        resource: Arc<Resource>,
        /// Where.
        namespaces: Namespaces,
        /// Filter (see [`super::filter`]), labels included; empty for none.
        filter: String,
        /// Context to go to first.
        context: Option<String>,
    },
    /// To a namespace, with the view that is open.
    Namespace(Namespaces),
    /// A special command.
    Special {
        /// Which.
        special: Special,
        /// The kind it is about, where it takes one.
        resource: Option<Arc<Resource>>,
        /// Where.
        namespaces: Namespaces,
        /// The rest, as written.
        argument: String,
        /// Context to go to first.
        context: Option<String>,
    },
}

/// Why a text is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Nothing was written.
    #[error("no command")]
    Empty,
    /// No kind and no special command.
    #[error("no kind or command {0}{hint}", hint = hint(.1))]
    Unknown(String, Option<String>),
    /// Something is missing.
    #[error("{0} needs {1}")]
    Missing(&'static str, &'static str),
    /// A word too much.
    #[error("{0} is too much: {1}")]
    TooMuch(String, &'static str),
}

fn hint(near: &Option<String>) -> String {
    near.as_ref()
        .map(|near| format!("; did you mean {near}"))
        .unwrap_or_default()
}

/// The usage of a table command.
pub const USAGE: &str = "KIND [NS] [/filter | -f letters] [k=v,k2=v2] [@context]";

/// The special command of a name.
pub fn special(name: &str) -> Option<&'static SpecialCommand> {
    SPECIALS.iter().find(|row| row.names.contains(&name))
}

/// The kind of a name as people type it, aliases included.
pub fn resource<'a>(registry: &'a Registry, name: &str) -> Option<&'a Arc<Resource>> {
    let listed = |r: &&Arc<Resource>| r.allows("list");
    registry.resolve(name).filter(listed).or_else(|| {
        let (_, plural) = ALIASES.iter().find(|(alias, _)| *alias == name.to_lowercase())?;
        registry.resolve(plural)
    })
}

/// The label selector, filter and rest of what follows a kind.
#[derive(Default)]
struct Rest {
    namespaces: Namespaces,
    filter: String,
    context: Option<String>,
}

/// Reads a command.
pub fn parse(text: &str, registry: &Registry) -> Result<Command, CommandError> {
    let text = text.trim().trim_start_matches(':').trim_start();
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    if name.is_empty() {
        return Err(CommandError::Empty);
    }
    // Kinds may be served under the name of a special command's short form (`users`): ours win.
    if let Some(row) = special(name) {
        return read_special(row, rest.trim(), registry);
    }
    let Some(resource) = resource(registry, name) else {
        return Err(CommandError::Unknown(
            name.to_owned(),
            complete::nearest(name, registry),
        ));
    };
    let is_namespaces = resource.group.is_empty() && resource.plural == "namespaces";
    let rest = read_rest(rest)?;
    Ok(match (is_namespaces, &rest.namespaces) {
        // `:ns shop` goes there.
        (true, Namespaces::All | Namespaces::These(_)) => Command::Namespace(rest.namespaces),
        _ => Command::Table {
            resource: resource.clone(),
            namespaces: rest.namespaces,
            filter: rest.filter,
            context: rest.context,
        },
    })
}

fn read_special(row: &'static SpecialCommand, rest: &str, registry: &Registry) -> Result<Command, CommandError> {
    let mut command = Rest::default();
    let mut kind = None;
    let mut argument = rest.to_owned();
    match row.takes {
        Takes::Text | Takes::Path => {}
        Takes::Nothing if rest.is_empty() => {}
        Takes::Nothing => return Err(CommandError::TooMuch(rest.to_owned(), row.names[0])),
        Takes::Context => argument = rest.trim_start_matches('@').to_owned(),
        Takes::Namespace => command = read_rest(rest)?,
        Takes::Kind => {
            let (name, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            if name.is_empty() {
                return Err(CommandError::Missing(row.names[0], "a kind"));
            }
            kind = resource(registry, name).cloned();
            if kind.is_none() {
                return Err(CommandError::Unknown(
                    name.to_owned(),
                    complete::nearest(name, registry),
                ));
            }
            command = read_rest(rest)?;
            argument = command.filter.clone();
        }
    }
    if row.takes == Takes::Namespace {
        argument.clone_from(&command.filter);
    }
    Ok(Command::Special {
        special: row.special,
        resource: kind,
        namespaces: command.namespaces,
        argument,
        context: command.context,
    })
}

fn read_rest(text: &str) -> Result<Rest, CommandError> {
    let (text, context) = split_context(text.trim());
    let mut rest = Rest {
        context,
        ..Rest::default()
    };
    let mut filters: Vec<String> = Vec::new();
    let mut left = text;
    while !left.is_empty() {
        if let Some(filter) = left.strip_prefix('/') {
            filters.push(filter.trim().to_owned());
            break;
        }
        if left.starts_with("-f ") || left.starts_with("-l ") {
            filters.push(left.to_owned());
            break;
        }
        let (word, after) = next_word(left);
        left = after.trim_start();
        if is_labels(word) {
            filters.push(format!("-l '{word}'"));
        } else if let Some((labels, after)) = set_labels(word, left) {
            filters.push(format!("-l '{labels}'"));
            left = after;
        } else if rest.namespaces == Namespaces::Keep {
            rest.namespaces = Namespaces::read(word);
        } else {
            return Err(CommandError::TooMuch(word.to_owned(), USAGE));
        }
    }
    rest.filter = filters.join(" ").trim().to_owned();
    Ok(rest)
}

/// `… @context`, where no more follows.
fn split_context(text: &str) -> (&str, Option<String>) {
    let at = match text.rfind('@') {
        Some(at) if at == 0 || text[..at].ends_with(char::is_whitespace) => at,
        _ => return (text, None),
    };
    let context = &text[at + 1..];
    match context.is_empty() || context.contains(char::is_whitespace) {
        true => (text, None),
        false => (text[..at].trim_end(), Some(context.to_owned())),
    }
}

/// Up to a space; a word in quotes ends with its quote.
fn next_word(text: &str) -> (&str, &str) {
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '\'' | '"'))
        && let Some(end) = text[1..].find(quote)
    {
        return (&text[1..=end], &text[end + 2..]);
    }
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

fn is_labels(word: &str) -> bool {
    word.contains('=') || word.contains(" in ") || word.contains(" notin ")
}

/// `k in (a, b)` without quotes.
fn set_labels<'a>(key: &str, after: &'a str) -> Option<(String, &'a str)> {
    let operator = ["in", "notin"].into_iter().find(|operator| {
        let values = after.strip_prefix(operator).map(str::trim_start);
        values.is_some_and(|values| values.starts_with('('))
    })?;
    let end = after.find(')')?;
    let values = after[operator.len()..=end].trim_start();
    Some((format!("{key} {operator} {values}"), after[end + 1..].trim_start()))
}

#[cfg(test)]
mod tests;
