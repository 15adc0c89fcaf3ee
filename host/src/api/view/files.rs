//! Files of the plugin folder as clients see them.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::plugins::FileReport;

/// Files named at a time that are the same as one.
const TWINS_MAX: usize = 10;

/// One file of the folder, and others with the same content: that may be meant, and may be a mistake.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginFile)]
pub(in crate::api) struct FileView {
    #[serde(flatten)]
    report: FileReport,
    /// Others with the same content.
    #[schema(max_items = 10)]
    same_as: Vec<String>,
}

impl FileView {
    /// The files, each held against the others.
    pub(in crate::api) fn of(reports: Vec<FileReport>) -> Vec<Self> {
        let mut of_content: HashMap<String, Vec<String>> = HashMap::new();
        for report in &reports {
            if let Some(digest) = &report.digest {
                of_content.entry(digest.clone()).or_default().push(report.file.clone());
            }
        }
        let same = |report: &FileReport| {
            let files = report.digest.as_ref().and_then(|digest| of_content.get(digest)).into_iter().flatten();
            files.filter(|file| **file != report.file).take(TWINS_MAX).cloned().collect()
        };
        reports.into_iter().map(|report| Self { same_as: same(&report), report }).collect()
    }
}
