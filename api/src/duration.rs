//! Spans of time as people read and write them: `3m21s`, `5d2h`, `1h30m`.

use jiff::{SignedDuration, Timestamp};

/// How long ago something was, or how long it took, in at most two units: how `get` prints ages.
///
/// Up to two seconds of the future count as now, since clocks differ; anything later is `<invalid>`.
pub fn human(span: SignedDuration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    // Counts a unit and, where that is not zero, the next smaller one.
    let two = |n: i64, unit: &str, rest: i64, small: &str| match rest {
        0 => format!("{n}{unit}"),
        _ => format!("{n}{unit}{rest}{small}"),
    };
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => two(days, "d", hours % 24, "h"),
        () if days < 365 * 2 => format!("{days}d"),
        () if days < 365 * 8 => two(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

/// The time since an RFC 3339 timestamp as [`human`] says it; `<unknown>` when there is none.
pub fn since(timestamp: &str, now: Timestamp) -> String {
    match timestamp.parse::<Timestamp>() {
        Ok(then) => human(now.duration_since(then)),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// A span as Go prints it and as flags are shown: `1h0m0s`, `90s` becomes `1m30s`, `500ms`.
pub fn go(span: SignedDuration) -> String {
    let nanos = span.as_nanos();
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000_000_000 {
        let (unit, name) = match nanos {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return format!("{sign}{}{name}", decimal(nanos, unit));
    }
    let minutes = nanos / 60_000_000_000;
    let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, m) => format!("{sign}{m}m{seconds}s"),
        (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
    }
}

/// `amount / unit` with as many decimals as it needs. `unit` is a power of ten.
fn decimal(amount: u128, unit: u128) -> String {
    let whole = amount / unit;
    match amount % unit {
        0 => whole.to_string(),
        rest => {
            let digits = unit.ilog10() as usize;
            let fraction = format!("{rest:0digits$}");
            format!("{whole}.{}", fraction.trim_end_matches('0'))
        }
    }
}

/// Reads a span as Go writes it: `300ms`, `1.5h`, `2h45m`.
pub fn parse(text: &str) -> Result<SignedDuration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: f64 = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let scale = match &rest[..letters] {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            unit => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        total += number * scale;
        rest = &rest[letters..];
    }
    if total > i64::MAX as f64 {
        return Err(invalid());
    }
    let span = SignedDuration::from_nanos(total.round() as i64);
    Ok(if negative { -span } else { span })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_as_kubectl_prints_them() {
        const DAY: i64 = 86400;
        for (seconds, expect) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (201, "3m21s"),
            (600, "10m"),
            (179 * 60, "179m"),
            (180 * 60, "3h"),
            (5 * 3600 + 120, "5h2m"),
            (47 * 3600, "47h"),
            (2 * DAY, "2d"),
            (5 * DAY + 2 * 3600, "5d2h"),
            (8 * DAY + 3600, "8d"),
            (800 * DAY, "2y70d"),
            (730 * DAY, "2y"),
            (365 * 9 * DAY, "9y"),
        ] {
            assert_eq!(human(SignedDuration::from_secs(seconds)), expect, "{seconds} s");
        }
    }

    #[test]
    fn spans_read_back_as_printed() {
        for (text, printed) in [
            ("90s", "1m30s"),
            ("1h", "1h0m0s"),
            ("1.5h", "1h30m0s"),
            ("300ms", "300ms"),
            ("1500ms", "1.5s"),
            ("-2m", "-2m0s"),
            ("0", "0s"),
            ("15us", "15µs"),
        ] {
            let span = parse(text).expect(text);
            assert_eq!(go(span), printed);
            assert_eq!(parse(printed), Ok(span));
        }
        for (text, error) in [
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
            ("h", "time: invalid duration \"h\""),
        ] {
            assert_eq!(parse(text), Err(error.to_owned()));
        }
    }
}
