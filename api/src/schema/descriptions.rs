//! Descriptions of types and fields, for `kubectl explain`: kept deflated, inflated for one use, then dropped.

use std::io::Read as _;

use super::TypeRef;

const DEFLATED: &[u8] = include_bytes!("../../schema/descriptions.deflate");

/// Descriptions of all built-in types, inflated.
pub struct Descriptions {
    text: String,
    /// Where each line starts.
    lines: Vec<u32>,
}

impl Descriptions {
    /// Inflates them: about a megabyte, so not to be kept.
    pub fn load() -> Self {
        let mut text = String::new();
        flate2::read::DeflateDecoder::new(DEFLATED)
            .read_to_string(&mut text)
            .expect("our own text inflates");
        let ends = memchr::memchr_iter(b'\n', text.as_bytes());
        let lines = std::iter::once(0)
            .chain(ends.map(|at| u32::try_from(at + 1).expect("small")))
            .collect();
        Self { text, lines }
    }

    /// Description of a type; empty when upstream gives none.
    pub fn of_type(&self, ty: TypeRef<'_>) -> String {
        self.line(ty.description_index())
    }

    /// Description of the field at that position of [`TypeRef::fields`].
    pub fn of_field(&self, ty: TypeRef<'_>, position: usize) -> String {
        self.line(ty.description_index() + 1 + position)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lines.len() - 1
    }

    fn line(&self, index: usize) -> String {
        let (Some(start), Some(end)) = (self.lines.get(index), self.lines.get(index + 1)) else {
            return String::new();
        };
        let line = &self.text[*start as usize..*end as usize - 1];
        if !line.contains('\\') {
            return line.to_owned();
        }
        let mut out = String::with_capacity(line.len());
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' if chars.next() == Some('n') => out.push('\n'),
                '\\' => out.push('\\'),
                c => out.push(c),
            }
        }
        out
    }
}
