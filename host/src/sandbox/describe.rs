//! Asks a plugin what it is, when its file is loaded.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bindings::dropforge::job::types as wit;
use super::bounded::{Bounded, OnTurn, Stopped, Times};
use super::checkpoints::Checkpoints;
use super::contract::{Guest, NewUpload, bindings};
use super::files::Open;
use super::outcome::{diagnose, explain, is_too_large_a_call};
use super::run::Limits;
use super::{Description, Example, NotAPlugin, Sandbox};
use crate::job::{Ended, Usage, printable};
use crate::running::Running;
use crate::store::Mark;

/// All memory of a plugin while it is asked. Whole interpreters begin with less (a component of Python has 13 MiB when it has answered,
/// one of JavaScript 9 MiB, the shipped plugins 1 to 2 MiB), and so does a plugin that has a speech model of 37 MB compiled into it.
/// Larger data does not belong into a plugin's memory: it has to be copied there for each job, and a granted folder does not.
const DESCRIBE_MEMORY_BYTES: u64 = 48 << 20;
/// The longest it is given at a time. Where other programs want every processor its second may be over before it had a second of its own;
/// then it is asked again and has twice as long, six times and for a minute altogether.
const TIMEOUT_MAX: Duration = Duration::from_secs(32);
/// `describe` has little to do and gets little to do it with: the interpreters of above use some millions of fuel.
const DESCRIBE_LIMITS: Limits = Limits {
    timeout: Duration::from_secs(1),
    fuel: 1_000_000_000,
    memory_bytes: DESCRIBE_MEMORY_BYTES,
    output_bytes: 0,
};
/// Descriptors are shown to clients; longer ones are refused.
const DESCRIPTION_BYTES_MAX: usize = 256 * 1024;
/// The most `describe` may pass to the host in one call, its answer included: a text of a few bytes is six times as large as the host
/// keeps it, so everything that may be shown fits, and nothing larger has to be held to be refused.
const DESCRIBE_CALL_BYTES_MAX: usize = 8 * DESCRIPTION_BYTES_MAX;

/// So much of a second a plugin has had if it is not to be asked again. A wake-up that comes late counts as its own.
const ENOUGH: Duration = Duration::from_millis(900);

/// Why a plugin has not said what it is.
struct Undescribed {
    reason: NotAPlugin,
    /// Whether its time was over before it had computed or waited for long enough.
    was_starved: bool,
}

impl From<NotAPlugin> for Undescribed {
    fn from(reason: NotAPlugin) -> Self {
        Self { reason, was_starved: false }
    }
}

impl Sandbox {
    /// Asks a plugin what it is, under tight limits.
    pub(super) async fn describe(
        &self,
        plugin: &bindings::PluginPre<Guest>,
        new_upload: NewUpload,
    ) -> std::result::Result<Description, NotAPlugin> {
        let mut limits = DESCRIBE_LIMITS;
        loop {
            match self.ask(plugin, Arc::clone(&new_upload), &limits).await {
                Err(no) if no.was_starved && limits.timeout < TIMEOUT_MAX => limits.timeout *= 2,
                described => return described.map_err(|no| no.reason),
            }
        }
    }

    async fn ask(
        &self,
        plugin: &bindings::PluginPre<Guest>,
        new_upload: NewUpload,
        limits: &Limits,
    ) -> std::result::Result<Description, Undescribed> {
        let running = Arc::new(Running::default());
        let on_turn: OnTurn = Box::new(|_| {});
        let open = Open::none(&running);
        let (grants, checkpoints) = (Arc::default(), Checkpoints::none());
        let guest = Guest::new(limits, &grants, Arc::clone(&running), new_upload, checkpoints, open, None)
            .map_err(|error| NotAPlugin(format!("the host could not start it: {error:#}")))?;
        let mut store = self.store(guest, limits.fuel);
        store.set_hostcall_fuel(DESCRIBE_CALL_BYTES_MAX);
        let mut times = Times::default();
        let ended = {
            let future = pin!(async {
                let plugin = plugin.instantiate_async(&mut store).await?;
                plugin.call_describe(&mut store).await
            });
            let deadline = Instant::now() + limits.timeout;
            running.start(deadline);
            Bounded::new(future, deadline, &running, &on_turn, &Mark::none(), &mut times).await
        };
        let had = times.cpu + times.parked;
        let was_starved = matches!(ended, Err(Stopped::Deadline)) && had < ENOUGH;
        let over = match ended {
            Ok(Ok(descriptor)) => return Ok(description(descriptor)?),
            Ok(Err(error)) if is_too_large_a_call(&error) => {
                let most = DESCRIBE_CALL_BYTES_MAX;
                return Err(NotAPlugin(format!(
                    "its `describe` passes more than {most} bytes to the host in one call"
                ))
                .into());
            }
            Ok(Err(error)) => diagnose(&error, limits, &mut Usage::default()),
            Err(stopped) => explain(stopped, limits),
        };
        let (log, _) = store.data().log.last();
        let reason = match over.explained_by(&log).ended {
            Ended::Failed(failure, _) => {
                format!("it was started and asked to describe itself, and that failed: {}", failure.message)
            }
            _ => "its `describe` was interrupted".to_owned(),
        };
        Err(Undescribed { reason: NotAPlugin(reason), was_starved })
    }
}

fn description(descriptor: bindings::Descriptor) -> std::result::Result<Description, NotAPlugin> {
    let clean = |text: String| printable(text, "\n", DESCRIPTION_BYTES_MAX);
    let pairs = |given: Vec<wit::Parameter>| given.into_iter().map(|pair| (pair.name, pair.value)).collect();
    let described = Description {
        summary: clean(descriptor.summary),
        version: clean(descriptor.version),
        input_media_types: descriptor.input.media_types.into_iter().map(clean).collect(),
        input_schema: descriptor.input.schema,
        parameter_schema: descriptor.parameters,
        output_media_type: clean(descriptor.output.media_type),
        output_schema: descriptor.output.schema,
        artifacts: clean(descriptor.output.artifacts),
        examples: descriptor
            .examples
            .into_iter()
            .map(|example| Example {
                title: clean(example.title),
                input: example.input,
                parameters: pairs(example.parameters),
            })
            .collect(),
        timeout: descriptor.limits.timeout_ms.map(Duration::from_millis),
        memory_bytes: descriptor.limits.memory_bytes,
        output_bytes: descriptor.limits.output_bytes,
    };
    let size = format!("{described:?}").len();
    if size > DESCRIPTION_BYTES_MAX {
        return Err(NotAPlugin(format!("its `describe` returns {size} bytes; {DESCRIPTION_BYTES_MAX} is the most")));
    }
    Ok(described)
}
