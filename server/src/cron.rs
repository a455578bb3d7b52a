//! Schedules as CronJobs write them: five fields or a macro, and the next time one is due. Pure.
//!
//! Syntax and words of its mistakes are those of the parser that upstream uses. A schedule means local
//! times of a time zone: a time that a change of the clock leaves out is skipped, one that comes twice is
//! due twice.

use std::fmt::Write;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

/// Years that are searched before a schedule counts as never due (`0 0 30 2 *`).
const HORIZON_YEARS: i16 = 5;
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// `@every 1h30m`: that long after the last time, in whole seconds.
    Every(Duration),
    /// Local times that match all fields.
    Fields(Fields),
}

/// The five fields, each a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// Whether day or weekday is a bare star: then both must match, otherwise either.
    both_days: bool,
}

/// Numbers and names that a field takes.
struct Bounds {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTE: Bounds = bounds(0, 59, &[]);
const HOUR: Bounds = bounds(0, 23, &[]);
const DAY: Bounds = bounds(1, 31, &[]);
const MONTH: Bounds = bounds(1, 12, &MONTHS);
const WEEKDAY: Bounds = bounds(0, 6, &DAYS);

const fn bounds(min: u32, max: u32, names: &'static [&'static str]) -> Bounds {
    Bounds { min, max, names }
}

impl Schedule {
    /// Reads a schedule, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        if text.starts_with('@') {
            return Self::parse_macro(text);
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = words[..] else {
            let words = words.join(" ");
            let count = text.split_whitespace().count();
            return Err(format!("expected exactly 5 fields, found {count}: [{words}]"));
        };
        let (minute, _) = field(minute, &MINUTE)?;
        let (hour, _) = field(hour, &HOUR)?;
        let (day, any_day) = field(day, &DAY)?;
        let (month, _) = field(month, &MONTH)?;
        let (weekday, any_weekday) = field(weekday, &WEEKDAY)?;
        Ok(Self::Fields(Fields {
            minute,
            hour,
            day,
            month,
            weekday,
            both_days: any_day || any_weekday,
        }))
    }

    fn parse_macro(text: &str) -> Result<Self, String> {
        if let Some(period) = text.strip_prefix("@every ") {
            let period = go_duration(period)
                .ok_or_else(|| format!("failed to parse duration {text}: time: invalid duration {period:?}"))?;
            let seconds = u64::try_from(period.as_secs()).unwrap_or_default().max(1);
            return Ok(Self::Every(Duration::from_secs(seconds)));
        }
        Self::parse(match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            _ => return Err(format!("unrecognized descriptor: {text}")),
        })
    }

    /// The first time after `after` at which it is due; `None` when that is never.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(period) => {
                let whole = Timestamp::from_second(after.as_second()).ok()?;
                whole.checked_add(SignedDuration::try_from(*period).ok()?).ok()
            }
            Self::Fields(fields) => fields.next(after, zone),
        }
    }
}

impl Fields {
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let second = after.as_second();
        let mut at = Timestamp::from_second(second - second.rem_euclid(60) + 60)
            .ok()?
            .to_zoned(zone.clone());
        // Offsets of a zone need not be whole minutes in the far past; local minutes are what counts.
        let last = at.year().saturating_add(HORIZON_YEARS);
        while at.year() <= last {
            at = if !has(self.month, at.month()) {
                let next = at.date().first_of_month().checked_add(1.month()).ok()?;
                next.to_zoned(zone.clone()).ok()?
            } else if !self.is_day(&at) {
                at.date().tomorrow().ok()?.to_zoned(zone.clone()).ok()?
            } else if !has(self.hour, at.hour()) {
                // By the clock on the wall only minutes pass: an hour may come twice or not at all.
                let minutes = 60 - i64::from(at.minute());
                at.checked_add(SignedDuration::from_mins(minutes)).ok()?
            } else if !has(self.minute, at.minute()) {
                at.checked_add(SignedDuration::from_mins(1)).ok()?
            } else {
                return Some(at.timestamp());
            };
        }
        None
    }

    fn is_day(&self, at: &Zoned) -> bool {
        let day = has(self.day, at.day());
        let weekday = has(self.weekday, at.weekday().to_sunday_zero_offset());
        if self.both_days { day && weekday } else { day || weekday }
    }
}

