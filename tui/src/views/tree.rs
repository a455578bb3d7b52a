//! Trees of objects: what hangs on a kind's objects (`:xray KIND [NS]`), and who uses an object (`u`).
//!
//! The console model builds the tree from the rows of the watches; it is built anew when rows changed, but
//! no more often than [`PAUSE`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use mizzen_api::console::tree::{self, Link, Node};
use mizzen_api::relations::Reference;
use mizzen_api::resource::{Registry, Resource};
use mizzen_api::table::Severity;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde::Serialize;
use serde_json::Value;

use super::text::{Text, What};
use crate::bindings::Act;
use crate::data::{Change, Row, Source};
use crate::theme::glyph;
use crate::view::{Cx, Do, View};

/// Shortest time between two buildings of the tree.
const PAUSE: SignedDuration = SignedDuration::from_millis(300);

/// The view.
#[derive(Debug, Serialize)]
pub struct Tree {
    name: &'static str,
    title: String,
    /// What stands at the top.
    #[serde(skip)]
    top: Top,
    #[serde(skip)]
    sources: Vec<Arc<Source>>,
    namespaces: Vec<String>,
    folded: BTreeSet<String>,
    filter: String,
    at: usize,
    #[serde(skip)]
    lines: RefCell<Vec<Entry>>,
    #[serde(skip)]
    built: Cell<Option<Timestamp>>,
    #[serde(skip)]
    dirty: Cell<bool>,
    #[serde(skip)]
    offset: Cell<usize>,
    #[serde(skip)]
    height: Cell<usize>,
}

#[derive(Debug)]
enum Top {
    /// All objects of a kind.
    Kind(Arc<Resource>),
    /// One object, under which stand those that use it.
    Used(Box<Value>),
}

/// A line of the tree.
#[derive(Debug)]
struct Entry {
    depth: usize,
    path: String,
    reference: Reference,
    namespace: String,
    link: Link,
    row: Option<Arc<Row>>,
    children: usize,
    hidden: bool,
}

/// Opens `:xray KIND [NS]`.
pub fn xray(arguments: &str, current: &[String], cx: &Cx<'_>) -> Result<Box<dyn View>, String> {
    let mut words = arguments.split_whitespace();
    let word = words.next().ok_or("xray needs a kind: xray deployments shop")?;
    let resource = super::resource(word, cx)?;
    let namespaces = words.next().map_or_else(|| current.to_vec(), super::namespaces);
    let kinds = tree::loads(&resource.kind);
    let mut sources = sources(cx.registry, kinds, &namespaces);
    sources.extend(scoped(&resource, &namespaces));
    Ok(Box::new(Tree::new(
        "xray",
        format!("xray {}", resource.plural),
        Top::Kind(resource),
        sources,
        namespaces,
    )))
}

/// The lines whose kind, name or namespace holds the text, with what they hang on and what hangs on them.
fn matching(lines: Vec<Entry>, filter: &str) -> Vec<Entry> {
    let (wanted, inverse) = match filter.trim().to_lowercase() {
        text if text.starts_with('!') => (text[1..].to_owned(), true),
        text => (text, false),
    };
    if wanted.is_empty() {
        return lines;
    }
    let holds = |entry: &Entry| {
        let text = format!("{}/{}/{}", entry.namespace, entry.reference.kind, entry.reference.name);
        text.to_lowercase().contains(&wanted) != inverse
    };
    // Backwards: a line stays when it holds, or when one below it stays.
    let mut keep = vec![false; lines.len()];
    let mut needed: Option<usize> = None;
    for (at, entry) in lines.iter().enumerate().rev() {
        keep[at] = holds(entry) || needed.is_some_and(|depth| entry.depth < depth);
        if keep[at] {
            needed = Some(entry.depth);
        }
    }
    // Forwards: what hangs on a line that holds stays with it, unless lines are to be left out.
    let mut under: Option<usize> = None;
    for (at, entry) in lines.iter().enumerate() {
        under = under.filter(|depth| entry.depth > *depth);
        keep[at] |= under.is_some();
        if under.is_none() && !inverse && holds(entry) {
            under = Some(entry.depth);
        }
    }
    let mut keep = keep.into_iter();
    lines.into_iter().filter(|_| keep.next().unwrap_or(false)).collect()
}

