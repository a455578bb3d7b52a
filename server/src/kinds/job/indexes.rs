//! Sets of completion indexes as text: `1,3-5,7`. Pure.

/// Bounds of an interval, both included.
pub type Interval = (i64, i64);

/// Reads a text that a person wrote: ascending, each index below `completions`.
pub fn parse(text: &str, completions: i64) -> Result<Vec<Interval>, String> {
    let mut intervals: Vec<Interval> = Vec::new();
    if text.is_empty() {
        return Ok(intervals);
    }
    for part in text.split(',') {
        let mut ends = part.split('-');
        let (first, last, extra) = (ends.next().unwrap_or_default(), ends.next(), ends.next());
        if extra.is_some() {
            return Err(format!(
                "the fragment \"{part}\" violates the requirement that an index interval can have at most two parts separated by '-'"
            ));
        }
        let first = index(first)?;
        let last = last.map_or(Ok(first), index)?;
        if first > last {
            return Err(format!("non-increasing order, previous: {first}, current: {last}"));
        }
        if let Some((_, before)) = intervals.last()
            && *before >= first
        {
            return Err(format!("non-increasing order, previous: {before}, current: {first}"));
        }
        if last >= completions {
            return Err(format!("too large index: \"{last}\""));
        }
        intervals.push((first, last));
    }
    Ok(intervals)
}

fn index(text: &str) -> Result<i64, String> {
    let parsed: Result<u32, _> = text.parse();
    parsed
        .map(i64::from)
        .map_err(|_| format!("cannot convert string to integer for index: \"{text}\""))
}

/// How many indexes there are.
pub fn total(intervals: &[Interval]) -> i64 {
    intervals.iter().map(|(first, last)| last - first + 1).sum()
}
