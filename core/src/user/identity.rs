//! What is remembered about the user, for the whole program: in memory and, with a spool, in two small files of its
//! folder. They belong to the folder, not to a write key or an endpoint: a user who has opted out of an app has opted
//! out of its next release too.
//!
//! ```text
//! SPOOL_DIR/segment-native/
//!     identity.json            who the user is
//!     privacy.json             whether they opted out, and their consent
//!     identity.lock            taken while one of these is changed
//!     next.lock                taken while waiting for that lock, so that its last holder is not first again
//!     identity.json.damaged    files with these names that this library did not write, or that were changed since:
//!     privacy.json.damaged     kept for people to look at
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
use crate::user::person::{Choice, Person, Privacy, Silence, Unsure, Wish};

const PERSON: &str = "identity.json";
const PRIVACY: &str = "privacy.json";
const DAMAGED_PERSON: &str = "identity.json.damaged";
/// While this exists without a `privacy.json`, it is unknown what the user wants, also after a restart.
const DAMAGED_PRIVACY: &str = "privacy.json.damaged";

/// Another process holds the lock for as long as it takes to write and sync a small file. A process that waits goes on
/// for as long as it sees others make progress, up to a limit. It does not wait for one that was stopped: files are
/// written whole in any case.
const LOCK_TRIES: u32 = 1_000;
/// If many processes start at once, each waits for all others: they must not give the user two ids.
const FIRST_LOCK_TRIES: u32 = 3_000;
const LOCK_PAUSE: Duration = Duration::from_millis(1);
const LOCK_MAX: Duration = Duration::from_secs(20);

pub(crate) struct Identity {
    storage: Arc<dyn Storage>,
    /// None: in memory only.
    home: Option<Arc<Home>>,
    folder: Option<PathBuf>,
    /// The settings ask that what is remembered lasts, even if their folder cannot be used.
    is_asked_to_keep: bool,
    is_stateful: bool,
    /// What counts until the user has answered.
    silence: Silence,
    /// The context that the settings give every message.
    context: Vec<u8>,
    /// A child of a fork reads it without a lock that its parent could have held.
    known: ArcSwap<Known>,
    /// What was last written about opting out may be in the file without being synced.
    is_privacy_doubtful: AtomicBool,
    changing: PerProcess<Mutex<()>>,
    told: PerProcess<Mutex<Told>>,
}

/// What is reported about the files, once each.
#[derive(Debug, Default)]
struct Told {
    /// For the log.
    lines: Vec<(Level, String)>,
    /// Those that cannot be read at the moment, and those that were found damaged.
    unreadable: Vec<&'static str>,
    damaged: Vec<&'static str>,
}

/// What is known at one moment.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// None if the client does not remember who the user is, or the user has opted out.
    pub(crate) person: Option<Person>,
    pub(crate) privacy: Privacy,
    /// The members of the context that the program has set.
    members: Members,
    /// What follows from that for the queue.
    pub(crate) wish: Wish,
    /// The context of an `identify`, and of everything else while there is no person.
    pub(crate) context: Vec<u8>,
    /// The context of everything else: with the traits.
    pub(crate) context_with_traits: Vec<u8>,
    overruled: Overruled,
    /// Counts changes of what is known about the user, but not of `members`.
    turn: u64,
}

/// What the folder still holds but this process ignores, because it could not be overwritten. What another process
/// writes there later does count.
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

    /// `known` is what counts instead. If that is about opting out, a new consent changes nothing.
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
    /// Whether the user is known to have answered.
    fn is_answered(&self) -> bool {
        matches!(&self.privacy, File::Holds(privacy) if privacy.is_answered())
    }

    fn consent(&self) -> Vec<u8> {
        match &self.privacy {
            File::Holds(privacy) => privacy.consent.clone(),
            _ => Vec::new(),
        }
    }

    fn is_damaged(&self) -> bool {
        matches!(self.person, File::Damaged) || matches!(self.privacy, File::Damaged)
    }
}