/// Opens the users of an object.
pub fn used_by(row: &Row, resource: &Resource, cx: &Cx<'_>) -> Vec<Do> {
    let kinds = tree::users(&resource.kind);
    if kinds.is_empty() {
        return Do::why(format!("nothing refers to {} by name", resource.plural));
    }
    let namespaces: Vec<String> = match resource.namespaced() {
        true => vec![row.row.namespace.to_string()],
        false => Vec::new(),
    };
    let sources = sources(cx.registry, kinds, &namespaces);
    let title = format!("used by: {} {}", resource.singular, row.row.name);
    vec![Do::Open(Box::new(Tree::new(
        "used by",
        title,
        Top::Used(Box::new(row.object())),
        sources,
        namespaces,
    )))]
}

fn sources(registry: &Registry, kinds: &[&str], namespaces: &[String]) -> Vec<Arc<Source>> {
    let known = kinds.iter().filter_map(|kind| registry.resolve(kind));
    known.flat_map(|resource| scoped(resource, namespaces)).collect()
}

fn scoped(resource: &Resource, namespaces: &[String]) -> Vec<Arc<Source>> {
    match namespaces.is_empty() || !resource.namespaced() {
        true => vec![Arc::new(Source::of(resource, ""))],
        false => namespaces
            .iter()
            .map(|namespace| Arc::new(Source::of(resource, namespace)))
            .collect(),
    }
}

impl Tree {
    fn new(name: &'static str, title: String, top: Top, sources: Vec<Arc<Source>>, namespaces: Vec<String>) -> Self {
        Self {
            name,
            title,
            top,
            sources,
            namespaces,
            folded: BTreeSet::new(),
            filter: String::new(),
            at: 0,
            lines: RefCell::default(),
            built: Cell::new(None),
            dirty: Cell::new(true),
            offset: Cell::new(0),
            height: Cell::new(20),
        }
    }

    /// Builds the lines anew, when rows changed and the pause is over.
    fn build(&self, cx: &Cx<'_>) {
        let waits = self
            .built
            .get()
            .is_some_and(|built| cx.now.duration_since(built) < PAUSE);
        if !self.dirty.get() || waits {
            return;
        }
        let rows: Vec<Arc<Row>> = self
            .sources
            .iter()
            .filter_map(|s| cx.data.get(s))
            .flat_map(|s| s.rows().cloned())
            .collect();
        let objects: Vec<Value> = rows.iter().map(|row| row.object()).collect();
        let nodes = match &self.top {
            Top::Kind(resource) => tree::trees(&resource.kind, &objects),
            Top::Used(target) => {
                let users = tree::used_by(target, &objects);
                let child = |at: usize| Node {
                    reference: tree::reference(&objects[at]),
                    namespace: rows[at].row.namespace.to_string(),
                    object: Some(at),
                    link: Link::Used,
                    children: Vec::new(),
                };
                users.into_iter().map(child).collect()
            }
        };
        let mut lines = Vec::new();
        let mut tops: Vec<&Node> = nodes.iter().collect();
        tops.sort_by(|a, b| (&a.namespace, &a.reference).cmp(&(&b.namespace, &b.reference)));
        tops.into_iter()
            .for_each(|node| self.flatten(node, 0, "", &rows, &mut lines));
        self.lines.replace(matching(lines, &self.filter));
        self.built.set(Some(cx.now));
        self.dirty.set(false);
    }

