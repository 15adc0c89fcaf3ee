// Counts the lines, words and bytes of a text. The contract is in wit/, each item explained.

import { progress } from "dropforge:job/host@0.1.0";

const PIECE_BYTES = 64n * 1024n;

// A client's parameters, such as min_length=3 in the query, are checked against this before a job is accepted.
const PARAMETERS = {
  type: "object",
  properties: {
    min_length: { type: "integer", minimum: 0, maximum: 1_000_000, description: "Shorter words are not counted." },
  },
  additionalProperties: false,
};
const OUTPUT = {
  type: "object",
  properties: {
    bytes: { type: "integer" },
    lines: { type: "integer" },
    words: { type: "integer" },
    longest: { type: "integer", description: "The length of the longest word, in bytes." },
  },
};

export function describe() {
  return {
    summary: "Counts the lines, words and bytes of a text.",
    version: "0.1.0",
    input: { mediaTypes: ["text/plain"] },
    parameters: JSON.stringify(PARAMETERS),
    output: { mediaType: "application/json", schema: JSON.stringify(OUTPUT), artifacts: "" },
    examples: [],
    limits: {},
  };
}

export function run(context, input) {
  try {
    return count(context, input);
  } catch (error) {
    // A failure of the contract goes through. For a mistake of this program the log has to say where it was: the host cannot know.
    if (error instanceof Error) {
      // The engine's stack is calls alone: what went wrong stands before it.
      console.error(`${error}\n${error.stack}`);
    }
    throw error;
  }
}

function count(context, input) {
  const counter = new Counter(minLength(context));
  const size = Number(input.size());
  const stream = input.stream();
  for (let piece = read(stream); piece.length > 0; piece = read(stream)) {
    counter.add(piece);
    progress(counter.bytes / size, `${counter.words} words`);
  }
  const result = new TextEncoder().encode(JSON.stringify(counter.finish()));
  return { tag: "done", val: { mediaType: "application/json", body: { tag: "bytes", val: result } } };
}

function minLength(context) {
  const value = context.parameters.findLast(({ name }) => name === "min_length")?.value ?? "0";
  if (!/^\d+$/.test(value)) {
    // What is thrown is the contract's `failure`.
    throw { tag: "invalid-input", val: `min_length: found ${JSON.stringify(value)}, expected a whole number` };
  }
  return Number(value);
}

// The next piece, empty at the end.
function read(stream) {
  try {
    return stream.blockingRead(PIECE_BYTES);
  } catch (error) {
    if (error.payload?.tag === "closed") {
      return new Uint8Array();
    }
    throw error;
  }
}

// Counts piece by piece, so that the size of the text does not matter.
class Counter {
  bytes = 0;
  lines = 0;
  words = 0;
  longest = 0;
  word = 0;

  constructor(minLength) {
    this.minLength = minLength;
  }

  add(piece) {
    this.bytes += piece.length;
    // Plain loops and local variables: the engine interprets.
    let { lines, word } = this;
    for (let i = 0; i < piece.length; i += 1) {
      const byte = piece[i];
      if (byte === 32 || (byte >= 9 && byte <= 13)) {
        if (byte === 10) {
          lines += 1;
        }
        this.word = word;
        this.endWord();
        word = 0;
      } else {
        word += 1;
      }
    }
    this.lines = lines;
    this.word = word;
  }

  endWord() {
    if (this.word > 0 && this.word >= this.minLength) {
      this.words += 1;
    }
    this.longest = Math.max(this.longest, this.word);
    this.word = 0;
  }

  finish() {
    this.endWord();
    const { bytes, lines, words, longest } = this;
    return { bytes, lines, words, longest };
  }
}
