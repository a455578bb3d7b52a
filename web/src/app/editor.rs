//! A field for YAML: in colours, with what may stand where the cursor is and what that means.
//!
//! What is typed is an ordinary text area. Behind it the same lines are drawn in colours, as many as are in view;
//! beside it stands what the server's OpenAPI says of the field, and over it what could be typed next.

use std::sync::Arc;

use leptos::html;
use leptos::prelude::*;
use mizzen_api::console::assist::{self, Help, Spot};
use mizzen_api::console::highlight::{self, Role, State};
use serde_json::Value;
use wasm_bindgen_futures::spawn_local;
use web_sys::{Element, HtmlTextAreaElement, KeyboardEvent};

use super::state::{App, app, t};
use super::transport::Call;
use crate::text::Text;

/// Height of a line in pixels, as in the style sheet.
const LINE_PX: f64 = 19.0;
/// Most suggestions.
const MOST: usize = 12;
/// Lines of a text that is only read that have colours.
const COLOURED: usize = 3_000;

fn class(role: Role) -> &'static str {
    match role {
        Role::Key => "y-key",
        Role::Text => "y-text",
        Role::Number | Role::Flag | Role::Null => "y-value",
        Role::Sign => "y-sign",
        Role::Comment => "y-comment",
    }
}

/// A line of YAML in colours, as text nodes.
fn draw(into: &Element, state: State, line: &str) -> State {
    let (spans, next) = highlight::yaml(state, line);
    into.set_text_content(None);
    let append = |text: &str, class: &str| {
        let span = document().create_element("span");
        if let (Ok(span), false) = (span, text.is_empty()) {
            span.set_class_name(class);
            span.set_text_content(Some(text));
            let _ = into.append_child(&span);
        }
    };
    let mut at = 0;
    for (range, role) in spans {
        append(line.get(at..range.start).unwrap_or_default(), "");
        append(line.get(range.clone()).unwrap_or_default(), class(role));
        at = range.end;
    }
    append(line.get(at..).unwrap_or_default(), "");
    next
}

/// YAML that is only read.
#[component]
pub fn Yaml(text: Signal<String>) -> impl IntoView {
    let block = NodeRef::<html::Pre>::new();
    Effect::new(move || {
        let Some(block) = block.get() else { return };
        text.with(|text| {
            block.set_text_content(None);
            let mut state = State::default();
            for (at, line) in text.lines().enumerate() {
                let Ok(element) = document().create_element("div") else {
                    return;
                };
                match at < COLOURED {
                    true => state = draw(&element, state, line),
                    false => element.set_text_content(Some(line)),
                }
                let _ = block.append_child(&element);
            }
        });
    });
    view! { <pre class="text yaml" tabindex="0" node_ref=block></pre> }.into_any()
}

/// What could be typed next.
#[derive(Clone, Default, PartialEq)]
struct Offer {
    /// What is put in, and what is said of it.
    choices: Vec<(String, Help)>,
    chosen: usize,
    /// Bytes of the text that a choice takes the place of.
    from: usize,
    to: usize,
    /// Line and column of the cursor.
    place: (usize, usize),
}

/// What an editor knows.
#[derive(Clone, Copy)]
struct Code {
    app: App,
    source: RwSignal<String>,
    area: NodeRef<html::Textarea>,
    painted: NodeRef<html::Div>,
    offer: RwSignal<Offer>,
    help: RwSignal<Option<Help>>,
    scroll: RwSignal<(i32, i32)>,
}

/// The place of a UTF-16 offset, as browsers count, in bytes.
fn bytes_of(text: &str, units: u32) -> usize {
    let mut left = units as usize;
    for (at, c) in text.char_indices() {
        if left == 0 {
            return at;
        }
        left = left.saturating_sub(c.len_utf16());
    }
    text.len()
}

impl Code {
    /// The OpenAPI document below a path, when it is here; it is asked for once.
    fn document(self, path: &str) -> Option<Arc<Value>> {
        let known = self.app.schemas.with_value(|known| known.get(path).cloned());
        if known.is_none() {
            let path = path.to_owned();
            self.app
                .schemas
                .update_value(|known| drop(known.insert(path.clone(), Arc::new(Value::Null))));
            spawn_local(async move {
                match Call::get(&format!("/openapi/v3/{path}")).json().await {
                    Ok(document) => {
                        self.app
                            .schemas
                            .update_value(|known| drop(known.insert(path, Arc::new(document))));
                        self.look(false);
                    }
                    // Asked again with the next editor.
                    Err(_) => self.app.schemas.update_value(|known| drop(known.remove(&path))),
                }
            });
        }
        known.filter(|document| !document.is_null())
    }

