//! Measures the area under a formula by counting the cells of a grid below its graph.
//!
//! The path of a job: `guest` reads the JSON, `input` checks it, `expression` turns the text of `f` into a program,
//! `grid` counts. Everything but `guest` compiles natively, where the tests run.

// Only `guest` uses the rest, and a native build (for the tests) leaves it out.
#![cfg_attr(not(target_family = "wasm"), allow(dead_code, reason = "the glue that uses it is left out"))]

mod expression;
mod grid;
mod input;

#[cfg(target_family = "wasm")]
mod guest;
