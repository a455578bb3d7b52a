//! How a release binary is linked, where linker and loader can: functions that were compiled to the same bytes are
//! folded into one, as much generic code comes out the same; the list of what moves with the program is packed, a
//! twentieth of the file else; and symbols are left out, which the profile's `strip` no longer does for a package
//! with a profile of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

const OPTIONS: [&str; 3] = ["--icf=all", "-z,pack-relative-relocs", "--strip-all"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    for option in OPTIONS.map(|option| format!("-Wl,{option}")) {
        if works_with(&option).unwrap_or(false) {
            println!("cargo::rustc-link-arg-bins={option}");
        }
    }
}

/// Tries the option on the smallest program, with the compiler and flags of this build: the linker may be any, and
/// refuses what it does not know, and so may the loader. Nothing is tried for other machines.
fn works_with(option: &str) -> Option<bool> {
    let target = std::env::var("TARGET").ok()?;
    if std::env::var("HOST").ok()? != target {
        return None;
    }
    let directory = PathBuf::from(std::env::var_os("OUT_DIR")?);
    let (source, program) = (directory.join("probe.rs"), directory.join("probe"));
    std::fs::write(&source, "fn main() {}").ok()?;
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let mut rustc = Command::new(std::env::var_os("RUSTC")?);
    rustc.args(["--target", &target]);
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    rustc.arg(format!("-Clink-arg={option}"));
    rustc.arg("-o").arg(&program).arg(source);
    let succeeds = |mut command: Command| {
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.map(|status| status.success())
    };
    Some(succeeds(rustc).ok()? && succeeds(Command::new(program)).ok()?)
}
