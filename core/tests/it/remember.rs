//! A process is killed at any moment while it changes what it knows of its user. Afterwards it knows the effect of all
//! calls, the one that was under way wholly or not at all; and an opt-out counts.

#![cfg(unix)]

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::child::*;
use segment_native::{Client, Config, Object, Options};
use serde_json::Value;

/// The programs that are killed.
#[test]
fn child_main() {
    match part().as_deref() {
        Some("live") => live(),
        Some(other) => panic!("no such part: {other}"),
        None => {}
    }
}

fn stateful(url: &str, folder: &Path) -> Config {
    Config { stateful: true, ..config(url, folder) }
}

/// What is remembered, as a note: anonymous id, user id, a trait, a choice, and whether the user has opted out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    anonymous: String,
    user: String,
    traits: String,
    ads: String,
    out: bool,
}

/// Stands for a value that is absent.
const NONE: &str = "-";

impl Known {
    /// Reads it from the client, and checks that the folder holds the same.
    fn of(client: &Client, folder: &Path) -> Known {
        let file = |name: &str| -> Value {
            fs::read(folder.join("segment-native").join(name))
                .map(|kept| serde_json::from_slice(&kept).expect("JSON"))
                .unwrap_or_default()
        };
        let (person, privacy) = (file("identity.json"), file("privacy.json"));
        let text = |value: &Value| match value {
            Value::Null => NONE.to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let known = Known {
            anonymous: client.anonymous_id().unwrap_or(NONE.to_owned()),
            user: client.user_id().unwrap_or(NONE.to_owned()),
            traits: text(&person["traits"]["t"]),
            ads: text(&privacy["consent"]["ads"]),
            out: client.is_opted_out(),
        };
        assert_eq!(text(&person["anonymousId"]), known.anonymous, "the file says what the client says");
        assert_eq!(text(&person["userId"]), known.user);
        assert_eq!(privacy["optedOut"] == true, known.out);
        known
    }

    fn note(&self) -> String {
        let Known { anonymous, user, traits, ads, out } = self;
        format!("{anonymous} {user} {traits} {ads} {out}")
    }

    fn read(note: &str) -> Known {
        let [anonymous, user, traits, ads, out] = note.split(' ').collect::<Vec<_>>()[..] else { panic!("{note}") };
        let [anonymous, user, traits, ads] = [anonymous, user, traits, ads].map(str::to_owned);
        Known { anonymous, user, traits, ads, out: out == "true" }
    }

    /// What it is after a call. A new anonymous id is taken from `now`.
    fn after(&self, call: &str, now: &Known) -> Known {
        let new = || now.anonymous.clone();
        let words: Vec<&str> = call.split(' ').collect();
        match words[..] {
            ["out"] => {
                Known { anonymous: NONE.into(), user: NONE.into(), traits: NONE.into(), out: true, ..self.clone() }
            }
            ["in"] if self.out => Known { anonymous: new(), out: false, ..self.clone() },
            _ if self.out => self.clone(),
            ["reset"] => Known { anonymous: new(), user: NONE.into(), traits: NONE.into(), ..self.clone() },
            ["identify", user, traits] => Known {
                anonymous: if self.user == NONE || self.user == user { self.anonymous.clone() } else { new() },
                user: user.into(),
                traits: traits.into(),
                ..self.clone()
            },
            ["alias", user] => Known { user: user.into(), ..self.clone() },
            ["consent", ads] => Known { ads: ads.into(), ..self.clone() },
            _ => self.clone(),
        }
    }

    /// Whether it can be the result of this call: everything as expected, and a new anonymous id where one is expected.
    fn came_of(&self, before: &Known, call: &str) -> bool {
        let is_new = call == "reset" && !before.out || call == "in" && before.out;
        *self == before.after(call, self) && !(is_new && self.anonymous == before.anonymous)
    }
}

/// Changes what is known and tracks until it is killed. Notes before each call what it is about to do, and afterwards
/// what is known.
fn live() {
    let folder = told("FOLDER");
    let client = Arc::new(Client::new(stateful(&told("URL"), Path::new(&folder))).expect("good settings"));
    let notes = Arc::new(Notes::open(&told("NOTES")));
    notes.write(&format!("is {}", Known::of(&client, Path::new(&folder)).note()));
    let run = told("RUN");
    {
        let (client, notes, run) = (client.clone(), notes.clone(), run.clone());
        std::thread::spawn(move || {
            let mut random = Random(1);
            for n in 0.. {
                let id = format!("{run}-{n}");
                notes.write(&format!("try {id}"));
                let options = Options { message_id: Some(&id), ..Options::default() };
                let taken = client.track(None, &format!("Event {id}"), None, options).is_ok();
                // A message that is in memory because the disk stalls may be lost with the process.
                let verdict = if client.stats().in_memory == 0 { "took" } else { "holds" };
                notes.write(&format!("{} {id}", if taken { verdict } else { "refused" }));
                std::thread::sleep(Duration::from_micros(random.below(2_000)));
            }
        });
    }
    let mut random = Random(told_number("SEED") as u64);
    for n in 0.. {
        let user = format!("u{}", random.below(3));
        let call = match random.below(40) {
            0 => "out".to_owned(),
            1..7 => "in".to_owned(),
            7..10 => "reset".to_owned(),
            10..25 => format!("identify {user} {n}"),
            25..32 => format!("alias {user}"),
            _ => format!("consent {}", random.below(2) == 0),
        };
        notes.write(&format!("call {call}"));
        // While the user has opted out most calls are refused.
        let _ = match call.split(' ').collect::<Vec<_>>()[..] {
            ["out"] => client.opt_out(),
            ["in"] => client.opt_in(),
            ["reset"] => client.reset(),
            ["identify", user, _] => client.identify(user, &Object::from([("t", n)]), None),
            ["alias", user] => client.alias(user, None, None),
            ["consent", ads] => client.set_consent(&Object::from([("ads", ads == "true")])),
            _ => unreachable!("one of these"),
        };
        notes.write(&format!("is {}", Known::of(&client, Path::new(&folder)).note()));
        std::thread::sleep(Duration::from_micros(random.below(1_500)));
    }
}

/// The result of the notes of many lives.
#[derive(Default)]
struct Story {
    /// Tracked while the user had opted out.
    denied: HashSet<String>,
    /// Accepted, without an opt-out afterwards.
    wanted: HashSet<String>,
    /// Accepted before the user opted out for the last time.
    purged: HashSet<String>,
    /// Calls that returned.
    calls: usize,
    /// Deaths in the middle of a call, and how many of these calls had changed something already.
    interrupted: usize,
    changed: usize,
    is_out: bool,
}

/// What must become of a message that is being tracked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Must {
    BeTaken,
    BeRefused,
    /// The choice is changing at this moment.
    Whatever,
}

