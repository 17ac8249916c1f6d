//! Whether the folder is ours. Everything we store is in one folder below the host's `spool_dir`, with a mark in it;
//! what another program put there is never read, replaced or deleted.
//!
//! ```text
//! SPOOL_DIR/segment-native/
//!     mark                      the version of the format, and the user it belongs to
//!     identity.json ...         see identity.rs
//!     <hash>/                   the queue of one write key and endpoint: see spool.rs
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::storage::{Storage, UNFINISHED};

/// The name of our folder in the host's.
pub(crate) const HOME: &str = "segment-native";
/// The file that says that the folder is ours.
pub(crate) const MARK: &str = "mark";
/// The version of the format of all that is in it.
const VERSION: u32 = 1;

pub(crate) struct Home {
    storage: Arc<dyn Storage>,
    /// The host's folder.
    above: PathBuf,
    path: PathBuf,
    /// The root of the file system when this was made: after a `chroot` it is another one.
    root: Option<(u64, u64)>,
    /// The folder existed once, so the folders above it are not made again: they may have been moved, with their
    /// content.
    was_there: AtomicBool,
    /// The mark may exist without being synced.
    is_mark_doubtful: AtomicBool,
}

impl Home {
    /// Does nothing on the disk yet. `spool_dir` is absolute.
    pub(crate) fn new(storage: Arc<dyn Storage>, spool_dir: &Path) -> Self {
        let root = spool_dir.ancestors().last().and_then(|root| storage.identity(root).ok());
        Home {
            storage,
            above: spool_dir.to_owned(),
            path: spool_dir.join(HOME),
            root,
            was_there: AtomicBool::new(false),
            is_mark_doubtful: AtomicBool::new(false),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Why we may not use the folder, if we may not. Makes nothing.
    pub(crate) fn refusal(&self) -> Option<String> {
        match self.standing() {
            Ok(Standing::Foreign(why)) => Some(why),
            _ => None,
        }
    }

    /// Makes the folder and its mark, unless they exist.
    pub(crate) fn make(&self) -> io::Result<()> {
        let root = self.above.ancestors().last().and_then(|root| self.storage.identity(root).ok());
        if self.root.zip(root).is_some_and(|(before, now)| before != now) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the root of the file system has changed"));
        }
        match self.standing()? {
            Standing::Ours if self.is_mark_doubtful.load(Ordering::Relaxed) => self.mark()?,
            Standing::Ours => {}
            Standing::Foreign(why) => return Err(io::Error::other(why)),
            Standing::Absent => {
                if self.was_there.load(Ordering::Relaxed) {
                    made(self.storage.make_folder(&self.above))?;
                } else {
                    self.storage.create_folder(&self.above)?;
                }
                made(self.storage.make_folder(&self.path))?;
                // Another process may have made it first; one that uses this library writes the same mark.
                if let Standing::Foreign(why) = self.standing()? {
                    return Err(io::Error::other(why));
                }
                self.mark()?;
            }
            Standing::Unmarked => self.mark()?,
        }
        self.was_there.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether a file may be written there although `make` has failed: only beside the mark, because without it the
    /// folder would not count as ours any more.
    pub(crate) fn is_marked(&self) -> bool {
        match self.marked() {
            Ok(standing) => matches!(standing, Some(Standing::Ours)),
            Err(_) => self.was_there.load(Ordering::Relaxed),
        }
    }

    fn mark(&self) -> io::Result<()> {
        let mark = format!("segment-native {VERSION} {}\n", user());
        // A mark left empty by a loss of power would say forever that the folder is not ours.
        let marked = self.storage.replace_synced(&self.path.join(MARK), mark.as_bytes());
        self.is_mark_doubtful.store(marked.is_err(), Ordering::Relaxed);
        marked
    }

    fn standing(&self) -> io::Result<Standing> {
        let shown = self.path.display();
        if let Some(standing) = self.marked()? {
            return Ok(standing);
        }
        let inside = match self.storage.list(&self.path) {
            Ok(files) => files.into_iter().map(|file| file.name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Absent),
            Err(error) if is_absence(&error) => {
                return Ok(Standing::Foreign(format!("{shown} cannot be our folder: {error}")));
            }
            Err(error) => return Err(error),
        };
        // It is empty if a process was killed before it wrote the mark.
        let mut others = inside.chain(self.storage.folders(&self.path)?).filter(|name| !is_beginning_of_mark(name));
        match others.next() {
            None => Ok(Standing::Unmarked),
            // Another process may have written the mark and then this file since we looked for the mark.
            Some(name) => Ok(self.marked()?.unwrap_or_else(|| {
                Standing::Foreign(format!("{shown} is not ours: it contains {name} and no mark of this library"))
            })),
        }
    }

    /// What the mark says, if there is one.
    fn marked(&self) -> io::Result<Option<Standing>> {
        match self.storage.read(&self.path.join(MARK)) {
            Ok(mark) => Ok(Some(read_mark(&mark, &self.path))),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

enum Standing {
    Ours,
    Absent,
    /// It is empty.
    Unmarked,
    Foreign(String),
}

fn is_beginning_of_mark(name: &str) -> bool {
    name.starts_with(MARK) && name.ends_with(UNFINISHED)
}

fn read_mark(mark: &[u8], path: &Path) -> Standing {
    let path = path.display();
    let text = String::from_utf8_lossy(mark);
    let mut words = text.split_ascii_whitespace();
    let (name, version, user_of_mark) = (words.next(), words.next(), words.next());
    let Some(version) = version.and_then(|text| text.parse::<u32>().ok()).filter(|_| name == Some(HOME)) else {
        return Standing::Foreign(format!("{path} is not ours: its file {MARK} was not written by this library"));
    };
    if version > VERSION {
        return Standing::Foreign(format!("{path} has format {version}, which this version cannot use"));
    }
    if user_of_mark != Some(user().as_str()) {
        return Standing::Foreign(format!("{path} belongs to another user"));
    }
    Standing::Ours
}

/// Whether an error means that nothing can be there.
pub(crate) fn is_absence(error: &io::Error) -> bool {
    #[cfg(unix)]
    if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENAMETOOLONG)) {
        return true;
    }
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename)
}

/// Making a folder that is there already is no failure.
pub(crate) fn made(made: io::Result<()>) -> io::Result<()> {
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(unix)]
fn user() -> String {
    nix::unistd::geteuid().to_string()
}

#[cfg(not(unix))]
fn user() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::base::storage::Disk;
    use crate::queue::spool::tests::Folder;

    fn home(folder: &Folder) -> Home {
        Home::new(Arc::new(Disk), &folder.0)
    }

    #[test]
    fn it_is_made_and_marked_and_ours_from_then_on() {
        let folder = Folder::new();
        let home = home(&folder);
        assert_eq!(home.refusal(), None);
        assert!(!folder.0.exists(), "a look makes nothing");
        home.make().expect("made");
        let mark = fs::read_to_string(home.path().join("mark")).expect("there");
        assert_eq!(mark, format!("segment-native 1 {}\n", user()));
        home.make().expect("still ours");
        fs::remove_file(home.path().join("mark")).expect("removed");
        home.make().expect("killed before it was marked, it is empty and ours");
        fs::remove_dir_all(home.path()).expect("removed");
        home.make().expect("made again");
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_left_alone() {
        for (name, content) in [("data", "a host's"), ("mark", "of another program"), ("mark", "")] {
            let folder = Folder::new();
            let home = home(&folder);
            fs::create_dir_all(home.path()).expect("made");
            fs::write(home.path().join(name), content).expect("written");
            let why = home.refusal().expect("refused");
            assert!(why.contains(HOME), "{why}");
            assert_eq!(home.make().expect_err("refused").to_string(), why);
            assert_eq!(fs::read_to_string(home.path().join(name)).expect("there"), content);
            assert_eq!(fs::read_dir(home.path()).expect("there").count(), 1);
        }
        let folder = Folder::new();
        fs::create_dir_all(folder.0.join(HOME).join("photos")).expect("made");
        assert!(home(&folder).refusal().expect("refused").contains("photos"));
        let folder = Folder::new();
        fs::create_dir_all(&folder.0).expect("made");
        fs::write(folder.0.join(HOME), "a file").expect("written");
        assert!(home(&folder).make().is_err());
    }

    #[test]
    fn a_newer_format_and_another_user_are_refused() {
        let folder = Folder::new();
        let home = home(&folder);
        home.make().expect("made");
        let mark = |text: &str| fs::write(home.path().join("mark"), text).expect("written");
        mark(&format!("segment-native 2 {}\n", user()));
        assert!(home.refusal().expect("refused").ends_with("has format 2, which this version cannot use"));
        mark("segment-native 1 someone\n");
        assert!(home.refusal().expect("refused").ends_with("belongs to another user"));
    }

    #[test]
    fn what_is_above_it_is_made_once() {
        let folder = Folder::new();
        let above = folder.0.join("above");
        let home = Home::new(Arc::new(Disk), &above.join("spool"));
        home.make().expect("made, and all above it");
        fs::rename(&above, folder.0.join("moved")).expect("moved");
        assert_eq!(home.make().expect_err("it is somewhere else").kind(), io::ErrorKind::NotFound);
        assert!(!above.exists());
        fs::rename(folder.0.join("moved"), &above).expect("moved back");
        home.make().expect("and usable again");
        fs::remove_dir_all(above.join("spool")).expect("removed");
        home.make().expect("the host's folder itself is made again");
    }
}
