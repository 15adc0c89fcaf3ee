//! What a whole run comes to: the table, the sizes, what was left out or failed, and how many targets are met.

use std::io::Write;

use serde::Serialize;

use super::failed::Failed;
use super::sizes::Size;
use super::table::{self, Row};
use super::targets::{Judged, PROCESSORS, processors};
use super::works::{Given, Work};

/// What was wanted and could not be measured.
#[derive(Debug, Serialize)]
pub(super) struct LeftOut {
    what: &'static str,
    lacks: &'static str,
}

impl LeftOut {
    /// Nothing if it can be.
    pub(super) fn of(work: Work, given: &Given) -> Option<Self> {
        work.lacks(given).map(|lacks| Self { what: work.what, lacks })
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    processors: usize,
    /// Whether this program was built for speed.
    optimised: bool,
    targets_met: usize,
    targets: usize,
    rows: Vec<Row>,
    sizes: Vec<Size>,
    left_out: Vec<LeftOut>,
    /// What ended the run before all was measured.
    failed: Option<Failed>,
}

impl Report {
    /// With everything judged.
    pub(super) fn new(rows: Vec<Row>, sizes: Vec<Size>, left_out: Vec<LeftOut>, failed: Option<Failed>) -> Self {
        let judged: Vec<&Judged> =
            rows.iter().flat_map(Row::targets).chain(sizes.iter().flat_map(Size::targets)).collect();
        let (targets, targets_met) = (judged.len(), judged.iter().filter(|judged| judged.met).count());
        Self {
            processors: processors(),
            optimised: !cfg!(debug_assertions),
            targets_met,
            targets,
            rows,
            sizes,
            left_out,
            failed,
        }
    }

    /// As a table, or as JSON. What failed is the error then, whether or not anybody reads the rest.
    pub(super) fn print(self, json: bool) -> anyhow::Result<()> {
        let printed = if json { self.print_document() } else { self.print_table() };
        self.failed.map_or(printed, |failed| Err(failed.into()))
    }

    fn print_document(&self) -> anyhow::Result<()> {
        Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(self)?)?)
    }

    fn print_table(&self) -> anyhow::Result<()> {
        if !self.rows.is_empty() {
            table::print(&self.rows)?;
        }
        for size in &self.sizes {
            size.print()?;
        }
        let mut output = std::io::stdout().lock();
        for LeftOut { what, lacks } in &self.left_out {
            writeln!(output, "{what:<30} left out: it needs {lacks}")?;
        }
        if let Some(Failed { what, .. }) = &self.failed {
            writeln!(output, "{what:<30} failed, and nothing was measured after that")?;
        }
        if self.targets > 0 {
            let (met, all, processors) = (self.targets_met, self.targets, self.processors);
            writeln!(
                output,
                "{met} of {all} targets met; they are for {PROCESSORS} processors, here are {processors}"
            )?;
        }
        if !self.optimised {
            writeln!(output, "this program was built without optimisation: its figures mean little")?;
        }
        Ok(())
    }
}
