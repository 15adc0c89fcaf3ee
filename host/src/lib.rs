//! Dropforge: drop a `.wasm` file into a folder, get a durable, asynchronous HTTP job API for it.
#![deny(unsafe_code)]

pub mod api;
pub mod cli;
pub mod config;
pub mod demo;
pub mod job;
pub mod logging;
pub mod plugins;
pub mod priority;
pub mod queue;
pub mod running;
pub mod sandbox;
pub mod server;
pub mod store;
pub mod time;
pub mod worker;
