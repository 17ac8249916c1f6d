//! `segment import`, run again: files that have grown, changed or are still being written, and endpoints that refuse
//! everything.

use std::fs;
use std::process::Stdio;

use serde_json::json;

use crate::import::{gzip, ids, numbers, rows};
use crate::patience::{ended, until};
use crate::program::{Done, Folder, command, finish, run, run_with};
use crate::server::{Answer, Server};

/// So many rows of a table.
fn table(count: usize) -> String {
    (0..count).fold("userId,event,n\n".to_owned(), |text, n| text + &format!("u,E,{n}\n"))
}

fn import(server: &Server, file: &str, more: &[&str]) -> Done {
    run(&server.url, &[&["import", file, "--rate", "0", "--set", "type=track"], more].concat())
}

#[test]
fn a_small_file_that_has_grown_is_imported_from_its_old_end() {
    let (server, folder) = (Server::new(), Folder::new());
    for (name, content) in [("a.jsonl", rows as fn(usize) -> String), ("a.csv", table)] {
        let file = folder.write(name, content(10));
        import(&server, &file, &[]).good();
        let first = server.messages();
        folder.write(name, content(12));
        let done = import(&server, &file, &[]);
        assert!(done.err.contains("2 rows checked"), "{}", done.err);
        assert!(done.good().contains("12 delivered, 0 refused"));
        let second = server.messages();
        assert_eq!((numbers(&second), ids(&second).is_disjoint(&ids(&first))), (vec![10, 11], true), "{name}");
    }
}

