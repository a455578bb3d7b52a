//! The completion indexes that are done, as intervals: small even for a hundred thousand of them. Pure.

use std::fmt;

use crate::kinds::job::indexes::{Interval, parse};

/// A set of indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<Interval>);

impl Indexes {
    /// As they stand in a status; those past the completions (which may have shrunk) are left out.
    pub(super) fn read(text: &str, completions: i64) -> Self {
        let mut set: Vec<Interval> = Vec::new();
        for (first, last) in parse(text, i64::MAX).unwrap_or_default() {
            let last = last.min(completions - 1);
            match set.last_mut() {
                // Two in a row are written apart.
                Some(before) if before.1 + 1 == first => before.1 = last.max(before.1),
                _ if first <= last => set.push((first, last)),
                _ => {}
            }
        }
        Self(set)
    }

    /// Whether an index is among them.
    pub(super) fn has(&self, index: i64) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// Adds an index; whether it was new.
    pub(super) fn insert(&mut self, index: i64) -> bool {
        if self.has(index) {
            return false;
        }
        let at = self.0.partition_point(|(_, last)| *last < index);
        let joins_before = at > 0 && self.0[at - 1].1 == index - 1;
        let joins_after = self.0.get(at).is_some_and(|(first, _)| *first == index + 1);
        match (joins_before, joins_after) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = index,
            (false, true) => self.0[at].0 = index,
            (false, false) => self.0.insert(at, (index, index)),
        }
        true
    }

    /// How many there are.
    pub(super) fn total(&self) -> i64 {
        crate::kinds::job::indexes::total(&self.0)
    }

    /// How many there are among others.
    pub(super) fn common(&self, others: &Self) -> i64 {
        let overlap = |a: &Interval, b: &Interval| (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
        let pairs = self.0.iter().flat_map(|a| others.0.iter().map(move |b| overlap(a, b)));
        pairs.sum()
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_set_reads_back_as_it_was_written(numbers in prop::collection::vec(0i64..40, 0..60), others in prop::collection::vec(0i64..40, 0..60)) {
            let set = |numbers: &[i64]| {
                let mut set = Indexes::default();
                for number in numbers {
                    set.insert(*number);
                }
                set
            };
            let indexes = set(&numbers);
            let model: BTreeSet<i64> = numbers.iter().copied().collect();
            prop_assert_eq!(indexes.total(), i64::try_from(model.len()).unwrap());
            for number in 0..40 {
                prop_assert_eq!(indexes.has(number), model.contains(&number));
            }
            prop_assert_eq!(&Indexes::read(&indexes.to_string(), 40), &indexes);
            let both = others.iter().filter(|n| model.contains(n)).collect::<BTreeSet<_>>().len();
            prop_assert_eq!(indexes.common(&set(&others)), i64::try_from(both).unwrap());
        }
    }

    #[test]
    fn runs_are_shortened() {
        let mut set = Indexes::default();
        for index in [1, 3, 4, 5, 7, 8] {
            set.insert(index);
        }
        assert_eq!(set.to_string(), "1,3-5,7,8");
        assert_eq!(Indexes::read("1,3-5,7,8", 5).to_string(), "1,3,4");
    }
}
