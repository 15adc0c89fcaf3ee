"""Counts the lines, words and bytes of a text.

The contract is in wit/, each item explained; `./build` also writes it as Python, with comments, to bindings/.
"""

import json

import wit_world
from componentize_py_types import Err
from wit_world.imports import host
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import (
    Body_Bytes,
    Context,
    Descriptor,
    Done,
    Failure_InvalidInput,
    Input,
    InputDescription,
    Limits,
    Outcome_Done,
    OutputDescription,
)

PIECE_BYTES = 64 * 1024

# A client's parameters, such as min_length=3 in the query, are checked against this before a job is accepted.
PARAMETERS = {
    "type": "object",
    "properties": {
        "min_length": {
            "type": "integer",
            "minimum": 0,
            "maximum": 1000000,
            "description": "Shorter words are not counted.",
        }
    },
    "additionalProperties": False,
}
OUTPUT = {
    "type": "object",
    "properties": {
        "bytes": {"type": "integer"},
        "lines": {"type": "integer"},
        "words": {"type": "integer"},
        "longest": {"type": "integer", "description": "The length of the longest word, in bytes."},
    },
}


class WitWorld(wit_world.WitWorld):
    def describe(self) -> Descriptor:
        return Descriptor(
            summary="Counts the lines, words and bytes of a text.",
            version="0.1.0",
            input=InputDescription(media_types=["text/plain"], schema=None),
            parameters=json.dumps(PARAMETERS),
            output=OutputDescription(media_type="application/json", schema=json.dumps(OUTPUT), artifacts=""),
            examples=[],
            limits=Limits(timeout_ms=None, memory_bytes=None, output_bytes=None),
        )

    def run(self, context: Context, input: Input) -> Outcome_Done:
        counter = Counter(min_length(context))
        size = input.size()
        with input.stream() as stream:
            while piece := read(stream):
                counter.add(piece)
                host.progress(counter.bytes / size, f"{counter.words} words")
        # As short as the other languages write it.
        result = json.dumps(counter.finish(), separators=(",", ":"))
        return Outcome_Done(Done("application/json", Body_Bytes(result.encode())))


def min_length(context: Context) -> int:
    values = [parameter.value for parameter in context.parameters if parameter.name == "min_length"]
    try:
        return int(values[-1]) if values else 0
    except ValueError:
        raise Err(Failure_InvalidInput(f"min_length: found {values[-1]!r}, expected a whole number"))


def read(stream) -> bytes:
    """The next piece, empty at the end."""
    try:
        return stream.blocking_read(PIECE_BYTES)
    except Err as error:
        if isinstance(error.value, StreamError_Closed):
            return b""
        raise


class Counter:
    """Counts piece by piece, so that the size of the text does not matter, nor that of a word."""

    def __init__(self, min_length: int):
        self.min_length = min_length
        self.bytes = self.lines = self.words = self.longest = 0
        # Bytes of the word that the last piece ended in.
        self.word = 0

    def add(self, piece: bytes) -> None:
        self.bytes += len(piece)
        self.lines += piece.count(b"\n")
        lengths = [len(word) for word in piece.split()]
        if piece[:1].isspace():
            self.count(self.word)
        else:
            lengths[0] += self.word
        # The next piece may go on with the last word.
        self.word = 0 if piece[-1:].isspace() else lengths.pop()
        for length in lengths:
            self.count(length)

    def count(self, length: int) -> None:
        self.longest = max(self.longest, length)
        self.words += length > 0 and length >= self.min_length

    def finish(self) -> dict[str, int]:
        self.count(self.word)
        return {"bytes": self.bytes, "lines": self.lines, "words": self.words, "longest": self.longest}
