//! What the values of a kind's settings may be, each alone and beside the others. A sentence names the first that is not.

use std::collections::BTreeSet;
use std::time::Duration;

use super::KindSettings;
use crate::job::Code;
use crate::sandbox::Limits;
use crate::time::Span;

/// The most attempts a job may have.
pub const ATTEMPTS_MAX: u32 = 100;
/// The most jobs of a kind that may be told to run at once; there are never more guests than that.
const CONCURRENCY_MAX: u32 = 100_000;
/// Failures that an attempt can end with. The others say that there was none, or count on their own.
const RETRIED: [Code; 10] = [
    Code::InvalidInput,
    Code::PluginError,
    Code::Transient,
    Code::Trap,
    Code::OutOfFuel,
    Code::DeadlineExceeded,
    Code::MemoryExceeded,
    Code::OutputTooLarge,
    Code::Denied,
    Code::Internal,
];

impl KindSettings {
    pub(super) fn check(&self, most: &Limits) -> Result<(), String> {
        self.check_limits(most)?;
        self.check_retries()?;
        self.check_names()?;
        self.check_grants()
    }

    fn check_limits(&self, most: &Limits) -> Result<(), String> {
        let longest = self.timeout_max.unwrap_or(Span(most.timeout)).0;
        span_within("timeout_max", self.timeout_max, most.timeout, "the host's own timeout_max")?;
        span_within("timeout", self.timeout, longest, "timeout_max")?;
        number_within("memory_bytes", self.memory_bytes, 1, most.memory_bytes, "the host's own memory_bytes_max")?;
        number_within("output_bytes", self.output_bytes, 0, most.output_bytes, "the host's own output_bytes_max")?;
        number_within("scratch_bytes", self.scratch_bytes, 0, most.output_bytes, "the host's own output_bytes_max")?;
        number_within("scratch_in_bytes", self.scratch_in_bytes, 0, i64::MAX as u64, "a number of this format")?;
        number_within("fuel_per_ms", self.fuel_per_ms, 1, i64::MAX as u64, "a number of this format")?;
        number_within("queue_max", self.queue_max, 1, i64::MAX as u64, "a number of this format")?;
        let concurrency = self.concurrency.map(u64::from);
        number_within("concurrency", concurrency, 1, CONCURRENCY_MAX.into(), "more than any host runs")
    }

    fn check_retries(&self) -> Result<(), String> {
        let attempts = self.max_attempts.map(u64::from);
        number_within("max_attempts", attempts, 1, ATTEMPTS_MAX.into(), "the most any job may have")?;
        let day = Duration::from_secs(24 * 60 * 60);
        span_within("retry_pause_max", self.retry_pause_max, day, "a day")?;
        let longest = self.retry_pause_max.map_or(day, |span| span.0);
        span_within("retry_pause", self.retry_pause, longest, "retry_pause_max")?;
        match self.retry_on.iter().find(|code| !RETRIED.contains(code)) {
            Some(code) => {
                let known = RETRIED.map(Code::as_str).join(", ");
                Err(format!("retry_on: found {:?}, expected failures an attempt can end with: {known}", code.as_str()))
            }
            None => Ok(()),
        }
    }

    /// Names that can be variables, and each only once: nobody should have to know which of two would win.
    fn check_names(&self) -> Result<(), String> {
        let sections = [
            ("config", self.config.keys().collect::<Vec<_>>()),
            ("environment", self.environment.keys().collect()),
            ("secrets", self.secrets.keys().collect()),
        ];
        for (section, names) in &sections {
            if let Some(name) = names.iter().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
                return Err(format!("{section}: found the name {name:?}, expected one without = and not empty"));
            }
            if let Some(name) = names.iter().find(|name| *section != "secrets" && self.secrets.contains_key(**name)) {
                return Err(format!("{section}.{name}: secrets.{name} has the same name; rename one of them"));
            }
        }
        let has_nul = |value: &String| value.contains('\0');
        if let Some((name, _)) = self.environment.iter().find(|(_, value)| has_nul(value)) {
            return Err(format!("environment.{name}: expected a text without the character NUL"));
        }
        if self.args.iter().any(has_nul) {
            return Err("args: expected texts without the character NUL".to_owned());
        }
        Ok(())
    }

    fn check_grants(&self) -> Result<(), String> {
        if let Some(number) = self.http.iter().position(|grant| grant.methods.is_empty()) {
            return Err(format!("http.{number}.methods: found an empty list, expected methods such as \"GET\""));
        }
        let ports = self
            .http
            .iter()
            .map(|grant| ("http", grant.port))
            .chain(self.tcp.iter().map(|grant| ("tcp", Some(grant.port))));
        if let Some((section, _)) = ports.into_iter().find(|(_, port)| *port == Some(0)) {
            return Err(format!("{section}: found port 0, expected 1 to 65535"));
        }
        let mut seen: BTreeSet<&str> = if self.scratch { ["/in", "/out"].into() } else { BTreeSet::new() };
        for (number, folder) in self.folders.iter().enumerate() {
            let path = folder.guest.as_str();
            let parts = path.strip_prefix('/').map(|rest| rest.split('/'));
            let well_formed =
                parts.is_some_and(|mut parts| parts.all(|part| !part.is_empty() && part != "." && part != ".."));
            if !well_formed || path.contains('\0') {
                return Err(format!("folders.{number}.guest: found {path:?}, expected a path such as \"/model\""));
            }
            if !seen.insert(path) {
                return Err(format!("folders.{number}.guest: {path:?} is there already"));
            }
        }
        let well_formed = |text: &String| {
            text.len() <= 255 && text.contains('/') && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        match self.media_type.as_ref().filter(|text| !well_formed(text)) {
            Some(text) => Err(format!("media_type: found {text:?}, expected one such as \"application/json\"")),
            None => Ok(()),
        }
    }
}

fn span_within(key: &str, span: Option<Span>, most: Duration, whose: &str) -> Result<(), String> {
    match span {
        Some(Span(span)) if span.is_zero() || span > most => {
            let (found, most) = (span.as_millis(), most.as_millis());
            Err(format!("{key}: found {found} ms, expected 1 ms to {most} ms, {whose}"))
        }
        _ => Ok(()),
    }
}

fn number_within(key: &str, number: Option<u64>, least: u64, most: u64, whose: &str) -> Result<(), String> {
    match number {
        Some(number) if !(least..=most).contains(&number) => {
            Err(format!("{key}: found {number}, expected {least} to {most}, {whose}"))
        }
        _ => Ok(()),
    }
}
