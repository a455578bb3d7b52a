//! Builds the built-in images: compiles the small static programs under `images/` and packs each into OCI blobs
//! (layer, configuration, manifest) with digests that depend on nothing but their content. `src/images/builtin.rs`
//! includes the table that is generated here.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Flags of a program with neither std nor libc.
const BARE: &[&str] = &[
    "-Crelocation-model=static",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
];
/// Flags of a program with std, linked with the static libc of the same target.
const STATIC: &[&str] = &["-Ctarget-feature=+crt-static", "-Clto=fat", "-Ccodegen-units=1"];

struct Image {
    name: &'static str,
    program: &'static str,
    environment: &'static [&'static str],
    port: Option<&'static str>,
}

const PROGRAMS: &[(&str, &[&str])] = &[("pause", BARE), ("hello", STATIC)];

/// The two versions of hello share their layer and differ in their environment.
const IMAGES: &[Image] = &[
    Image {
        name: "mizzen.local/pause:1",
        program: "pause",
        environment: &[],
        port: None,
    },
    Image {
        name: "mizzen.local/hello:v1",
        program: "hello",
        environment: &["VERSION=v1"],
        port: Some("8080/tcp"),
    },
    Image {
        name: "mizzen.local/hello:v2",
        program: "hello",
        environment: &["VERSION=v2"],
        port: Some("8080/tcp"),
    },
];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=images");
    let mut pack = Pack {
        out: PathBuf::from(variable("OUT_DIR")),
        blobs: String::new(),
    };
    let mut images = String::new();
    for (program, flags) in PROGRAMS {
        let binary = compile(program, flags, &pack.out);
        let tar = layer(program, &binary)?;
        let diff = digest(&tar);
        let layer = pack.blob("application/vnd.oci.image.layer.v1.tar+gzip", &gzip(&tar)?)?;
        for image in IMAGES.iter().filter(|image| image.program == *program) {
            let config = pack.json("application/vnd.oci.image.config.v1+json", &config(image, &diff))?;
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config,
                "layers": [layer],
            });
            let manifest = pack.json("application/vnd.oci.image.manifest.v1+json", &manifest)?;
            let (name, digest, size) = (image.name, &manifest["digest"], &manifest["size"]);
            let _ = writeln!(
                images,
                "    BuiltIn {{ name: {name:?}, manifest: {digest}, size: {size} }},"
            );
        }
    }
    let table = format!(
        "const IMAGES: &[BuiltIn] = &[\n{images}];\nconst BLOBS: &[Blob] = &[\n{}];\n",
        pack.blobs
    );
    fs::write(pack.out.join("builtin.rs"), table)
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

fn compile(program: &str, flags: &[&str], out: &Path) -> Vec<u8> {
    let output = out.join(program);
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args([
        "--edition=2024",
        "--crate-type=bin",
        "-Copt-level=s",
        "-Cpanic=abort",
        "-Cstrip=symbols",
    ]);
    rustc
        .args(flags)
        .arg("--target")
        .arg(variable("TARGET"))
        .arg("-o")
        .arg(&output);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    let status = rustc.arg(format!("images/{program}.rs")).status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "images/{program}.rs did not compile: {status:?}; a static libc (libc6-dev, glibc-static) is needed"
    );
    fs::read(&output).unwrap_or_else(|error| panic!("{}: {error}", output.display()))
}

/// A layer with the program as its only file.
fn layer(program: &str, binary: &[u8]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(binary.len() as u64);
    header.set_mtime(0);
    builder.append_data(&mut header, program, binary)?;
    builder.into_inner()
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    io::Write::write_all(&mut encoder, bytes)?;
    encoder.finish()
}

fn config(image: &Image, diff: &str) -> Value {
    let architecture = match variable("CARGO_CFG_TARGET_ARCH").as_str() {
        "x86_64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    };
    let ports: serde_json::Map<String, Value> = image
        .port
        .map(|port| (port.to_owned(), json!({})))
        .into_iter()
        .collect();
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Entrypoint": [format!("/{}", image.program)], "Env": image.environment, "ExposedPorts": ports },
        "rootfs": { "type": "layers", "diff_ids": [diff] },
    })
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

struct Pack {
    out: PathBuf,
    blobs: String,
}

impl Pack {
    fn json(&mut self, media_type: &str, value: &Value) -> io::Result<Value> {
        self.blob(media_type, value.to_string().as_bytes())
    }

    /// Writes a blob beside the table that includes it, and returns its descriptor.
    fn blob(&mut self, media_type: &str, bytes: &[u8]) -> io::Result<Value> {
        let digest = digest(bytes);
        let file = digest.replace(':', "-");
        fs::write(self.out.join(&file), bytes)?;
        let _ = writeln!(
            self.blobs,
            "    Blob {{ digest: {digest:?}, bytes: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\")) }},"
        );
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }
}
