//! What is remembered about the user, for the whole program: in memory and, with a spool, in two small files of its
//! folder. They belong to the folder, not to a write key or an endpoint: whoever has opted out of an app has opted out
//! of its next release too.
//!
//! ```text
//! SPOOL_DIR/identity.json    who the user is
//! SPOOL_DIR/privacy.json     whether they opted out, and their consent
//! SPOOL_DIR/identity.lock    taken while one of these is changed
//! ```

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::error::{Error, ErrorKind};
use crate::fork::PerProcess;
use crate::object::{Object, Value};
use crate::person::{Person, Privacy};
use crate::scan;
use crate::storage::{Lock, Storage};

const PERSON: &str = "identity.json";
const PRIVACY: &str = "privacy.json";
/// What a process that was killed while it wrote the first of them may have left.
const PERSON_UNFINISHED: &str = "identity.new";

/// Another process holds the lock for as long as it takes to write a small file. One that was stopped meanwhile is not
/// waited for: what is written is written whole in any case.
const LOCK_TRIES: u32 = 200;
/// Where many processes start at once, each waits for all others: they must not give the user two names.
const FIRST_LOCK_TRIES: u32 = 3_000;
const LOCK_PAUSE: Duration = Duration::from_millis(1);

pub(crate) struct Identity {
    storage: Arc<dyn Storage>,
    folder: Option<PathBuf>,
    is_stateful: bool,
    /// The context of every message, but for what depends on the user.
    context: Vec<u8>,
    /// A child of a fork reads it without a lock that its parent could have held.
    known: ArcSwap<Known>,
    changing: PerProcess<Mutex<()>>,
}

/// What is known at one moment.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// None unless the client remembers who the user is, and while the user has opted out.
    pub(crate) person: Option<Person>,
    pub(crate) privacy: Privacy,
    /// The context of an `identify`, and of everything else while there is no person.
    pub(crate) context: Vec<u8>,
    /// The context of everything else: with the traits.
    pub(crate) context_with_traits: Vec<u8>,
    overruled: Overruled,
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

#[derive(Debug, Clone)]
enum File<T> {
    Absent,
    /// It may be there.
    Unreadable,
    Holds(T),
}

impl<T: PartialEq> File<T> {
    fn is(&self, other: &T) -> bool {
        matches!(self, File::Holds(value) if value == other)
    }

    fn value(self) -> Option<T> {
        match self {
            File::Holds(value) => Some(value),
            File::Absent | File::Unreadable => None,
        }
    }
}

impl Identity {
    /// Reads what is remembered; somebody new is given an anonymous id.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        folder: Option<PathBuf>,
        is_stateful: bool,
        context: Vec<u8>,
    ) -> Self {
        let changing = PerProcess::new(|| Mutex::new(()));
        let identity = Identity { storage, folder, is_stateful, context, known: ArcSwap::default(), changing };
        let stored = identity.stored();
        let may_be_there = matches!(stored.person, File::Unreadable);
        let privacy = match stored.privacy {
            File::Absent => Privacy::default(),
            File::Unreadable => Privacy::unsure(),
            File::Holds(privacy) => privacy,
        };
        let is_wanted = is_stateful && !privacy.opted_out;
        let mut person = stored.person.value().filter(|_| is_wanted);
        if is_wanted && may_be_there {
            // Who it is will be known when it can be read; until then it is somebody who is not kept.
            person.get_or_insert_with(Person::unknown);
        }
        let is_forgotten = privacy.opted_out && privacy != Privacy::unsure();
        identity.known.store(Arc::new(identity.knowing(person, privacy, Overruled::default())));
        if is_forgotten {
            let _ = identity.forget(); // whoever opted out may have died before that
        }
        identity.name(FIRST_LOCK_TRIES);
        identity
    }

    /// What is known right now.
    pub(crate) fn known(&self) -> Guard<Arc<Known>> {
        self.known.load()
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
        let folder = self.folder.as_deref().map_or(Ok(()), |folder| self.storage.create_folder(folder));
        let others = self.lock_out_others(tries);
        let stored = self.stored();
        // The delivery thread may be looking at the same time, and have seen less.
        while !self.take_in(&self.known(), &stored) {}
        Held { identity: self, folder, stored, _others: others, _lock: lock }
    }

    /// Looks at what other processes have changed.
    pub(crate) fn refresh(&self) {
        if self.folder.is_some() {
            // Whoever changes something meanwhile knows better.
            let known = self.known();
            self.take_in(&known, &self.stored());
            self.name(LOCK_TRIES);
        }
    }

    /// Has a person whom nobody knows be somebody. Where that cannot be kept it is somebody else at the next start,
    /// which is said by whatever else is to be kept there.
    fn name(&self, tries: u32) {
        let known = self.known();
        if self.is_stateful && !known.privacy.opted_out && known.person.is_none() {
            let _ = self.hold_trying(tries).change(|(person, _)| {
                person.get_or_insert_with(Person::unknown);
            });
        }
    }

    fn stored(&self) -> Stored {
        Stored {
            person: self.read(PERSON, Person::read),
            // What cannot be understood may have been a no.
            privacy: self.read(PRIVACY, |kept| Some(Privacy::read(kept))),
        }
    }

    fn read<T>(&self, name: &str, parse: impl FnOnce(&[u8]) -> Option<T>) -> File<T> {
        let Some(folder) = self.folder.as_deref().filter(|_| self.is_stateful || name != PERSON) else {
            return File::Absent;
        };
        match self.storage.read(&folder.join(name)) {
            Ok(kept) => parse(&kept).map_or(File::Absent, File::Holds),
            // What this user may not read was not written by this user's client: the folder is no use to it at all.
            Err(error) if is_absence(&error) || error.kind() == io::ErrorKind::PermissionDenied => File::Absent,
            Err(_) => File::Unreadable,
        }
    }

    /// Takes over what the folder said after this was known; false if more is known by now.
    fn take_in(&self, known: &Guard<Arc<Known>>, stored: &Stored) -> bool {
        let default = Privacy::default();
        let privacy = match &stored.privacy {
            File::Holds(now) if !known.overruled.is_privacy(now, &known.privacy) => now,
            // It is never deleted by us. A folder that somebody has emptied says nothing about what its user wants.
            File::Absent if known.privacy == Privacy::unsure() => &default,
            _ => &known.privacy,
        };
        // Who opted out and in again is somebody else.
        let remembered = known.person.as_ref().filter(|_| privacy.wish() == known.privacy.wish());
        let person = match &stored.person {
            _ if !self.is_stateful || privacy.opted_out => None,
            File::Holds(now) if !known.overruled.is_person(now) => Some(now),
            _ => remembered,
        };
        let (is_same_person, is_same_privacy) = (person == known.person.as_ref(), *privacy == known.privacy);
        if is_same_person && is_same_privacy {
            return true;
        }
        let overruled = Overruled {
            person: known.overruled.person.clone().filter(|_| is_same_person),
            privacy: known.overruled.privacy.clone().filter(|_| is_same_privacy),
        };
        let fresh = Arc::new(self.knowing(person.cloned(), privacy.clone(), overruled));
        let before = self.known.compare_and_swap(known, fresh);
        Arc::ptr_eq(&before, known)
    }

    fn forget(&self) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let _ = self.storage.remove(&folder.join(PERSON_UNFINISHED));
        match self.storage.remove(&folder.join(PERSON)) {
            Err(error) if !is_absence(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn lock_out_others(&self, tries: u32) -> Option<Lock> {
        let path = self.folder.as_deref()?.join("identity.lock");
        for _ in 0..tries {
            match self.storage.lock(&path) {
                Ok(Some(lock)) => return Some(lock),
                Ok(None) => std::thread::sleep(LOCK_PAUSE),
                Err(_) => return None,
            }
        }
        None
    }

    fn knowing(&self, person: Option<Person>, privacy: Privacy, overruled: Overruled) -> Known {
        let mut context = self.context.clone();
        if let Ok(categories) = std::str::from_utf8(&privacy.consent)
            && !categories.is_empty()
        {
            let preferences = Object::from([("categoryPreferences", Value::Json(categories))]);
            merge(&mut context, &Object::from([("consent", &preferences)]));
        }
        let mut context_with_traits = context.clone();
        let traits = person.as_ref().map_or(&[][..], |person| &person.traits);
        if let Ok(traits) = std::str::from_utf8(traits)
            && !traits.is_empty()
        {
            merge(&mut context_with_traits, &Object::from([("traits", Value::Json(traits))]));
        }
        Known { person, privacy, context, context_with_traits, overruled }
    }
}

/// The right to change what is known.
pub(crate) struct Held<'a> {
    identity: &'a Identity,
    /// Whether the folder could be made.
    folder: io::Result<()>,
    stored: Stored,
    _others: Option<Lock>,
    _lock: MutexGuard<'a, ()>,
}

