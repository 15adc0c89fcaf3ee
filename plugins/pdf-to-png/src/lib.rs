//! Draws the pages of a PDF as PNG pictures, one artifact a page.
//!
//! The path of a job: `guest` streams the file in, `options` reads the parameters, `document` opens the file and
//! measures its pages, `picture` draws one, `encode` writes it straight into its artifact, filtered by `filter` and compressed by
//! `pack`, with the sum that `checksum` makes. Everything but `guest` compiles natively too.

// Only `guest` uses the rest, and a native build (for the tests) leaves it out.
#![cfg_attr(not(target_family = "wasm"), allow(dead_code, reason = "the glue that uses it is left out"))]

mod checksum;
mod document;
mod encode;
mod filter;
mod options;
mod pack;
mod picture;

#[cfg(target_family = "wasm")]
mod describe;
#[cfg(target_family = "wasm")]
mod guest;
