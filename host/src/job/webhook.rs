//! The promise to tell somebody how a job ended: whom, how far that has come, and what comes next.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Backoff, JobId, shorten};
use crate::time::Time;

/// Bytes of a webhook's URL.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2_048;
/// Bytes of what is kept about a try that went wrong.
const ERROR_BYTES_MAX: usize = 300;
/// However long the host was off meanwhile, so often it tries before it gives up.
const TRIES_MIN: u32 = 5;

/// What somebody is promised, and how far it has come. A job has one at the most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Where the end of the job is to be told; at most [`WEBHOOK_URL_BYTES_MAX`] bytes.
    pub url: String,
    /// Scheme, host and port of the URL, in one spelling: those that go to one receiver share its bounds.
    pub receiver: String,
    /// Which end of the job it is about, from 1: a retried job has more than one.
    pub number: u32,
    /// How often this end was to be told so far.
    pub tries: u32,
    /// How far it has come.
    pub standing: Standing,
    /// What went wrong with the last try; at most 300 bytes.
    pub last_error: Option<String>,
}

/// How far a webhook has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The job has not ended yet.
    Waiting,
    /// To be delivered.
    Due {
        /// Since the job ended.
        since: Time,
        /// Not before this moment.
        next_try_at: Time,
    },
    /// The receiver has said that it has it.
    Delivered {
        /// When it said so.
        at: Time,
    },
    /// It will not be tried again.
    GivenUp {
        /// When that was decided.
        at: Time,
    },
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// The receiver has it.
    Delivered,
    /// The receiver wants nothing of the sort any more, in these words.
    Unwanted(String),
    /// It went wrong in this way, and the receiver may have said how long it wants to be left alone.
    Failed(String, Option<Duration>),
}

/// How long and how often a webhook is tried.
#[derive(Debug, Clone, Copy)]
pub struct Persistence {
    /// Pauses between tries.
    pub backoff: Backoff,
    /// From when it was due until it is given up.
    pub longest: Duration,
    /// Whether it may be given up for its age now: not while nobody knows what time it is.
    pub may_end: bool,
}

impl Standing {
    /// Whether it is to be delivered, now or later.
    pub fn is_due(self) -> bool {
        matches!(self, Standing::Due { .. })
    }
}

impl Webhook {
    /// A promise for a job that has not ended.
    pub fn new(url: String, receiver: String) -> Self {
        Self { url, receiver, number: 1, tries: 0, standing: Standing::Waiting, last_error: None }
    }

    /// Its id as the receiver sees it: the same for every try, another one for another end of the job.
    pub fn message_id(&self, job: JobId) -> String {
        format!("msg_{}_{}", job.simple(), self.number)
    }

    /// Whether it may still be tried, now or once the job has ended.
    pub fn is_open(&self) -> bool {
        matches!(self.standing, Standing::Waiting | Standing::Due { .. })
    }

    /// Whether this end of the job is to be told.
    pub fn is_due(&self, number: u32) -> bool {
        self.number == number && matches!(self.standing, Standing::Due { .. })
    }

    /// The webhook of a job that has ended at this moment.
    pub fn owed(mut self, at: Time) -> Self {
        if self.standing == Standing::Waiting {
            self.standing = Standing::Due { since: at, next_try_at: at };
        }
        self
    }

    /// The webhook of a job that has been given another life. If its last end was not told yet, only the next one will be.
    pub fn renewed(self) -> Self {
        Self { number: self.number.saturating_add(1), ..Self::new(self.url, self.receiver) }
    }

