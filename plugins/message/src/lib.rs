//! Returns the client's message after computing for the asked number of seconds.
//!
//! The smallest useful plugin: it shows the contract, keeps a worker busy on request, and with `seconds: 0` is the
//! no-op that throughput is measured with. The pure part (reading the input, the sums) compiles natively too.
//!
//! Without the standard library: that imports two dozen functions of WASI, needed or not, and each is looked up again for every job. This one
//! imports the clock, and nothing else but what the contract has.

#![cfg_attr(target_family = "wasm", no_std)]
// Only `guest` uses the rest, and a native build (for the tests) leaves it out.
#![cfg_attr(not(target_family = "wasm"), allow(dead_code, reason = "the glue that uses it is left out"))]

extern crate alloc;

#[cfg(target_family = "wasm")]
mod alone;
mod input;
mod work;

#[cfg(target_family = "wasm")]
mod guest;
