//! What may be done to a store, and how often: the steps from which orders are drawn.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

/// Bounded so that all of it takes a few seconds.
const STEPS: usize = 60;

#[derive(Debug, Clone)]
pub(super) enum Step {
    Submit { kind: usize, priority: u8, options: Options, key: Option<(u8, u8)>, size: usize },
    Claim { free: Vec<(usize, usize)>, total: usize },
    Save { late: bool, which: Index, size: usize },
    Finish { late: bool, which: Index, how: How, size: usize },
    Cancel(Index),
    Retry(Index),
    Delete(Index),
    Expire,
    Retain { age_s: Option<u64>, jobs_max: Option<usize>, bytes_max: Option<u64> },
    Pass { seconds: i64 },
    Reopen,
}

#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) delay_s: Option<i64>,
    pub(super) expires_s: Option<i64>,
    pub(super) max_attempts: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    Succeeded,
    Permanent,
    Transient,
    Interrupted,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = || prop_oneof![4 => 0..3_usize, 1 => Just(3)];
    let options = (option::weighted(0.3, 1..200_i64), option::weighted(0.2, 1..400_i64), 1..4_u32)
        .prop_map(|(delay_s, expires_s, max_attempts)| Options { delay_s, expires_s, max_attempts });
    let key = option::weighted(0.4, (0..3_u8, prop_oneof![4 => Just(0), 1 => Just(1_u8)]));
    let how = prop_oneof![Just(How::Succeeded), Just(How::Permanent), Just(How::Transient), Just(How::Interrupted)];
    let step = prop_oneof![
        12 => (0..3_usize, 0..10_u8, options, key, size())
            .prop_map(|(kind, priority, options, key, size)| Step::Submit { kind, priority, options, key, size }),
        8 => (vec((0..3_usize, 0..4_usize), 0..4), 0..7_usize).prop_map(|(free, total)| Step::Claim { free, total }),
        10 => (prop::bool::weighted(0.2), any::<Index>(), how, size())
            .prop_map(|(late, which, how, size)| Step::Finish { late, which, how, size }),
        6 => (prop::bool::weighted(0.2), any::<Index>(), size())
            .prop_map(|(late, which, size)| Step::Save { late, which, size }),
        3 => any::<Index>().prop_map(Step::Cancel),
        3 => any::<Index>().prop_map(Step::Retry),
        2 => any::<Index>().prop_map(Step::Delete),
        2 => Just(Step::Expire),
        2 => (option::of(1..300_u64), option::of(0..8_usize), option::of(0..30_000_u64))
            .prop_map(|(age_s, jobs_max, bytes_max)| Step::Retain { age_s, jobs_max, bytes_max }),
        6 => (0..150_i64).prop_map(|seconds| Step::Pass { seconds }),
        2 => Just(Step::Reopen),
    ];
    vec(step, 1..STEPS)
}
