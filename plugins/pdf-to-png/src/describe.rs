//! What the plugin says of itself.

use crate::guest::Descriptor;
use crate::guest::dropforge::job::types::{Example, InputDescription, Limits, OutputDescription, Parameter};

pub(crate) fn descriptor() -> Descriptor {
    Descriptor {
        summary: "Draws the pages of a PDF as PNG pictures.".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        input: InputDescription {
            media_types: vec!["application/pdf".into(), "application/octet-stream".into()],
            schema: None,
        },
        parameters: Some(PARAMETERS_SCHEMA.into()),
        output: OutputDescription {
            media_type: "application/json".into(),
            schema: Some(OUTPUT_SCHEMA.into()),
            artifacts: "One PNG picture for each page, named page-001.png and so on.".into(),
        },
        examples: vec![
            example("Every page at 150 dpi", &[]),
            example("For print", &[("dpi", "300")]),
            example("A small picture of the title page", &[("scale", "0.5"), ("last_page", "1")]),
        ],
        limits: Limits { timeout_ms: Some(600_000), memory_bytes: Some(512 << 20), output_bytes: Some(1 << 30) },
    }
}

fn example(title: &str, parameters: &[(&str, &str)]) -> Example {
    Example {
        title: title.into(),
        input: None,
        parameters: parameters
            .iter()
            .map(|(name, value)| Parameter { name: (*name).into(), value: (*value).into() })
            .collect(),
    }
}

const PARAMETERS_SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {
    "dpi": {"type": "number", "minimum": 1, "maximum": 1200, "default": 150, "description": "Pixels per inch."},
    "scale": {"type": "number", "minimum": 0.01, "maximum": 16,
      "description": "Instead of dpi: pixels per point, 1 is 72 dpi."},
    "first_page": {"type": "integer", "minimum": 1, "default": 1},
    "last_page": {"type": "integer", "minimum": 1, "description": "The last page to draw; without it, the last there is."}
  },
  "additionalProperties": false
}"#;

const OUTPUT_SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {
    "pages": {
      "type": "array",
      "items": {
        "type": "object",
        "properties": {
          "page": {"type": "integer", "minimum": 1},
          "artifact": {"type": "string", "description": "The name of the picture among the job's artifacts."},
          "width": {"type": "integer", "minimum": 1, "description": "In pixels."},
          "height": {"type": "integer", "minimum": 1}
        },
        "required": ["page", "artifact", "width", "height"],
        "additionalProperties": false
      }
    }
  },
  "required": ["pages"],
  "additionalProperties": false
}"#;
