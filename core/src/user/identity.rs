//! What is remembered about the user, for the whole program: in memory and, with a spool, in two small files of its
//! folder. They belong to the folder, not to a write key or an endpoint: whoever has opted out of an app has opted out
//! of its next release too.
//!
//! ```text
//! SPOOL_DIR/segment-native/
//!     identity.json            who the user is
//!     privacy.json             whether they opted out, and their consent
//!     identity.lock            taken while one of these is changed
//!     next.lock                taken by who waits for that lock, or who has just had it would have it again and again
//!     identity.json.damaged    what was found in their place and is no work of ours, or no longer:
//!     privacy.json.damaged     kept for a person to look at
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::base::error::{Error, ErrorKind};
use crate::base::fork::PerProcess;
use crate::base::home::Home;
use crate::base::hooks::Level;
use crate::base::storage::{Lock, Storage};
use crate::base::threads::{self, Mutex, MutexGuard};
use crate::json::object::{Object, Value};
use crate::json::scan;
use crate::user::context::{Change, Members};
use crate::user::person::{Person, Privacy, Unsure};

const PERSON: &str = "identity.json";
const PRIVACY: &str = "privacy.json";
const DAMAGED_PERSON: &str = "identity.json.damaged";
/// Where this is and no `privacy.json`, nobody knows what the user wants, in this life or the next.
const DAMAGED_PRIVACY: &str = "privacy.json.damaged";

/// Another process holds the lock for as long as it takes to write a small file and have the disk hold it. Who waits
/// does so for as long as it sees others get on, within reason. One that was stopped meanwhile is not waited for: what
/// is written is written whole in any case.
const LOCK_TRIES: u32 = 1_000;
/// Where many processes start at once, each waits for all others: they must not give the user two names.
const FIRST_LOCK_TRIES: u32 = 3_000;
const LOCK_PAUSE: Duration = Duration::from_millis(1);
const LOCK_MAX: Duration = Duration::from_secs(20);

pub(crate) struct Identity {
    storage: Arc<dyn Storage>,
    /// None: in memory only.
    home: Option<Arc<Home>>,
    folder: Option<PathBuf>,
    /// Somebody counts on it that what is remembered lasts, even where there is no folder for it.
    is_asked_to_keep: bool,
    is_stateful: bool,
    /// The context that the settings give every message.
    context: Vec<u8>,
    /// A child of a fork reads it without a lock that its parent could have held.
    known: ArcSwap<Known>,
    /// What was written last of opting out may be there, and have reached no disk.
    is_privacy_doubtful: AtomicBool,
    changing: PerProcess<Mutex<()>>,
    told: PerProcess<Mutex<Told>>,
}

/// What a person is to know of the files, once each.
#[derive(Debug, Default)]
struct Told {
    /// For the log.
    lines: Vec<(Level, String)>,
    /// Those that can not be read at the moment, and those that were found damaged.
    unreadable: Vec<&'static str>,
    damaged: Vec<&'static str>,
}

/// What is known at one moment.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// None unless the client remembers who the user is, and while the user has opted out.
    pub(crate) person: Option<Person>,
    pub(crate) privacy: Privacy,
    /// What the program has set of the context.
    members: Members,
    /// The context of an `identify`, and of everything else while there is no person.
    pub(crate) context: Vec<u8>,
    /// The context of everything else: with the traits.
    pub(crate) context_with_traits: Vec<u8>,
    overruled: Overruled,
    /// Counts what has become known of the user: it does not count changes of `members`.
    turn: u64,
}

/// What stands in the folder and counts no more in this process: it could not be overwritten. What somebody else writes
/// there later does count.
#[derive(Debug, Clone, Default)]
struct Overruled {
    person: Option<File<Person>>,
    privacy: Option<File<Privacy>>,
}

impl Overruled {
    fn is_person(&self, now: &Person) -> bool {
        self.person.as_ref().is_some_and(|before| before.is(now))
    }

