"""What schemathesis does not know by itself. DROPFORGE_URL is the host, DROPFORGE_JOB a finished job with an artifact, DROPFORGE_REACHED
a file that takes a line for every answer."""

import json
import os
import urllib.parse
import urllib.request

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    """A text is sent as it is; of other values each is a line."""
    if isinstance(value, str):
        return value.encode(errors="replace")
    lines = value if isinstance(value, list) else [value]
    return "".join(json.dumps(line) + "\n" for line in lines).encode(errors="replace")


def is_meant_to_be_accepted(case):
    return case.meta is not None and case.meta.generation.mode.is_positive


@schemathesis.hook
def filter_query(context, query):
    """A parameter without a value, or with a list of none, is never sent, so it is no mistake that could be noticed."""
    return not query or all(value is not None and value not in ([], {}) for value in query.values())


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """A parameter that a link could fill is at times taken for required. No query of a GET is, so to leave one out is no mistake."""
    left_one_out = type(failure).__name__ == "AcceptedNegativeData" and "`required`" in failure.message
    known = {parameter["name"] for parameter in case.operation.definition.raw.get("parameters", ()) if not parameter.get("required")}
    return not (left_one_out and case.method.upper() == "GET" and set(case.query or ()) <= known)


@schemathesis.hook
def before_call(context, case, kwargs):
    name_an_artifact(case)
    keep_options_apart(case)
    let_streams_end(case)


def name_an_artifact(case):
    """Only the host knows which files a job wrote."""
    if case.path == "/v1/jobs/{id}/artifacts/{name}" and is_meant_to_be_accepted(case):
        case.path_parameters.update(id=os.environ["DROPFORGE_JOB"], name="page-001.png")


def keep_options_apart(case):
    """A schema cannot say that one option excludes another or needs it; most good requests would be refused for that."""
    query = case.query
    if not query or not is_meant_to_be_accepted(case):
        return
    if "run_at" in query:
        query.pop("delay", None)
    if "timeout" in query:
        query["timeout"] = "10s"
    if "on_timeout" in query:
        case.headers["Prefer"] = "wait=1"


def let_streams_end(case):
    """Who follows a job hears from it until it has ended, which a job that was put off for days does not: it is cancelled first."""
    if case.method.upper() == "GET" and case.path.endswith(("/events", "/logs")) and case.path_parameters:
        job = urllib.parse.quote(str(case.path_parameters.get("id", "")), safe="")
        request = urllib.request.Request(f"{os.environ['DROPFORGE_URL']}/v1/jobs/{job}/cancel", method="POST")
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except OSError:
            pass  # There is no such job, and nothing to wait for.


@schemathesis.hook
def after_call(context, case, response):
    with open(os.environ["DROPFORGE_REACHED"], "a", encoding="ascii") as file:
        file.write(f"{response.status_code} {case.operation.label}\n")
