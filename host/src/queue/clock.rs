//! Notices when the wall clock is set.
//!
//! Moments on disk (`run_at`, `expires_at`, when a job finished) are wall-clock times, and so follow the clock wherever it goes.
//! What cannot be undone must not: a machine that believes for a minute to be in another year would otherwise lose every
//! result to retention.

use std::fmt;
use std::time::{Duration, Instant};

use crate::time::Time;

/// A smaller difference is a slow tick or a clock being adjusted, which is what clocks are for.
const JUMP_MIN: Duration = Duration::from_secs(10);
/// How long nothing is taken away after a jump: time enough for the clock to be set right.
const HOLD: Duration = Duration::from_secs(10 * 60);

/// By how much the wall clock was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Jump {
    Forward(Duration),
    Back(Duration),
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (by, direction) = match self {
            Jump::Forward(by) => (by, "forward"),
            Jump::Back(by) => (by, "back"),
        };
        write!(f, "the wall clock jumped {direction} by {} seconds", by.as_secs())
    }
}

/// Compares the wall clock with one that cannot be set.
#[derive(Debug)]
pub(super) struct Clock {
    wall: Time,
    steady: Instant,
    held_until: Option<Instant>,
}

impl Clock {
    pub(super) fn new(wall: Time, steady: Instant) -> Self {
        Self { wall, steady, held_until: None }
    }

    /// Reads both clocks, and says whether the wall clock has jumped since it did last.
    pub(super) fn tick(&mut self, wall: Time, steady: Instant) -> Option<Jump> {
        let expected = self.wall.after(steady.duration_since(self.steady));
        (self.wall, self.steady) = (wall, steady);
        let (ahead, behind) = (wall.since(expected), expected.since(wall));
        if ahead.max(behind) < JUMP_MIN {
            return None;
        }
        self.held_until = Some(steady + HOLD);
        Some(if ahead > behind { Jump::Forward(ahead) } else { Jump::Back(behind) })
    }

    /// Whether what is only a matter of age can be taken away.
    pub(super) fn is_trusted(&self, steady: Instant) -> bool {
        self.held_until.is_none_or(|until| steady >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_noticed_in_both_directions_and_holds_for_a_while() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let mut clock = Clock::new(Time(1_000_000), start);
        assert_eq!(clock.tick(Time(1_005_000), after(5)), None);
        assert_eq!(clock.tick(Time(1_014_900), after(6)), None);
        assert!(clock.is_trusted(after(6)));
        let forward = clock.tick(Time(1_025_900), after(7)).expect("ten seconds are a jump");
        assert_eq!(forward, Jump::Forward(Duration::from_secs(10)));
        assert!(forward.to_string().contains("forward by 10 seconds"), "{forward}");
        assert!(!clock.is_trusted(after(7)) && clock.is_trusted(after(607)));
        let back = clock.tick(Time(0), after(8)).expect("so is this");
        assert!(back.to_string().contains("back by"), "{back}");
        assert!(!clock.is_trusted(after(607)));
    }
}