    fn is_damage(&self) -> bool {
        matches!(self.privacy, Some(File::Damaged))
    }

    /// `known` is what counts instead. Where that is about opting out, a new consent changes nothing.
    fn is_privacy(&self, now: &Privacy, known: &Privacy) -> bool {
        let Some(File::Holds(before)) = &self.privacy else { return false };
        before == now || before.wish() == now.wish() && before.wish() != known.wish()
    }
}

/// What the folder says.
#[derive(Debug, Clone)]
struct Stored {
    person: File<Person>,
    privacy: File<Privacy>,
}

impl Stored {
    fn is_damaged(&self) -> bool {
        matches!(self.person, File::Damaged) || matches!(self.privacy, File::Damaged)
    }
}

#[derive(Debug, Clone)]
enum File<T> {
    Absent,
    /// It may be there.
    Unreadable,
    /// What is there was not written by us, or not like this.
    Damaged,
    Holds(T),
}

impl<T: PartialEq> File<T> {
    fn is(&self, other: &T) -> bool {
        matches!(self, File::Holds(value) if value == other)
    }

    fn value(self) -> Option<T> {
        match self {
            File::Holds(value) => Some(value),
            File::Absent | File::Unreadable | File::Damaged => None,
        }
    }
}

impl Identity {
    /// Reads what is remembered; somebody new is given an anonymous id.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        home: Option<Arc<Home>>,
        is_asked_to_keep: bool,
        is_stateful: bool,
        context: Vec<u8>,
    ) -> Self {
        let changing = PerProcess::new(|| Mutex::new(()));
        let folder = home.as_ref().map(|home| home.path().to_owned());
        let told = PerProcess::new(Mutex::default);
        let known = ArcSwap::default();
        let identity = Identity {
            storage,
            home,
            folder,
            is_asked_to_keep,
            is_stateful,
            context,
            known,
            is_privacy_doubtful: AtomicBool::new(false),
            changing,
            told,
        };
        let stored = identity.stored();
        let may_be_there = matches!(stored.person, File::Unreadable);
        let is_damaged = stored.is_damaged();
        let privacy = match stored.privacy {
            File::Absent => Privacy::default(),
            File::Unreadable => Privacy::default().doubted(Unsure::Unread),
            File::Damaged => Privacy::default().doubted(Unsure::Damaged),
            File::Holds(privacy) => privacy,
        };
        let is_wanted = is_stateful && !privacy.opted_out;
        let mut person = stored.person.value().filter(|_| is_wanted);
        if is_wanted && may_be_there {
            // Who it is will be known when it can be read; until then it is somebody who is not kept.
            person.get_or_insert_with(Person::unknown);
        }
        let is_forgotten = privacy.opted_out && privacy.unsure.is_none();
        identity.known.store(Arc::new(identity.knowing(&Known::default(), person, privacy, Overruled::default())));
        if is_forgotten {
            // Whoever opted out may have died before that.
            let _ = identity.hold_trying(FIRST_LOCK_TRIES).forget_if_out();
        }
        if is_damaged {
            drop(identity.hold_trying(FIRST_LOCK_TRIES)); // which sets it aside
        }
        identity.ensure_person(FIRST_LOCK_TRIES);
        identity
    }

    /// What is known right now.
    pub(crate) fn known(&self) -> Guard<Arc<Known>> {
        self.known.load()
    }

    /// The context that the settings give every message, without what is set while the program runs.
    pub(crate) fn settled_context(&self) -> &[u8] {
        &self.context
    }

    /// Changes a member of the context of every later message, unless `check` has something against what comes of it,
    /// given what is known now and what would be. It waits for nobody, not even for who is writing to the disk.
    pub(crate) fn set_context(
        &self,
        change: &Change,
        check: impl Fn(&Known, &Known) -> Result<(), Error>,
    ) -> Result<(), Error> {
        loop {
            let known = self.known();
            let members = known.members.with(change)?;
            if members == known.members {
                return Ok(());
            }
            let fresh = Arc::new(self.composed(Known {
                person: known.person.clone(),
                privacy: known.privacy.clone(),
                members,
                overruled: known.overruled.clone(),
                turn: known.turn,
                ..Known::default()
            }));
            check(&known, &fresh)?;
            let before = self.known.compare_and_swap(&known, fresh);
            if Arc::ptr_eq(&before, &known) {
                return Ok(());
            }
        }
    }

    pub(crate) fn is_stateful(&self) -> bool {
        self.is_stateful
    }

    /// Nobody changes anything while there is one of these, in this process or in others; and what others have changed
    /// is known.
    pub(crate) fn hold(&self) -> Held<'_> {
        self.hold_trying(LOCK_TRIES)
    }

    fn hold_trying(&self, tries: u32) -> Held<'_> {
        let lock = self.changing.get(|| Mutex::new(())).lock().unwrap_or_else(PoisonError::into_inner);
        // The lock file belongs in the folder, so that comes first.
        let folder = match self.home.as_deref() {
            Some(home) => home.make(),
            None if self.is_asked_to_keep => Err(io::Error::other("there is no folder for it")),
            None => Ok(()),
        };
        let others = self.lock_out_others(tries);
        // Nobody else writes now: what is half written was so by somebody who died.
        if let Some(folder) = self.folder.as_deref().filter(|_| others.is_some()) {
            [PERSON, PRIVACY].iter().for_each(|name| self.storage.remove_unfinished(&folder.join(name)));
        }
        let stored = self.stored();
        self.set_aside(&stored);
        // The delivery thread may be looking at the same time, and have seen less.
        while !self.take_in(&self.known(), &stored) {}
        Held { identity: self, folder, stored, others, _lock: lock }
    }

    /// Looks at what other processes have changed.
    pub(crate) fn refresh(&self) {
        if self.folder.is_some() {
            // Whoever changes something meanwhile knows better.
            let known = self.known();
            let stored = self.stored();
            self.take_in(&known, &stored);
            if stored.is_damaged() && !self.is_told_of(&stored) {
                // Set aside, and what is known of the person is written anew.
                let _ = self.hold().change(|_| ());
            }
            self.ensure_person(LOCK_TRIES);
        }
    }

    /// Gives a user whom nobody knows an anonymous id. Where that cannot be kept there is another at the next start,
    /// which is said by whatever else is to be kept there.
    fn ensure_person(&self, tries: u32) {
        let known = self.known();
        if self.is_stateful && !known.privacy.opted_out && known.person.is_none() {
            let _ = self.hold_trying(tries).change(|(person, _)| {
                person.get_or_insert_with(Person::unknown);
            });
        }
    }

    fn stored(&self) -> Stored {
        let person = self.read(PERSON, Person::read);
        let privacy = match self.read(PRIVACY, Privacy::read) {
            // It was set aside, and nobody has said anything since.
            File::Absent => self.read(DAMAGED_PRIVACY, |_| None),
            file => file,
        };
        Stored { person, privacy }
    }

    fn read<T>(&self, name: &'static str, parse: impl FnOnce(&[u8]) -> Option<T>) -> File<T> {
        let Some(folder) = self.folder.as_deref().filter(|_| self.is_stateful || name != PERSON) else {
            return File::Absent;
        };
        let path = folder.join(name);
        let error = match self.storage.read(&path) {
            Ok(kept) => {
                self.told().unreadable.retain(|other| *other != name);
                return parse(&kept).map_or(File::Damaged, File::Holds);
            }
            // No file of ours is so large.
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return File::Damaged,
            Err(error) => error,
        };
        let mut told = self.told();
        if is_absence(&error) || self.is_closed_to_us(folder, &error) {
            told.unreadable.retain(|other| *other != name);
            return File::Absent;
        }
        if !told.unreadable.contains(&name) {
            told.unreadable.push(name);
            let what = if name == PERSON { "who the user is" } else { "whether the user has opted out" };
            let line = format!("{} cannot be read, and so not {what}: {error}", path.display());
            told.lines.push((Level::Warning, line));
        }
        File::Unreadable
    }

    /// Whether this user may not even enter the folder: then none of it was written by this user's client, and the
    /// folder is no use to it at all. A file that may not be read in a folder that may be entered can hold a no.
    fn is_closed_to_us(&self, folder: &Path, error: &io::Error) -> bool {
        let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        is_denied(error) && self.storage.read(&folder.join("nothing")).is_err_and(|error| is_denied(&error))
    }

    /// Gives what is damaged another name, so that a person can look at it and nobody takes it for ours.
    fn set_aside(&self, stored: &Stored) {
        let Some(folder) = self.folder.as_deref() else { return };
        let files = [
            (matches!(stored.person, File::Damaged), PERSON, DAMAGED_PERSON, "a new one is written"),
            (
                matches!(stored.privacy, File::Damaged),
                PRIVACY,
                DAMAGED_PRIVACY,
                "nothing is taken, sent or thrown away until the user opts in or out",
            ),
        ];
        for (_, name, aside, consequence) in files.into_iter().filter(|(is_damaged, ..)| *is_damaged) {
            let (path, aside) = (folder.join(name), folder.join(aside));
            // The second of them may have another name since an earlier life.
            let place = match self.storage.rename(&path, &aside) {
                Err(error) if !is_absence(&error) => path,
                _ => aside,
            };
            let mut told = self.told();
            if !told.damaged.contains(&name) {
                told.damaged.push(name);
                told.lines.push((Level::Warning, format!("{} is damaged: {consequence}", place.display())));
            }
        }
    }

    fn is_told_of(&self, stored: &Stored) -> bool {
        let told = self.told();
        let is_known = |name| told.damaged.contains(&name);
        (!matches!(stored.person, File::Damaged) || is_known(PERSON))
            && (!matches!(stored.privacy, File::Damaged) || is_known(PRIVACY))
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.get(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a person is to know by now, for the log.
    pub(crate) fn take_lines(&self) -> Vec<(Level, String)> {
        std::mem::take(&mut self.told().lines)
    }

    /// Takes over what the folder said after this was known; false if more is known by now.
    fn take_in(&self, known: &Guard<Arc<Known>>, stored: &Stored) -> bool {
        let privacy = match &stored.privacy {
            File::Holds(now) if !known.overruled.is_privacy(now, &known.privacy) => now.clone(),
            File::Damaged if !known.overruled.is_damage() => known.privacy.doubted(Unsure::Damaged),
            // It is never deleted by us. A folder that somebody has emptied says nothing about what its user wants.
            File::Absent if known.privacy.unsure.is_some() => Privacy::default(),
            _ => known.privacy.clone(),
        };
        // Who opted out and in again is somebody else.
        let remembered = known.person.as_ref().filter(|_| privacy.wish() == known.privacy.wish());
        let person = match &stored.person {
            _ if !self.is_stateful || privacy.opted_out => None,
            File::Holds(now) if !known.overruled.is_person(now) => Some(now),
            _ => remembered,
        };
        let (is_same_person, is_same_privacy) = (person == known.person.as_ref(), privacy == known.privacy);
        if is_same_person && is_same_privacy {
            return true;
        }
        let overruled = Overruled {
            person: known.overruled.person.clone().filter(|_| is_same_person),
            privacy: known.overruled.privacy.clone().filter(|_| is_same_privacy),
        };
        let mut latest = None;
        loop {
            let now = latest.as_ref().unwrap_or(known);
            let fresh = Arc::new(self.knowing(now, person.cloned(), privacy.clone(), overruled.clone()));
            let before = self.known.compare_and_swap(now, fresh);
            if Arc::ptr_eq(&before, now) {
                return true;
            }
            if before.turn != known.turn {
                return false;
            }
            latest = Some(before); // only the program's context is another
        }
    }

    fn lock_out_others(&self, tries: u32) -> Option<Lock> {
        let folder = self.folder.as_deref()?;
        let _turn = self.wait_for_lock(folder, "next.lock", tries); // one that was stopped in its turn is passed over
        self.wait_for_lock(folder, "identity.lock", tries)
    }

    fn wait_for_lock(&self, folder: &Path, name: &str, tries: u32) -> Option<Lock> {
        let path = folder.join(name);
        let state = || [PERSON, PRIVACY].map(|name| self.storage.identity(&folder.join(name)).ok());
        let began = threads::now();
        let (mut left, mut seen) = (tries, None);
        while left > 0 && threads::since(began) < LOCK_MAX {
            match self.storage.lock(&path) {
                Ok(Some(lock)) => return Some(lock),
                Ok(None) => threads::sleep(LOCK_PAUSE),
                Err(_) => return None,
            }
            left -= 1;
            let now = Some(state());
            if std::mem::replace(&mut seen, now) != now {
                left = tries; // somebody has written something
            }
        }
        None
    }

    /// What is known once this is so; what has nothing to do with the user stays as it was.
    fn knowing(&self, before: &Known, person: Option<Person>, privacy: Privacy, overruled: Overruled) -> Known {
        let (members, turn) = (before.members.clone(), before.turn.wrapping_add(1));
        self.composed(Known { person, privacy, members, overruled, turn, ..Known::default() })
    }

    /// Fills in the contexts.
    fn composed(&self, known: Known) -> Known {
        let mut context = known.members.over(&self.context);
        if let Ok(categories) = std::str::from_utf8(&known.privacy.consent)
            && !categories.is_empty()
        {
            let preferences = Object::from([("categoryPreferences", Value::Json(categories))]);
            merge(&mut context, &Object::from([("consent", &preferences)]));
        }
        let mut context_with_traits = context.clone();
        let traits = known.person.as_ref().map_or(&[][..], |person| &person.traits);
        if let Ok(traits) = std::str::from_utf8(traits)
            && !traits.is_empty()
        {
            merge(&mut context_with_traits, &Object::from([("traits", Value::Json(traits))]));
        }
        Known { context, context_with_traits, ..known }
    }
}

/// The right to change what is known.
pub(crate) struct Held<'a> {
    identity: &'a Identity,
    /// Whether the folder could be made.
    folder: io::Result<()>,
    stored: Stored,
    others: Option<Lock>,
    _lock: MutexGuard<'a, ()>,
}

