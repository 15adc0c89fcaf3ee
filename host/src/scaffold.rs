//! A new plugin project: a folder with a small plugin that works, its test, and how to build it.
//!
//! Everything is in this program, so that nothing has to be fetched but the language's own tools. The files are in
//! `host/templates`, the contract in `wit/`, and Rust's helper in `plugins/sdk`; they are written as they are, with the
//! project's name filled in.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::job::Kind;

/// A language that a plugin can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// With cargo, as small as C
    Rust,
    /// With componentize-py
    Python,
    /// JavaScript, with componentize-js
    Js,
    /// With zig's compiler
    C,
}

/// Where a file goes, and what is in it.
type Template = (&'static str, &'static [u8]);

macro_rules! templates {
    ($($path:literal <- $source:literal,)*) => {
        &[$(($path, include_bytes!(concat!("../", $source)))),*]
    };
}

/// In every project.
const COMMON: &[Template] = templates! {
    "README.md" <- "templates/README.md",
    "example.txt" <- "templates/example.txt",
    "test" <- "templates/test",
};

const RUST: &[Template] = templates! {
    "Cargo.toml" <- "templates/rust/Cargo.toml",
    "build" <- "templates/rust/build",
    ".gitignore" <- "templates/rust/gitignore",
    "src/lib.rs" <- "templates/rust/src/lib.rs",
    "dropforge-job/Cargo.toml" <- "../plugins/sdk/Cargo.toml",
    "dropforge-job/src/failure.rs" <- "../plugins/sdk/src/failure.rs",
    "dropforge-job/src/input.rs" <- "../plugins/sdk/src/input.rs",
    "dropforge-job/src/job.rs" <- "../plugins/sdk/src/job.rs",
    "dropforge-job/src/lib.rs" <- "../plugins/sdk/src/lib.rs",
    "dropforge-job/src/output.rs" <- "../plugins/sdk/src/output.rs",
    "dropforge-job/src/parameters.rs" <- "../plugins/sdk/src/parameters.rs",
    "dropforge-job/wit/job.wit" <- "../wit/0.1.0/job.wit",
    "dropforge-job/wit/deps/io.wit" <- "../wit/0.1.0/deps/io.wit",
};

const PYTHON: &[Template] = templates! {
    "app.py" <- "templates/python/app.py",
    "build" <- "templates/python/build",
    ".gitignore" <- "templates/python/gitignore",
    "wit/job.wit" <- "../wit/0.1.0/job.wit",
    "wit/deps/io.wit" <- "../wit/0.1.0/deps/io.wit",
};

const JS: &[Template] = templates! {
    "plugin.js" <- "templates/js/plugin.js",
    "build.mjs" <- "templates/js/build.mjs",
    "package.json" <- "templates/js/package.json",
    "build" <- "templates/js/build",
    ".gitignore" <- "templates/js/gitignore",
    "wit/job.wit" <- "../wit/0.1.0/job.wit",
    "wit/deps/io.wit" <- "../wit/0.1.0/deps/io.wit",
};

const C: &[Template] = templates! {
    "count.c" <- "templates/c/count.c",
    "build" <- "templates/c/build",
    ".gitignore" <- "templates/c/gitignore",
    "bindings/plugin.c" <- "templates/c/bindings/plugin.c",
    "bindings/plugin.h" <- "templates/c/bindings/plugin.h",
    "bindings/plugin_component_type.o" <- "templates/c/bindings/plugin_component_type.o",
    "wit/job.wit" <- "../wit/0.1.0/job.wit",
    "wit/deps/io.wit" <- "../wit/0.1.0/deps/io.wit",
};

impl Language {
    fn templates(self) -> &'static [Template] {
        match self {
            Self::Rust => RUST,
            Self::Python => PYTHON,
            Self::Js => JS,
            Self::C => C,
        }
    }

    /// What its README says of the language.
    fn about(self) -> &'static str {
        match self {
            Self::Rust => include_str!("../templates/rust/about.md"),
            Self::Python => include_str!("../templates/python/about.md"),
            Self::Js => include_str!("../templates/js/about.md"),
            Self::C => include_str!("../templates/c/about.md"),
        }
    }
}

/// Writes the project `name` into a new folder of that name in `folder`, and answers the files. Fails if anything of the name
/// is there already, and leaves nothing half written.
pub fn create(folder: &Path, name: &Kind, language: Language) -> io::Result<Vec<PathBuf>> {
    let project = folder.join(name.as_str());
    // Refuses whatever is there, also a link that leads nowhere.
    DirBuilder::new().mode(0o777).create(&project)?;
    let templates = COMMON.iter().chain(language.templates());
    let written: io::Result<Vec<_>> = templates.map(|template| write(&project, name, language, *template)).collect();
    if written.is_err() {
        // It was made a moment ago, for nobody else.
        let _ = std::fs::remove_dir_all(&project);
    }
    written
}

fn write(project: &Path, name: &Kind, language: Language, (path, content): Template) -> io::Result<PathBuf> {
    let target = project.join(path);
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = File::create_new(&target)?;
    match std::str::from_utf8(content) {
        Ok(text) => file.write_all(filled(text, name, language).as_bytes())?,
        Err(_) => file.write_all(content)?,
    }
    if content.starts_with(b"#!") {
        let mode = file.metadata()?.permissions().mode();
        // For whoever may read it.
        file.set_permissions(std::fs::Permissions::from_mode(mode | (mode & 0o444) >> 2))?;
    }
    Ok(target)
}

fn filled(text: &str, name: &Kind, language: Language) -> String {
    text.replace("{{about}}", language.about()).replace("{{name}}", name.as_str())
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn every_file_of_the_helper_is_in_a_project() {
        let sources = std::fs::read_dir("../plugins/sdk/src").expect("the helper's source is there");
        let mut names: Vec<String> = sources
            .map(|entry| format!("dropforge-job/src/{}", entry.expect("readable").file_name().to_string_lossy()))
            .collect();
        names.retain(|name| !RUST.iter().any(|(path, _)| path == name));
        assert!(names.is_empty(), "{names:?}");
    }

    #[test]
    fn no_placeholder_is_left() {
        let name = Kind::new("word-count").expect("well-formed");
        for language in Language::value_variants() {
            for (path, content) in COMMON.iter().chain(language.templates()) {
                let Ok(text) = std::str::from_utf8(content) else { continue };
                assert!(!filled(text, &name, *language).contains("{{name"), "{language:?} {path}");
            }
        }
    }

    #[test]
    fn the_bindings_for_c_were_made_of_this_contract() {
        let content = |name: &str| C.iter().find(|(path, _)| *path == name).expect("it is in a project").1;
        let digest =
            Sha256::new_with_prefix(content("wit/job.wit")).chain_update(content("wit/deps/io.wit")).finalize();
        assert_eq!(
            hex::encode(digest),
            include_str!("../templates/c/contract.sha256").trim(),
            "the contract has changed: wit-bindgen c wit/0.1.0 --world plugin --out-dir host/templates/c/bindings, \
             and put this digest into host/templates/c/contract.sha256"
        );
    }
}
