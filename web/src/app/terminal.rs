//! A shell in a container: a terminal in the page, joined to the container by a WebSocket
//! (`v5.channel.k8s.io`).
//!
//! What the container writes is read by a terminal emulator, and its screen is drawn as text nodes: no
//! sequence of characters can become markup.

use std::cell::RefCell;
use std::rc::Rc;

use leptos::html;
use leptos::prelude::*;
use mizzen_api::console::locator::Place;
use mizzen_api::view::{list, text};
use serde_json::Value;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{BinaryType, Element, HtmlElement, KeyboardEvent, MessageEvent, WebSocket};

use super::live::encode;
use super::state::t;
use crate::text::Text;

const STDIN: u8 = 0;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
/// Lines above the screen that are kept.
const HISTORY: usize = 2_000;
/// Between signs of life.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(30);
/// Bash where there is one.
const SHELL: &str = "command -v bash >/dev/null 2>&1 && exec bash || exec sh";

/// How a session fares.
#[derive(Clone, PartialEq)]
enum State {
    Connecting,
    Open,
    /// With the last words of the server.
    Closed(String),
}

struct Session {
    socket: WebSocket,
    parser: RefCell<vt100::Parser>,
    screen: HtmlElement,
    /// What each line of the screen shows.
    drawn: RefCell<Vec<String>>,
    waiting: RefCell<bool>,
    size: RefCell<(u16, u16)>,
}

impl Session {
    fn send(&self, channel: u8, bytes: &[u8]) {
        let mut frame = Vec::with_capacity(bytes.len() + 1);
        frame.push(channel);
        frame.extend_from_slice(bytes);
        let _ = self.socket.send_with_u8_array(&frame);
    }

    /// Takes the size of the element in characters, and tells the container.
    fn fit(&self) {
        let Some(size) = measure(&self.screen) else { return };
        if self.size.replace(size) == size {
            return;
        }
        self.parser.borrow_mut().screen_mut().set_size(size.0, size.1);
        self.drawn.borrow_mut().clear();
        self.tell_size();
        self.draw();
    }