fn has(bits: u64, number: i8) -> bool {
    bits >> number & 1 == 1
}

/// The set of a field, and whether it is a bare star.
fn field(text: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let (mut bits, mut star) = (0, false);
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (more, is_star) = range(part, bounds)?;
        bits |= more;
        star |= is_star;
    }
    Ok((bits, star))
}

/// `number`, `number-number`, `*`, each with `/step`.
fn range(text: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let mut parts = text.split('/');
    let span = parts.next().unwrap_or_default();
    let (step_text, too_many) = (parts.next(), parts.next().is_some());
    let mut ends = span.split('-');
    let low = ends.next().unwrap_or_default();
    let (high, extra) = (ends.next(), ends.next().is_some());
    let mut star = false;
    let (start, mut end) = if matches!(low, "*" | "?") {
        star = true;
        (bounds.min, bounds.max)
    } else {
        let start = number(low, bounds)?;
        if extra {
            return Err(format!("too many hyphens: {text}"));
        }
        (start, high.map_or(Ok(start), |high| number(high, bounds))?)
    };
    if too_many {
        return Err(format!("too many slashes: {text}"));
    }
    let step = step_text.map_or(Ok(1), integer)?;
    if step_text.is_some() && high.is_none() && !star {
        end = bounds.max;
    }
    if step > 1 {
        star = false;
    }
    if start < bounds.min {
        let min = bounds.min;
        return Err(format!("beginning of range ({start}) below minimum ({min}): {text}"));
    }
    if end > bounds.max {
        let max = bounds.max;
        return Err(format!("end of range ({end}) above maximum ({max}): {text}"));
    }
    if start > end {
        return Err(format!(
            "beginning of range ({start}) beyond end of range ({end}): {text}"
        ));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    Ok(((start..=end).step_by(step).fold(0, |bits, n| bits | 1 << n), star))
}

fn number(text: &str, bounds: &Bounds) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match bounds.names.iter().position(|name| *name == lower) {
        Some(at) => Ok(bounds.min + u32::try_from(at).unwrap_or_default()),
        None => integer(text),
    }
}

fn integer(text: &str) -> Result<u32, String> {
    let parsed: Result<i64, _> = text.parse();
    let mut message = String::new();
    match parsed {
        Ok(number) if number < 0 => write!(message, "negative number ({number}) not allowed: {text}"),
        Ok(number) => return Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        Err(_) => write!(
            message,
            "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"
        ),
    }
    .expect("a string takes what is written");
    Err(message)
}

/// A duration as Go writes it: `1h30m`, `1.5s`.
fn go_duration(text: &str) -> Option<SignedDuration> {
    let mut total = 0f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        rest = &rest[end..];
        total += amount * unit;
    }
    (!text.is_empty()).then(|| SignedDuration::try_from_secs_f64(total).ok())?
}

