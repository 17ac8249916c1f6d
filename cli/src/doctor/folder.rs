//! The spool folder: whether it can be used, on what file system it lies, how much room there is, and what waits in it.

use std::fs;
use std::io;
use std::path::Path;

use segment_native::bindings::survey::{self, Kind};

use crate::doctor::finding::Finding;
use crate::human::count;

const CHECK: &str = "spool";

pub(crate) fn look(folder: &Path) -> Vec<Finding> {
    let mut findings = vec![writable(folder)];
    findings.extend(file_system(folder));
    findings.extend(waiting(folder));
    findings
}

/// A client makes the folder if it is not there; so the nearest one above that is there is what counts.
fn writable(folder: &Path) -> Finding {
    let there = folder.ancestors().find(|folder| folder.exists() || folder.as_os_str().is_empty());
    let there = there.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Finding::bad(CHECK, format!("{} is not a folder", there.display()), "name another folder");
    }
    let probe = there.join(format!(".segment-doctor-{}", std::process::id()));
    let written = fs::write(&probe, [0; 4096]);
    let _ = fs::remove_file(&probe);
    let is_new = if there == folder { "" } else { ", and a client will make the folder" };
    match written {
        Ok(()) => Finding::good(CHECK, format!("{} can be written{is_new}", there.display())),
        Err(error) => {
            let advice = match error.kind() {
                io::ErrorKind::PermissionDenied => "let the user of the program write there: chown or chmod",
                io::ErrorKind::StorageFull => "make room on the disk",
                io::ErrorKind::ReadOnlyFilesystem => "it is mounted read only: name a folder on a volume",
                _ => "name another folder",
            };
            Finding::bad(CHECK, format!("{} cannot be written: {error}", there.display()), advice)
        }
    }
}

/// What the mounts say; where there is no such list, nothing.
fn file_system(folder: &Path) -> Option<Finding> {
    let whole = folder.ancestors().find_map(|folder| folder.canonicalize().ok())?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let kind = kind(&mounts, &whole)?;
    let advice = match kind.as_str() {
        "tmpfs" | "ramfs" => {
            "it is memory: what is in it is gone when the machine starts anew; name a folder on a disk"
        }
        "overlay" | "aufs" => "it belongs to the container and goes with it: mount a volume there",
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" => {
            "over the network, locks and writes can fail; name a folder on a disk of this machine"
        }
        kind if kind.starts_with("fuse") => {
            "behind FUSE, writes may be slow and locks missing; name a folder on a disk of this machine"
        }
        _ => return Some(Finding::good(CHECK, format!("it lies on {kind}"))),
    };
    Some(Finding::doubtful(CHECK, format!("it lies on {kind}"), advice))
}

/// The kind of file system that is mounted nearest above a folder.
fn kind(mounts: &str, folder: &Path) -> Option<String> {
    let mounted = mounts.lines().filter_map(|line| {
        let (before, behind) = line.split_once(" - ")?;
        let place = before.split(' ').nth(4)?.replace("\\040", " ");
        Some((place, behind.split(' ').next()?.to_owned()))
    });
    let above = mounted.filter(|(place, _)| folder.starts_with(place));
    // Of two mounts in the same place, the later one hides the other.
    above.enumerate().max_by_key(|(at, (place, _))| (place.len(), *at)).map(|(_, (_, kind))| kind)
}

fn waiting(folder: &Path) -> Option<Finding> {
    let queues = survey::queues(folder).ok()?;
    let (mut waiting, mut rejected, mut damaged) = (0, 0, 0);
    for file in queues.iter().flat_map(|queue| &queue.files) {
        let Ok(Some(content)) = file.read() else { continue };
        damaged += content.damaged_lines;
        match file.kind {
            Kind::Waiting => waiting += content.messages.len(),
            Kind::Rejected { .. } => rejected += content.messages.len(),
            _ => {}
        }
    }
    let sentence = format!("{} waiting, {rejected} rejected", count(waiting, "message"));
    Some(match (rejected, damaged) {
        (0, 0) => Finding::good(CHECK, sentence),
        (_, 0) => Finding::doubtful(CHECK, sentence, "segment spool ls says why they were rejected"),
        _ => Finding::bad(
            CHECK,
            format!("{sentence}, {} damaged", count(damaged, "line")),
            "segment spool verify says where",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            23 22 0:5 / /run/my\\040data rw shared:1 - tmpfs tmpfs rw\n\
            24 22 0:9 / /run rw - nfs4 x rw\n";
        let kind = |folder: &str| kind(mounts, Path::new(folder));
        assert_eq!(kind("/srv/x").as_deref(), Some("ext4"));
        assert_eq!(kind("/run/my data/spool").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/run/other").as_deref(), Some("nfs4"));
        assert_eq!(kind("/runner").as_deref(), Some("ext4"));
    }
}