    fn tell_size(&self) {
        let (rows, columns) = *self.size.borrow();
        self.send(RESIZE, format!(r#"{{"Width":{columns},"Height":{rows}}}"#).as_bytes());
    }

    /// Draws with the next frame: output comes in pieces.
    fn draw_soon(self: &Rc<Self>) {
        if !self.waiting.replace(true) {
            let session = self.clone();
            request_animation_frame(move || {
                session.waiting.replace(false);
                session.draw();
            });
        }
    }

    fn draw(&self) {
        let parser = self.parser.borrow();
        let screen = parser.screen();
        let (rows, columns) = screen.size();
        let mut drawn = self.drawn.borrow_mut();
        if drawn.len() != usize::from(rows) {
            self.screen.set_text_content(None);
            for _ in 0..rows {
                if let Ok(line) = document().create_element("div") {
                    let _ = self.screen.append_child(&line);
                }
            }
            *drawn = vec![String::from("\0"); rows.into()];
        }
        let cursor = (!screen.hide_cursor() && screen.scrollback() == 0).then(|| screen.cursor_position());
        for row in 0..rows {
            let runs = runs(screen, row, columns, cursor);
            let key: String = runs.iter().map(|(style, text)| format!("{style:?}{text}")).collect();
            if drawn[usize::from(row)] == key {
                continue;
            }
            if let Some(line) = self.screen.children().item(row.into()) {
                let _ = fill(&line, &runs);
            }
            drawn[usize::from(row)] = key;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Style {
    fg: vt100::Color,
    bg: vt100::Color,
    bold: bool,
    italic: bool,
    underline: bool,
    inverse: bool,
}

/// A line as pieces of one look each.
fn runs(screen: &vt100::Screen, row: u16, columns: u16, cursor: Option<(u16, u16)>) -> Vec<(Style, String)> {
    let mut runs: Vec<(Style, String)> = Vec::new();
    for column in 0..columns {
        let Some(cell) = screen.cell(row, column) else { continue };
        if cell.is_wide_continuation() {
            continue;
        }
        let style = Style {
            fg: cell.fgcolor(),
            bg: cell.bgcolor(),
            bold: cell.bold(),
            italic: cell.italic(),
            underline: cell.underline(),
            inverse: cell.inverse() != (cursor == Some((row, column))),
        };
        let content = if cell.has_contents() { cell.contents() } else { " " };
        match runs.last_mut() {
            Some((last, text)) if *last == style => text.push_str(content),
            _ => runs.push((style, content.to_owned())),
        }
    }
    runs
}

fn fill(line: &Element, runs: &[(Style, String)]) -> Result<(), JsValue> {
    line.set_text_content(None);
    for (style, text) in runs {
        let span: HtmlElement = document().create_element("span")?.unchecked_into();
        span.set_text_content(Some(text));
        let mut class = String::new();
        for (on, name) in [
            (style.bold, "bold "),
            (style.italic, "italic "),
            (style.underline, "underline "),
            (style.inverse, "inverse "),
        ] {
            if on {
                class.push_str(name);
            }
        }
        for (color, sign, property) in [(style.fg, 'f', "--fg"), (style.bg, 'b', "--bg")] {
            match color {
                vt100::Color::Default => {}
                vt100::Color::Idx(index @ 0..16) => class.push_str(&format!("{sign}{index} ")),
                vt100::Color::Idx(index) => span.style().set_property(property, &palette(index))?,
                vt100::Color::Rgb(r, g, b) => span
                    .style()
                    .set_property(property, &format!("#{r:02x}{g:02x}{b:02x}"))?,
            }
        }
        if !class.is_empty() {
            span.set_class_name(class.trim_end());
        }
        line.append_child(&span)?;
    }
    Ok(())
}

/// xterm's colours above the first 16.
fn palette(index: u8) -> String {
    if index >= 232 {
        let grey = 8 + 10 * (index - 232);
        return format!("#{grey:02x}{grey:02x}{grey:02x}");
    }
    let level = |n: u8| if n == 0 { 0 } else { 55 + 40 * n };
    let n = index - 16;
    format!("#{:02x}{:02x}{:02x}", level(n / 36), level(n / 6 % 6), level(n % 6))
}

/// Rows and columns that fit into the element.
fn measure(screen: &HtmlElement) -> Option<(u16, u16)> {
    let probe = document().create_element("span").ok()?;
    probe.set_text_content(Some("MMMMMMMMMM"));
    probe.set_class_name("probe");
    screen.append_child(&probe).ok()?;
    let size = probe.get_bounding_client_rect();
    probe.remove();
    let (width, height) = (size.width() / 10.0, size.height());
    if width <= 0.0 || height <= 0.0 {
        return None;
    }
    let fits = |all: i32, one: f64| (f64::from(all) / one).floor().clamp(2.0, 500.0) as u16;
    Some((fits(screen.client_height(), height), fits(screen.client_width(), width)))
}

/// What a key sends.
fn bytes(event: &KeyboardEvent, application: bool) -> Option<Vec<u8>> {
    let key = event.key();
    if event.meta_key() {
        return None;
    }
    let arrow = |letter: char| {
        if application {
            format!("\x1bO{letter}")
        } else {
            format!("\x1b[{letter}")
        }
    };
    let special = match &*key {
        "Enter" => "\r".to_owned(),
        "Backspace" => "\x7f".to_owned(),
        "Tab" if event.shift_key() => "\x1b[Z".to_owned(),
        "Tab" => "\t".to_owned(),
        "Escape" => "\x1b".to_owned(),
        "ArrowUp" => arrow('A'),
        "ArrowDown" => arrow('B'),
        "ArrowRight" => arrow('C'),
        "ArrowLeft" => arrow('D'),
        "Home" => arrow('H'),
        "End" => arrow('F'),
        "Insert" => "\x1b[2~".to_owned(),
        "Delete" => "\x1b[3~".to_owned(),
        "PageUp" => "\x1b[5~".to_owned(),
        "PageDown" => "\x1b[6~".to_owned(),
        "F1" => "\x1bOP".to_owned(),
        "F2" => "\x1bOQ".to_owned(),
        "F3" => "\x1bOR".to_owned(),
        "F4" => "\x1bOS".to_owned(),
        "F5" => "\x1b[15~".to_owned(),
        "F6" => "\x1b[17~".to_owned(),
        "F7" => "\x1b[18~".to_owned(),
        "F8" => "\x1b[19~".to_owned(),
        "F9" => "\x1b[20~".to_owned(),
        "F10" => "\x1b[21~".to_owned(),
        _ => String::new(),
    };
    let mut out = if event.alt_key() { vec![0x1b] } else { Vec::new() };
    let mut letters = key.chars();
    match (letters.next(), letters.next()) {
        _ if !special.is_empty() => out.extend(special.bytes()),
        // Ctrl-Shift-C and -V are the browser's.
        (Some(letter), None) if event.ctrl_key() && !event.shift_key() => match letter.to_ascii_lowercase() {
            letter @ 'a'..='z' => out.push(letter as u8 & 0x1f),
            ' ' | '@' => out.push(0),
            letter @ ('[' | '\\' | ']' | '^' | '_') => out.push(letter as u8 & 0x1f),
            _ => return None,
        },
        (Some(letter), None) if !event.ctrl_key() => out.extend(letter.to_string().bytes()),
        _ => return None,
    }
    Some(out)
}

fn open(place: &Place, container: &str, screen: HtmlElement, state: RwSignal<State>) -> Option<Rc<Session>> {
    let location = window().location();
    let words = ["sh", "-c", SHELL]
        .map(|word| format!("&command={}", encode(word)))
        .concat();
    let url = format!(
        "wss://{}/api/v1/namespaces/{}/pods/{}/exec?stdin=true&stdout=true&tty=true&container={}{words}",
        location.host().ok()?,
        place.namespace,
        encode(&place.name),
        encode(container),
    );
    let socket = WebSocket::new_with_str(&url, "v5.channel.k8s.io").ok()?;
    socket.set_binary_type(BinaryType::Arraybuffer);
    screen.set_text_content(None);
    let session = Rc::new(Session {
        socket: socket.clone(),
        parser: RefCell::new(vt100::Parser::new(24, 80, HISTORY)),
        screen,
        drawn: RefCell::default(),
        waiting: RefCell::new(false),
        size: RefCell::default(),
    });
    state.set(State::Connecting);
    let opened = session.clone();
    let on_open = Closure::<dyn Fn()>::new(move || {
        let _ = state.try_set(State::Open);
        opened.fit();
    });
    let heard = session.clone();
    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        let frame = js_sys::Uint8Array::new(&event.data()).to_vec();
        match frame.split_first() {
            Some((&STATUS, status)) => {
                let status: Value = serde_json::from_slice(status).unwrap_or_default();
                let message = text(&status, "/message").to_owned();
                let _ = state.try_set(State::Closed(message));
            }
            Some((_, bytes)) if !bytes.is_empty() => {
                let mut parser = heard.parser.borrow_mut();
                parser.screen_mut().set_scrollback(0);
                parser.process(bytes);
                drop(parser);
                heard.draw_soon();
            }
            _ => {}
        }
    });
    let on_close = Closure::<dyn Fn()>::new(move || {
        let closed = state.try_with_untracked(|state| matches!(state, State::Closed(_)));
        if closed == Some(false) {
            let _ = state.try_set(State::Closed(String::new()));
        }
    });
    socket.set_onopen(Some(on_open.as_ref().unchecked_ref()));
    socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    socket.set_onclose(Some(on_close.as_ref().unchecked_ref()));
    // A session is opened by a person: the few closures go with the page.
    on_open.forget();
    on_message.forget();
    on_close.forget();
    Some(session)
}

/// The tab.
#[component]
pub fn TerminalTab(object: RwSignal<Option<Value>>, place: Place) -> impl IntoView {
    let names: Vec<String> = object.with_untracked(|object| {
        let all = object.iter().flat_map(|object| list(object, "/spec/containers"));
        all.map(|container| text(container, "/name").to_owned()).collect()
    });
    let container = RwSignal::new(names.first().cloned().unwrap_or_default());
    let again = RwSignal::new(0_u32);
    let state = RwSignal::new(State::Connecting);
    let screen = NodeRef::<html::Div>::new();
    let session = StoredValue::new_local(None::<Rc<Session>>);
    let close = move || {
        let old = session.try_update_value(Option::take).flatten();
        if let Some(old) = old {
            old.socket.set_onclose(None);
            let _ = old.socket.close();
        }
    };
    on_cleanup(close);
    Effect::new(move || {
        again.track();
        let (Some(element), container) = (screen.get(), container.get()) else {
            return;
        };
        close();
        let _ = element.focus();
        session.set_value(open(&place, &container, element.into(), state));
    });
    let with = move |act: &dyn Fn(&Rc<Session>)| {
        let _ = session.try_with_value(|session| session.as_ref().map(act));
    };
    let resized = window_event_listener(leptos::ev::resize, move |_| with(&|session| session.fit()));
    on_cleanup(move || resized.remove());
    // Proxies end connections on which nothing is said, and a page cannot ping.
    if let Ok(beat) = set_interval_with_handle(move || with(&|session| session.tell_size()), KEEP_ALIVE) {
        on_cleanup(move || beat.clear());
    }
    let press = move |event: KeyboardEvent| {
        with(&|session| {
            let application = session.parser.borrow().screen().application_cursor();
            if let Some(bytes) = bytes(&event, application) {
                session.send(STDIN, &bytes);
                event.prevent_default();
                event.stop_propagation();
            }
        });
    };
    let paste = move |event: web_sys::ClipboardEvent| {
        event.prevent_default();
        let pasted = event
            .clipboard_data()
            .and_then(|data| data.get_data("text").ok())
            .unwrap_or_default();
        with(&|session| {
            let text = pasted.replace("\r\n", "\r").replace('\n', "\r");
            // A paste may not end the brackets that it stands in.
            let text = match session.parser.borrow().screen().bracketed_paste() {
                true => format!("\x1b[200~{}\x1b[201~", text.replace('\x1b', "")),
                false => text,
            };
            session.send(STDIN, text.as_bytes());
        });
    };
    let wheel = move |event: web_sys::WheelEvent| {
        event.prevent_default();
        with(&|session| {
            let mut parser = session.parser.borrow_mut();
            let at = parser.screen().scrollback();
            let to = if event.delta_y() < 0.0 {
                at + 3
            } else {
                at.saturating_sub(3)
            };
            parser.screen_mut().set_scrollback(to);
            drop(parser);
            session.draw_soon();
        });
    };
    let says = move || match state.get() {
        State::Connecting => {
            view! { <span class="sev-progress" role="status">"◌ "{t(Text::Connecting)}</span> }.into_any()
        }
        State::Open => {
            view! { <span class="sev-ok" role="status" id="connected">"● "{t(Text::Connected)}</span> }.into_any()
        }
        State::Closed(why) => view! { <span class="sev-warning" role="alert">"▲ "{t(Text::SessionOver)}" "{why}</span>
        <button on:click=move |_| again.update(|n| *n += 1)>{t(Text::Again)}</button> }
        .into_any(),
    };
    view! {
        <div class="toolbar">
            <label>{t(Text::Container)}" "<select on:change=move |event| container.set(event_target_value(&event))>
                {names.into_iter().map(|name| view! { <option value=name.clone()>{name.clone()}</option> }).collect::<Vec<_>>()}
            </select></label>
            {says}
        </div>
        <div class="terminal" id="terminal" node_ref=screen tabindex="0" role="textbox" aria-multiline="true" aria-label=t(Text::Terminal)
            on:keydown=press on:paste=paste on:wheel=wheel></div>
    }
    .into_any()
}
