//! The map stays true: members are named in ARCHITECTURE.md, and depend on each other as drawn there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Member → the members that it may depend on (development dependencies apart).
const ALLOWED: &[(&str, &[&str])] = &[
    ("mizzen-api", &[]),
    ("mizzen-server", &["mizzen-api"]),
    ("mizzen-node", &["mizzen-api"]),
    ("mizzen-tui", &["mizzen-api"]),
    ("mizzen-web", &["mizzen-api"]),
    ("mizzen-web-bundle", &[]),
    (
        "mizzen",
        &["mizzen-api", "mizzen-server", "mizzen-node", "mizzen-tui", "mizzen-web"],
    ),
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    metadata["packages"].as_array().expect("a list of packages").clone()
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    for package in packages() {
        let name = package["name"].as_str().expect("a name");
        if name == "mizzen-tests" {
            continue;
        }
        let may = allowed.get(name).unwrap_or_else(|| panic!("{name} is not in ALLOWED"));
        for dependency in package["dependencies"].as_array().expect("a list") {
            let to = dependency["name"].as_str().expect("a name");
            if to.starts_with("mizzen") && dependency["kind"] != "dev" {
                assert!(may.contains(&to), "{name} must not depend on {to}");
            }
        }
    }
}

#[test]
fn every_member_is_on_the_map() {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the map");
    let headings: BTreeSet<&str> = map.lines().filter(|line| line.starts_with("### ")).collect();
    for package in packages() {
        let name = package["name"].as_str().expect("a name");
        let short = format!("`{}`", name.strip_prefix("mizzen-").unwrap_or(name));
        assert!(
            headings.iter().any(|h| h.contains(&short)),
            "{name} has no section in ARCHITECTURE.md"
        );
    }
}

#[test]
fn every_module_says_what_it_is() {
    let mut stack: Vec<_> = ["src", "api", "server", "node", "tui", "web", "tests"]
        .map(|d| root().join(d))
        .into();
    let mut silent = Vec::new();
    while let Some(directory) = stack.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                if path
                    .file_name()
                    .is_some_and(|name| name != "target" && name != "snapshots")
                {
                    stack.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                if !text.lines().any(|line| line.starts_with("//!")) {
                    silent.push(path);
                }
            }
        }
    }
    assert!(silent.is_empty(), "modules without //!: {silent:?}");
}
