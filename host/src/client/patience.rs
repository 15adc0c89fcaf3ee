//! A host that goes away and comes back: for how long its followers try to reach it again.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::ClientError;

/// How long a host may be away while one of its jobs is followed, unless told. Jobs survive that, so their followers should too.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts to reach a host that is away.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// How long somebody tries, and since when.
#[derive(Debug)]
pub struct Patience {
    most: Duration,
    /// Whether the host was ever there: one that was not may be at another address.
    was_found: bool,
    since: Option<Instant>,
}

impl Patience {
    /// Tries for this long whenever a host that was there is gone.
    pub fn new(most: Duration) -> Self {
        Self { most, was_found: false, since: None }
    }

    /// How long it tries.
    pub fn most(&self) -> Duration {
        self.most
    }

    /// Notes that the host answers, and says whether that is news.
    pub fn found(&mut self) -> bool {
        self.was_found = true;
        self.since.take().is_some()
    }

    /// Notes that the host is gone, and says whether that is news.
    pub fn lost(&mut self) -> bool {
        let is_news = self.since.is_none();
        self.since.get_or_insert_with(Instant::now);
        is_news
    }

    /// Gives an error back that does not pass with time, or has not for long enough.
    pub fn bear(&self, error: ClientError) -> Result<(), ClientError> {
        let is_over = self.since.is_some_and(|since| since.elapsed() >= self.most);
        if self.was_found && error.may_be_a_restart() && !is_over { Ok(()) } else { Err(error) }
    }

    /// The pause before the next attempt.
    pub async fn pause(&self) {
        sleep(TRY_EVERY).await;
    }
}
