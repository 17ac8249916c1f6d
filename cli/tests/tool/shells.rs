//! `segment completions`.

use std::process::Command;

use crate::program::{Folder, nowhere, run, skip};

#[test]
fn every_shell_gets_a_script() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = run(&nowhere(), &["completions", shell]).good();
        assert!(script.contains("import") && script.contains("user-id"), "{shell}");
    }
    assert_eq!(run(&nowhere(), &["completions", "cmd"]).code, 2);
}

#[test]
fn bash_takes_the_script_and_completes() {
    let folder = Folder::new();
    let script = folder.write("segment", run(&nowhere(), &["completions", "bash"]).good());
    let asked = format!(
        "source {script}; COMP_WORDS=(segment imp); COMP_CWORD=1; _segment segment imp segment; echo ${{COMPREPLY[@]}}"
    );
    let Ok(output) = Command::new("bash").args(["-c", &asked]).output() else {
        return skip("completion in bash: there is no bash");
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "import\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn help_names_every_command() {
    let help = run(&nowhere(), &["--help"]).good();
    for command in [
        "identify",
        "track",
        "page",
        "screen",
        "group",
        "alias",
        "call",
        "send",
        "import",
        "inspect",
        "spool",
        "e2e",
        "doctor",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
        run(&nowhere(), &[command, "--help"]).good();
    }
}
