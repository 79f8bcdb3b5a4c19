//! CPU time of one thread, in interleaved rounds.

use rustix::time::{ClockId, clock_gettime};

/// A subject: does its work once and returns something that depends on it.
pub type Work<'a> = Box<dyn FnMut() -> usize + 'a>;

/// Nanoseconds that each subject takes once: the lower quartile over the rounds, in each of which every subject has its turn.
pub fn nanoseconds(subjects: &mut [Work<'_>], rounds: usize, millis: u64) -> Vec<f64> {
    let times: Vec<u64> = subjects.iter_mut().map(|work| repetitions(work, millis)).collect();
    let mut all = vec![Vec::with_capacity(rounds); subjects.len()];
    for round in 0..rounds {
        for n in 0..subjects.len() {
            let n = (n + round) % subjects.len();
            let start = cpu();
            for _ in 0..times[n] {
                std::hint::black_box(subjects[n]());
            }
            all[n].push((cpu() - start) as f64 / times[n] as f64);
        }
    }
    all.into_iter()
        .map(|mut taken| {
            taken.sort_by(f64::total_cmp);
            taken[taken.len() / 4]
        })
        .collect()
}

fn repetitions(work: &mut Work<'_>, millis: u64) -> u64 {
    let mut times = 1;
    loop {
        let start = cpu();
        for _ in 0..times {
            std::hint::black_box(work());
        }
        let taken = (cpu() - start).max(1);
        if taken > millis * 250_000 {
            return (times * millis * 1_000_000 / taken).max(1);
        }
        times *= 2;
    }
}

fn cpu() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