    /// Looks at where the cursor is: what that means and, when somebody types, what could follow.
    fn look(self, offers: bool) {
        let Some(Some(area)) = self.area.try_get_untracked() else {
            return;
        };
        let source = area.value();
        let at = bytes_of(&source, area.selection_start().ok().flatten().unwrap_or_default());
        let found = Spot::find(&source, at);
        let document = found
            .as_ref()
            .and_then(Spot::document)
            .and_then(|path| self.document(&path));
        let (Some(spot), Some(document)) = (found, document) else {
            self.offer.set(Offer::default());
            return;
        };
        let line_end = source[at..].find('\n').map_or(source.len(), |end| at + end);
        let rest = &source[at..line_end];
        let word_end = at + rest.find([':', ' ']).unwrap_or(rest.len());
        let whole = &source[spot.word.start..word_end.max(spot.word.start)];
        self.help.set(assist::about(&document, &spot, whole));
        if !offers {
            self.offer.set(Offer::default());
            return;
        }
        let typed = spot.typed(&source);
        let fields = assist::fields(&document, &spot, typed);
        let mut choices: Vec<_> = fields
            .into_iter()
            .map(|help| (assist::completed(&help, &spot), help))
            .collect();
        choices.extend(assist::values(&document, &spot, typed).into_iter().map(|value| {
            let help = Help {
                name: value.clone(),
                ..Help::default()
            };
            (value, help)
        }));
        choices.truncate(MOST);
        let before = &source[..spot.word.start];
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count());
        self.offer.set(Offer {
            choices,
            chosen: 0,
            from: spot.word.start,
            to: word_end,
            place: (line, column),
        });
    }

    /// Puts a choice in.
    fn take(self, chosen: usize) {
        let Some(area) = self.area.get_untracked() else { return };
        let offer = self.offer.get_untracked();
        let Some((put, _)) = offer.choices.get(chosen) else {
            return;
        };
        let mut source = area.value();
        if source.get(offer.from..offer.to).is_none() {
            return;
        }
        source.replace_range(offer.from..offer.to, put);
        let cursor: usize = source[..offer.from + put.len()].encode_utf16().count();
        area.set_value(&source);
        let cursor = u32::try_from(cursor).unwrap_or_default();
        let _ = area.set_selection_range(cursor, cursor);
        let _ = area.focus();
        self.source.set(source);
        // What was put in may want a value of few.
        self.look(!put.contains('\n'));
    }

    fn key(self, event: &KeyboardEvent) {
        let count = self.offer.with_untracked(|offer| offer.choices.len());
        let step = |by: usize| self.offer.update(|offer| offer.chosen = (offer.chosen + by) % count);
        match &*event.key() {
            " " if event.ctrl_key() => self.look(true),
            _ if count == 0 || event.ctrl_key() || event.alt_key() || event.meta_key() => return,
            "ArrowDown" => step(1),
            "ArrowUp" => step(count - 1),
            "Enter" | "Tab" if !event.shift_key() => self.take(self.offer.with_untracked(|offer| offer.chosen)),
            "Escape" => self.offer.set(Offer::default()),
            _ => return,
        }
        event.prevent_default();
        event.stop_propagation();
    }

    /// Draws the lines in view in colours.
    fn paint(self) {
        let (left, top) = self.scroll.get();
        let (Some(area), Some(painted)) = (self.area.get(), self.painted.get()) else {
            return;
        };
        let from = (f64::from(top) / LINE_PX) as usize;
        let count = (f64::from(area.client_height()) / LINE_PX) as usize + 2;
        self.source.with(|source| {
            let mut state = State::default();
            let mut lines = source.split('\n');
            for line in lines.by_ref().take(from) {
                state = highlight::yaml(state, line).1;
            }
            painted.set_text_content(None);
            for line in lines.take(count) {
                let Ok(element) = document().create_element("div") else {
                    return;
                };
                state = draw(&element, state, line);
                let _ = painted.append_child(&element);
            }
        });
        let shift = format!("translate({}px,{}px)", -left, from as f64 * LINE_PX - f64::from(top));
        let _ = web_sys::HtmlElement::style(&painted).set_property("transform", &shift);
    }
}

