//! An image for tests that need a shell: nothing can be pulled where tests run, so they make it.

use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest, Sha256};

/// Name of the image in [`busybox`].
pub const IMAGE: &str = "mizzen.test/busybox:1";

/// An image archive around the host's static busybox.
pub fn busybox() -> Vec<u8> {
    fn entry(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, data: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        header.set_cksum();
        tar.append_data(&mut header, path, data).expect("appended");
    }
    fn digest(data: &[u8]) -> String {
        let hex: String = Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .find_map(|path| std::fs::read(path).ok())
        .expect("busybox-static");
    let mut layer = tar::Builder::new(Vec::new());
    entry(&mut layer, "bin/busybox", 0o755, &busybox);
    for applet in [
        "sh", "cat", "sleep", "echo", "ls", "id", "touch", "env", "stat", "hostname", "kill", "wget", "httpd", "true",
        "false", "tar", "stty", "head", "seq", "mkdir", "rm", "cp", "ps", "date", "nc", "tty", "readlink", "timeout",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        layer
            .append_link(&mut header, format!("bin/{applet}"), "busybox")
            .expect("linked");
    }
    let layer = layer.into_inner().expect("a layer");
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    zipped.write_all(&layer).expect("written");
    let zipped = zipped.finish().expect("zipped");
    let config = json!({ "architecture": "amd64", "os": "linux", "config": { "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] } })
    .to_string()
    .into_bytes();
    let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len() },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(&zipped), "size": zipped.len() }] })
    .to_string()
    .into_bytes();
    let index = json!({ "schemaVersion": 2, "manifests": [{ "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest(&manifest), "size": manifest.len(),
        "annotations": { "io.containerd.image.name": IMAGE } }] })
    .to_string()
    .into_bytes();
    let mut image = tar::Builder::new(Vec::new());
    entry(&mut image, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
    entry(&mut image, "index.json", 0o644, &index);
    for blob in [&config, &manifest, &zipped] {
        let path = PathBuf::from("blobs/sha256").join(digest(blob).trim_start_matches("sha256:"));
        entry(&mut image, path.to_str().expect("a path"), 0o644, blob);
    }
    image.into_inner().expect("an archive")
}
