//! `bundle WASM STATIC DIST`: makes the files of the dashboard from the compiled program and `web/static`.
//!
//! The program is split in two: what the first view needs, and what only a click leads to (`web/src/app/more.rs`).
//! Then wasm-bindgen's glue, hashed names, brotli; prints what a browser loads at first. The modules are
//! validated before anything of `web/dist` is touched. (`wasm-opt` is not used: it saves 0.2 % of the compressed
//! size, and old releases of it write modules that browsers refuse.)

use std::fs;
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
    let (first, later) = split(&fs::read(wasm)?, &work)?;
    Bindgen::new()
        .input_path(&first)
        // What the later module shares with the first one.
        .keep_lld_exports(true)
        .web(true)?
        .typescript(false)
        .omit_default_module_path(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .out_name("mizzen")
        .generate(&work)?;
    let module = fs::read(work.join("mizzen_bg.wasm"))?;
    let later: Vec<_> = later
        .iter()
        .map(|path| Ok((name_of(path)?, without_custom_sections(&fs::read(path)?)?)))
        .collect::<Result<_>>()?;
    validate("the first module", &module)?;
    later.iter().try_for_each(|(name, module)| validate(name, module))?;

    let fresh = dist.with_extension("new");
    fs::remove_dir_all(&fresh).ok();
    let mut bundle = Bundle {
        dist: fresh.clone(),
        first_load: 0,
    };
    let program = bundle.hashed("mizzen.wasm", &module)?;
    let mut linked = fs::read_to_string(work.join(LINK))?;
    for (name, module) in &later {
        let path = bundle.later("more.wasm", module)?;
        linked = linked.replace(&format!("\"./{name}\""), &format!("\"/dashboard/{path}\""));
    }
    let mut glue = joined(&fs::read_to_string(work.join("mizzen.js"))?, &linked)?;
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

/// The script by which the first module loads the others.
const LINK: &str = "split.js";

/// Splits the program; gives the first module and the others.
fn split(program: &[u8], work: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let first = work.join("first.wasm");
    let mut options = wasm_split_cli_support::Options::new(program);
    (options.output_dir, options.main_out_path, options.link_name) = (work, &first, LINK);
    let made = wasm_split_cli_support::transform(options).map_err(|error| format!("{error:#}"))?;
    Ok((first, made.split_modules))
}

fn name_of(path: &Path) -> Result<String> {
    let name = path.file_name().ok_or("a module has a name")?;
    Ok(name.to_string_lossy().into_owned())
}

/// The script with the one that it imports from within: neither could be named by its hash before the other.
fn joined(glue: &str, linked: &str) -> Result<String> {
    let import = glue
        .lines()
        .find(|line| line.starts_with("import ") && line.contains(LINK))
        .ok_or("the script loads later modules")?;
    let name = import.split_whitespace().nth(3).ok_or("an import has a name")?;
    let own: Vec<_> = linked.lines().filter(|line| !line.starts_with("import ")).collect();
    let exports = own
        .iter()
        .filter_map(|line| line.strip_prefix("export const ")?.split_whitespace().next());
    let exports: Vec<_> = exports.collect();
    let own = format!("{}\nconst {name} = {{ {} }};", own.join("\n"), exports.join(", "));
    Ok(glue.replacen(import, &own, 1))
}

/// A module without what only tools read.
fn without_custom_sections(module: &[u8]) -> Result<Vec<u8>> {
    let mut out = module[..8].to_vec();
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        let payload = payload?;
        if let Some((id, range)) = payload.as_section()
            && id != CUSTOM_SECTION
        {
            out.push(id);
            let mut length = range.len();
            while length > 0x7f {
                out.push(length as u8 | 0x80);
                length >>= 7;
            }
            out.push(length as u8);
            out.extend_from_slice(&module[range]);
        }
    }
    Ok(out)
}

const CUSTOM_SECTION: u8 = 0;

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

    /// As [`Bundle::hashed`], for what is not loaded at first.
    fn later(&mut self, name: &str, content: &[u8]) -> Result<String> {
        let so_far = self.first_load;
        let path = self.hashed(name, content)?;
        self.first_load = so_far;
        Ok(path)
    }

    fn add(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let file = self.dist.join(path);
        fs::create_dir_all(file.parent().ok_or("a file is in a folder")?)?;
        let brotli = brotli(content)?;
        self.first_load += brotli.len();
        println!("{path}: {} bytes, {} in brotli", content.len(), brotli.len());
        fs::write(format!("{}.br", file.display()), brotli)?;
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
fn validate(name: &str, module: &[u8]) -> Result<()> {
    let features = WasmFeatures::WASM2 | WasmFeatures::TAIL_CALL | WasmFeatures::EXTENDED_CONST;
    let valid = Validator::new_with_features(features).validate_all(module);
    valid.map_err(|error| format!("{name} is not a valid module: {error}"))?;
    Ok(())
}
