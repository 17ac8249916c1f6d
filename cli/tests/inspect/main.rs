//! `segment inspect` from outside: the real program, real HTTP, what it answers and what it prints.

mod endpoints;
mod http;
mod output;
mod page;
#[path = "../common/patience.rs"]
mod patience;
mod process;
mod refusals;
mod warnings;

/// An event with which nothing is wrong.
fn good(id: &str) -> String {
    format!(
        concat!(
            r#"{{"type":"track","event":"Song Played","userId":"u1","messageId":"{id}","#,
            r#""timestamp":"2026-01-02T03:04:05.678Z","properties":{{"n":1}}}}"#,
        ),
        id = id
    )
}

/// A batch of events, with a write key.
fn batch(events: &[String]) -> String {
    format!(r#"{{"batch":[{}],"writeKey":"wk","sentAt":"2026-01-02T03:04:06.000Z"}}"#, events.join(","))
}