impl Held<'_> {
    /// Whether nobody knows if somebody is remembered: the disk does not say.
    pub(crate) fn is_person_unsure(&self) -> bool {
        matches!(self.stored.person, File::Unreadable)
    }

    /// Why nobody knows what other processes have been told of opting out, if the disk does not say.
    pub(crate) fn unread_privacy(&self) -> Option<Error> {
        let error = io::Error::other("what the folder says of opting out cannot be read");
        matches!(self.stored.privacy, File::Unreadable).then(|| self.not_kept(&error))
    }

    /// What would be known after a change.
    pub(crate) fn foresee(&self, change: impl FnOnce(&mut (Option<Person>, Privacy))) -> Known {
        let known = self.identity.known();
        let mut after = (known.person.clone(), known.privacy.clone());
        change(&mut after);
        self.identity.knowing(&known, after.0, after.1, known.overruled.clone())
    }

    /// Changes what is known, and keeps it. It counts in this process even where it cannot be kept.
    pub(crate) fn change(&self, change: impl FnOnce(&mut (Option<Person>, Privacy))) -> Result<(), Error> {
        let known = self.identity.known();
        let mut after = (known.person.clone(), known.privacy.clone());
        change(&mut after);
        let (person, privacy) = after;
        if privacy.unsure.is_some() {
            return Ok(()); // what nobody knows is not written down, and nobody is forgotten for it
        }
        let person = person.filter(|_| self.identity.is_stateful && !privacy.opted_out);
        // First it is written: whoever looks into the folder meanwhile must not find that nothing has changed.
        let (person_kept, privacy_kept);
        if privacy.opted_out {
            privacy_kept = self.write_privacy(&privacy, &known);
            person_kept = self.write_person(person.as_ref(), &privacy, &known);
        } else {
            // Who opts in is somebody else before anybody knows that they did.
            person_kept = self.write_person(person.as_ref(), &privacy, &known);
            privacy_kept = match &person_kept {
                Err(error) if privacy.wish() != known.privacy.wish() => Err(error.kind().into()),
                _ => self.write_privacy(&privacy, &known),
            };
        }
        let overruled = Overruled {
            person: person_kept.is_err().then(|| self.stored.person.clone()),
            privacy: privacy_kept.is_err().then(|| self.stored.privacy.clone()),
        };
        self.identity
            .known
            .rcu(|known| Arc::new(self.identity.knowing(known, person.clone(), privacy.clone(), overruled.clone())));
        let kept = person_kept.and(privacy_kept);
        // Without a folder nothing was written, and nothing has failed.
        let kept = if self.identity.folder.is_none() && self.folder.is_err() {
            Err(io::ErrorKind::NotFound.into())
        } else {
            kept
        };
        kept.map_err(|error| self.not_kept(&error))
    }

    /// Forgets who the user was, if they still want that.
    fn forget_if_out(&self) -> io::Result<()> {
        let known = self.identity.known();
        if known.privacy.opted_out && known.privacy.unsure.is_none() { self.forget() } else { Ok(()) }
    }

    fn forget(&self) -> io::Result<()> {
        let Some(folder) = &self.identity.folder else { return Ok(()) };
        self.remove_unfinished(&folder.join(PERSON));
        let removed = [PERSON, DAMAGED_PERSON].map(|name| self.identity.storage.remove(&folder.join(name)));
        removed.into_iter().find(|removed| removed.as_ref().is_err_and(|error| !is_absence(error))).unwrap_or(Ok(()))
    }

    /// Without the lock somebody else may be writing it right now.
    fn remove_unfinished(&self, path: &Path) {
        if self.others.is_some() {
            self.identity.storage.remove_unfinished(path);
        }
    }

    /// Writes what is known of the person, even if it is known to be there.
    pub(crate) fn keep_person(&self) -> Result<(), Error> {
        let known = self.identity.known();
        let Some(person) = &known.person else { return Ok(()) };
        let kept = match &self.identity.folder {
            Some(folder) => {
                person.to_json().map_err(io::Error::other).and_then(|json| self.replace(&folder.join(PERSON), &json))
            }
            None => Err(io::ErrorKind::NotFound.into()),
        };
        kept.map_err(|error| self.not_kept(&error))
    }

    fn not_kept(&self, error: &io::Error) -> Error {
        let error = self.folder.as_ref().err().unwrap_or(error);
        Error::new(ErrorKind::Storage, format!("what is known of the user could not be kept: {error}"))
    }

    fn write_person(&self, person: Option<&Person>, privacy: &Privacy, known: &Known) -> io::Result<()> {
        let Some(folder) = &self.identity.folder else { return Ok(()) };
        match person {
            Some(person) if self.stored.person.is(person) => Ok(()),
            Some(person) => {
                let json = person.to_json().map_err(io::Error::other)?;
                self.replace(&folder.join(PERSON), &json)
            }
            None if privacy.opted_out || privacy.wish() != known.privacy.wish() => self.forget(),
            None => Ok(()),
        }
    }

    fn write_privacy(&self, privacy: &Privacy, known: &Known) -> io::Result<()> {
        let Some(folder) = &self.identity.folder else { return Ok(()) };
        let is_missing = matches!(self.stored.privacy, File::Absent) && *privacy != Privacy::default();
        let is_doubtful = self.identity.is_privacy_doubtful.load(Ordering::Relaxed);
        // What failed before is written again: it may be there, and have reached no disk.
        if *privacy == known.privacy && known.overruled.privacy.is_none() && !is_missing && !is_doubtful {
            return Ok(());
        }
        let written = self.replace(&folder.join(PRIVACY), &privacy.to_json().map_err(io::Error::other)?);
        self.identity.is_privacy_doubtful.store(written.is_err(), Ordering::Relaxed);
        written
    }

    /// Somebody who opted out must not be tracked again because the power went.
    fn replace(&self, path: &Path, json: &str) -> io::Result<()> {
        self.remove_unfinished(path);
        self.identity.storage.replace_synced(path, json.as_bytes())
    }
}