#[derive(Debug, Clone)]
enum File<T> {
    Absent,
    /// It may exist.
    Unreadable,
    /// It exists, but this library did not write it, or not like this.
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
    /// Reads what is remembered; a new user is given an anonymous id.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        home: Option<Arc<Home>>,
        is_asked_to_keep: bool,
        is_stateful: bool,
        silence: Silence,
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
            silence,
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
            // There is a folder that we must not read, and it may hold a no.
            File::Absent if is_asked_to_keep && identity.folder.is_none() && silence != Silence::Consents => {
                Privacy::default().doubted(Unsure::Unread)
            }
            File::Absent => Privacy::default(),
            File::Unreadable => Privacy::default().doubted(Unsure::Unread),
            File::Damaged => Privacy::default().doubted(Unsure::Damaged),
            File::Holds(privacy) => privacy,
        };
        let is_wanted = is_stateful && !privacy.wish_with(silence).opted_out;
        let mut person = stored.person.value().filter(|_| is_wanted);
        if is_wanted && may_be_there {
            // Who it is will be known once the file can be read; until then it is a new user who is not stored.
            person.get_or_insert_with(Person::unknown);
        }
        let is_forgotten = privacy.opted_out && privacy.unsure.is_none();
        identity.known.store(Arc::new(identity.knowing(&Known::default(), person, privacy, Overruled::default())));
        if is_forgotten {
            // The process that stored the opt-out may have died before it did this.
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

    /// Changes a member of the context of every later message, unless `check` refuses the result, given what is known
    /// now and what would be. It waits for no other thread, not even one that is writing to the disk.
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

    /// While one of these exists, no other thread or process changes anything, and what others have changed is known.
    /// As long as the user has not answered, nothing is done on the disk, and other processes are not locked out.
    pub(crate) fn hold(&self) -> Held<'_> {
        self.hold_trying(LOCK_TRIES)
    }

    /// The same for the answer itself, which is written.
    pub(crate) fn hold_to_answer(&self) -> Held<'_> {
        self.hold_with(self.lock(), LOCK_TRIES)
    }

    fn hold_trying(&self, tries: u32) -> Held<'_> {
        let lock = self.lock();
        if self.known().wish.is_unanswered {
            let stored = self.stored();
            if !stored.is_answered() {
                self.tell_of_a_no(&stored);
                while !self.take_in(&self.known(), &stored) {}
                let (folder, others) = (Ok(()), None);
                return Held { identity: self, is_silent: true, folder, may_write: false, stored, others, _lock: lock };
            }
        }
        self.hold_with(lock, tries)
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.get(|| Mutex::new(())).lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold_with<'a>(&'a self, lock: MutexGuard<'a, ()>, tries: u32) -> Held<'a> {
        // The lock file belongs in the folder, so that comes first.
        let folder = match self.home.as_deref() {
            Some(home) => home.make(),
            None if self.is_asked_to_keep => Err(io::Error::other("there is no folder for it")),
            None => Ok(()),
        };
        let may_write = folder.is_ok() || self.home.as_deref().is_some_and(Home::is_marked);
        let others = if may_write { self.lock_out_others(tries) } else { None };
        // No other process writes now: unfinished files were left by processes that died.
        if let Some(folder) = self.folder.as_deref().filter(|_| others.is_some()) {
            [PERSON, PRIVACY].iter().for_each(|name| self.storage.remove_unfinished(&folder.join(name)));
        }
        let stored = self.stored();
        self.set_aside(&stored);
        // The delivery thread may be reading at the same time, and have seen an older state.
        while !self.take_in(&self.known(), &stored) {}
        Held { identity: self, is_silent: false, folder, may_write, stored, others, _lock: lock }
    }

    /// Takes in what other processes have changed.
    pub(crate) fn refresh(&self) {
        if self.folder.is_some() {
            if self.known().wish.is_unanswered {
                let held = self.hold();
                if !held.is_silent {
                    // Another process got the answer: what was known in memory only is now stored, or forgotten.
                    let _ = held.change(|_| ());
                }
                drop(held);
                return self.ensure_person(LOCK_TRIES);
            }
            // If another thread changes something meanwhile, what it knows is newer.
            let known = self.known();
            let stored = self.stored();
            self.take_in(&known, &stored);
            if stored.is_damaged() && !self.is_told_of(&stored) {
                // It is set aside, and what is known about the person is written anew.
                let _ = self.hold().change(|_| ());
            }
            self.ensure_person(LOCK_TRIES);
        }
    }

    /// Gives an unknown user an anonymous id. If it cannot be stored, there is another at the next start; that is
    /// reported when something else cannot be stored there.
    fn ensure_person(&self, tries: u32) {
        let known = self.known();
        if self.is_stateful && !known.wish.opted_out && known.person.is_none() {
            let _ = self.hold_trying(tries).change(|(person, _)| {
                person.get_or_insert_with(Person::unknown);
            });
        }
    }

    fn stored(&self) -> Stored {
        let person = self.read(PERSON, Person::read);
        let privacy = match self.read(PRIVACY, Privacy::read) {
            // It was set aside, and the user has not answered since.
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
            // This library writes no file that large.
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return File::Damaged,
            Err(error) => error,
        };
        let mut told = self.told();
        // A user who is asked first may have said no there, whichever client has stored that.
        let may_be_closed = self.silence == Silence::Consents;
        if is_absence(&error) || may_be_closed && self.is_closed_to_us(folder, &error) {
            told.unreadable.retain(|other| *other != name);
            return File::Absent;
        }
        if !told.unreadable.contains(&name) {
            told.unreadable.push(name);
            let what = if name == PERSON { "who the user is" } else { "whether the user has opted out" };
            let line = format!("{} cannot be read, so it is unknown {what}: {error}", path.display());
            told.lines.push((Level::Warning, line));
        }
        File::Unreadable
    }

    /// Whether this account may not even enter the folder: then no client of this account wrote any of it, or could use
    /// it. A file that may not be read, in a folder that may be entered, can hold a no.
    fn is_closed_to_us(&self, folder: &Path, error: &io::Error) -> bool {
        let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        is_denied(error) && self.storage.read(&folder.join("nothing")).is_err_and(|error| is_denied(&error))
    }

    /// Renames what is damaged, so that people can look at it, and no process takes it for a valid file.
    fn set_aside(&self, stored: &Stored) {
        let Some(folder) = self.folder.as_deref() else { return };
        let files = [
            (matches!(stored.person, File::Damaged), PERSON, DAMAGED_PERSON, "a new one is written"),
            (
                matches!(stored.privacy, File::Damaged),
                PRIVACY,
                DAMAGED_PRIVACY,
                "no messages are accepted, sent or deleted until the user opts in or out",
            ),
        ];
        for (_, name, aside, consequence) in files.into_iter().filter(|(is_damaged, ..)| *is_damaged) {
            let (path, aside) = (folder.join(name), folder.join(aside));
            // The second one may have been renamed by an earlier process.
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

    /// What is damaged stays where it is as long as the user has not answered; but the log says why no messages are
    /// accepted.
    fn tell_of_a_no(&self, stored: &Stored) {
        let Some(folder) = self.folder.as_deref().filter(|_| matches!(stored.privacy, File::Damaged)) else { return };
        let mut told = self.told();
        if !told.damaged.contains(&PRIVACY) {
            told.damaged.push(PRIVACY);
            let folder = folder.display();
            let line = format!("{PRIVACY} in {folder} is damaged, which counts as a no until the user opts in or out");
            told.lines.push((Level::Warning, line));
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

    /// The lines for the log since the last call.
    pub(crate) fn take_lines(&self) -> Vec<(Level, String)> {
        std::mem::take(&mut self.told().lines)
    }

    /// Takes over what the folder said while `known` was current; false if more is known by now.
    fn take_in(&self, known: &Guard<Arc<Known>>, stored: &Stored) -> bool {
        // An answer that another process got does not lose what is known in memory only.
        let is_yes = |now: &Privacy| known.wish.holds() && now.choice() == Choice::In;
        let mut is_added = false;
        let privacy = match &stored.privacy {
            File::Holds(now) if !known.overruled.is_privacy(now, &known.privacy) => {
                is_added = is_yes(now) && now.consent.is_empty() && !known.privacy.consent.is_empty();
                let consent = if is_added { &known.privacy.consent } else { &now.consent };
                Privacy { consent: consent.clone(), ..now.clone() }
            }
            File::Damaged if !known.overruled.is_damage() => known.privacy.doubted(Unsure::Damaged),
            // This library never deletes it. A folder that was emptied says nothing about what its user wants.
            File::Absent if known.privacy.unsure.is_some() && self.folder.is_some() => Privacy::default(),
            _ => known.privacy.clone(),
        };
        // A user who opted out and in again is a new one.
        let remembered = known.person.as_ref().filter(|_| privacy.wish() == known.privacy.wish());
        let person = match &stored.person {
            _ if !self.is_stateful || privacy.wish_with(self.silence).opted_out => None,
            File::Holds(now) if !known.overruled.is_person(now) => Some(now),
            _ => remembered,
        };
        let (is_same_person, is_same_privacy) = (person == known.person.as_ref(), privacy == known.privacy);
        if is_same_person && is_same_privacy {
            return true;
        }
        let overruled = Overruled {
            person: known.overruled.person.clone().filter(|_| is_same_person),
            privacy: match is_added {
                true => Some(stored.privacy.clone()),
                false => known.overruled.privacy.clone().filter(|_| is_same_privacy),
            },
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
            latest = Some(before); // only the program's context has changed
        }
    }

    fn lock_out_others(&self, tries: u32) -> Option<Lock> {
        let folder = self.folder.as_deref()?;
        let _turn = self.wait_for_lock(folder, "next.lock", tries); // a process that was stopped in its turn is skipped
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
                left = tries; // another process has written something
            }
        }
        None
    }

    /// What is known with these values; what does not concern the user stays as it was.
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
        let wish = known.privacy.wish_with(self.silence);
        Known { wish, context, context_with_traits, ..known }
    }
}