/// Checks that what is known changes as it should, and never to a mixture.
fn read(notes: &[String]) -> Story {
    let mut story = Story::default();
    let mut known: Option<Known> = None;
    let mut under_way: Option<&str> = None;
    let mut has_died = false;
    // Accepted before an opt-out of which it is not known yet whether it was stored.
    let mut doubtful = HashSet::new();
    let mut tried: HashMap<&str, Must> = HashMap::new();
    for note in notes {
        match note.split_once(' ').expect("two words") {
            ("call", call) => {
                under_way = Some(call);
                if matches!(call, "out" | "in") {
                    tried.values_mut().for_each(|must| *must = Must::Whatever);
                }
                if call == "out" {
                    doubtful.extend(story.wanted.drain());
                }
            }
            ("is", now) => {
                let now = Known::read(now);
                if let Some(before) = &known {
                    let call = under_way.take().unwrap_or("nothing");
                    let came_of = now.came_of(before, call);
                    let is_good = came_of || has_died && now == *before;
                    assert!(is_good, "after {call}, death: {has_died}, {before:?} has become {now:?}");
                    story.calls += usize::from(!has_died);
                    story.changed += usize::from(has_died && now != *before);
                }
                if now.out {
                    story.purged.extend(story.wanted.drain().chain(doubtful.drain()));
                }
                doubtful.clear(); // it died without an opt-out stored: these may be either
                story.is_out = now.out;
                (known, has_died) = (Some(now), false);
            }
            ("died", _) => {
                tried.clear();
                has_died = true;
                story.interrupted += usize::from(under_way.is_some());
            }
            ("try", id) => {
                let must = match (story.is_out, under_way) {
                    (true, Some("in")) | (false, Some("out")) => Must::Whatever,
                    (true, _) => Must::BeRefused,
                    (false, _) => Must::BeTaken,
                };
                tried.insert(id, must);
            }
            (verdict @ ("took" | "holds"), id) => {
                let must = tried.remove(id);
                assert!(must != Some(Must::BeRefused), "{id} was taken from one who had opted out");
                if must == Some(Must::BeTaken) && verdict == "took" {
                    story.wanted.insert(id.to_owned());
                }
            }
            ("refused", id) => {
                assert!(tried.remove(id) != Some(Must::BeTaken), "{id} was refused to one who had not opted out");
                story.denied.insert(id.to_owned());
            }
            _ => panic!("{note}"),
        }
    }
    story
}

/// A folder with its notes and its server.
struct Scene {
    folder: Folder,
    sink: Sink,
    notes: String,
    is_offline: bool,
}

impl Scene {
    /// Offline nothing is delivered before the end: then nothing from before the last opt-out may ever arrive.
    fn new(is_offline: bool) -> Scene {
        let folder = Folder::new();
        let notes = folder.beside("notes");
        Scene { folder, sink: Sink::new(if is_offline { Mode::Refuse(503) } else { Mode::Good }), notes, is_offline }
    }