#[test]
fn what_is_added_while_the_last_rows_are_on_their_way_is_not_missed() {
    let (server, folder) = (Server::new(), Folder::new());
    let file = folder.write("a.jsonl", rows(10));
    server.hold_at(0);
    let mut child = command(&server.url, &["import", &file, "--quiet"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    // Nothing is sent before the end of the file was seen, or a second has passed.
    until("they are on their way", || server.held() == 1);
    folder.write("a.jsonl", rows(12));
    server.release();
    assert!(ended(&mut child).success());
    assert_eq!(server.messages().len(), 10);
    import(&server, &file, &[]).good();
    assert_eq!(numbers(&server.messages()), [10, 11]);
}

#[test]
fn a_row_whose_end_is_not_written_yet_is_read_again_when_it_is() {
    let (server, folder) = (Server::new(), Folder::new());
    let whole = rows(4);
    let bad = "\nnope\n";
    for (name, half, whole) in [
        ("a.jsonl", whole[..whole.len() - 20].to_owned(), whole.clone()),
        ("b.csv", table(3) + "u,E", table(4)),
        ("d.csv", "\u{feff}".to_owned() + &table(3) + "u,E", "\u{feff}".to_owned() + &table(4)),
        ("c.jsonl", rows(3) + bad + "{\"ty", rows(3) + bad + rows(4).lines().last().expect("a row") + "\n"),
    ] {
        let file = folder.write(name, half);
        let done = import(&server, &file, &["--json"]);
        let refused = 1 + u64::from(name == "c.jsonl");
        assert_eq!((done.code, &done.json()["files"][0]["refused"]), (1, &json!(refused)), "{}", done.err);
        let again = import(&server, &file, &["--json"]);
        assert_eq!((again.code, &again.json()["files"][0]["refused"]), (1, &json!(refused)), "{}", again.err);
        let first = server.messages();
        assert_eq!(numbers(&first), [0, 1, 2]);
        folder.write(name, whole);
        let done = import(&server, &file, &["--json"]);
        assert_eq!(numbers(&server.messages()), [3], "{name}: {}", done.err);
        let file = &done.json()["files"][0];
        assert_eq!((&file["delivered"], &file["refused"]), (&json!(4), &json!(refused - 1)), "{name}");
    }
    let kept = folder.names().into_iter().find(|name| name.starts_with("c.") && name.ends_with(".refused.jsonl"));
    let kept = fs::read_to_string(folder.0.join(kept.expect("a file"))).expect("text");
    assert_eq!(kept.lines().count(), 1, "{kept}");
}

#[test]
fn a_last_row_that_only_lacks_its_line_break_is_not_sent_twice() {
    let (server, folder) = (Server::new(), Folder::new());
    let file = folder.write("a.jsonl", rows(10).trim_end());
    import(&server, &file, &[]).good();
    assert_eq!(server.messages().len(), 10);
    folder.write("a.jsonl", rows(11) + "nope\n");
    let done = import(&server, &file, &[]);
    assert_eq!(numbers(&server.messages()), [10]);
    assert!(done.err.contains("line 12: "), "{}", done.err);
}

#[test]
fn a_file_that_is_another_one_is_not_gone_on_with() {
    let (server, folder) = (Server::new(), Folder::new());
    let packed = |text: String| gzip(&text);
    let plain = String::into_bytes;
    for (name, rows, pack) in [
        ("a.jsonl", rows as fn(usize) -> String, &plain as &dyn Fn(String) -> Vec<u8>),
        ("b.csv", table, &plain),
        ("c.jsonl.gz", rows, &packed),
    ] {
        let file = folder.write(name, pack(rows(10)));
        import(&server, &file, &[]).good();
        server.messages();
        let changed = rows(12).replace("\"n\":9}", "\"n\":8}").replace("E,9\n", "E,8\n");
        for (content, more) in [(changed, &[][..]), (rows(8), &[]), (rows(8), &["--no-check"])] {
            folder.write(name, pack(content));
            let done = import(&server, &file, more);
            assert_eq!((done.code, server.count()), (2, 0), "{name}: {}", done.err);
            assert!(done.err.contains("is another file than the journal knows: row 10 is not"), "{}", done.err);
            assert!(done.err.contains("; --anew begins"), "{}", done.err);
        }
        import(&server, &file, &["--anew"]).good();
        assert_eq!(server.messages().len(), 8);
    }
}

#[test]
fn a_pipe_with_a_journal_goes_on_too() {
    let (server, folder) = (Server::new(), Folder::new());
    let arguments = ["import", "-", "--rate", "0", "--journal", folder.0.to_str().expect("text")];
    for (count, new) in [(10, 10), (12, 2), (12, 0)] {
        run_with(&server.url, &arguments, &rows(count)).good();
        assert_eq!(server.messages().len(), new);
    }
}

#[test]
fn an_endpoint_that_refuses_everything_blames_no_row() {
    let (server, folder) = (Server::new(), Folder::new());
    server.always(Answer::status(400));
    for count in [2, 10, 200] {
        let file = folder.write("a.jsonl", rows(count));
        for rate in ["0", "1000"] {
            let done = run(&server.url, &["import", &file, "--anew", "--json", "--rate", rate]);
            let told = &done.json()["files"][0];
            assert_eq!((done.code, &told["refused"], &told["done"]), (2, &json!(0), &json!(false)), "{}", done.err);
            assert!(told["error"].as_str().is_some_and(|error| error.contains("refuses everything")), "{told}");
        }
    }
    assert!(server.requests().len() < 400);
    server.always(Answer::status(200));
    import(&server, &folder.write("a.jsonl", rows(200)), &[]).good();
    assert_eq!(server.messages().len(), 200, "and then all arrive");
}

#[test]
fn bad_rows_among_good_ones_are_kept_aside() {
    let (server, folder) = (Server::new(), Folder::new());
    server.refuses("poison");
    let poison = rows(1).replace("\"u0\"", "\"poison\"");
    for (content, refused) in [
        (poison.clone() + &rows(5), 1),
        (rows(5) + &poison.repeat(19), 19),
        (poison.repeat(5) + &rows(200) + &poison.repeat(7) + &rows(3) + &poison, 13),
        (poison.clone(), 1),
    ] {
        let delivered = content.lines().count() - refused;
        let file = folder.write("a.jsonl", content);
        let done = import(&server, &file, &["--anew", "--json"]);
        let told = &done.json()["files"][0];
        assert_eq!((done.code, &told["refused"]), (1, &json!(refused)), "{}", done.err);
        assert_eq!(server.messages().len(), delivered);
    }
}

#[test]
fn strict_and_the_sum_of_rows_go_for_what_was_added() {
    let (server, folder) = (Server::new(), Folder::new());
    let file = folder.write("a.jsonl", rows(10));
    import(&server, &file, &["--strict"]).good();
    folder.write("a.jsonl", rows(12) + "nope\n");
    let done = import(&server, &file, &["--strict"]);
    assert_eq!((done.code, done.err.contains("nothing was sent")), (1, true), "{}", done.err);
    assert!(done.err.contains("3 rows checked, 1 would be refused"), "{}", done.err);
    assert_eq!(server.messages().len(), 10);
    let done = import(&server, &file, &[]);
    assert_eq!((done.code, server.messages().len()), (1, 2), "{}", done.err);
    let journal = folder.read(".journal");
    let last: serde_json::Value = serde_json::from_str(journal.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["total"], &last["row"]), (&json!(13), &json!(13)));
}

#[test]
fn strict_goes_for_what_an_outage_has_left() {
    let (server, folder) = (Server::new(), Folder::new());
    let file = folder.write("a.jsonl", rows(3_000) + "nope\n");
    server.answers([Answer::status(200)]).always(Answer::status(503));
    assert_eq!(import(&server, &file, &["--retries", "0"]).code, 2);
    server.always(Answer::status(200));
    server.requests();
    let done = import(&server, &file, &["--strict"]);
    assert_eq!((done.code, server.count()), (1, 0), "{}", done.err);
    assert!(done.err.contains("nothing was sent, because some rows"), "{}", done.err);
}

#[test]
fn zeros_behind_a_packed_file_are_no_damage() {
    let (server, folder) = (Server::new(), Folder::new());
    let (first, second) = (gzip(&rows(2)), gzip(rows(4).split_inclusive('\n').skip(2).collect::<String>().as_str()));
    let zeros = vec![0; 300_000];
    for parts in [&[&first[..], &second, &zeros][..], &[&first, &zeros, &second], &[&first, &second]] {
        let file = folder.write("a.jsonl.gz", parts.concat());
        import(&server, &file, &["--anew"]).good();
        assert_eq!(numbers(&server.messages()), [0, 1, 2, 3]);
    }
    let file = folder.write("a.jsonl.gz", [&first[..], &zeros, b"more"].concat());
    let done = import(&server, &file, &["--anew"]);
    assert_eq!((done.code, done.err.contains("cannot be read")), (2, true), "{}", done.err);
}

#[test]
fn damage_in_a_packed_file_is_told_with_its_name() {
    let (server, folder) = (Server::new(), Folder::new());
    let mut broken = gzip(&rows(1));
    broken[0] = b'x';
    let file = folder.write("a.jsonl.gz", [gzip(&rows(5_000)), broken].concat());
    let done = import(&server, &file, &[]);
    assert_eq!((done.code, done.err.contains("a.jsonl.gz cannot be read: ")), (2, true), "{}", done.err);
}

#[cfg(unix)]
#[test]
fn what_is_made_beside_the_file_is_for_nobody_else() {
    use std::os::unix::fs::PermissionsExt as _;
    let (server, folder) = (Server::new(), Folder::new());
    let file = folder.write("a.jsonl", rows(2) + "nope\n");
    assert_eq!(finish(&mut command(&server.url, &["import", &file]), b"").code, 1);
    let mut names = folder.names();
    names.retain(|name| name.contains(".import-"));
    assert_eq!(names.len(), 2);
    for name in names {
        let mode = fs::metadata(folder.0.join(&name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
