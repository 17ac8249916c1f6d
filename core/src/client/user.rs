//! What the client remembers of its user: who they are, what they agreed to, and whether they want to be tracked at
//! all.

use std::time::Duration;

use crate::base::error::{Error, ErrorKind};
use crate::base::hooks::Level;
use crate::base::id;
use crate::client::client::{Client, Seen};
use crate::client::process::Process;
use crate::json::object::Object;
use crate::json::scan;
use crate::message::message::{self, Message, Options};
use crate::message::rules::{self, Call};
use crate::user::identity::{Held, Known};
use crate::user::person::{self, App, Choice, Person, Privacy};

/// How long opting out waits until what was thrown away is deleted from the disk too. It is deleted in any case.
const ERRANDS_MAX: Duration = Duration::from_secs(1);

/// Tells Unify of a new choice (<https://www.twilio.com/docs/segment/privacy/consent-management/consent-in-unify>).
const CONSENT_UPDATED: &str = "Segment Consent Preference Updated";

impl Client {
    /// The anonymous id of a client that is [stateful](crate::Config::stateful).
    pub fn anonymous_id(&self) -> Option<String> {
        Some(self.identity().known().person.as_ref()?.anonymous_id.clone())
    }

    /// The last user id that a client that is [stateful](crate::Config::stateful) was given.
    pub fn user_id(&self) -> Option<String> {
        self.identity().known().person.as_ref()?.user_id.clone()
    }

    /// Forgets the user and their traits, at a logout for example, and makes a new anonymous id.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] unless the client is [stateful](crate::Config::stateful); [`ErrorKind::Storage`] if it
    /// could not be stored: then the user is known again at the next start.
    pub fn reset(&self) -> Result<(), Error> {
        self.reset_person().map_err(|error| self.refuse(error))
    }

    fn reset_person(&self) -> Result<(), Error> {
        if !self.identity().is_stateful() {
            return Err(Error::invalid("reset needs a client that is stateful"));
        }
        self.hold()?.change(|(person, _)| {
            let app = person.take().and_then(|person| person.app);
            *person = Some(Person { app, ..Person::unknown() });
        })
    }

