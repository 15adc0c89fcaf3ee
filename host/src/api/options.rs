//! What a client may say about a job besides its input: from JSON fields or from the query, checked alike.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use crate::job::Kind;
use crate::plugins::{ATTEMPTS_MAX, Plugin, Violation, pointer_segment};
use crate::queue::{NotBefore, Submission};
use crate::store::{Options, Payload};
use crate::time::{Span, Time, parse_duration, parse_time};

/// Labels per job.
const TAGS_MAX: usize = 16;
/// Bytes per label.
const TAG_BYTES_MAX: usize = 64;
/// A job cannot be put off, or kept waiting, for longer, however that is said.
const DELAY_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What `on_timeout` can be.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes a request and is never made")]
pub(super) enum AtTimeout {
    Cancel,
}

/// Where a request says what its options are, and so where a mistake in one of them is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Place {
    /// Each in the query, under its name there.
    #[default]
    Query,
    /// Members of the JSON document that describes the job.
    Document,
}

impl Place {
    /// Refuses the value of an option.
    pub(super) fn reject(self, option: &str, detail: String) -> Problem {
        let name = match (self, option) {
            // Repeated there rather than listed.
            (Self::Query, "tags") => "tag",
            (Self::Query, "args") => "arg",
            _ => option,
        };
        let problem = Problem::invalid_option(format!("{name}: {detail}"));
        match self {
            Self::Query => problem.in_parameter(name, detail),
            Self::Document => problem.at(format!("/{name}"), detail),
        }
    }

    /// Refuses a parameter that the kind does not take.
    fn reject_parameter(self, name: &str, detail: String) -> Problem {
        match self {
            Self::Query => self.reject(name, detail),
            Self::Document => Problem::invalid_option(format!("{name}: {detail}"))
                .at(format!("/parameters/{}", pointer_segment(name)), detail),
        }
    }

    /// Adds what the schema of the parameters found wrong.
    fn violations(self, problem: Problem, violations: Vec<Violation>) -> Problem {
        match self {
            Self::Query => problem.violations_in_query(violations),
            Self::Document => problem.violations("/parameters", violations),
        }
    }
}

