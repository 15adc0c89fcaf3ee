//! A thin helper for plugins of Dropforge written in Rust. It adds nothing to the contract in `wit/`: it turns types into
//! schemas, JSON into types, and streams into [`std::io::Read`] and [`std::io::Write`].
//!
//! ```no_run
//! use dropforge_job::{Failure, Job, Json, Plugin, plugin};
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Numbers { numbers: Vec<f64> }
//! #[derive(Serialize, JsonSchema)]
//! struct Sum { sum: f64 }
//!
//! struct Add;
//! impl Plugin for Add {
//!     const SUMMARY: &str = "Adds numbers.";
//!     type Parameters = ();
//!     type Input = Json<Numbers>;
//!     type Output = Json<Sum>;
//!     fn run(job: Job<()>, Json(input): Json<Numbers>) -> Result<Json<Sum>, Failure> {
//!         job.progress(0.5, "adding");
//!         Ok(Json(Sum { sum: input.numbers.iter().sum() }))
//!     }
//! }
//! plugin!(Add);
//! ```
//!
//! A file instead of JSON is read as [`Text`], [`Bytes`] or, whatever its size, [`Stream`]. Of a job one can ask whatever the
//! contract's `host` offers; see [`Job`].

mod failure;
mod input;
mod job;
mod output;
mod parameters;

pub use self::bindings::dropforge::job::host::{Checkpoint, Level};
pub use self::bindings::dropforge::job::types::{Failure, JobResult, Limits};
pub use self::failure::{invalid_input, permanent, transient};
pub use self::input::{Input, Stream};
pub use self::job::{Artifact, Job};
pub use self::output::{Output, Written};

use schemars::JsonSchema;
use serde::Deserialize;

use self::bindings::dropforge::job::types;

/// The contract as `wit-bindgen` makes it, for all that the helper has no word for.
#[allow(clippy::all, missing_docs, reason = "it is generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "plugin",
        generate_all,
        pub_export_macro: true,
        default_bindings_module: "dropforge_job::bindings",
    });
}

/// A value that travels as JSON, as input or as output. Its schema is that of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// Text of UTF-8, as input or as output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

/// Bytes of any kind, as input or as output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

/// A kind of job: what it is, in constants and types, and how it is done.
pub trait Plugin {
    /// One sentence: what a job of this kind does.
    const SUMMARY: &'static str;
    /// Options of a job, such as `dpi=200` in its query: a struct with a field for each, or `()` for none.
    type Parameters: for<'a> Deserialize<'a> + JsonSchema;
    /// What it reads: [`Json`], [`Text`], [`Bytes`] or [`Stream`].
    type Input: Input;
    /// What it gives: [`Json`], [`Text`], [`Bytes`], or an artifact by name, [`Written`].
    type Output: Output;

    /// Media types of the input, most welcome first.
    const READS: &'static [&'static str] = <Self::Input as Input>::MEDIA_TYPES;
    /// Media type of the result.
    const GIVES: &'static str = <Self::Output as Output>::MEDIA_TYPE;
    /// One sentence about its artifacts, if it writes any.
    const ARTIFACTS: &'static str = "";
    /// Limits it would like instead of the host's defaults.
    const LIMITS: Limits = Limits { timeout_ms: None, memory_bytes: None, output_bytes: None };
    /// Inputs worth trying: a few words, and JSON.
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[];

    /// Does the job.
    fn run(job: Job<Self::Parameters>, input: Self::Input) -> Result<Self::Output, Failure>;
}

/// Exports a [`Plugin`] as the component's world. Once in a crate of the type `cdylib`.
#[macro_export]
macro_rules! plugin {
    ($plugin:ty) => {
        struct DropforgeGuest;

        impl $crate::bindings::Guest for DropforgeGuest {
            fn describe() -> $crate::bindings::Descriptor {
                $crate::describe::<$plugin>(env!("CARGO_PKG_VERSION"))
            }

            fn run(
                context: $crate::bindings::Context,
                input: $crate::bindings::Input,
            ) -> Result<$crate::bindings::Outcome, $crate::Failure> {
                $crate::run::<$plugin>(context, input)
            }
        }

        $crate::bindings::export!(DropforgeGuest with_types_in $crate::bindings);
    };
}

/// What [`plugin!`] answers to `describe`.
#[doc(hidden)]
pub fn describe<P: Plugin>(version: &str) -> bindings::Descriptor {
    let examples = P::EXAMPLES.iter().map(|(title, input)| types::Example {
        title: (*title).into(),
        input: Some((*input).into()),
        parameters: Vec::new(),
    });
    bindings::Descriptor {
        summary: P::SUMMARY.into(),
        version: version.into(),
        input: types::InputDescription {
            media_types: P::READS.iter().map(|one| (*one).into()).collect(),
            schema: P::Input::schema(),
        },
        parameters: Some(parameters::schema::<P::Parameters>()),
        output: types::OutputDescription {
            media_type: P::GIVES.into(),
            schema: P::Output::schema(),
            artifacts: P::ARTIFACTS.into(),
        },
        examples: examples.collect(),
        limits: P::LIMITS,
    }
}

/// What [`plugin!`] does in `run`.
#[doc(hidden)]
pub fn run<P: Plugin>(context: bindings::Context, input: bindings::Input) -> Result<bindings::Outcome, Failure> {
    let job = Job::new(context)?;
    let input = P::Input::receive(input)?;
    let output = P::run(job, input)?;
    Ok(bindings::Outcome::Done(types::Done { media_type: P::GIVES.into(), body: output.into_body()? }))
}

/// The schema of a type as text.
fn schema_of<T: JsonSchema>() -> serde_json::Value {
    schemars::schema_for!(T).to_value()
}
