"""Whether every operation of a document did what it is for at least once: reached.py DOCUMENT ANSWERS."""

import json
import sys

# One has no end and is not asked, one can only be refused to a client that speaks no WebSocket, and from one the document was read.
LEFT_OUT = {"GET /v1/events", "GET /v1/ws", "GET /openapi.json"}

with open(sys.argv[1], encoding="utf-8") as file:
    items = json.load(file)["paths"].items()
operations = {f"{method.upper()} {path}" for path, item in items for method in item}
with open(sys.argv[2], encoding="ascii") as file:
    answers = [line.rstrip("\n").split(" ", 1) for line in file]
done = {operation for status, operation in answers if status.startswith("2")}
missing = sorted(operations - done - LEFT_OUT)
print(f"{len(operations & done)} of {len(operations)} operations did what they are for, in {len(answers)} answers")
if missing:
    sys.exit("never with success: " + ", ".join(missing))