    fn flatten(&self, node: &Node, depth: usize, above: &str, rows: &[Arc<Row>], lines: &mut Vec<Entry>) {
        let path = format!(
            "{above}/{}.{}/{}/{}",
            node.reference.kind, node.reference.group, node.namespace, node.reference.name
        );
        let hidden = self.folded.contains(&path);
        lines.push(Entry {
            depth,
            reference: node.reference.clone(),
            namespace: node.namespace.clone(),
            link: node.link,
            row: node.object.and_then(|at| rows.get(at)).cloned(),
            children: node.children.len(),
            hidden,
            path: path.clone(),
        });
        if !hidden {
            node.children
                .iter()
                .for_each(|child| self.flatten(child, depth + 1, &path, rows, lines));
        }
    }

    fn rebuild(&mut self, cx: &Cx<'_>) {
        self.dirty.set(true);
        self.built.set(None);
        self.build(cx);
        self.at = self.at.min(self.lines.borrow().len().saturating_sub(1));
    }

    /// Folds or unfolds the line under the cursor.
    fn fold(&mut self, fold: bool, cx: &Cx<'_>) {
        let path = self.lines.borrow().get(self.at).map(|entry| entry.path.clone());
        if let Some(path) = path {
            match fold {
                true => self.folded.insert(path),
                false => self.folded.remove(&path),
            };
            self.rebuild(cx);
        }
    }

    fn current<T>(&self, cx: &Cx<'_>, take: impl FnOnce(&Entry, Arc<Resource>) -> T) -> Option<T> {
        let lines = self.lines.borrow();
        let entry = lines.get(self.at)?;
        let resource = cx
            .registry
            .iter()
            .find(|r| r.kind == entry.reference.kind.as_str() && r.group == entry.reference.group.as_str())?;
        Some(take(entry, resource.clone()))
    }

    fn text(&self, what: What, cx: &Cx<'_>) -> Vec<Do> {
        let opened = self.current(cx, |entry, resource| {
            let namespace = if resource.namespaced() {
                entry.namespace.as_str()
            } else {
                ""
            };
            Do::Open(Box::new(Text::new(
                resource.clone(),
                namespace,
                &entry.reference.name,
                what,
            )))
        });
        opened.map_or_else(|| Do::why("the server does not serve this kind"), |opened| vec![opened])
    }
}

impl View for Tree {
    fn crumb(&self) -> String {
        self.name.to_owned()
    }

    fn title(&self, cx: &Cx<'_>) -> String {
        self.build(cx);
        let filter = match self.filter.as_str() {
            "" => String::new(),
            filter => format!(" /{filter}"),
        };
        format!("{}[{}]{filter}", self.title, self.lines.borrow().len())
    }

    fn locator(&self) -> Option<String> {
        match &self.top {
            Top::Kind(resource) => Some(format!(
                "xray {} {}",
                resource.qualified_name(),
                match self.namespaces.is_empty() {
                    true => "all".to_owned(),
                    false => self.namespaces.join(","),
                }
            )),
            Top::Used(_) => None,
        }
    }

