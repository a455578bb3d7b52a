//! Quantities: numbers with a unit, such as `100m`, `1.5Gi` or `2e3`, as upstream reads and writes them.
//!
//! A quantity is held exactly as a count of billionths, the finest that the API knows; finer values
//! round up and values over the largest `i64` are capped, both as upstream does.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const NANOS: i128 = 1_000_000_000;
const CAP: i128 = i64::MAX as i128 * NANOS;

/// In which family of units a quantity was written, and is written again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySi,
    /// `12M`
    #[default]
    DecimalSi,
}

/// A number with a unit.
///
/// Equality and order look at the amount only: `1` equals `1000m`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It does not have the shape of one.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Shape,
    /// The number is none.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// The unit is not known.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self {
        nanos: 0,
        format: Format::DecimalSi,
    };

    /// A whole number of units.
    pub fn new(value: i64, format: Format) -> Self {
        Self {
            nanos: i128::from(value) * NANOS,
            format,
        }
    }

    /// A number of thousandths, such as millicores.
    pub fn from_millis(value: i64) -> Self {
        Self {
            nanos: i128::from(value) * (NANOS / 1000),
            format: Format::DecimalSi,
        }
    }

    /// The amount in whole units, rounded up.
    pub fn value(self) -> i64 {
        self.scaled(NANOS)
    }

    /// The amount in thousandths, rounded up.
    pub fn millis(self) -> i64 {
        self.scaled(NANOS / 1000)
    }

    /// The amount as a float, for ratios and gauges.
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// Whether the amount is zero.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether the amount is below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether the amount is a whole number of units.
    pub fn is_whole(self) -> bool {
        self.nanos % NANOS == 0
    }

    fn scaled(self, unit: i128) -> i64 {
        // Rounds away from zero, which for the amounts of resources means up.
        let up = i128::from(self.nanos % unit != 0) * self.nanos.signum();
        i64::try_from(self.nanos / unit + up).unwrap_or(if self.nanos < 0 { i64::MIN } else { i64::MAX })
    }
}

/// The canonical form of a quantity in text: `1024Mi` becomes `1Gi`.
pub fn canonical(text: &str) -> Result<String, ParseError> {
    text.parse::<Quantity>().map(|q| q.to_string())
}

/// A unit: what its suffix multiplies by, as `base` to the `exponent`.
enum Unit {
    Binary(u32),
    Decimal(i32, Format),
}

fn unit(suffix: &str) -> Result<Unit, ParseError> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [(&str, i32); 10] = [
        ("n", -9),
        ("u", -6),
        ("m", -3),
        ("", 0),
        ("k", 3),
        ("M", 6),
        ("G", 9),
        ("T", 12),
        ("P", 15),
        ("E", 18),
    ];
    if let Some(at) = BINARY.iter().position(|s| *s == suffix) {
        return Ok(Unit::Binary(10 * (at as u32 + 1)));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Ok(Unit::Decimal(*exponent, Format::DecimalSi));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(ParseError::Suffix)?;
    let exponent = exponent.parse().map_err(|_| ParseError::Suffix)?;
    Ok(Unit::Decimal(exponent, Format::DecimalExponent))
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
        let digits = letters.strip_prefix(['+', '-']).unwrap_or(letters);
        if text.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParseError::Shape);
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(ParseError::Number);
        }
        let (nanos, mut format) = match unit(suffix)? {
            Unit::Binary(shift) => (binary(whole, fraction, shift), Format::BinarySi),
            Unit::Decimal(exponent, format) => (decimal(whole, fraction, exponent), format),
        };
        // Parts of one unit have no binary form.
        if format == Format::BinarySi && nanos < NANOS && nanos > 0 {
            format = Format::DecimalSi;
        }
        let nanos = if text.starts_with('-') { -nanos } else { nanos };
        Ok(Self { nanos, format })
    }
}

/// `whole.fraction × 10^exponent` in billionths, rounded up and capped.
fn decimal(whole: &str, fraction: &str, exponent: i32) -> i128 {
    let digits = whole.bytes().chain(fraction.bytes()).skip_while(|b| *b == b'0');
    let digits: Vec<i128> = digits.map(|b| i128::from(b - b'0')).collect();
    // How many of the digits stand left of the last billionth.
    let significant = (whole.len() + fraction.len() - digits.len()) as i64;
    let kept = whole.len() as i64 - significant + i64::from(exponent) + 9;
    if digits.is_empty() {
        return 0;
    }
    if kept > 30 {
        return CAP;
    }
    let kept = usize::try_from(kept).unwrap_or(0);
    let mut nanos: i128 = 0;
    for at in 0..kept {
        nanos = nanos * 10 + digits.get(at).copied().unwrap_or(0);
    }
    let rest = digits.iter().skip(kept).any(|d| *d != 0);
    (nanos + i128::from(rest)).min(CAP)
}

