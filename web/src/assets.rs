//! The built dashboard, inside the program.

/// A file of the dashboard, compressed when it was built.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Path below `/dashboard/`.
    pub path: &'static str,
    /// Media type.
    pub content_type: &'static str,
    /// Compressed with brotli.
    pub brotli: &'static [u8],
}

/// All files; none when `web/build.sh` was not run before the program was built.
pub const ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));
