//! Rules for names and values that many kinds share, with upstream's words.
//!
//! Each function returns what is wrong; empty means valid.

use std::net::IpAddr;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_WORDS: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// Longest DNS label, and longest name part of a label key.
pub const LABEL_MAX_BYTES: usize = 63;
/// Longest DNS subdomain.
pub const SUBDOMAIN_MAX_BYTES: usize = 253;

/// What is wrong, for people.
pub type Problems = Vec<String>;

fn regex_words(words: &str, pattern: &str, examples: &[&str]) -> String {
    let examples: Vec<_> = examples.iter().map(|e| format!("'{e}', ")).collect();
    match examples.is_empty() {
        true => format!("{words} (regex used for validation is '{pattern}')"),
        false => format!(
            "{words} (e.g. {}regex used for validation is '{pattern}')",
            examples.join(" or ")
        ),
    }
}

/// The words for something longer than `max` bytes.
pub fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_label(s: &str) -> bool {
    let b = s.as_bytes();
    !b.is_empty() && b.iter().all(|&c| lower_alnum(c) || c == b'-') && lower_alnum(b[0]) && lower_alnum(b[b.len() - 1])
}

fn is_qualified_part(s: &str) -> bool {
    let b = s.as_bytes();
    !b.is_empty()
        && b.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
        && b[0].is_ascii_alphanumeric()
        && b[b.len() - 1].is_ascii_alphanumeric()
}

fn sized(value: &str, max: usize, valid: bool, words: impl FnOnce() -> String) -> Problems {
    let mut problems = Problems::new();
    if value.len() > max {
        problems.push(too_long(max));
    }
    if !valid {
        problems.push(words());
    }
    problems
}

/// A lowercase RFC 1123 label, such as a namespace's name.
pub fn dns_label(value: &str) -> Problems {
    sized(value, LABEL_MAX_BYTES, is_label(value), || {
        regex_words(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
            LABEL,
            &["my-name", "123-abc"],
        )
    })
}

/// A lowercase RFC 1123 subdomain: the name of most objects.
pub fn dns_subdomain(value: &str) -> Problems {
    sized(value, SUBDOMAIN_MAX_BYTES, value.split('.').all(is_label), || {
        regex_words(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN,
            &["example.com"],
        )
    })
}

/// An RFC 1035 label: a label that starts with a letter, such as a Service's name.
pub fn dns_1035_label(value: &str) -> Problems {
    let valid = is_label(value) && value.as_bytes()[0].is_ascii_lowercase();
    sized(value, LABEL_MAX_BYTES, valid, || {
        regex_words(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        )
    })
}

/// A name that is safe as one segment of a path: what RBAC objects may be called.
pub fn path_segment(value: &str) -> Problems {
    let mut problems = Problems::new();
    if value == "." || value == ".." {
        problems.push(format!("may not be '{value}'"));
    }
    for bad in ["/", "%"] {
        if value.contains(bad) {
            problems.push(format!("may not contain '{bad}'"));
        }
    }
    problems
}

/// A qualified name: the key of a label, an annotation, a resource or a taint.
pub fn qualified_name(value: &str) -> Problems {
    let mut problems = Problems::new();
    let (prefix, name) = match value.split_once('/') {
        None => (None, value),
        Some((_, rest)) if rest.contains('/') => {
            return vec![format!(
                "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                regex_words(QUALIFIED_WORDS, QUALIFIED, &["MyName", "my.name", "123-abc"])
            )];
        }
        Some((prefix, name)) => (Some(prefix), name),
    };
    match prefix {
        Some("") => problems.push("prefix part must be non-empty".into()),
        Some(prefix) => problems.extend(dns_subdomain(prefix).into_iter().map(|p| format!("prefix part {p}"))),
        None => {}
    }
    if name.is_empty() {
        problems.push("name part must be non-empty".into());
    } else if name.len() > LABEL_MAX_BYTES {
        problems.push(format!("name part {}", too_long(LABEL_MAX_BYTES)));
    }
    if !is_qualified_part(name) {
        problems.push(format!(
            "name part {}",
            regex_words(QUALIFIED_WORDS, QUALIFIED, &["MyName", "my.name", "123-abc"])
        ));
    }
    problems
}

