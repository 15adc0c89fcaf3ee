//! A job's record, into its envelope and out of it: once in each submit, at least twice on the way to a result.

use std::cell::LazyCell;

use criterion::Criterion;
use dropforge::job::JobId;
use dropforge::store::hot::JobRecord;
use dropforge::time::Time;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("records");
    let record = JobRecord::queued(JobId::now_v7(), super::kind(), Time::now());
    group.bench_function("encode", |bencher| bencher.iter(|| record.encode().expect("a small record")));
    // Made when it is needed, so that whoever counts the instructions of the other one counts one.
    let sealed = LazyCell::new(|| record.encode().expect("a small record"));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| JobRecord::decode(&sealed).expect("what was just encoded"));
    });
    group.finish();
}
