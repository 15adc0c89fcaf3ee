//! Stories about the real binary, told over HTTP. Each module is one side of it.

mod support;

#[path = "end_to_end/batch.rs"]
mod batch;
#[path = "end_to_end/bench.rs"]
mod bench;
#[path = "end_to_end/blobs.rs"]
mod blobs;
#[path = "end_to_end/checkpoints.rs"]
mod checkpoints;
#[path = "end_to_end/command_line/mod.rs"]
mod command_line;
#[path = "end_to_end/commands.rs"]
mod commands;
#[path = "end_to_end/compiled.rs"]
mod compiled;
#[path = "end_to_end/connections/mod.rs"]
mod connections;
#[path = "end_to_end/contents.rs"]
mod contents;
#[path = "end_to_end/crash.rs"]
mod crash;
#[path = "end_to_end/doctor/mod.rs"]
mod doctor;
#[path = "end_to_end/durability/mod.rs"]
mod durability;
#[path = "end_to_end/events.rs"]
mod events;
#[path = "end_to_end/examples.rs"]
mod examples;
#[path = "end_to_end/explain.rs"]
mod explain;
#[path = "end_to_end/features.rs"]
mod features;
#[path = "end_to_end/following.rs"]
mod following;
#[path = "end_to_end/hostile/mod.rs"]
mod hostile;
#[path = "end_to_end/http.rs"]
mod http;
#[path = "end_to_end/interrupts.rs"]
mod interrupts;
#[path = "end_to_end/jobs.rs"]
mod jobs;
#[path = "end_to_end/keeping.rs"]
mod keeping;
#[path = "end_to_end/lists.rs"]
mod lists;
#[path = "end_to_end/logs.rs"]
mod logs;
#[path = "end_to_end/manners.rs"]
mod manners;
#[path = "end_to_end/metrics.rs"]
mod metrics;
#[path = "end_to_end/mistypes.rs"]
mod mistypes;
#[path = "end_to_end/network/mod.rs"]
mod network;
#[path = "end_to_end/new.rs"]
mod new;
#[path = "end_to_end/openapi/mod.rs"]
mod openapi;
#[path = "end_to_end/origins.rs"]
mod origins;
#[path = "end_to_end/pausing.rs"]
mod pausing;
#[path = "end_to_end/pdf.rs"]
mod pdf;
#[path = "end_to_end/plugin_folder/mod.rs"]
mod plugin_folder;
#[path = "end_to_end/rates.rs"]
mod rates;
#[path = "end_to_end/readme.rs"]
mod readme;
#[path = "end_to_end/refusals/mod.rs"]
mod refusals;
#[path = "end_to_end/run.rs"]
mod run;
#[path = "end_to_end/saving.rs"]
mod saving;
#[path = "end_to_end/scratch/mod.rs"]
mod scratch;
#[path = "end_to_end/secrets.rs"]
mod secrets;
#[path = "end_to_end/serve.rs"]
mod serve;
#[path = "end_to_end/settings/mod.rs"]
mod settings;
#[path = "end_to_end/times.rs"]
mod times;
#[path = "end_to_end/tokens/mod.rs"]
mod tokens;
#[path = "end_to_end/unusable.rs"]
mod unusable;
#[path = "end_to_end/webhooks/mod.rs"]
mod webhooks;
#[path = "end_to_end/websocket.rs"]
mod websocket;