/// `whole.fraction × 2^shift` in billionths, rounded up and capped.
fn binary(whole: &str, fraction: &str, shift: u32) -> i128 {
    // Beyond 18 decimals even an exbibyte changes by less than two units: that much rounds up.
    let (fraction, beyond) = fraction.split_at(fraction.len().min(18));
    let up = i128::from(beyond.bytes().any(|b| b != b'0'));
    let scale = 10_i128.pow(fraction.len() as u32);
    let Ok(mantissa) = format!("0{whole}{fraction}").parse::<i128>().map(|m| m + up) else {
        return CAP;
    };
    let Some(units) = mantissa.checked_mul(1 << shift) else {
        return CAP;
    };
    let (units, rest) = (units / scale, units % scale);
    let nanos = units.saturating_mul(NANOS).min(CAP);
    let part = rest.checked_mul(NANOS).map_or(0, |n| (n + scale - 1) / scale);
    (nanos + part).min(CAP)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let fits_binary = self.is_whole() && self.nanos.abs() >= 1024 * NANOS;
        if self.format == Format::BinarySi && fits_binary {
            let (mut number, mut power) = (self.nanos / NANOS, 0);
            while number % 1024 == 0 && power < 6 {
                number /= 1024;
                power += 1;
            }
            let suffix = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power];
            return write!(f, "{number}{suffix}");
        }
        let (mut number, mut exponent) = (self.nanos, -9);
        while number % 1000 == 0 && exponent < 18 {
            number /= 1000;
            exponent += 3;
        }
        match self.format {
            Format::DecimalExponent if exponent == 0 => write!(f, "{number}"),
            Format::DecimalExponent => write!(f, "{number}e{exponent}"),
            Format::BinarySi | Format::DecimalSi => {
                let suffix = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][(exponent as usize).wrapping_add(9) / 3];
                write!(f, "{number}{suffix}")
            }
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self {
            nanos: self.nanos.saturating_add(other.nanos),
            format,
        }
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + Self {
            nanos: -other.nanos,
            ..other
        }
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(quantities: I) -> Self {
        quantities.fold(Self::ZERO, Add::add)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// Clients may write a quantity as a string or as a bare number.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_form_is_upstreams() {
        for (text, expect) in [
            ("0", "0"),
            ("0Gi", "0"),
            ("1", "1"),
            ("1000m", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("5.", "5"),
            ("1500m", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1000Mi", "1000Mi"),
            ("0.5Ki", "512"),
            ("1023", "1023"),
            ("1Ki", "1Ki"),
            ("0.1Mi", "104857600m"),
            ("100000", "100k"),
            ("1500000", "1500k"),
            ("12e6", "12e6"),
            ("12E6", "12e6"),
            ("1200e4", "12e6"),
            ("1e-3", "1e-3"),
            ("5e0", "5"),
            ("1E", "1E"),
            ("1Ei", "1Ei"),
            ("-1.5Gi", "-1536Mi"),
            ("+5k", "5k"),
            ("100u", "100u"),
            ("0.1n", "1n"),
            ("1.0000000001", "1000000001n"),
            ("9223372036854775807", "9223372036854775807"),
            ("99999999999999999999", "9223372036854775807"),
            ("100E", "9223372036854775807"),
            ("0.1Ei", "115292150460684697600m"),
            ("00012k", "12k"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(expect), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_as_upstream_does() {
        for (text, expect) in [
            ("", ParseError::Shape),
            ("1 Gi", ParseError::Shape),
            ("1GiB", ParseError::Shape),
            ("abc", ParseError::Shape),
            ("1.2.3", ParseError::Number),
            ("-", ParseError::Number),
            ("Mi", ParseError::Number),
            ("1mi", ParseError::Suffix),
            ("1e3m", ParseError::Shape),
            ("1ee3", ParseError::Suffix),
        ] {
            assert_eq!(canonical(text), Err(expect), "{text:?}");
        }
    }

    #[test]
    fn amounts_round_up() {
        let q = |text: &str| text.parse::<Quantity>().expect(text);
        assert_eq!(q("1500m").value(), 2);
        assert_eq!(q("1.5Gi").value(), 1_610_612_736);
        assert_eq!(q("100u").millis(), 1);
        assert_eq!((q("1Gi") + q("512Mi")).to_string(), "1536Mi");
        assert_eq!((q("0") + q("1Gi")).to_string(), "1Gi");
        assert_eq!((q("2") - q("500m")).to_string(), "1500m");
        assert!(q("1") == q("1000m") && q("1Gi") > q("1G"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,12}") {
            let _ = canonical(&text);
        }

        #[test]
        fn canonical_form_is_stable(text in "[+-]?[0-9]{1,12}(\\.[0-9]{0,10})?(n|u|m|k|M|G|T|Ki|Mi|Gi|Ti|e[0-9]|e-[0-9])?") {
            let first: Quantity = text.parse().unwrap();
            let again: Quantity = first.to_string().parse().unwrap();
            prop_assert_eq!(first, again);
            prop_assert_eq!(first.to_string(), again.to_string());
        }
    }
}