    /// The webhook after a try. `jitter` is from 0.0 to 1.0.
    pub fn after_try(mut self, tried: Tried, persistence: &Persistence, jitter: f64, now: Time) -> Self {
        let Standing::Due { since, .. } = self.standing else { return self };
        self.tries = self.tries.saturating_add(1);
        match tried {
            Tried::Delivered => {
                self.last_error = None;
                self.standing = Standing::Delivered { at: now };
            }
            Tried::Unwanted(words) => {
                self.last_error = Some(shorten(words, ERROR_BYTES_MAX));
                self.standing = Standing::GivenUp { at: now };
            }
            Tried::Failed(words, advice) => {
                self.last_error = Some(shorten(words, ERROR_BYTES_MAX));
                let last_at = since.after(persistence.longest);
                self.standing = if persistence.may_end && now >= last_at && self.tries >= TRIES_MIN {
                    Standing::GivenUp { at: now }
                } else {
                    let pause = persistence.backoff.pause(self.tries, jitter);
                    // No receiver puts it off beyond the end, which is tried once more.
                    let pause = pause.max(advice.unwrap_or_default().min(last_at.since(now)));
                    let next = now.after(pause);
                    Standing::Due { since, next_try_at: if now < last_at { next.min(last_at) } else { next } }
                };
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const PERSISTENCE: Persistence = Persistence {
        backoff: Backoff { first: Duration::from_secs(5), longest: HOUR },
        longest: Duration::from_secs(86_400),
        may_end: true,
    };

    fn due() -> Webhook {
        Webhook::new("https://a.example/x".to_owned(), "https://a.example:443".to_owned()).owed(Time(0))
    }

    fn failed(webhook: Webhook, advice: Option<Duration>, now: Time) -> Webhook {
        webhook.after_try(Tried::Failed("answered 500".to_owned(), advice), &PERSISTENCE, 0.0, now)
    }

    #[test]
    fn pauses_grow_and_the_last_try_is_at_the_end_of_the_day() {
        let (mut webhook, mut moments) = (due(), Vec::new());
        while let Standing::Due { next_try_at, .. } = webhook.standing {
            moments.push(next_try_at.0 / 1_000);
            webhook = failed(webhook, None, next_try_at);
        }
        assert_eq!(moments[..6], [0, 5, 15, 35, 75, 155]);
        assert_eq!(moments.last(), Some(&86_400));
        assert!((30..40).contains(&moments.len()), "{moments:?}");
        assert_eq!(
            (webhook.standing, webhook.last_error.as_deref()),
            (Standing::GivenUp { at: Time(86_400_000) }, Some("answered 500"))
        );
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_pause_but_not_beyond_the_end() {
        let next = |advice| match failed(due(), Some(advice), Time(0)).standing {
            Standing::Due { next_try_at, .. } => next_try_at.0 / 1_000,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            [next(Duration::ZERO), next(HOUR), next(HOUR * 100), next(Duration::MAX)],
            [5, 3_600, 86_400, 86_400]
        );
    }

    #[test]
    fn a_host_that_was_off_for_a_day_still_tries_a_few_times() {
        let (mut webhook, mut now) = (due(), Time(2 * 86_400_000));
        for _ in 1..TRIES_MIN {
            webhook = failed(webhook, None, now);
            let Standing::Due { next_try_at, .. } = webhook.standing else { panic!("{webhook:?}") };
            assert!(next_try_at > now);
            now = next_try_at;
        }
        assert_eq!(failed(webhook, None, now).standing, Standing::GivenUp { at: now });
    }

    /// Fault: a clock that is a day ahead for a minute, and everything that is due is given up in it.
    #[test]
    fn nothing_is_given_up_while_the_clock_is_not_believed() {
        let (mut webhook, mut now) = (due(), Time(2 * 86_400_000));
        let disbelieving = Persistence { may_end: false, ..PERSISTENCE };
        for _ in 0..20 {
            webhook = webhook.after_try(Tried::Failed(String::new(), Some(HOUR * 100)), &disbelieving, 0.0, now);
            let Standing::Due { next_try_at, .. } = webhook.standing else { panic!("{webhook:?}") };
            assert!((Duration::from_secs(5)..=HOUR).contains(&next_try_at.since(now)), "{webhook:?}");
            now = next_try_at;
        }
        assert_eq!(failed(webhook, None, now).standing, Standing::GivenUp { at: now }, "believed again");
    }

    #[test]
    fn each_end_of_a_job_has_an_id_of_its_own_and_an_end_is_owed_once() {
        let job = JobId::from_u128(7);
        let first = due();
        let delivered = first.clone().after_try(Tried::Delivered, &PERSISTENCE, 0.0, Time(9));
        assert_eq!(delivered.message_id(job), first.message_id(job));
        assert_eq!(delivered.clone().owed(Time(10)), delivered, "what is told is told");
        let again = delivered.renewed();
        assert_eq!((again.standing, again.tries), (Standing::Waiting, 0));
        assert_ne!(again.message_id(job), first.message_id(job));
        // A dot would be ambiguous in what is signed.
        assert!(!again.message_id(job).contains('.'));
    }
}