/// The value of a label.
pub fn label_value(value: &str) -> Problems {
    sized(
        value,
        LABEL_MAX_BYTES,
        value.is_empty() || is_qualified_part(value),
        || {
            regex_words(
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
                "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
                &["MyValue", "my_value", "12345"],
            )
        },
    )
}

/// A key of a ConfigMap or Secret.
pub fn config_key(value: &str) -> Problems {
    let valid = !value.is_empty() && value.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c));
    let mut problems = sized(value, SUBDOMAIN_MAX_BYTES, valid, || {
        regex_words(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        )
    });
    match value {
        "." => problems.push("must not be '.'".into()),
        ".." => problems.push("must not be '..'".into()),
        v if v.starts_with("..") => problems.push("must not start with '..'".into()),
        _ => {}
    }
    problems
}

/// The name of an environment variable.
pub fn env_name(value: &str) -> Problems {
    if !value.is_empty() && value.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'=') {
        return Problems::new();
    }
    vec![regex_words(
        "a valid environment variable name must consist only of printable ASCII characters other than '='",
        "^[ -<>-~]+$",
        &[],
    )]
}

/// A port number.
pub fn port_number(value: i64) -> Problems {
    if (1..=65535).contains(&value) {
        Problems::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".into()]
    }
}

/// A port's name, as a Service or a probe refers to it (an IANA service name).
pub fn port_name(value: &str) -> Problems {
    let mut problems = Problems::new();
    let b = value.as_bytes();
    if b.len() > 15 {
        problems.push(too_long(15));
    }
    if !b.iter().all(|&c| lower_alnum(c) || c == b'-') {
        problems.push("must contain only alphanumeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !b.iter().any(u8::is_ascii_lowercase) {
        problems.push("must contain at least one letter (a-z)".into());
    }
    if value.contains("--") {
        problems.push("must not contain consecutive hyphens".into());
    }
    if value.starts_with('-') || value.ends_with('-') {
        problems.push("must not begin or end with a hyphen".into());
    }
    problems
}

/// An IP address.
pub fn ip(value: &str) -> Problems {
    match value.parse::<IpAddr>() {
        Ok(_) => Problems::new(),
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (rule, good, bad) in [
            (
                dns_label as fn(&str) -> Problems,
                &["a", "a-1", "1a"][..],
                &["", "A", "a.", "-a", "a_b", "a.b"][..],
            ),
            (dns_subdomain, &["a.b-c", "1.2"], &["", "a..b", ".a", "a/b"]),
            (dns_1035_label, &["a", "a1"], &["1a", "", "a.b"]),
            (
                qualified_name,
                &["a", "A_b.c", "x.y/Z"],
                &["", "/a", "a/", "a/b/c", "X/y", "-a"],
            ),
            (label_value, &["", "A-1_x.y"], &["-", "a b", "é"]),
            (config_key, &["a.b", "_x", "-"], &["", "..", "..a", "a/b"]),
            (
                port_name,
                &["http", "a-1"],
                &["", "80", "a--b", "-a", "sixteen-letters-x"],
            ),
            (ip, &["10.0.0.1", "::1"], &["", "10.0.0", "01.2.3.4"]),
        ] {
            for value in good {
                assert_eq!(rule(value), Problems::new(), "{value:?}");
            }
            for value in bad {
                assert!(!rule(value).is_empty(), "{value:?}");
            }
        }
        assert!(!dns_label(&"a".repeat(64)).is_empty());
        assert!(!dns_subdomain(&"a".repeat(254)).is_empty());
    }

    #[test]
    fn words_are_upstreams() {
        assert_eq!(
            dns_label("A"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
    }
}
