//! What takes long: `cargo test --release -p segment-cli --test tool -- --ignored`. How many rows there are is said by
//! `SEGMENT_TEST_ROWS`: ten million.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::program::{Folder, command, skip};

/// What an import may use, whatever the size of the file.
const MAX_BYTES: u64 = 80 << 20;

fn rows_max() -> u64 {
    std::env::var("SEGMENT_TEST_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(10_000_000)
}

/// A collector that runs until it is dropped.
struct Collector(Child, String);

impl Collector {
    fn new() -> Self {
        let mut child =
            command("", &["inspect", "--port", "0", "--quiet"]).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut first = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut first).expect("a line");
        let url = first.trim().split(' ').next_back().expect("the address").to_owned();
        Collector(child, url)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// How much memory a process has used at most so far.
fn peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

/// Imports a file; the memory that it took at most, and the seconds.
fn import(folder: &Folder, url: &str, name: &str, rows: u64) -> (u64, f64) {
    let file = folder.0.join(name);
    let arguments = ["import", file.to_str().expect("text"), "--rate", "0", "--set", "type=track", "--quiet", "--json"];
    let began = Instant::now();
    let mut child = command(url, &arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut peak = 0;
    while child.try_wait().expect("asked").is_none() {
        peak = peak.max(peak_bytes(child.id()).unwrap_or_default());
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(&format!("\"delivered\":{rows}")), "{said}");
    (peak, began.elapsed().as_secs_f64())
}

#[test]
#[ignore = "takes minutes: ./test long"]
#[allow(clippy::print_stdout)] // the figures are what one runs this for
fn memory_does_not_grow_with_the_file() {
    if !cfg!(target_os = "linux") {
        return skip("the memory of an import: only Linux tells the peak");
    }
    let (folder, collector) = (Folder::new(), Collector::new());
    for rows in [rows_max() / 100, rows_max()] {
        let mut lines = BufWriter::new(File::create(folder.0.join("a.jsonl")).expect("made"));
        let packed = File::create(folder.0.join("b.csv.gz")).expect("made");
        let mut table = GzEncoder::new(BufWriter::new(packed), Compression::fast());
        writeln!(table, "userId,event,timestamp,n").expect("written");
        for n in 0..rows {
            writeln!(
                lines,
                "{{\"type\":\"track\",\"userId\":\"u{}\",\"event\":\"E\",\
                 \"timestamp\":\"2020-01-02T03:04:05.678Z\",\"properties\":{{\"n\":{n}}}}}",
                n % 1000
            )
            .expect("written");
            if n < rows / 10 {
                writeln!(table, "u{},E,2020-01-02T03:04:05.678Z,{n}", n % 1000).expect("written");
            }
        }
        lines.flush().expect("written");
        table.finish().expect("written").flush().expect("written");
        for (name, rows) in [("a.jsonl", rows), ("b.csv.gz", rows / 10)] {
            let (peak, seconds) = import(&folder, &collector.1, name, rows);
            let result = format!("0 lost, {seconds:.1} s, {:.1} MiB of memory at most", peak as f64 / 1048576.0);
            assert!(peak < MAX_BYTES, "{name}: {rows} rows, {result}");
            println!("campaign: {name} | {rows} rows | | {result}"); // as the core's tests print it
        }
    }
}