/// The right to change what is known.
pub(crate) struct Held<'a> {
    identity: &'a Identity,
    /// The user has not answered: changes are made in memory only.
    is_silent: bool,
    /// Whether the folder could be made.
    folder: io::Result<()>,
    /// Whether it exists and is marked as ours.
    may_write: bool,
    stored: Stored,
    others: Option<Lock>,
    _lock: MutexGuard<'a, ()>,
}

impl Held<'_> {
    /// Whether it is unknown if a user is remembered, because the file cannot be read.
    pub(crate) fn is_person_unsure(&self) -> bool {
        matches!(self.stored.person, File::Unreadable)
    }

    /// The error if it is unknown whether the user has opted out in another process, because the file cannot be read.
    pub(crate) fn unread_privacy(&self) -> Option<Error> {
        let error = io::Error::other("whether the user has opted out cannot be read");
        matches!(self.stored.privacy, File::Unreadable).then(|| self.not_kept(&error))
    }

    /// What would be known after a change.
    pub(crate) fn foresee(&self, change: impl FnOnce(&mut (Option<Person>, Privacy))) -> Known {
        let known = self.identity.known();
        let mut after = (known.person.clone(), known.privacy.clone());
        change(&mut after);
        self.identity.knowing(&known, after.0, after.1, known.overruled.clone())
    }

    /// Changes what is known, and stores it. The change counts in this process even if it cannot be stored.
    pub(crate) fn change(&self, change: impl FnOnce(&mut (Option<Person>, Privacy))) -> Result<(), Error> {
        let known = self.identity.known();
        let mut after = (known.person.clone(), known.privacy.clone());
        change(&mut after);
        let (person, mut privacy) = after;
        if privacy.unsure.is_some() {
            return Ok(()); // an unknown choice is not stored, and no user is forgotten for it
        }
        if known.wish.is_unanswered && privacy.opted_out {
            privacy.consent = self.stored.consent(); // a consent that waited for a yes is not stored after a no
        }
        let is_wanted = self.identity.is_stateful && !privacy.wish_with(self.identity.silence).opted_out;
        let person = person.filter(|_| is_wanted);
        if self.is_silent {
            let overruled =
                Overruled { person: Some(self.stored.person.clone()), privacy: Some(self.stored.privacy.clone()) };
            self.know(person.as_ref(), &privacy, &overruled);
            return Ok(());
        }
        // The files are written first: a thread that reads the folder meanwhile must not find the old state, and take
        // it over.
        let (person_kept, privacy_kept);
        if privacy.opted_out || known.wish.is_unanswered {
            // No user is stored before their yes is.
            privacy_kept = self.write_privacy(&privacy, &known);
            person_kept = match &privacy_kept {
                Err(error) if !privacy.opted_out => Err(error.kind().into()),
                _ => self.write_person(person.as_ref(), &privacy, &known),
            };
        } else {
            // After an opt-out, the new user is stored before the yes, so that no process reads the yes with the former
            // user.
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
        self.know(person.as_ref(), &privacy, &overruled);
        let kept = person_kept.and(privacy_kept);
        // Without a folder nothing was written, so no write has failed.
        let kept = if self.identity.folder.is_none() && self.folder.is_err() {
            Err(io::ErrorKind::NotFound.into())
        } else {
            kept
        };
        kept.map_err(|error| self.not_kept(&error))
    }

    /// Makes this what is known. What the program has set in the context meanwhile stays.
    fn know(&self, person: Option<&Person>, privacy: &Privacy, overruled: &Overruled) {
        self.identity
            .known
            .rcu(|known| Arc::new(self.identity.knowing(known, person.cloned(), privacy.clone(), overruled.clone())));
    }

    /// Forgets who the user was, if they are still opted out.
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

    /// Without the lock another process may be writing it right now.
    fn remove_unfinished(&self, path: &Path) {
        if self.others.is_some() {
            self.identity.storage.remove_unfinished(path);
        }
    }

    /// Writes what is known about the person, even if the file should already hold it.
    pub(crate) fn keep_person(&self) -> Result<(), Error> {
        let known = self.identity.known();
        let Some(person) = known.person.as_ref().filter(|_| !self.is_silent) else { return Ok(()) };
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
        Error::new(ErrorKind::Storage, format!("what is known about the user could not be stored: {error}"))
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
        // What failed before is written again: it may be in the file without being synced.
        if *privacy == known.privacy && known.overruled.privacy.is_none() && !is_missing && !is_doubtful {
            return Ok(());
        }
        let written = self.replace(&folder.join(PRIVACY), &privacy.to_json().map_err(io::Error::other)?);
        self.identity.is_privacy_doubtful.store(written.is_err(), Ordering::Relaxed);
        written
    }

    /// Synced, because a user who opted out must not be tracked again after a loss of power.
    fn replace(&self, path: &Path, json: &str) -> io::Result<()> {
        if !self.may_write {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.remove_unfinished(path);
        self.identity.storage.replace_synced(path, json.as_bytes())
    }
}

/// Whether there is nothing that could be read, now or another time: the path leads nowhere.
fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    match error.kind() {
        NotFound | NotADirectory | InvalidFilename => true,
        // A path with a NUL, for which no system call was made.
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
        Identity::open(Arc::new(Disk), None, false, true, Silence::Consents, br#"{"level":0}"#.to_vec())
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
            .change(|(person, _)| person.as_mut().expect("a person").user_id = Some("u".into()))
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