impl Held<'_> {
    /// Whether nobody knows if somebody is remembered: the disk does not say.
    pub(crate) fn is_person_unsure(&self) -> bool {
        matches!(self.stored.person, File::Unreadable)
    }

    /// What would be known after a change.
    pub(crate) fn foresee(&self, change: impl FnOnce(&mut (Option<Person>, Privacy))) -> Known {
        let known = self.identity.known();
        let mut after = (known.person.clone(), known.privacy.clone());
        change(&mut after);
        self.identity.knowing(after.0, after.1, known.overruled.clone())
    }

    /// Changes what is known, and keeps it. It counts in this process even where it cannot be kept.
    pub(crate) fn change(&self, change: impl FnOnce(&mut (Option<Person>, Privacy))) -> Result<(), Error> {
        let known = self.identity.known();
        let mut after = (known.person.clone(), known.privacy.clone());
        change(&mut after);
        let (person, privacy) = after;
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
        self.identity.known.store(Arc::new(self.identity.knowing(person, privacy, overruled)));
        person_kept.and(privacy_kept).map_err(|error| {
            let error = self.folder.as_ref().err().unwrap_or(&error);
            Error::new(ErrorKind::Storage, format!("what is known of the user could not be kept: {error}"))
        })
    }

    fn write_person(&self, person: Option<&Person>, privacy: &Privacy, known: &Known) -> io::Result<()> {
        let Some(folder) = &self.identity.folder else { return Ok(()) };
        match person {
            Some(person) if self.stored.person.is(person) => Ok(()),
            Some(person) => {
                let json = person.to_json().map_err(io::Error::other)?;
                self.identity.storage.replace(&folder.join(PERSON), json.as_bytes())
            }
            None if privacy.opted_out || privacy.wish() != known.privacy.wish() => self.identity.forget(),
            None => Ok(()),
        }
    }

    fn write_privacy(&self, privacy: &Privacy, known: &Known) -> io::Result<()> {
        let Some(folder) = &self.identity.folder else { return Ok(()) };
        let is_missing = matches!(self.stored.privacy, File::Absent) && *privacy != Privacy::default();
        // What failed before is written again: it may be there, and have reached no disk.
        if *privacy == known.privacy && known.overruled.privacy.is_none() && !is_missing {
            return Ok(());
        }
        let (storage, path) = (&self.identity.storage, folder.join(PRIVACY));
        storage.replace(&path, privacy.to_json().map_err(io::Error::other)?.as_bytes())?;
        // Somebody who opted out must not be tracked again because the power went.
        storage.sync(&path)?;
        storage.sync(folder)
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
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
