//! The configuration file: flags as YAML keys, merged beneath the command line and the environment.
//!
//! `config.yaml` is read first, then `config.yaml.d/*.yaml` in order of name. A later value replaces an
//! earlier one; a key with `+` at its end adds to it. Lists become repeated flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// The arguments with what the configuration file says put in where neither they nor the environment do.
pub fn merge(arguments: Vec<OsString>) -> Result<Vec<OsString>> {
    let words: Vec<String> = arguments.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    if words
        .get(1)
        .is_none_or(|command| command != "server" && command != "agent")
    {
        return Ok(arguments);
    }
    let path = config_path(&words).unwrap_or_else(|| {
        std::env::var_os("MIZZEN_CONFIG_FILE").map_or_else(|| PathBuf::from("/etc/mizzen/config.yaml"), PathBuf::from)
    });
    let settings = read(&path)?;
    let added = flags(&settings, |key| is_given(&words, key))?;
    let (head, tail) = arguments.split_at(2);
    Ok(head
        .iter()
        .cloned()
        .chain(added.into_iter().map(OsString::from))
        .chain(tail.iter().cloned())
        .collect())
}

fn config_path(words: &[String]) -> Option<PathBuf> {
    let at = words
        .iter()
        .position(|word| word == "--config" || word == "-c" || word.starts_with("--config="))?;
    match words[at].split_once('=') {
        Some((_, path)) => Some(path.into()),
        None => words.get(at + 1).map(PathBuf::from),
    }
}

fn is_given(words: &[String], key: &str) -> bool {
    let flag = format!("--{key}");
    let variable = format!("MIZZEN_{}", key.to_uppercase().replace('-', "_"));
    words
        .iter()
        .any(|word| *word == flag || word.starts_with(&format!("{flag}=")))
        || std::env::var_os(variable).is_some()
}

fn read(path: &Path) -> Result<Map<String, Value>> {
    let mut merged = Map::new();
    let mut files: Vec<PathBuf> = path.exists().then(|| path.to_owned()).into_iter().collect();
    let mut directory = path.as_os_str().to_owned();
    directory.push(".d");
    if let Ok(entries) = std::fs::read_dir(&directory) {
        let mut more: Vec<_> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|p| p.extension().is_some_and(|e| e == "yaml"))
            .collect();
        more.sort();
        files.extend(more);
    }
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let values: Option<Map<String, Value>> =
            serde_saphyr::from_str(&text).with_context(|| format!("{} is not a YAML map of flags", file.display()))?;
        merge_file(&mut merged, values.unwrap_or_default());
    }
    Ok(merged)
}

fn merge_file(merged: &mut Map<String, Value>, values: Map<String, Value>) {
    for (key, value) in values {
        match key.strip_suffix('+') {
            None => drop(merged.insert(key, value)),
            Some(key) => {
                let mut all = list(merged.remove(key).unwrap_or_default());
                all.extend(list(value));
                merged.insert(key.to_owned(), all.into());
            }
        }
    }
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        one => vec![one],
    }
}

fn flags(settings: &Map<String, Value>, is_given: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for (key, value) in settings.iter().filter(|(key, _)| !is_given(key)) {
        for item in list(value.clone()) {
            match item {
                Value::Bool(true) => out.push(format!("--{key}")),
                Value::Bool(false) => {}
                Value::String(text) => out.push(format!("--{key}={text}")),
                Value::Number(number) => out.push(format!("--{key}={number}")),
                other => bail!(
                    "the value of {key} in the configuration file must be a string, a number, true or false, or a list of those; it is {other}"
                ),
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_merge_and_the_command_line_wins() {
        let folder = tempfile::tempdir().expect("a folder");
        let main = folder.path().join("config.yaml");
        std::fs::write(
            &main,
            "tls-san: [a, b]\ndebug: true\ndisable-agent: false\nhttps-listen-port: 7443\n",
        )
        .expect("written");
        std::fs::create_dir(folder.path().join("config.yaml.d")).expect("made");
        std::fs::write(
            folder.path().join("config.yaml.d/1.yaml"),
            "tls-san+: c\nnode-name: n\n",
        )
        .expect("written");
        let arguments = [
            "mizzen",
            "server",
            "--config",
            main.to_str().expect("a path"),
            "--node-name=x",
        ];
        let merged = merge(arguments.iter().map(OsString::from).collect()).expect("merges");
        let merged: Vec<_> = merged.iter().map(|a| a.to_string_lossy()).collect();
        assert_eq!(
            merged[..7],
            [
                "mizzen",
                "server",
                "--debug",
                "--https-listen-port=7443",
                "--tls-san=a",
                "--tls-san=b",
                "--tls-san=c"
            ]
        );
        assert_eq!(merged.last().map(AsRef::as_ref), Some("--node-name=x"));
    }

    #[test]
    fn other_commands_and_missing_files_change_nothing() {
        for words in [
            &["mizzen", "get", "pods"][..],
            &["mizzen", "server", "-c", "/nonexistent/x.yaml"],
        ] {
            let arguments: Vec<_> = words.iter().map(OsString::from).collect();
            assert_eq!(merge(arguments.clone()).expect("merges"), arguments);
        }
    }
}
