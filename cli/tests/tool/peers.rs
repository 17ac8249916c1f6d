//! Segment's own clients, from their registries, as users of `segment inspect`: every event they send appears.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::patience::{self, output};
use crate::program::{KEY, command, skip};

/// So many track events besides one of each of the six calls.
const TRACKS: usize = 300;

const PYTHON: &str = r#"
import datetime, sys
from segment.analytics.client import Client
for gzip in (False, True):
    client = Client(sys.argv[2], host=sys.argv[1], gzip=gzip, on_error=lambda error, items: sys.exit(str(error)))
    name = 'Zip' if gzip else 'Py'
    for n in range(int(sys.argv[3])):
        client.track('u', f'{name} Event {n}', {'n': n, 'at': datetime.datetime.now(datetime.timezone.utc)})
    client.identify('u', {'plan': 'pro'})
    client.page('u', 'Docs', f'{name} Page', {})
    client.screen('u', 'Game', f'{name} Screen', {})
    client.group('u', f'{name} Group', {'name': 'Initech'})
    client.alias(f'{name} Before', 'u')
    client.shutdown()
"#;

const NODE: &str = r#"
const { Analytics } = require('@segment/analytics-node')
const [host, writeKey, tracks] = process.argv.slice(2)
const analytics = new Analytics({ host, writeKey, flushAt: 50 })
analytics.on('error', (error) => { console.error(error); process.exit(1) })
for (let n = 0; n < Number(tracks); n++) analytics.track({ userId: 'u', event: `Js Event ${n}`, properties: { n } })
analytics.identify({ userId: 'u', traits: { plan: 'pro' } })
analytics.page({ userId: 'u', name: 'Js Page' })
analytics.screen({ userId: 'u', name: 'Js Screen' })
analytics.group({ userId: 'u', groupId: 'Js Group' })
analytics.alias({ userId: 'u', previousId: 'Js Before' })
analytics.closeAndFlush().then(() => process.exit(0))
"#;

/// Where what is installed is kept from run to run.
fn kept(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("made");
    folder
}

fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

/// What `segment inspect` printed while a client was sending to it.
fn seen(client: &mut Command) -> Vec<String> {
    let mut collector = command("", &["inspect", "--port", "0"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut out = BufReader::new(collector.stdout.take().expect("its output"));
    let mut first = String::new();
    out.read_line(&mut first).expect("a line");
    let url = first.trim().split(' ').next_back().expect("the address").to_owned();
    let reader = std::thread::spawn(move || {
        let mut rest = String::new();
        out.read_to_string(&mut rest).expect("text");
        rest
    });
    let sent = output(client.args([&url, KEY, &TRACKS.to_string()]), b"");
    let ended = Command::new("kill").args(["-TERM", &collector.id().to_string()]).status().expect("kill runs");
    assert!(ended.success());
    patience::ended(&mut collector);
    let lines = reader.join().expect("no panic");
    assert!(sent.status.success(), "{}\n{lines}", String::from_utf8_lossy(&sent.stderr));
    lines.lines().map(str::to_owned).collect()
}

/// Each event is one line, with its type and its name.
fn assert_all_appear(lines: &[String], name: &str) {
    let count = |kind: &str, text: &str| {
        let is_it = |line: &&String| line.split_whitespace().nth(1) == Some(kind) && line.contains(text);
        lines.iter().filter(is_it).count()
    };
    for n in 0..TRACKS {
        assert_eq!(count("track", &format!("{name} Event {n} ")), 1, "{name} Event {n}");
    }
    for (kind, text) in [("page", "Page"), ("screen", "Screen"), ("group", "Group"), ("alias", "Before")] {
        assert_eq!(count(kind, &format!("{name} {text}")), 1, "{kind}: {lines:#?}");
    }
    assert!(count("identify", "u") >= 1);
    assert!(!lines.iter().any(|line| line.contains("discard")), "{lines:#?}");
}

#[cfg(unix)]
#[test]
fn the_python_client_arrives() {
    let folder = kept("python-client");
    let python = folder.join("bin/python");
    let ready = || succeeds(Command::new(&python).args(["-c", "import segment.analytics"]));
    if !ready() {
        let made = succeeds(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        let pip = ["-m", "pip", "install", "--quiet", "segment-analytics-python==2.4.0"];
        if !made || !succeeds(Command::new(&python).args(pip)) || !ready() {
            return skip("segment-analytics-python: it needs python3 with venv, and PyPI");
        }
    }
    let lines = seen(Command::new(&python).args(["-c", PYTHON]));
    assert_all_appear(&lines, "Py");
    assert_all_appear(&lines, "Zip");
}

#[cfg(unix)]
#[test]
fn the_node_client_arrives() {
    let folder = kept("node-client");
    let ready =
        || succeeds(Command::new("node").args(["-e", "require('@segment/analytics-node')"]).current_dir(&folder));
    if !ready() {
        let npm = ["install", "--no-audit", "--no-fund", "--silent", "--prefix", ".", "@segment/analytics-node@3.1.0"];
        if !succeeds(Command::new("npm").args(npm).current_dir(&folder)) || !ready() {
            return skip("@segment/analytics-node: it needs node with npm, and the registry of npm");
        }
    }
    let script = folder.join("client.js");
    fs::write(&script, NODE).expect("written");
    assert_all_appear(&seen(Command::new("node").arg(&script)), "Js");
}
