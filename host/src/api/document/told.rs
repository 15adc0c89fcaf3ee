//! What the host sends of itself: the end of a job, to whoever a submit's `webhook` names.

use serde_json::{Value, json};

/// Adds it to the document.
pub(super) fn add(document: &mut Value) {
    let field = |name: &str, about: &str, schema: Value| json!({"name": name, "in": "header", "required": true, "description": about, "schema": schema});
    let answer = |about: &str| json!({"description": about});
    document["webhooks"]["jobEnded"]["post"] = json!({
        "operationId": "jobEnded",
        "summary": "A job has ended.",
        "description": "Standard Webhooks (https://www.standardwebhooks.com), sent by the host to the `webhook` of a submit, at least once for each end of a job.",
        "tags": ["jobs"],
        "security": [],
        "parameters": [
            field("webhook-id", "The same for every try, another one for another end", json!({"type": "string", "pattern": "^msg_[0-9a-f]{32}_[0-9]+$"})),
            field("webhook-timestamp", "When it was sent, in seconds since 1970", json!({"type": "integer"})),
            field(
                "webhook-signature",
                "`v1,` and HMAC-SHA256 over `id.timestamp.body` in base 64; several with spaces between them while secrets are changed",
                json!({"type": "string", "pattern": "^v1,[A-Za-z0-9+/]{43}=( v1,[A-Za-z0-9+/]{43}=)*$"}),
            ),
        ],
        "requestBody": {"required": true, "content": {"application/json": {"schema": {
            "type": "object",
            "required": ["type", "timestamp", "data"],
            "properties": {
                "type": {"type": "string", "enum": ["job.succeeded", "job.failed", "job.cancelled"]},
                "timestamp": {"type": "string", "format": "date-time", "description": "When the job ended."},
                "data": {"$ref": "#/components/schemas/Job"},
            },
        }}}},
        "responses": {
            "2XX": answer("The receiver has it"),
            "410": answer("The receiver wants nothing of the sort any more: it is not tried again"),
            "429": answer("Tried again, not before `Retry-After`"),
            "503": answer("Tried again, not before `Retry-After`"),
            "default": answer("Tried again for a day, redirects included, which are not followed"),
        },
    });
}
