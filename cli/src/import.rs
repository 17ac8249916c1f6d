//! `segment import`: a history, checked, sent at a measured pace, and never twice.

use std::io;
use std::process::ExitCode;

use crate::input::Input;
use crate::interrupt;
use crate::terminal::{self, complain};
use job::Job;
use report::Report;
use transfer::Transfer;

mod bar;
mod check;
mod clock;
mod job;
mod journal;
mod mapping;
mod options;
mod rate;
mod refused;
mod report;
mod rows;
mod shard;
mod stable;
mod table;
mod target;
mod transfer;
mod tree;

pub(crate) use options::Options;

pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let key = options.key()?;
    let mut jobs = Vec::new();
    for (at, file) in options.files.iter().enumerate() {
        let input = Input::named(file);
        if jobs.iter().any(|job: &Job| job.input == input) {
            return Err(io::Error::other(format!("{} is named twice", options.files[at])));
        }
        jobs.push(Job::open(options, input, &key)?);
    }
    interrupt::watch()?;
    for job in &mut jobs {
        if !job.check(options, &key)? {
            complain("interrupted while checking; nothing was sent");
            return Ok(ExitCode::from(interrupt::ENDED as u8));
        }
    }
    let checks = jobs.iter().filter_map(|job| job.check.as_ref());
    let (rows, refused) = checks.fold((0, 0), |(rows, refused), check| (rows + check.rows, refused + check.refused));
    let stays = match (rows, refused) {
        _ if options.dry_run => true,
        (1.., 1..) if options.strict => {
            complain("nothing was sent, because some rows would be refused");
            true
        }
        // Of a file that has grown, the rows before were good: then it is no mistake of format.
        (1.., _) if rows == refused && jobs.iter().all(|job| job.progress().delivered == 0) => {
            complain("nothing was sent, because all rows would be refused");
            true
        }
        _ => false,
    };
    if stays {
        let reports = jobs.into_iter().map(|job| Report::unsent(job, options.dry_run)).collect();
        report::say(options.json, reports)?;
        return Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let mut reports = Vec::new();
    for job in jobs {
        reports.push(Transfer::run(options, job)?);
        if interrupt::came() || reports.last().is_some_and(|report| report.error.is_some()) {
            break;
        }
    }
    let stopped = reports.iter().any(|report| report.error.is_some());
    let some_refused = reports.iter().any(|report| report.refused > 0);
    let all_done = reports.len() == options.files.len() && reports.iter().all(|report| report.done);
    report::say(options.json, reports)?;
    Ok(match (stopped, all_done, some_refused) {
        (true, _, _) => terminal::trouble(),
        (_, false, _) => ExitCode::from(interrupt::ENDED as u8),
        (_, _, true) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}
