//! `segment import` and SIGKILL: whatever happens, in the end every row is there once, as message ids count.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::import::{numbers, rows};
use crate::patience::until;
use crate::program::{Folder, command, run};
use crate::server::{Answer, Server};

#[test]
fn ten_kills_in_the_middle_lose_nothing_and_repeat_no_id() {
    let (rows_max, life_max) = (12_000, 700);
    for name in ["a.jsonl", "b.csv"] {
        let (server, folder) = (Server::new(), Folder::new());
        let text = if name.ends_with("csv") {
            (0..rows_max).fold("userId,event,n\n".to_owned(), |text, n| text + &format!("u,E,{n}\n"))
        } else {
            rows(rows_max)
        };
        // Every hundredth row is against the rules: they must be in the file of refused rows once, too.
        let bad = |n: usize| if n % 100 == 99 { "" } else { "E" };
        let text = text.lines().enumerate().map(|(n, line)| line.replace("\"E\"", &format!("\"{}\"", bad(n))) + "\n");
        let file = folder.write(name, text.collect::<String>());
        server.always(Answer::status(200).slow(30));
        let arguments = ["import", file.as_str(), "--rate", "8000", "--no-check", "--set", "type=track", "--quiet"];
        for kill in 1..=10 {
            let before = server.count();
            let mut child = command(&server.url, &arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it starts");
            // However slowly we look, it does not come to its end.
            server.hold_at(before + life_max);
            until("some rows have arrived", || server.count() >= before + 300);
            thread::sleep(Duration::from_millis(kill * 23 % 90));
            assert!(child.try_wait().expect("asked").is_none(), "{name}: it ended before kill {kill}");
            child.kill().expect("killed"); // SIGKILL
            child.wait().expect("it ends");
            server.cut();
        }
        server.release();
        server.always(Answer::status(200));
        let last: Vec<&str> =
            arguments.iter().map(|argument| if *argument == "8000" { "0" } else { argument }).collect();
        let done = run(&server.url, &last);
        let refused = if name.ends_with("csv") { 0 } else { rows_max / 100 };
        assert_eq!(done.code, i32::from(refused > 0), "{}", done.err);
        let messages = server.messages();
        let mut by_id = BTreeMap::new();
        for message in &messages {
            let n = message["properties"]["n"].as_u64();
            let before = by_id.insert(message["messageId"].as_str().expect("text"), n);
            assert!(before.is_none_or(|before| before == n), "{name}: one id for two rows");
        }
        let mut once: Vec<u64> = by_id.values().copied().flatten().collect();
        once.sort_unstable();
        let good = (0..rows_max as u64).filter(|n| refused == 0 || n % 100 != 99);
        assert_eq!(once, good.collect::<Vec<_>>(), "{name}: every row once");
        assert!(numbers(&messages).len() >= once.len());
        if refused > 0 {
            assert_eq!(folder.read(".refused.jsonl").lines().count(), refused, "and every refused row once");
        }
    }
}
