//! Two processes on one folder: the program starts itself a second time, and both deliver what they have tracked.
#![allow(clippy::print_stdout)] // what was delivered is for a person to read
use std::error::Error;
use std::process::Command;
use std::time::Duration;

use segment_native::{Client, Config};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, folder, rest @ ..] = args.as_slice() else { return Err("usage: processes ENDPOINT FOLDER".into()) };
    let config = Config { endpoint: endpoint.clone(), spool_dir: Some(folder.into()), ..Config::new("WRITE_KEY") };
    let client = Client::new(config)?;

    if rest.is_empty() {
        client.track("render-farm", "Job Started", None, None)?;
        let child = Command::new(std::env::current_exe()?).args([endpoint, folder, "as the child"]).status()?;
        assert!(child.success(), "the child ended with {child}");
        client.track("render-farm", "Job Completed", None, None)?;
    } else {
        client.track("render-farm", "Frame Rendered", None, None)?;
    }
    client.shutdown(Duration::from_secs(5))?;
    // Each process counts its own messages.
    println!("{}: {} delivered", if rest.is_empty() { "parent" } else { "child" }, client.stats().delivered);
    Ok(())
}
