//! Where a setting was said: by a flag, by a variable, in the file, or nowhere.

use std::path::Path;

use figment::{Figment, Metadata};

use super::PREFIX;

/// Where a setting was said.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Flag,
    Variable,
    File(&'a Path),
    /// It is the default, or it is not known where.
    Nowhere,
}

/// How the folders were named, for sentences about them: `--plugins`, `DROPFORGE_PLUGINS`, `dropforge.toml: plugins`.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// The data folder.
    pub data: String,
    /// The plugin folder.
    pub plugins: String,
}

impl Named {
    pub(super) fn of(figment: &Figment, file: Option<&Path>) -> Self {
        let name = |key| Place::of(figment, key, file).name(key);
        Self { data: name("data"), plugins: name("plugins") }
    }
}

impl<'a> Place<'a> {
    /// Where the value stands that counts.
    pub(super) fn of(figment: &Figment, key: &str, file: Option<&'a Path>) -> Self {
        match figment.find_metadata(key) {
            Some(found) if found.name.contains("Config") => Self::Nowhere,
            found => Self::of_mistake(found, key, file),
        }
    }

    /// Where something stands that is none of the defaults.
    pub(super) fn of_mistake(found: Option<&Metadata>, key: &str, file: Option<&'a Path>) -> Self {
        // The library names what it reads from by the type it is kept in.
        let is_flag = found.is_some_and(|found| found.name.contains("Flags"));
        match file {
            _ if is_flag => Self::Flag,
            _ if std::env::var_os(variable(key)).is_some() => Self::Variable,
            Some(file) => Self::File(file),
            None => Self::Nowhere,
        }
    }

    /// What whoever said it calls it.
    pub(super) fn name(self, key: &str) -> String {
        match self {
            Self::Flag => format!("--{}", key.replace('_', "-")),
            Self::Variable => variable(key),
            Self::File(file) => format!("{}: {key}", file.display()),
            Self::Nowhere => key.to_owned(),
        }
    }

    /// A mistake after its place. What does not begin with its key is about the file as a whole.
    pub(super) fn told(self, key: &str, what: &str) -> String {
        match (self, what.strip_prefix(key)) {
            (place, Some(rest)) => format!("{}{rest}", place.name(key)),
            (Self::File(file), None) => format!("{}: {what}", file.display()),
            (Self::Nowhere, None) => what.to_owned(),
            (place, None) => format!("{}: {what}", place.name(key)),
        }
    }
}

/// The variable of a setting.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase())
}