/// A job's options as the client gave them.
#[derive(Debug, Default, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct JobOptions {
    /// Where they are from.
    #[serde(skip)]
    #[param(ignore)]
    pub(super) place: Place,
    #[serde(skip_serializing_if = "is_default")]
    #[param(ignore)]
    pub(super) parameters: Vec<(String, String)>,
    /// An argument, for a program whose kind allows them; may be repeated.
    #[serde(skip_serializing_if = "is_default")]
    #[param(rename = "arg", required = false)]
    pub(super) args: Vec<String>,
    /// 9 goes first; 5 unless given.
    #[serde(skip_serializing_if = "is_default")]
    #[param(maximum = 9)]
    pub(super) priority: Option<u64>,
    /// Starts no earlier than so long from now. Not together with `run_at`.
    #[serde(skip_serializing_if = "is_default")]
    #[param(value_type = Option<Span>)]
    pub(super) delay: Option<Duration>,
    /// Starts no earlier than at this moment.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) run_at: Option<Time>,
    /// Time limit of an attempt, up to what the kind allows.
    #[serde(skip_serializing_if = "is_default")]
    #[param(value_type = Option<Span>)]
    pub(super) timeout: Option<Duration>,
    /// How often the job is tried.
    #[serde(skip_serializing_if = "is_default")]
    #[param(minimum = 1, maximum = 100)]
    pub(super) max_attempts: Option<u64>,
    /// The job fails if it was not started by then.
    #[serde(skip_serializing_if = "is_default")]
    #[param(value_type = Option<Span>)]
    pub(super) expires_in: Option<Duration>,
    /// A label of at most 64 bytes; may be repeated.
    #[serde(skip_serializing_if = "is_default")]
    #[param(rename = "tag", required = false, max_items = 16)]
    pub(super) tags: Vec<String>,
    /// Who is told how it ends, signed: an address that the operator allows.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) webhook: Option<String>,
    /// With `Prefer: wait=N`: cancel the job if it has not ended by then.
    #[serde(skip_serializing_if = "is_default")]
    #[param(rename = "on_timeout", value_type = Option<AtTimeout>, inline)]
    pub(super) cancel_on_timeout: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl JobOptions {
    /// Reads a query. Names that are not ours are the plugin's.
    pub(super) fn from_query(query: &str) -> Result<Self, Problem> {
        let mut options = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let wrong = |wanted: &str| {
                let detail = format!("{value:?} is not {wanted}");
                Problem::invalid_option(format!("the query parameter {name}: {detail}"))
                    .in_parameter(name.as_ref(), detail)
            };
            let duration = || parse_duration(&value).ok_or_else(|| wrong("a duration such as 2s, 500ms, 1h or 2000"));
            let number = || value.parse::<u64>().map_err(|_| wrong("a whole number"));
            match name.as_ref() {
                "priority" => options.priority = Some(number()?),
                "delay" => options.delay = Some(duration()?),
                "run_at" => {
                    let at = parse_time(&value).ok_or_else(|| wrong("a time such as 2030-01-31T12:00:00Z"))?;
                    options.run_at = Some(at);
                }
                "timeout" => options.timeout = Some(duration()?),
                "max_attempts" => options.max_attempts = Some(number()?),
                "expires_in" => options.expires_in = Some(duration()?),
                "tag" => options.tags.push(value.into_owned()),
                "arg" => options.args.push(value.into_owned()),
                "on_timeout" => match value.as_ref() {
                    "cancel" => options.cancel_on_timeout = true,
                    _ => return Err(wrong("cancel, the only choice")),
                },
                "webhook" => options.webhook = Some(value.into_owned()),
                "after" => return Err(wrong("supported yet by this version; leave it out")),
                _ => options.parameters.push((name.into_owned(), value.into_owned())),
            }
        }
        Ok(options)
    }

    /// Digest of everything the request asks for: two requests with the same one want the same job.
    pub(super) fn digest(&self, kind: &Kind, input: &Payload) -> [u8; 32] {
        // What was not given is left out, so that a later version of the host, which may know more options, finds the same digest.
        let given = json!([kind.as_str(), input.media_type, hex::encode(input.content.sha256()), self]);
        Sha256::digest(given.to_string()).into()
    }

    /// Checks the values against each other, the plugin and its limits.
    pub(super) fn into_submission(self, plugin: &Plugin, input: Payload) -> Result<Submission, Problem> {
        let (place, now) = (self.place, Time::now());
        let reject = |name: &str, detail: String| Err(place.reject(name, detail));
        let priority = self.priority.unwrap_or(5);
        if priority > 9 {
            return reject("priority", format!("{priority} is not from 0 to 9"));
        }
        let max_attempts = self.max_attempts.unwrap_or(plugin.max_attempts().into());
        if !(1..=u64::from(ATTEMPTS_MAX)).contains(&max_attempts) {
            return reject("max_attempts", format!("{max_attempts} is not from 1 to {ATTEMPTS_MAX}"));
        }
        if let Some(timeout) = self.timeout
            && (timeout.is_zero() || timeout > plugin.timeout_max())
        {
            let most = plugin.timeout_max().as_millis();
            return reject(
                "timeout",
                format!("{} ms is not from 1 ms to {most} ms, the most this host allows", timeout.as_millis()),
            );
        }
        if self.delay.is_some() && self.run_at.is_some() {
            return reject("delay", "delay and run_at cannot be given together".to_owned());
        }
        let until = self.run_at.map(|at| at.since(now));
        for (name, wait) in [("delay", self.delay), ("run_at", until), ("expires_in", self.expires_in)] {
            if wait.is_some_and(|wait| wait > DELAY_MAX) {
                return reject(name, "a job cannot wait for more than 366 days".to_owned());
            }
        }
        if self.tags.len() > TAGS_MAX || self.tags.iter().any(|tag| tag.is_empty() || tag.len() > TAG_BYTES_MAX) {
            return reject("tags", format!("a job has at most {TAGS_MAX} tags of 1 to {TAG_BYTES_MAX} bytes"));
        }
        if plugin.is_command() && !plugin.settings.job_args && !self.args.is_empty() {
            return reject(
                "args",
                format!("{} takes no arguments; job_args = true in {}.toml allows them", plugin.kind, plugin.kind),
            );
        }
        if let Some((name, _)) = self.parameters.first().filter(|_| plugin.is_command()) {
            let detail = format!(
                "{} is a program: it has no parameters, only arguments (args, or arg=… in the query)",
                plugin.kind
            );
            return Err(place.reject_parameter(name, detail));
        }
        if self.args.iter().any(|arg| arg.contains('\0')) {
            return reject("args", "an argument cannot contain the character NUL".to_owned());
        }
        if let Err(violations) = plugin.check_parameters(&self.parameters) {
            let problem = Problem::invalid_input(format!(
                "the parameters do not fit the schema of {}: {}",
                plugin.kind,
                violations.iter().map(|one| one.detail.as_str()).collect::<Vec<_>>().join("; ")
            ));
            return Err(place.violations(problem, violations));
        }
        Ok(Submission {
            kind: Kind::clone(&plugin.kind),
            input,
            options: Options { parameters: self.parameters, arguments: self.args, traceparent: None },
            blobs: Vec::new(),
            webhook: None,
            priority: u8::try_from(priority).unwrap_or(9),
            max_attempts: u32::try_from(max_attempts).unwrap_or(u32::MAX),
            not_before: self.delay.map(NotBefore::After).or(self.run_at.map(NotBefore::At)),
            timeout: self.timeout,
            expires_in: self.expires_in,
            tags: self.tags,
            queue_max: plugin.settings.queue_max,
            owner: None,
            key: None,
        })
    }
}
