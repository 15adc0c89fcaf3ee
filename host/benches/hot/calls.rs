//! An attempt of a job that does nothing, in a sandbox with no host around it: a fresh instance, the call, the end of both.

use std::cell::LazyCell;

use criterion::Criterion;
use dropforge::bench::alone::{Alone, CAPACITY};
use dropforge::sandbox::Sandbox;

const PLUGIN: &[u8] = include_bytes!("../../../plugins/message.wasm");
const INPUT: &str = r#"{"message":"hi","seconds":0}"#;

pub(crate) fn measure(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Compiled only if it is wanted.
    let plugin = LazyCell::new(|| {
        let sandbox = Sandbox::new(CAPACITY, None).expect("a sandbox");
        Alone::new(sandbox, folder.path(), PLUGIN).expect("the shipped plugin")
    });
    criterion.bench_function("calls/no-op", |bencher| {
        bencher.iter(|| plugin.attempt(INPUT).expect("a job that does nothing"));
    });
}
