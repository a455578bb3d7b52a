//! `bundle WASM STATIC DIST`: makes the files of the dashboard from the compiled program and `web/static`.
//!
//! wasm-bindgen's glue, hashed names, brotli and gzip; prints what a browser loads at first. The module is
//! validated before anything of `web/dist` is touched. (`wasm-opt` is not used: it saves 0.2 % of the compressed
//! size, and old releases of it write modules that browsers refuse.)

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wasm_bindgen_cli_support::Bindgen;
use wasmparser::{Validator, WasmFeatures};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [wasm, statics, dist] = &arguments[..] else {
        return Err("usage: bundle WASM STATIC DIST".into());
    };
    let work = wasm.with_extension("bundle");
    fs::remove_dir_all(&work).ok();
    Bindgen::new()
        .input_path(wasm)
        .web(true)?
        .typescript(false)
        .omit_default_module_path(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .out_name("mizzen")
        .generate(&work)?;
    let module = work.join("mizzen_bg.wasm");
    validate(&module)?;

    let fresh = dist.with_extension("new");
    fs::remove_dir_all(&fresh).ok();
    let mut bundle = Bundle {
        dist: fresh.clone(),
        first_load: 0,
    };
    let program = bundle.hashed("mizzen.wasm", &fs::read(&module)?)?;
    let mut glue = fs::read_to_string(work.join("mizzen.js"))?;
    copy_snippets(&work.join("snippets"), Path::new("assets/snippets"), &mut bundle)?;
    glue.push_str(&format!(
        "\n__wbg_init({{ module_or_path: new URL(\"/dashboard/{program}\", import.meta.url) }});\n"
    ));
    let script = bundle.hashed("mizzen.js", glue.as_bytes())?;
    let style = bundle.hashed("mizzen.css", &fs::read(statics.join("mizzen.css"))?)?;
    let icon = bundle.hashed("mizzen.svg", &fs::read(statics.join("mizzen.svg"))?)?;
    let page = fs::read_to_string(statics.join("index.html"))?
        .replace("{{wasm}}", &program)
        .replace("{{js}}", &script)
        .replace("{{css}}", &style)
        .replace("{{svg}}", &icon);
    bundle.add("index.html", page.as_bytes())?;
    fs::remove_dir_all(dist).ok();
    fs::rename(&fresh, dist)?;
    println!("first load: {} bytes in brotli", bundle.first_load);
    Ok(())
}

struct Bundle {
    dist: PathBuf,
    first_load: usize,
}

impl Bundle {
    /// Adds a file below a name that holds its hash, and gives that name.
    fn hashed(&mut self, name: &str, content: &[u8]) -> Result<String> {
        let digest = Sha256::digest(content);
        let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let (stem, extension) = name.split_once('.').ok_or("a name has an extension")?;
        let path = format!("assets/{stem}-{hash}.{extension}");
        self.add(&path, content)?;
        Ok(path)
    }

    fn add(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let file = self.dist.join(path);
        fs::create_dir_all(file.parent().ok_or("a file is in a folder")?)?;
        let brotli = brotli(content)?;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(content)?;
        self.first_load += brotli.len();
        println!("{path}: {} bytes, {} in brotli", content.len(), brotli.len());
        fs::write(format!("{}.br", file.display()), brotli)?;
        fs::write(format!("{}.gz", file.display()), gzip.finish()?)?;
        Ok(())
    }
}

fn brotli(content: &[u8]) -> Result<Vec<u8>> {
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: 11,
        lgwin: 22,
        size_hint: content.len(),
        ..Default::default()
    };
    let mut out = Vec::new();
    brotli::BrotliCompress(&mut &content[..], &mut out, &parameters)?;
    Ok(out)
}

/// Scripts that crates brought along; the glue imports them by these names.
fn copy_snippets(from: &Path, to: &Path, bundle: &mut Bundle) -> Result<()> {
    for entry in fs::read_dir(from).into_iter().flatten() {
        let entry = entry?;
        let name = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_snippets(&entry.path(), &name, bundle)?,
            false => bundle.add(&name.to_string_lossy(), &fs::read(entry.path())?)?,
        }
    }
    Ok(())
}

/// A module that a browser will not take is never embedded.
fn validate(wasm: &Path) -> Result<()> {
    let features = WasmFeatures::WASM2 | WasmFeatures::TAIL_CALL | WasmFeatures::EXTENDED_CONST;
    let module = fs::read(wasm)?;
    let valid = Validator::new_with_features(features).validate_all(&module);
    valid.map_err(|error| format!("{} is not a valid module: {error}", wasm.display()))?;
    Ok(())
}
