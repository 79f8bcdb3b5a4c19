//! Distributions of whole numbers, in buckets a thirty-second apart: adding costs two or three additions, and many processes'
//! can be put together.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::count::{self, Count, is_first};

/// Numbers below this have a bucket each; from there on each doubling has as many.
const STEP_BITS: u32 = 5;
const STEPS: u64 = 1 << STEP_BITS;
/// Numbers of more bits are in the last bucket.
const BITS: u32 = 26;
const BUCKETS: usize = (BITS as usize - STEP_BITS as usize + 1) << STEP_BITS;

/// What many threads add to.
#[derive(Default)]
pub struct Sketch {
    /// The first worker's, and those of all other threads; made with the first number.
    buckets: [OnceLock<Box<[AtomicU64]>>; 2],
    sum: Count,
    max: AtomicU64,
}

/// Numbers of one bucket that come in a row, so that they are added at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Run {
    bucket: usize,
    count: u64,
    sum: u64,
    max: u64,
}

/// What a [`Sketch`] holds, as it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many numbers.
    pub count: u64,
    /// Of all.
    pub sum: u64,
    /// The largest, exactly.
    pub max: u64,
    /// Half of them are no larger; at most a thirty-second too large, as are the next ones.
    pub p50: u64,
    /// 95 of 100 are no larger.
    pub p95: u64,
    /// 99 of 100 are no larger.
    pub p99: u64,
    /// The largest number of a bucket, and how many are in it; those with none are left out.
    pub buckets: Vec<(u64, u64)>,
}

impl Sketch {
    /// Adds one number.
    pub fn add(&self, number: u64) {
        Run { bucket: bucket(number), count: 1, sum: number, max: number }.end(self);
    }

    /// What it holds now.
    pub fn read(&self) -> Distribution {
        let [first, others] = self.buckets.each_ref().map(|buckets| buckets.get().map_or(&[][..], |buckets| buckets));
        let at = |of: &[AtomicU64], index| of.get(index).map_or(0, |n: &AtomicU64| n.load(Ordering::Relaxed));
        let counted = (0..first.len().max(others.len()))
            .map(|index| (largest(index), at(first, index).saturating_add(at(others, index))));
        let buckets: Vec<_> = counted.filter(|(_, count)| *count > 0).collect();
        let (sum, max) = (self.sum.read(), self.max.load(Ordering::Relaxed));
        Distribution { sum, max, buckets, ..Distribution::default() }.completed()
    }
}

impl fmt::Debug for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sketch")
    }
}

impl Run {
    /// One more number; those before go to the sketch if it is of another magnitude.
    pub fn add(&mut self, number: u64, to: &Sketch) {
        let bucket = bucket(number);
        if self.count > 0 && self.bucket != bucket {
            self.end(to);
        }
        self.bucket = bucket;
        self.count += 1;
        self.sum = self.sum.saturating_add(number);
        self.max = self.max.max(number);
    }

    /// Adds what is left.
    pub fn end(&mut self, to: &Sketch) {
        let Self { bucket, count, sum, max } = std::mem::take(self);
        if count == 0 {
            return;
        }
        let make = || (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        let alone = is_first();
        let [first, others] = &to.buckets;
        let buckets = if alone { first } else { others };
        if let Some(counter) = buckets.get_or_init(make).get(bucket) {
            count::add(counter, count, alone);
        }
        to.sum.add(sum);
        if max > to.max.load(Ordering::Relaxed) {
            to.max.fetch_max(max, Ordering::Relaxed);
        }
    }
}

impl Distribution {
    /// Both together.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let mut buckets = self.buckets.clone();
        for (upper, count) in &other.buckets {
            match buckets.binary_search_by_key(upper, |(known, _)| *known) {
                Ok(at) => {
                    if let Some((_, known)) = buckets.get_mut(at) {
                        *known = known.saturating_add(*count);
                    }
                }
                Err(at) => buckets.insert(at, (*upper, *count)),
            }
        }
        let (sum, max) = (self.sum.saturating_add(other.sum), self.max.max(other.max));
        Self { sum, max, buckets, ..Self::default() }.completed()
    }

