//! Dropforge: drop a `.wasm` file into a folder, get a durable, asynchronous HTTP job API for it.
//!
//! # The path of a job
//!
//! ```text
//! POST /v1/jobs -> api -> queue -> store            202 + id, once the record is on disk
//!                           |
//!                 worker  claim -> plugins (kind -> component) -> sandbox (one call, limited)
//!                           |
//!                         queue -> store            outcome stored, waiters told
//! GET /v1/jobs/{id} -> api -> queue -> store
//! ```
//!
//! # Who does what
//!
//! Imports go down this table, never up.
//!
//! | file | it does | it never |
//! | --- | --- | --- |
//! | `main` | parse, run, choose the exit code | decides anything about jobs |
//! | [`cli`] | say what can be typed; a file per command | does the work itself |
//! | [`demo`] | show a real host at work, as a client of it | uses anything but HTTP to do so |
//! | [`client`] | speak to a host as anybody's program may | know more of it than the contract says |
//! | [`bench`](mod@bench) | measure a real host beside its parts, in one run | claim what it did not measure |
//! | `shipped` | carry the plugins of the repository for `demo` and `bench` | know what they do |
//! | [`scaffold`] | write a plugin project to begin with | fetch or build anything |
//! | [`trial`] | check a plugin file, or run one job of it, here and now, without a host | go another way than a host would |
//! | [`server`] | build the parts, serve, stop them in order | knows routes |
//! | [`connections`] | take connections in, with TLS or without, and let go of those that are too slow | know routes |
//! | [`config`] | turn flags, environment and file into one checked value | is read by anything but `cli`, `demo`, `trial` and `server` |
//! | [`logging`] | start the log, for people or for machines | decides what is worth a line |
//! | [`api`] | speak HTTP, a file per resource; map refusals to statuses | touch disk or guests |
//! | [`tokens`] | who may come in, and to what: kept in a file of the data folder, which the command line changes and a host follows | know what is asked |
//! | [`webhooks`] | say where webhooks may go, sign them, deliver what is due | decide what is owed |
//! | [`worker`] | one thread's loop: claim, execute, finish | let a panic past a job |
//! | [`plugins`] | the plugin folder as a table of kinds: watch, check, swap | serve a file it has not checked |
//! | [`sandbox`] | run one call under limits and name what went wrong | keep anything between calls |
//! | [`queue`] | submit, claim, finish, look up; fairness; wake workers and waiters | name sled |
//! | [`store`] | records on disk, each transition all or nothing; check, move and compact them | decide policy |
//! | [`events`] | tell what happens to jobs to those who listen, and remember the newest of it | hold anybody up |
//! | [`running`] | what an attempt and its watchers share: progress, log, the request to stop | outlive the attempt |
//! | [`metrics`] | count and time, and write it down for Prometheus | decide anything |
//! | [`outbound`] | look up, judge and connect to what operators allow, for guests and webhooks alike | know what is said there |
//! | [`secrets`] | read secrets from where a setting says they are | show one |
//! | [`priority`] | put a thread behind those that serve | raise one |
//! | [`interrupts`] | hear what asks the process to end | decide what becomes of its work |
//! | [`job`] | the nouns and the legal transitions | do I/O or read the clock |
//! | `allocator` | where memory comes from | count or limit it |
//! | [`time`], [`rate`] | moments, durations and rates as they travel | measure deadlines |
//!
//! One place per outside world: axum in `api` (its `Front` is handed to `connections`), wasmtime in `sandbox`, sled in `store`. The truth about a job is on disk; what is in
//! memory may vanish at any moment and nothing is lost.
#![deny(unsafe_code)]

mod allocator;
pub mod api;
pub mod bench;
pub mod cli;
pub mod client;
pub mod config;
pub mod connections;
pub mod demo;
pub mod events;
pub mod interrupts;
pub mod job;
pub mod logging;
pub mod metrics;
pub mod outbound;
pub mod plugins;
pub mod priority;
pub mod queue;
pub mod rate;
pub mod running;
pub mod sandbox;
pub mod scaffold;
pub mod secrets;
pub mod server;
mod shipped;
pub mod store;
pub mod time;
pub mod tokens;
pub mod trial;
pub mod webhooks;
pub mod worker;

// It stands here so that tests and benchmarks measure with it as well.
#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;
