//! How a release binary is linked: functions that were compiled to the same bytes are folded into one, where the
//! linker can, as much generic code comes out the same; and symbols are left out, which the profile's `strip` no
//! longer does for a package with a profile of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

const FOLD: &str = "-Wl,--icf=all";
const STRIP: &str = "-Wl,--strip-all";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    for option in [FOLD, STRIP] {
        if links_with(option).unwrap_or(false) {
            println!("cargo::rustc-link-arg-bins={option}");
        }
    }
}

/// Tries the option on the smallest program, with the compiler, target and flags of this build: the linker may be
/// any, and refuses what it does not know.
fn links_with(option: &str) -> Option<bool> {
    let directory = PathBuf::from(std::env::var_os("OUT_DIR")?);
    let source = directory.join("probe.rs");
    std::fs::write(&source, "fn main() {}").ok()?;
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let mut rustc = Command::new(std::env::var_os("RUSTC")?);
    rustc.args(["--target", &std::env::var("TARGET").ok()?]);
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    rustc
        .arg(format!("-Clink-arg={option}"))
        .arg("-o")
        .arg(directory.join("probe"))
        .arg(source);
    let status = rustc.stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    Some(status.success())
}