/// The time zone of that name, as CronJobs name theirs; without one that of the control plane, UTC.
pub fn zone(name: Option<&str>) -> Result<TimeZone, String> {
    match name {
        None => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name).map_err(|_| format!("unknown time zone {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn next(schedule: &str, zone_name: &str, after: &str) -> String {
        let schedule = Schedule::parse(schedule).expect("a schedule");
        let zone = zone(Some(zone_name)).expect("a zone");
        schedule
            .next(at(after), &zone)
            .map_or("never".into(), |next| next.to_string())
    }

    #[test]
    fn schedules_are_due_when_crontabs_are() {
        for (schedule, zone, after, expect) in [
            ("* * * * *", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "UTC", "2026-01-01T00:14:59Z", "2026-01-01T00:15:00Z"),
            (
                "20-35/15 * * * *",
                "UTC",
                "2026-01-01T00:20:00Z",
                "2026-01-01T00:35:00Z",
            ),
            ("0 0 30 Feb *", "UTC", "2026-01-01T00:00:00Z", "never"),
            ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            // A day of the month and one of the week: either will do.
            ("0 0 13 * Fri", "UTC", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 0 * * Mon", "UTC", "2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z"),
            ("@hourly", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
            ("@every 90s", "UTC", "2026-01-01T00:00:00.5Z", "2026-01-01T00:01:30Z"),
            ("@weekly", "UTC", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            (
                "0 9 * * *",
                "Asia/Tokyo",
                "2026-01-01T00:00:00Z",
                "2026-01-02T00:00:00Z",
            ),
            // 2:30 does not exist on the day that summer begins in New York.
            (
                "30 2 * * *",
                "America/New_York",
                "2026-03-08T00:00:00-05:00",
                "2026-03-09T06:30:00Z",
            ),
            // 1:30 exists twice on the day that it ends.
            (
                "30 1 * * *",
                "America/New_York",
                "2026-11-01T05:30:00Z",
                "2026-11-01T06:30:00Z",
            ),
        ] {
            assert_eq!(next(schedule, zone, after), expect, "{schedule} after {after}");
        }
    }

    #[test]
    fn mistakes_are_named_in_upstreams_words() {
        let wrong = |text: &str| Schedule::parse(text).expect_err("a mistake");
        insta::assert_snapshot!(wrong("error"), @"expected exactly 5 fields, found 1: [error]");
        insta::assert_snapshot!(wrong("* * * *"), @"expected exactly 5 fields, found 4: [* * * *]");
        insta::assert_snapshot!(wrong("60 * * * *"), @"end of range (60) above maximum (59): 60");
        insta::assert_snapshot!(wrong("* * 0 * *"), @"beginning of range (0) below minimum (1): 0");
        insta::assert_snapshot!(wrong("5-1 * * * *"), @"beginning of range (5) beyond end of range (1): 5-1");
        insta::assert_snapshot!(wrong("*/0 * * * *"), @"step of range should be a positive number: */0");
        insta::assert_snapshot!(wrong("a * * * *"), @r#"failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax"#);
        insta::assert_snapshot!(wrong("@fortnightly"), @"unrecognized descriptor: @fortnightly");
        insta::assert_snapshot!(wrong("1-2-3 * * * *"), @"too many hyphens: 1-2-3");
    }

    fn entry(bounds: &'static Bounds) -> impl Strategy<Value = String> {
        let (min, max) = (bounds.min, bounds.max);
        prop_oneof![
            3 => Just("*".to_owned()),
            2 => (min..=max).prop_map(|n| n.to_string()),
            1 => (2u32..20).prop_map(|step| format!("*/{step}")),
            1 => (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        ]
    }

    /// The next time by trying every minute.
    fn brute_force(fields: &Fields, after: Timestamp, zone: &TimeZone, days: i64) -> Option<Timestamp> {
        let first = (after.as_second().div_euclid(60) + 1) * 60;
        (0..days * 24 * 60).find_map(|minute| {
            let at = Timestamp::from_second(first + minute * 60).ok()?;
            let local = at.to_zoned(zone.clone());
            let fits = has(fields.month, local.month())
                && fields.is_day(&local)
                && has(fields.hour, local.hour())
                && has(fields.minute, local.minute());
            fits.then_some(at)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_next_time_is_that_of_trying_every_minute(
            minute in entry(&MINUTE), hour in entry(&HOUR), day in entry(&DAY), month in entry(&MONTH),
            weekday in entry(&WEEKDAY), after in 1_700_000_000i64..1_800_000_000,
            zone in prop::sample::select(vec!["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Pacific/Chatham"]),
        ) {
            let text = format!("{minute} {hour} {day} {month} {weekday}");
            let Schedule::Fields(fields) = Schedule::parse(&text).expect("a schedule") else { unreachable!() };
            let zone = TimeZone::get(zone).expect("a zone");
            let after = Timestamp::from_second(after).expect("a time");
            let days = 40;
            let expect = brute_force(&fields, after, &zone, days);
            let found = fields.next(after, &zone);
            match expect {
                Some(expect) => prop_assert_eq!(found, Some(expect), "{}", text),
                None => {
                    let limit = after + SignedDuration::from_hours(days * 24);
                    prop_assert!(found.is_none_or(|found| found >= limit - SignedDuration::from_mins(1)), "{}", text);
                }
            }
        }
    }
}