    /// How many of the numbers are no larger than each of these, which ascend; a bucket counts where its largest number does.
    pub fn within(&self, bounds: &[u64]) -> Vec<u64> {
        let below = |bound: &u64| {
            self.buckets.iter().take_while(|(upper, _)| upper <= bound).map(|(_, count)| count).sum::<u64>()
        };
        bounds.iter().map(below).collect()
    }

    fn completed(mut self) -> Self {
        self.count = self.buckets.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count));
        [self.p50, self.p95, self.p99] = [50, 95, 99].map(|percent| self.percentile(percent));
        self
    }

    fn percentile(&self, percent: u64) -> u64 {
        let rank = u128::from(self.count) * u128::from(percent);
        let mut below = 0u128;
        let reaches = |(_, count): &&(u64, u64)| {
            below += u128::from(*count) * 100;
            below >= rank
        };
        self.buckets.iter().find(reaches).map_or(0, |(upper, _)| (*upper).min(self.max))
    }
}

/// Where a number is counted.
fn bucket(number: u64) -> usize {
    let number = number.min((1 << BITS) - 1);
    let octave = (u64::BITS - number.leading_zeros()).saturating_sub(STEP_BITS + 1);
    usize::try_from(u64::from(octave) * STEPS + (number >> octave)).unwrap_or(BUCKETS - 1)
}

/// The largest number that is counted there.
fn largest(bucket: usize) -> u64 {
    if bucket + 1 >= BUCKETS {
        return u64::MAX;
    }
    let bucket = bucket as u64;
    let octave = (bucket / STEPS).saturating_sub(1);
    ((bucket - octave * STEPS + 1) << octave) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(numbers: &[u64]) -> Distribution {
        let (sketch, mut run) = (Sketch::default(), Run::default());
        numbers.iter().for_each(|n| run.add(*n, &sketch));
        run.end(&sketch);
        sketch.read()
    }

    /// The smallest of the numbers that so many in a hundred are no larger than.
    fn exact(numbers: &[u64], percent: usize) -> u64 {
        let mut sorted = numbers.to_vec();
        sorted.sort_unstable();
        sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)]
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(of(&[]), Distribution::default());
    }

    #[test]
    fn buckets_meet_without_gaps() {
        let mut last = 0;
        for number in 0..(1u64 << 14) {
            let at = bucket(number);
            assert!(at == last || at == last + 1, "{number}");
            assert!(largest(at) >= number && (at == 0 || largest(at - 1) < number), "{number}");
            last = at;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(largest(bucket((1 << BITS) - 1)), u64::MAX);
    }

    #[test]
    fn what_is_beyond_the_last_bucket_is_told_by_its_largest() {
        let told = of(&[5, 1 << 40]);
        assert_eq!((told.p50, told.p99, told.max), (5, 1 << 40, 1 << 40));
    }

    proptest! {
        #[test]
        fn percentiles_are_a_thirty_second_off_at_most(numbers in prop::collection::vec(0u64..1 << 22, 1..300)) {
            let told = of(&numbers);
            prop_assert_eq!((told.count, told.sum), (numbers.len() as u64, numbers.iter().sum()));
            prop_assert_eq!(told.max, *numbers.iter().max().unwrap());
            for (percent, told) in [(50, told.p50), (95, told.p95), (99, told.p99)] {
                let exact = exact(&numbers, percent);
                prop_assert!(told >= exact && told <= exact + exact / 32, "{told} for {exact}");
            }
        }

        #[test]
        fn two_put_together_are_as_if_counted_in_one(
            a in prop::collection::vec(0u64..1 << 20, 0..100),
            b in prop::collection::vec(0u64..1 << 20, 0..100),
        ) {
            prop_assert_eq!(of(&a).with(&of(&b)), of(&[a, b].concat()));
        }
    }
}
