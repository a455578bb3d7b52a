//! ConfigMaps, Secrets (whose values are never shown) and service accounts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Subject;
use super::writer::{Writer, entries};
use crate::view::{self, list, map, scalar, text};

pub(super) fn config_map(subject: &Subject<'_>, out: &mut Writer) {
    subject.heading(out);
    subject.labels_and_annotations(out);
    out.line(0, "\nData\n====");
    for (key, value) in entries(map(subject.object, "/data")) {
        out.line(0, format!("{key}:\n----\n{}\n", scalar(value)));
    }
    out.line(0, "\nBinaryData\n====");
    for (key, value) in entries(map(subject.object, "/binaryData")) {
        out.line(0, format!("{key}: {} bytes", size(value)));
    }
    out.line(0, "");
    subject.events(out);
}

pub(super) fn secret(subject: &Subject<'_>, out: &mut Writer) {
    subject.heading(out);
    subject.labels_and_annotations(out);
    out.line(0, format!("\nType:\t{}", text(subject.object, "/type")));
    out.line(0, "\nData\n====");
    for (key, value) in entries(map(subject.object, "/data")) {
        out.line(0, format!("{key}:\t{} bytes", size(value)));
    }
}

/// Length of what base64 stands for.
fn size(value: &Value) -> usize {
    let bytes = STANDARD.decode(value.as_str().unwrap_or_default());
    bytes.map_or(0, |b| b.len())
}

pub(super) fn service_account(subject: &Subject<'_>, out: &mut Writer) {
    let account = subject.object;
    subject.heading(out);
    subject.labels_and_annotations(out);
    let secrets = subject.related.get("secrets");
    let referred = |path: &str| {
        let name = |s: &Value| {
            let name = text(s, "/name");
            let missing = secrets.is_some_and(|all| all.iter().all(|s| view::name(s) != name));
            if missing {
                format!("{name} (not found)")
            } else {
                name.to_owned()
            }
        };
        list(account, path).iter().map(name).collect::<Vec<_>>()
    };
    let own_token = |s: &&Value| {
        let annotation = |key: &str| {
            text(
                s,
                &format!("/metadata/annotations/kubernetes.io~1service-account.{key}"),
            )
        };
        text(s, "/type") == "kubernetes.io/service-account-token"
            && annotation("name") == view::name(account)
            && annotation("uid") == text(account, "/metadata/uid")
    };
    let tokens = subject.related("secrets").iter().filter(own_token);
    let tokens: Vec<_> = tokens.map(|s| view::name(s).to_owned()).collect();
    out.multi("Image pull secrets", &referred("/imagePullSecrets"));
    out.multi("Mountable secrets", &referred("/secrets"));
    out.multi("Tokens", &tokens);
    subject.events(out);
}