/// Whether there is nothing, and nothing that could be read another time: the path leads nowhere.
fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    match error.kind() {
        NotFound | NotADirectory | InvalidFilename => true,
        // A path with a NUL: no system was asked.
        InvalidInput => error.raw_os_error().is_none(),
        _ => is_loop(error),
    }
}

#[cfg(unix)]
fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}

#[cfg(not(unix))]
fn is_loop(_: &io::Error) -> bool {
    false
}

fn merge(context: &mut Vec<u8>, over: &Object) {
    let mut bytes = Vec::new();
    // Both were checked when they were set.
    if over.append_to(&mut bytes).is_ok() {
        let mut merged = Vec::new();
        scan::merge(context, &bytes, &mut merged);
        *context = merged;
    }
}

impl Known {
    /// The context that a message of this call gets.
    pub(crate) fn context_for(&self, is_identify: bool) -> &[u8] {
        if is_identify { &self.context } else { &self.context_with_traits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::storage::Disk;

    fn identity() -> Identity {
        Identity::open(Arc::new(Disk), None, false, true, br#"{"level":0}"#.to_vec())
    }

    fn set(identity: &Identity, level: i64) {
        let change = Change::new("level", Some(Value::Int(level))).expect("good");
        identity.set_context(&change, |_, _| Ok(())).expect("set");
    }

    fn context(identity: &Identity) -> String {
        String::from_utf8(identity.known().context.clone()).expect("UTF-8")
    }

    fn opted_out(identity: &Identity) -> Stored {
        let privacy = identity.known().privacy.opted(true, 1);
        Stored { person: File::Absent, privacy: File::Holds(privacy) }
    }

    #[test]
    fn what_others_have_changed_is_taken_in_though_the_context_changes_meanwhile() {
        let identity = identity();
        let (seen, stored) = (identity.known(), opted_out(&identity));
        set(&identity, 1);
        assert!(identity.take_in(&seen, &stored));
        assert!(identity.known().privacy.opted_out);
        assert_eq!(context(&identity), r#"{"level":1}"#);
    }

    #[test]
    fn what_others_have_changed_is_not_taken_in_over_what_is_newer() {
        let identity = identity();
        let (seen, stored) = (identity.known(), opted_out(&identity));
        identity
            .hold()
            .change(|(person, _)| person.as_mut().expect("somebody").user_id = Some("u".into()))
            .expect("kept");
        set(&identity, 1);
        assert!(!identity.take_in(&seen, &stored));
        assert!(!identity.known().privacy.opted_out);
    }

    #[test]
    fn a_change_of_the_user_and_one_of_the_context_both_count() {
        let identity = identity();
        identity
            .hold()
            .change(|(_, privacy)| {
                privacy.consent = br#"{"ads":true}"#.to_vec();
                set(&identity, 1);
            })
            .expect("kept");
        let both = r#"{"level":1,"consent":{"categoryPreferences":{"ads":true}}}"#;
        assert_eq!(context(&identity), both);
        let again = Change::new("level", Some(Value::Int(2))).expect("good");
        let tries = std::cell::Cell::new(0);
        let check = |_: &Known, _: &Known| {
            tries.set(tries.get() + 1);
            if tries.get() == 1 {
                identity.hold().change(|(_, privacy)| privacy.consent.clear()).expect("kept");
            }
            Ok(())
        };
        identity.set_context(&again, check).expect("set");
        assert_eq!(context(&identity), r#"{"level":2}"#);
        assert_eq!(tries.get(), 2, "it was checked again against what is known by then");
    }
}