/// A field for YAML. `id` names the text area, `label` says what it is.
#[component]
pub fn CodeEditor(
    id: &'static str,
    source: RwSignal<String>,
    /// What it is called.
    label: Text,
    /// Runs when somebody types.
    changed: Callback<()>,
) -> impl IntoView {
    let code = Code {
        app: app(),
        source,
        area: NodeRef::new(),
        painted: NodeRef::new(),
        offer: RwSignal::new(Offer::default()),
        help: RwSignal::new(None),
        scroll: RwSignal::new((0, 0)),
    };
    Effect::new(move || code.paint());
    let typed = move |event: leptos::ev::Event| {
        source.set(event_target_value(&event));
        changed.run(());
        code.look(true);
    };
    let scrolled = move |event: leptos::ev::Event| {
        let area: HtmlTextAreaElement = event_target(&event);
        code.scroll.set((area.scroll_left(), area.scroll_top()));
    };
    // Keys that move the cursor end what was offered for where it was.
    let moved = move |event: KeyboardEvent| {
        let idle = code.offer.with_untracked(|offer| offer.choices.is_empty());
        match &*event.key() {
            "ArrowUp" | "ArrowDown" if idle => code.look(false),
            "ArrowLeft" | "ArrowRight" | "Home" | "End" | "PageUp" | "PageDown" => code.look(false),
            _ => {}
        }
    };
    let one = move |(at, (_, help)): (usize, (String, Help))| {
        let chosen = move || code.offer.with(|offer| offer.chosen == at);
        view! {
            <li role="option" id=format!("{id}-{at}") aria-selected=move || chosen().to_string()
                on:mousedown=move |event| { event.prevent_default(); code.take(at) }>
                <span>{help.name}</span>" "<span class="sev-muted">{help.holds}</span>
            </li>
        }
        .into_any()
    };
    let top = move || {
        let line = code.offer.with(|offer| offer.place.0) as f64 + 1.0;
        format!("{}px", line * LINE_PX - f64::from(code.scroll.get().1) + 6.0)
    };
    let left = move || {
        let column = code.offer.with(|offer| offer.place.1);
        format!("calc({column}ch - {}px + 9px)", code.scroll.get().0)
    };
    let open = Memo::new(move |_| code.offer.with(|offer| !offer.choices.is_empty()));
    let choices = Memo::new(move |_| code.offer.with(|offer| offer.choices.clone()));
    let offered = move || {
        open.get().then(|| {
            view! {
                <ul class="offer" id=format!("{id}-offer") role="listbox" aria-label=t(Text::Suggestions) style:top=top style:left=left>
                    {move || choices.get().into_iter().enumerate().map(one).collect::<Vec<_>>()}
                </ul>
            }
        })
    };
    let active = move || {
        open.get()
            .then(|| format!("{id}-{}", code.offer.with(|offer| offer.chosen)))
    };
    // While something is offered, what is said is of that.
    let told = Memo::new(move |_| {
        let offered = code
            .offer
            .with(|offer| offer.choices.get(offer.chosen).map(|(_, help)| help.clone()));
        offered.filter(|help| !help.text.is_empty()).or_else(|| code.help.get())
    });
    view! {
        <div class="code">
            <div class="behind" aria-hidden="true"><div node_ref=code.painted></div></div>
            <textarea id=id rows="24" wrap="off" spellcheck="false" autocomplete="off" aria-label=t(label) aria-autocomplete="list"
                aria-controls=move || open.get().then(|| format!("{id}-offer")) aria-activedescendant=active
                node_ref=code.area prop:value=source on:input=typed on:scroll=scrolled
                on:keydown=move |event| code.key(&event) on:keyup=moved on:click=move |_| code.look(false)
                on:blur=move |_| code.offer.set(Offer::default())></textarea>
            {offered}
        </div>
        <p class="told" id=format!("{id}-told") aria-live="polite">{move || told.get().map(|help| view! {
            <strong>{help.name}</strong>" "<code>{help.holds}</code>{help.required.then(|| view! { " "<em>{t(Text::Required)}</em> })}" "{help.text}
        })}</p>
    }
    .into_any()
}