    fn start(&self, run: &str, seed: u64, point: Option<String>) -> Program {
        let (url, seed) = (self.sink.url(), seed.to_string());
        let told = [("URL", url.as_str()), ("FOLDER", self.folder.text()), ("NOTES", &self.notes)];
        let mut command = program("live", &[told.as_slice(), &[("RUN", run), ("SEED", &seed)]].concat());
        if let Some(point) = point {
            command.env("SEGMENT_KILL_AT", point);
        }
        Program::start(command)
    }

    fn died(&self, run: &str) {
        Notes::open(&self.notes).write(&format!("died {run}"));
    }

    /// Delivers what is left, and compares what arrived with the notes.
    fn check(&self) -> Story {
        let story = read(&read_notes(&self.notes));
        self.sink.set(Mode::Good);
        let client = Client::new(stateful(&self.sink.url(), &self.folder.0)).expect("good settings");
        client.opt_in().expect("kept");
        client.flush(patience()).expect("all is settled");
        balanced(&client.stats());
        drop(client);
        let received = self.sink.received().into_iter();
        let stored: HashSet<String> = received.filter(|(_, message)| message.stored > 0).map(|(id, _)| id).collect();
        let found = |ids: &HashSet<String>| ids.intersection(&stored).cloned().collect::<Vec<_>>();
        assert_eq!(found(&story.denied), Vec::<String>::new(), "tracked while the user had opted out, and sent");
        if self.is_offline {
            assert_eq!(found(&story.purged), Vec::<String>::new(), "kept when the user opted out, and sent");
        }
        let lost: Vec<_> = story.wanted.difference(&stored).collect();
        let (count, all) = (lost.len(), story.wanted.len());
        assert!(lost.is_empty(), "{count} of {all} accepted messages are lost: {:?}", some(&lost));
        story
    }
}

/// The sums of many stories.
#[derive(Default)]
struct Figures {
    calls: usize,
    interrupted: usize,
    changed: usize,
    wanted: usize,
    purged: usize,
    denied: usize,
}

impl Figures {
    fn add(&mut self, story: &Story) {
        self.calls += story.calls;
        self.interrupted += story.interrupted;
        self.changed += story.changed;
        self.wanted += story.wanted.len();
        self.purged += story.purged.len();
        self.denied += story.denied.len();
    }

    fn tell(&self, name: &str, kills: usize, seed: Option<u64>) {
        let Figures { calls, interrupted, changed, wanted, purged, denied } = *self;
        let size = [
            (kills, "kills"),
            (interrupted, "of them in the middle of a call"),
            (changed, "of these after it had changed something"),
            (calls, "calls that returned"),
            (wanted, "messages accepted"),
            (purged, "opted out of"),
            (denied, "refused"),
        ];
        campaign(name, &size, seed, "0 mixtures, 0 lost, 0 sent while opted out");
    }
}

/// S1, S69: at random moments.
#[test]
fn a_process_killed_while_it_changes_what_it_knows_never_knows_a_mixture() {
    const KILLS_A_FOLDER: usize = 20;
    const SEED: u64 = 69;
    let kills = rounds(100);
    let mut random = Random(SEED);
    let mut figures = Figures::default();
    for cycle in 0..kills / KILLS_A_FOLDER {
        let scene = Scene::new(cycle % 2 == 1);
        for run in 0..KILLS_A_FOLDER {
            let before = notes_bytes(&scene.notes);
            let program = scene.start(&format!("{cycle}-{run}"), random.below(1 << 30), None);
            assert!(wait_until(|| notes_bytes(&scene.notes) > before), "it lives");
            std::thread::sleep(Duration::from_micros(1_000 + random.below(39_000)));
            program.kill();
            scene.died(&run.to_string());
        }
        figures.add(&scene.check());
    }
    figures.tell("at random moments, while what is known of the user changes", kills, Some(SEED));
}

/// S2, S69: between any two steps that change a file.
#[test]
#[cfg(feature = "kill-points")]
fn a_process_killed_at_any_step_of_a_change_never_knows_a_mixture() {
    const TIMES: [u64; 6] = [1, 2, 3, 5, 8, 12];
    let mut figures = Figures::default();
    let mut kills = 0;
    for point in ["lock-made", "create-named", "replace-written", "replaced", "remove-before", "removed"] {
        let live = |is_offline| {
            let scene = Scene::new(is_offline);
            for time in TIMES {
                let program = scene.start(&format!("{point}-{time}"), time, Some(format!("{point}:{time}")));
                let status = program.ended(patience());
                assert!(died_by_kill(status), "{point}:{time}: {status}");
                scene.died(point);
            }
            scene.check()
        };
        let stories = std::thread::scope(|scope| {
            [true, false].map(|is_offline| scope.spawn(move || live(is_offline))).map(|story| story.join())
        });
        for story in stories {
            figures.add(&story.expect("no mixture"));
            kills += TIMES.len();
        }
    }
    figures.tell("at each step of such a change", kills, None);
}
