//! Counts the lines, words and bytes of a text.

use std::io::Read;

use dropforge_job::{Failure, Job, Json, Plugin, Stream, plugin};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a client may add to the query, such as `min_length=3`; checked before a job is accepted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Parameters {
    /// Shorter words are not counted.
    #[schemars(range(max = 1_000_000))]
    min_length: u32,
}

#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
struct Counted {
    bytes: u64,
    lines: u64,
    words: u64,
    /// The length of the longest word, in bytes.
    longest: u64,
}

struct WordCount;

impl Plugin for WordCount {
    const SUMMARY: &str = "Counts the lines, words and bytes of a text.";
    const READS: &[&str] = &["text/plain"];
    type Parameters = Parameters;
    type Input = Stream;
    type Output = Json<Counted>;

    fn run(job: Job<Parameters>, mut input: Stream) -> Result<Json<Counted>, Failure> {
        let mut counter = Counter { min_length: job.parameters.min_length.into(), ..Counter::default() };
        let mut piece = vec![0; 64 * 1024];
        loop {
            let length = input.read(&mut piece)?;
            if length == 0 {
                return Ok(Json(counter.finish()));
            }
            counter.add(&piece[..length]);
            let counted = &counter.counted;
            job.progress(counted.bytes as f64 / input.size as f64, &format!("{} words", counted.words));
        }
    }
}

plugin!(WordCount);

/// Counts piece by piece, so that the size of the text does not matter.
#[derive(Default)]
struct Counter {
    min_length: u64,
    counted: Counted,
    /// Bytes of the word that the last piece ended in.
    word: u64,
}

impl Counter {
    fn add(&mut self, piece: &[u8]) {
        for byte in piece {
            self.counted.bytes += 1;
            self.counted.lines += u64::from(*byte == b'\n');
            if matches!(byte, b' ' | b'\t'..=b'\r') {
                self.end_word();
            } else {
                self.word += 1;
            }
        }
    }

    fn end_word(&mut self) {
        self.counted.words += u64::from(self.word > 0 && self.word >= self.min_length);
        self.counted.longest = self.counted.longest.max(self.word);
        self.word = 0;
    }

    fn finish(mut self) -> Counted {
        self.end_word();
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_may_lie_across_two_pieces() {
        let mut counter = Counter { min_length: 2, ..Counter::default() };
        counter.add(b"a long wo");
        counter.add(b"rd\nat last");
        assert_eq!(counter.finish(), Counted { bytes: 19, lines: 1, words: 4, longest: 4 });
    }
}
