//! Kubeconfig files with everything inline, so that one file can be copied to another machine.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::leaf::Issued;

/// A kubeconfig for one user of one cluster, both named `name`.
pub fn render(name: &str, server: &str, ca_pem: &str, credentials: &Issued) -> String {
    let ca = STANDARD.encode(ca_pem);
    let certificate = STANDARD.encode(&credentials.certificate_pem);
    let key = STANDARD.encode(&credentials.key_pem);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: {name}
  cluster:
    certificate-authority-data: {ca}
    server: {server}
users:
- name: {name}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: {name}
  context:
    cluster: {name}
    user: {name}
current-context: {name}
"
    )
}
