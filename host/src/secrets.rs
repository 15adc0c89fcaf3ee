//! Secrets by reference: where a value comes from stands in a settings file, the value itself never does.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longer secrets are refused.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where a secret comes from: exactly one of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretSource {
    /// The content of a file, without a line break at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// The value of an environment variable of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<String>,
}

impl SecretSource {
    /// The file it lies in, if that is where it comes from.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The secret; a relative path begins at `base`. What is said of a failure names the place, never the content.
    pub(crate) fn read(&self, base: &Path) -> Result<String, String> {
        let secret = match (&self.file, &self.variable) {
            (Some(file), None) => read_file(&base.join(file)).map_err(|error| format!("the file {file:?} {error}"))?,
            (None, Some(variable)) => std::env::var(variable)
                .map_err(|_| format!("the host has no environment variable {variable:?} with text in it"))?,
            _ => return Err("expected { file = \"…\" } or { variable = \"…\" }".to_owned()),
        };
        if secret.contains('\0') {
            return Err("it contains the character NUL, which no environment variable can".to_owned());
        }
        Ok(secret)
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let metadata = fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    // A pipe would be waited for.
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!("has more than {SECRET_BYTES_MAX} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(line.unwrap_or(&text).to_owned())
}
