//! Errors as kubectl prints them, and several of them at once.

use std::process::ExitCode;

use kube::core::Status;

use super::tell;

/// A wrong invocation or an answer of the client itself: printed after `error: `.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(pub String);

/// An error of the client itself.
pub(crate) fn fail<T>(message: impl Into<String>) -> anyhow::Result<T> {
    Err(Failure(message.into()).into())
}

/// An error about the Pods behind a name.
pub(crate) fn of_pods(error: mizzen_api::client::pods::Error) -> anyhow::Error {
    use mizzen_api::client::pods::Error;
    match error {
        Error::Api(error) => error.into(),
        Error::Unfit(message) => Failure(message).into(),
    }
}

/// Prints an error and gives the exit code. A closed pipe ends the program quietly.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let closed = error
        .chain()
        .filter_map(|e| e.downcast_ref::<std::io::Error>())
        .any(|e| e.kind() == std::io::ErrorKind::BrokenPipe);
    if !closed {
        tell(words(error));
    }
    ExitCode::FAILURE
}

/// Collects what went wrong while a command goes on with the next object.
#[derive(Default)]
pub(crate) struct Outcome {
    failed: bool,
}

impl Outcome {
    /// Notes a result; prints its error.
    pub(crate) fn note(&mut self, result: anyhow::Result<()>) {
        if let Err(error) = result {
            report(&error);
            self.failed = true;
        }
    }

    /// The exit code of the whole command.
    pub(crate) fn code(&self) -> ExitCode {
        if self.failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}

/// The error as a sentence, with the context that was put around it.
pub(crate) fn words(error: &anyhow::Error) -> String {
    let status = error.chain().find_map(|e| match e.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => Some(status),
        _ => None,
    });
    if let Some(status) = status {
        // What was added around the server's answer goes in front of its message.
        let mut context = String::new();
        for cause in error.chain().take_while(|e| e.downcast_ref::<kube::Error>().is_none()) {
            context.push_str(&format!("{cause}: "));
        }
        return server_words(status, &context);
    }
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::HyperError(_) | kube::Error::Service(_)) => transport_words(error),
        _ => format!("error: {}", chain(error)),
    }
}

fn server_words(status: &Status, context: &str) -> String {
    match status.reason.as_str() {
        "Unauthorized" => format!("error: You must be logged in to the server ({})", status.message),
        "Invalid" if context.is_empty() => invalid_words(status),
        "" => format!("Error from server: {context}{}", status.message),
        reason => format!("Error from server ({reason}): {context}{}", status.message),
    }
}

/// `The Pod "x" is invalid: …`, with a line for each cause when there are several.
fn invalid_words(status: &Status) -> String {
    let Some(details) = &status.details else {
        return format!("The request is invalid: {}", status.message);
    };
    let start = format!("The {} {:?} is invalid: ", details.kind, details.name);
    let causes: Vec<_> = details
        .causes
        .iter()
        .map(|c| match c.field.as_str() {
            "" => c.message.clone(),
            field => format!("{field}: {}", c.message),
        })
        .collect();
    match causes.as_slice() {
        [] => format!("The request is invalid: {}", status.message),
        [one] => format!("{start}{one}"),
        many => format!("{start}\n* {}", many.join("\n* ")),
    }
}

fn transport_words(error: &anyhow::Error) -> String {
    let text = chain(error);
    if text.contains("Connection refused") {
        return "The connection to the server was refused - did you specify the right host or port?".to_owned();
    }
    format!("Unable to connect to the server: {text}")
}

/// The error with its causes, without saying anything twice.
fn chain(error: &anyhow::Error) -> String {
    let mut out = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !out.ends_with(&text) {
            let separator = if out.is_empty() { "" } else { ": " };
            out.push_str(separator);
            out.push_str(&text);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;
    use serde_json::json;

    fn status(value: serde_json::Value) -> anyhow::Error {
        kube::Error::Api(Box::new(serde_json::from_value(value).expect("a status"))).into()
    }

    #[test]
    fn errors_read_as_kubectl_prints_them() {
        let not_found = || status(json!({"code": 404, "reason": "NotFound", "message": "pods \"x\" not found"}));
        insta::assert_snapshot!(words(&not_found()), @r#"Error from server (NotFound): pods "x" not found"#);
        let context = Err::<(), _>(not_found()).context("error when creating \"x.yaml\"");
        insta::assert_snapshot!(words(&context.expect_err("an error")), @r#"Error from server (NotFound): error when creating "x.yaml": pods "x" not found"#);
        insta::assert_snapshot!(words(&status(json!({"code": 422, "reason": "Invalid", "message": "m", "details": {
            "kind": "Pod", "name": "x", "causes": [{"field": "spec.a", "message": "Required value"}, {"field": "spec.b", "message": "Invalid value: 1"}]}}))), @r#"
        The Pod "x" is invalid: 
        * spec.a: Required value
        * spec.b: Invalid value: 1
        "#);
        insta::assert_snapshot!(words(&status(json!({"code": 401, "reason": "Unauthorized", "message": "Unauthorized"}))), @"error: You must be logged in to the server (Unauthorized)");
        insta::assert_snapshot!(words(&Failure("you must name a type".into()).into()), @"error: you must name a type");
    }
}
