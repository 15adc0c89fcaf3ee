//! How often each may ask: a rate for every token and, where there is none, for every address.
//!
//! Nothing is written down: a limiter's memory may vanish with the process, and then everybody begins anew.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::problem::Problem;
use crate::job::Owner;
use crate::rate::Rate;

/// Tokens and addresses remembered at a time, some 5 MB. Further addresses share one rate until others have been quiet for long
/// enough to be forgotten.
const REMEMBERED_MAX: usize = 50_000;
/// How often those are looked for at most.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// The holder of a token.
    Token(Owner),
    /// Whoever is at an address; for IPv6 the network, as a network is what one client gets.
    Address(IpAddr),
    /// Those who came when there was no room to tell them apart.
    Crowd,
}

impl Who {
    /// The client at an address, or one whose address is not known.
    pub(super) fn at(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                Self::Address(IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into()))
            }
            Some(address) => Self::Address(address),
            None => Self::Crowd,
        }
    }
}

/// Counts requests against a rate.
pub(super) struct Limiter {
    rate: Rate,
    counts: RateLimiter<Who, HashMapStateStore<Who>, DefaultClock, StateInformationMiddleware>,
    forgot: Mutex<Instant>,
}

/// What is left to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    rate: Rate,
    requests: u32,
}

impl Limiter {
    pub(super) fn new(rate: Rate) -> Self {
        // A rate has at least a nanosecond for each: at most 2^32 a second.
        let quota = Quota::with_period(rate.each().max(Duration::from_nanos(1)));
        let quota = quota.expect("the period is not zero").allow_burst(rate.count);
        let counts = RateLimiter::hashmap(quota).with_middleware();
        Self { rate, counts, forgot: Mutex::new(Instant::now()) }
    }

    /// Counts a request. Answers what is left to this client, and the refusal if it has asked too often.
    pub(super) fn count(&self, who: Who) -> (Left, Result<(), Problem>) {
        let who = if self.has_room() { who } else { Who::Crowd };
        match self.counts.check_key(&who) {
            Ok(state) => (Left { rate: self.rate, requests: state.remaining_burst_capacity() }, Ok(())),
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.counts.clock().now());
                (Left { rate: self.rate, requests: 0 }, Err(Problem::too_many_requests(self.rate, wait)))
            }
        }
    }

    fn has_room(&self) -> bool {
        if self.counts.len() < REMEMBERED_MAX {
            return true;
        }
        let mut forgot = self.forgot.lock().unwrap_or_else(PoisonError::into_inner);
        if forgot.elapsed() >= FORGET_EVERY {
            *forgot = Instant::now();
            self.counts.retain_recent();
        }
        self.counts.len() < REMEMBERED_MAX
    }
}

impl Left {
    /// Says it in an answer, as draft-ietf-httpapi-ratelimit-headers has it.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let Rate { count, period } = self.rate;
        let whole_again = self.rate.each() * (count.get() - self.requests.min(count.get()));
        let seconds = whole_again.as_secs_f64().ceil();
        let fields = [
            ("ratelimit-policy", format!("\"default\";q={count};w={}", period.as_secs())),
            ("ratelimit", format!("\"default\";r={};t={seconds}", self.requests)),
        ];
        for (name, text) in fields {
            let value = HeaderValue::try_from(text).expect("digits and quotes can stand in a header");
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Limiter {
        Limiter::new(Rate::parse(text).expect("a rate"))
    }

    #[test]
    fn each_has_a_rate_of_their_own_and_hears_what_is_left() {
        let limiter = of("2/min");
        let (one, two) = (Who::Token(Owner::new(1)), Who::at(Some([127, 0, 0, 1].into())));
        let left = |who| limiter.count(who).0.requests;
        assert_eq!((left(one), left(one), left(two)), (1, 0, 1));
        assert!(limiter.count(one).1.is_err() && limiter.count(two).1.is_ok());
        let mut headers = HeaderMap::new();
        Left { rate: limiter.rate, requests: 1 }.tell(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"default\";q=2;w=60");
        assert_eq!(headers["ratelimit"], "\"default\";r=1;t=30");
    }

    #[test]
    fn a_network_is_one_client_and_an_embedded_address_is_itself() {
        let at = |text: &str| Who::at(Some(text.parse().expect("an address")));
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff::9"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory_and_those_who_were_there_keep_their_rate() {
        let limiter = of("100/day");
        for number in 0..u32::try_from(REMEMBERED_MAX).expect("small") {
            assert!(limiter.count(Who::at(Some(IpAddr::V4(number.into())))).1.is_ok());
        }
        for number in 0..200 {
            let refused = limiter.count(Who::at(Some(IpAddr::V4((0xffff_0000 + number).into())))).1.is_err();
            assert_eq!(refused, number >= 100, "newcomers share one rate: {number}");
        }
        assert!(limiter.counts.len() <= REMEMBERED_MAX + 1);
    }
}