    fn contexts(&self) -> Vec<&'static str> {
        vec!["tree"]
    }

    fn sources(&self) -> Vec<Arc<Source>> {
        self.sources.clone()
    }

    fn shown(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        self.rebuild(cx);
        Vec::new()
    }

    fn covered(&mut self) {
        self.lines.replace(Vec::new());
        self.dirty.set(true);
    }

    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        self.build(cx);
        let lines = self.lines.borrow();
        let height = usize::from(area.height);
        self.height.set(height);
        let offset = self.offset.get().min(self.at).max((self.at + 1).saturating_sub(height));
        self.offset.set(offset);
        if lines.is_empty() {
            let synced = self.sources.iter().all(|s| {
                cx.data
                    .get(s)
                    .is_some_and(|store| store.synced || store.trouble.is_some())
            });
            let words = match (synced, self.filter.as_str()) {
                (false, _) => "◐ synchronizing …".to_owned(),
                (true, "") => "nothing hangs here".to_owned(),
                (true, filter) => format!("nothing matches /{filter} (esc clears the filter)"),
            };
            frame.render_widget(Paragraph::new(Line::styled(words, cx.theme.muted)), area);
            return;
        }
        let shown = lines.iter().enumerate().skip(offset).take(height);
        let text: Vec<Line<'_>> = shown.map(|(at, entry)| line(entry, at == self.at, cx)).collect();
        frame.render_widget(Paragraph::new(text), area);
    }

    fn act(&mut self, act: Act, cx: &Cx<'_>) -> Option<Vec<Do>> {
        let last = self.lines.borrow().len().saturating_sub(1);
        let page = self.height.get().max(1);
        match act {
            Act::Up => self.at = self.at.saturating_sub(1),
            Act::Down => self.at = (self.at + 1).min(last),
            Act::PageUp => self.at = self.at.saturating_sub(page),
            Act::PageDown => self.at = (self.at + page).min(last),
            Act::Top => self.at = 0,
            Act::Bottom => self.at = last,
            Act::Left => self.fold(true, cx),
            Act::RightColumns => self.fold(false, cx),
            Act::Unfold => {
                self.folded.clear();
                self.rebuild(cx);
            }
            Act::Enter | Act::Describe => return Some(self.text(What::Describe, cx)),
            Act::Yaml => return Some(self.text(What::Yaml, cx)),
            _ => return None,
        }
        Some(Vec::new())
    }

    fn changed(&mut self, _source: &Source, _changes: &[Change], _cx: &Cx<'_>) {
        self.dirty.set(true);
    }

    fn due(&self, cx: &Cx<'_>) -> Option<Timestamp> {
        let built = self.built.get().filter(|_| self.dirty.get())?;
        Some((built + PAUSE).max(cx.now))
    }

    fn filter(&self) -> &str {
        &self.filter
    }

    fn set_filter(&mut self, text: &str, cx: &Cx<'_>) -> Result<(), String> {
        text.clone_into(&mut self.filter);
        self.rebuild(cx);
        Ok(())
    }

    fn chosen(&self, cx: &Cx<'_>) -> Option<(Arc<Resource>, Vec<Arc<Row>>)> {
        self.current(cx, |entry, resource| Some((resource, vec![entry.row.clone()?])))?
    }

    fn state(&self) -> Value {
        let lines = self.lines.borrow();
        let line = |entry: &Entry| {
            Value::from(format!(
                "{}{}/{}",
                " ".repeat(entry.depth),
                entry.reference.kind,
                entry.reference.name
            ))
        };
        let mut state = serde_json::to_value(self).unwrap_or_default();
        state["lines"] = lines.iter().map(line).collect();
        state
    }
}

fn line<'a>(entry: &'a Entry, selected: bool, cx: &Cx<'_>) -> Line<'a> {
    let theme = cx.theme;
    let severity = entry.row.as_ref().map_or(Severity::Muted, |row| row.row.severity());
    // What has nothing to say about itself is there, at least.
    let severity = if severity == Severity::Plain {
        Severity::Ok
    } else {
        severity
    };
    let fold = match (entry.children, entry.hidden) {
        (0, _) => "  ",
        (_, true) => "▸ ",
        (_, false) => "▾ ",
    };
    let how = match entry.link {
        Link::Root | Link::Owned => "",
        Link::Selected => " (selected)",
        Link::Used => " (used)",
    };
    let mut name = match (entry.depth, entry.namespace.as_str()) {
        (0, namespace) if !namespace.is_empty() => format!("{namespace}/{}", entry.reference.name),
        _ => entry.reference.name.clone(),
    };
    if entry.hidden {
        name.push_str(&format!(" +{}", entry.children));
    }
    let line = Line::from(vec![
        Span::raw("  ".repeat(entry.depth)),
        Span::styled(fold, theme.muted),
        Span::styled(format!("{} ", glyph(severity)), theme.of(severity)),
        Span::styled(entry.reference.kind.as_str(), theme.accent),
        Span::raw(" "),
        Span::styled(name, theme.text),
        Span::styled(how, theme.muted),
    ]);
    if selected { line.style(theme.selected) } else { line }
}
