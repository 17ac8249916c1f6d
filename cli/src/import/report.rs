//! What became of an import, in a line or as JSON.

use std::io;
use std::path::Path;

use serde::Serialize;

use crate::import::check::Check;
use crate::import::job::Job;
use crate::import::journal::Progress;
use crate::terminal::{self, complain};

/// What became of one input.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    file: String,
    delivered: u64,
    pub(crate) refused: u64,
    refused_file: Option<String>,
    pub(crate) done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Check>,
}

impl Report {
    pub(crate) fn new(job: &Job, progress: &Progress, error: Option<String>) -> Self {
        let refused = progress.refused + u64::from(progress.unfinished);
        Report {
            file: job.input.name(),
            delivered: progress.delivered,
            refused,
            refused_file: (refused > 0).then(|| shown(&job.refused)),
            done: progress.done,
            error,
            check: None,
        }
    }

    /// Of an input of which nothing was sent. If it was not only a check, the rows that would be refused are in a file.
    pub(crate) fn unsent(mut job: Job, is_check: bool) -> Self {
        let check = job.check.take();
        let has_file = !is_check && check.as_ref().is_some_and(|check| check.refused > 0);
        let report = Report::new(&job, &job.progress(), None);
        let refused_file = report.refused_file.clone().or(has_file.then(|| shown(&job.refused)));
        Report { check, refused_file, ..report }
    }

    fn sentence(&self) -> String {
        let mut sentence = format!("{}: {} delivered, {} refused", self.file, self.delivered, self.refused);
        if let Some(file) = &self.refused_file {
            sentence += &format!(" (see {file})");
        }
        if !self.done {
            sentence += "; the same command goes on from here";
        }
        sentence
    }
}

/// Says what became of all inputs.
pub(crate) fn say(is_json: bool, reports: Vec<Report>) -> io::Result<()> {
    if is_json {
        return terminal::say(&serde_json::to_string(&serde_json::json!({"files": reports}))?);
    }
    for report in reports {
        if let Some(error) = &report.error {
            complain(&format!("{} was not imported to its end: {error}", report.file));
        }
        if report.check.is_none() {
            terminal::say(&report.sentence())?;
        } else if let Some(file) = &report.refused_file {
            complain(&format!("{}: the rows to correct are in {file}", report.file));
        }
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