    /// Holds off other changes, so that what is known does not change between being read and being used. An error if
    /// the user has opted out.
    fn hold(&self) -> Result<Held<'_>, Error> {
        let process = self.process();
        process.refuse_in_before_send()?;
        let held = self.identity().hold();
        process.shared.apply_privacy();
        process.shared.queue.check_open()?;
        Ok(held)
    }

    /// From now on every message says what the user agreed to: `categories` has a boolean for each category, and is
    /// sent as `context.consent.categoryPreferences`. None: messages no longer say it. A new choice is tracked as
    /// `Segment Consent Preference Updated` by a client that is [stateful](crate::Config::stateful); any other does not
    /// know whose choice it is. Another process with the same spool uses it from its next request on.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a category that is not a boolean, and for none at all; [`ErrorKind::Storage`] if it
    /// could not be stored: then it is unknown at the next start.
    pub fn set_consent<'a>(&self, categories: impl Into<Option<&'a Object>>) -> Result<(), Error> {
        self.set_categories(categories.into()).map_err(|error| self.refuse(error))
    }

    fn set_categories(&self, categories: Option<&Object>) -> Result<(), Error> {
        let mut bytes = Vec::new();
        if let Some(categories) = categories {
            categories.append_to(&mut bytes).map_err(|error| error.in_argument("categories"))?;
            person::check_consent(&bytes)?;
        }
        if bytes.len() > person::TRAITS_MAX_BYTES {
            let text = format!("categories must not have more than {} bytes of JSON", person::TRAITS_MAX_BYTES);
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        let held = self.hold()?;
        if person::is_same(&self.identity().known().privacy.consent, &bytes) {
            return Ok(());
        }
        let is_given = !bytes.is_empty();
        let change = |_: &mut Option<Person>, privacy: &mut Privacy| privacy.consent = bytes;
        let chosen = held.foresee(|(person, privacy)| change.clone()(person, privacy));
        self.check_room(&chosen)?;
        if is_given && self.identity().is_stateful() {
            // It is tracked first: if that is refused nothing has changed, and the caller can try again.
            let message = Message {
                call: Call::Track,
                user_id: None,
                subject: Some(CONSENT_UPDATED),
                payload: None,
                options: Options::default(),
            };
            self.write(self.process(), &message, &chosen, &mut |_| Ok(()))?;
        }
        held.change(|(person, privacy)| change(person, privacy))
    }

    /// Every message carries the consent, which must leave room for the rest.
    fn check_room(&self, chosen: &Known) -> Result<(), Error> {
        let (integrations, is_stateful) = (&self.prepared().integrations, self.identity().is_stateful());
        match message::smallest_bytes(&chosen.context, integrations, is_stateful) > rules::MAX_MESSAGE_BYTES {
            true => Err(Error::new(ErrorKind::TooLarge, "categories leave no room for a message beside the context")),
            false => Ok(()),
        }
    }

    /// The user does not want to be tracked. From now on no messages are taken or sent; what waits is thrown away, here
    /// and in every other process with the same spool, before it sends anything more. This lasts until
    /// [`opt_in`](Client::opt_in). The user's ids and traits are forgotten.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] if it could not be stored: then it counts in this process only.
    pub fn opt_out(&self) -> Result<(), Error> {
        self.opt(true)
    }

    /// The user agrees to be tracked, for the first time or again. What was held with
    /// [`ask_first`](crate::Config::ask_first) is released: with a spool it is there when this returns, unless that
    /// takes more than a second or the disk fails. What was thrown away does not come back; after a no, a client that
    /// is [stateful](crate::Config::stateful) begins with a new anonymous id. While the user's choice is unknown,
    /// because the spool's record of it cannot be read or was damaged, calls fail with [`ErrorKind::Storage`], and
    /// nothing is sent or thrown away; after damage, until the user opts in or out.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] if it could not be stored: then it counts in this process only. Also if the user had not
    /// opted out here, and the choice that other processes have stored cannot be read: then nothing changes.
    pub fn opt_in(&self) -> Result<(), Error> {
        self.opt(false)
    }

    /// Whether the user has opted out.
    pub fn is_opted_out(&self) -> bool {
        self.identity().known().wish.opted_out
    }

    /// What the user has answered, with or without [`ask_first`](crate::Config::ask_first), in this run or an earlier
    /// one with the same spool. A process that waits for the answer learns within 30 seconds what another was told, all
    /// others at their next request. [`Choice::Out`] is also returned for what counts as a no: the spool's record of
    /// the answer cannot be read or was damaged, or, with `ask_first`, `DO_NOT_TRACK` is set.
    pub fn opt_state(&self) -> Choice {
        let known = self.identity().known();
        if known.wish.opted_out { Choice::Out } else { known.privacy.choice() }
    }

    fn opt(&self, out: bool) -> Result<(), Error> {
        self.opt_and_heed(out).map_err(|error| self.refuse(error))
    }

    fn opt_and_heed(&self, out: bool) -> Result<(), Error> {
        let process = self.process();
        process.refuse_in_before_send()?;
        // First of all nothing more is taken or sent, without waiting for other changes of the user or for the disk.
        let opting_out = out.then(|| process.shared.queue.stop_taking());
        if out {
            process.interrupt();
        }
        let is_stateful = self.identity().is_stateful();
        let held = self.identity().hold_to_answer();
        let unread = held.unread_privacy();
        let before = self.identity().known().wish;
        let kept = match unread {
            // A yes that changes nothing here must not overwrite the no of another process.
            Some(error) if !out && !before.opted_out && !before.is_unanswered => Err(error),
            unread => held.change(|(person, privacy)| {
                // A no that changes nothing here may be news for another process.
                if privacy.opted_out != out || privacy.unsure.is_some() || out && unread.is_some() {
                    *privacy = privacy.opted(out, crate::base::time::now_ms());
                }
                // A first answer of yes changes nothing for what waits.
                privacy.opted_in = !out;
                if !out && is_stateful {
                    // The app is not new, though its user is.
                    person.get_or_insert_with(|| Person { app: self.release(), ..Person::unknown() });
                }
            }),
        };
        drop(opting_out);
        drop(held); // after the guard, so that the next opt-in counts
        process.shared.apply_privacy();
        process.shared.queue.wait_for_errands(ERRANDS_MAX);
        if before.holds() {
            process.start_if_needed();
            process.shared.queue.wait_for_rescue(ERRANDS_MAX);
        }
        kept
    }

    /// Queues an `identify` or an `alias`, and remembers what it says. Both happen under one lock, so that two threads
    /// cannot interleave.
    pub(crate) fn send_and_remember(
        &self,
        process: &Process,
        message: &Message<'_>,
        seen: Seen<'_>,
    ) -> Result<(), Error> {
        let held = self.hold()?;
        let known = self.identity().known();
        // While the user has opted out no user is remembered; the queue returns the error.
        let Some(person) = known.person.as_ref() else { return self.write(process, message, &known, seen) };
        let mut message = *message;
        let (merged, remembered);
        let mut is_too_much = false;
        match message.call {
            Call::Identify => {
                let mut traits = Vec::new();
                if let Some(given) = message.payload {
                    given.append_to(&mut traits).map_err(|error| error.in_argument("traits"))?;
                }
                let is_named = message.user_id.is_none_or(|user_id| !user_id.is_empty());
                let identified = is_named.then(|| person.identified(message.user_id, &traits));
                is_too_much = identified.as_ref().is_some_and(|(_, is_remembered)| !is_remembered);
                remembered = identified.map(|(person, _)| person);
                // A message about a new user must not carry the anonymous id of the one before.
                if let Some(now) = remembered.as_ref() {
                    message.options.anonymous_id = message.options.anonymous_id.or(Some(&now.anonymous_id));
                    // All known traits are sent; traits that are too large to be remembered are sent once, alone.
                    if now.traits.len() > traits.len()
                        && !is_too_much
                        && let Ok(all) = std::str::from_utf8(&now.traits)
                    {
                        merged = Object::parse(all)?;
                        message.payload = Some(&merged);
                    }
                }
            }
            _ => {
                message.subject = message.subject.or(Some(person.id()));
                remembered = message.user_id.filter(|user_id| !user_id.is_empty()).map(|id| person.aliased(id));
            }
        }
        self.write(process, &message, &known, seen)?;
        if is_too_much {
            let sentence = format!(
                "traits of more than {} bytes are sent, but not remembered: those known before stay",
                person::TRAITS_MAX_BYTES
            );
            process.warn_once("traits", String::new(), sentence);
        }
        if let Some(remembered) = remembered
            && remembered != *person
        {
            let kept = held.change(|(person, _)| *person = Some(remembered.clone()));
            if let Err(error) = kept {
                // No error of the call: the message was taken, and this process knows the user.
                process.note(Level::Warning, error.to_string());
            }
        }
        Ok(())
    }

    /// Which release of the app this is, if its lifecycle is tracked.
    fn release(&self) -> Option<App> {
        let context = self.identity().settled_context();
        scan::member(context, "app").map(App::read).filter(|_| self.config().lifecycle)
    }

    /// Tracks that the app was opened, and whether it is new or was updated since the last time
    /// (<https://www.twilio.com/docs/segment/connections/spec/mobile>).
    pub(crate) fn track_lifecycle(&self) {
        if !self.config().lifecycle {
            return;
        }
        let known = self.identity().known();
        if known.wish.opted_out {
            return;
        }
        let app = self.release().unwrap_or_default();
        // Without a folder it is not known whether there was an earlier time.
        if self.config().spool_dir.is_some() {
            self.track_release(&app);
        }
        let mut properties = Object::from([("from_background", false)]);
        app.describe("version", "build", &mut properties);
        let _ = self.track(None, "Application Opened", &properties, None);
    }

    /// Tracks that the app is new here, or another release of it than before.
    fn track_release(&self, app: &App) {
        let Ok(held) = self.hold() else { return };
        let known = self.identity().known();
        let Some(person) = known.person.as_ref().filter(|_| !held.is_person_unsure()) else { return };
        let mut properties = Object::new();
        app.describe("version", "build", &mut properties);
        let event = match &person.app {
            None => "Application Installed",
            Some(before) if before != app => {
                before.describe("previous_version", "previous_build", &mut properties);
                "Application Updated"
            }
            Some(_) => return,
        };
        // If the process is killed before this is remembered, it is tracked again with the same id, and Segment keeps
        // only one of them.
        let [version, build] = [&app.version, &app.build].map(|text| text.as_deref().unwrap_or_default());
        let message_id = id::named(&format!("{}#{event}#{version}#{build}", person.anonymous_id));
        let message = Message {
            call: Call::Track,
            user_id: None,
            subject: Some(event),
            payload: Some(&properties),
            options: Options { message_id: Some(&message_id), ..Options::default() },
        };
        let process = self.process();
        // Where nothing can be written this would be tracked at each start, with another anonymous id each time. So the
        // person whose id is in the message is written to the disk before the message is queued.
        let tracked = held.keep_person().and_then(|()| {
            self.write(process, &message, &known, &mut |_| Ok(()))?;
            held.change(|(person, _)| person.iter_mut().for_each(|person| person.app = Some(app.clone())))
        });
        if let Err(error) = tracked {
            process.note(Level::Warning, format!("{event} could not be tracked, or may be tracked again: {error}"));
        }
    }
}

#[cfg(test)]
#[path = "user_tests.rs"]
mod tests;
