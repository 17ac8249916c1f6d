use super::*;

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("segment-storage-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("made");
        Folder(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .expect("a folder")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
    result.err().map(|error| error.kind())
}

// ---- Files that are kept open ----

/// Gives the number of an open file to another, as happens when a host closes all files and opens others.
#[cfg(unix)]
fn take_number(file: &File) -> i32 {
    use std::os::fd::AsRawFd;
    let hosts = File::open("/dev/null").expect("there");
    // SAFETY: both are open.
    let number = unsafe { libc::dup2(hosts.as_raw_fd(), file.as_raw_fd()) };
    assert_eq!(number, file.as_raw_fd());
    number
}

/// Closes the host's file, and says whether it was still open.
#[cfg(unix)]
fn was_open(number: i32) -> bool {
    // SAFETY: the number is the test's own.
    unsafe { libc::close(number) == 0 }
}

#[test]
#[cfg(unix)]
fn a_lock_whose_number_is_the_hosts_by_now_is_lost_and_closes_nothing() {
    let folder = Folder::new();
    let path = folder.path("a.lock");
    let lock = FileLock::take(&path).expect("a lock").expect("free");
    assert!(lock.is_held());
    let number = take_number(lock.held.as_ref().and_then(|(_, kept)| kept.file.as_ref()).expect("open"));
    assert!(!lock.is_held());
    assert!(Disk.lock(&path).expect("a lock").is_some(), "others can have it");
    drop(lock);
    assert!(was_open(number));
}

#[test]
#[cfg(unix)]
fn a_file_whose_number_is_the_hosts_by_now_is_neither_written_nor_closed() {
    let folder = Folder::new();
    let mut file =
        AppendedFile { kept: Kept::new(File::create(folder.path("a")).expect("made")).expect("kept"), bytes: 0 };
    file.append(b"1").expect("written");
    let number = take_number(file.kept.file.as_ref().expect("open"));
    file.append(b"2").expect_err("it is not ours");
    drop(file);
    assert!(was_open(number));
    assert_eq!(fs::read(folder.path("a")).expect("readable"), b"1");
}

#[test]
#[cfg(unix)]
fn what_is_ours_is_closed() {
    let folder = Folder::new();
    let path = folder.path("a.lock");
    let lock = Disk.lock(&path).expect("a lock").expect("free");
    assert!(Disk.lock(&path).expect("a lock").is_none());
    drop(lock);
    assert!(Disk.lock(&path).expect("a lock").is_some());
}

#[test]
#[cfg(unix)]
fn a_lock_is_lost_with_the_name_of_its_file() {
    let folder = Folder::new();
    let path = folder.path("a.lock");
    for replaced in [false, true] {
        let lock = Disk.lock(&path).expect("a lock").expect("free");
        assert!(lock.is_held());
        fs::remove_file(&path).expect("gone");
        if replaced {
            let others = Disk.lock(&path).expect("a lock").expect("free: it is another file");
            assert!(others.is_held());
        }
        assert!(!lock.is_held());
    }
}

#[test]
#[cfg(unix)]
fn a_child_leaves_its_parents_lock_and_map_alone() {
    let folder = Folder::new();
    let mut lock = FileLock::take(&folder.path("a.lock")).expect("a lock").expect("free");
    // All that a fork changes about these two.
    let kept = lock.held.as_mut().map(|(_, kept)| kept).expect("held");
    kept.generation = kept.generation.wrapping_sub(1);
    assert!(!lock.is_held());
    drop(lock);
    assert!(Disk.lock(&folder.path("a.lock")).expect("a lock").is_none(), "it was not closed");

    let mut map = Map::new(memmap2::MmapMut::map_anon(4096).expect("memory"));
    let at = map.bytes().as_ptr();
    assert_eq!((map.bytes().len(), map.bytes_mut().len()), (4096, 4096));
    map.generation = map.generation.wrapping_sub(1);
    assert_eq!((map.bytes().len(), map.bytes_mut().len()), (0, 0));
    drop(map);
    // SAFETY: the page is still mapped.
    assert_eq!(unsafe { at.read() }, 0);
}

#[test]
#[cfg(unix)]
fn hundreds_of_locks_can_be_held_at_once() {
    let folder = Folder::new();
    let lock = |n| Disk.lock(&folder.path(&format!("{n}.lock"))).expect("a lock").expect("free");
    let locks: Vec<Lock> = (0..400).map(lock).collect();
    assert!(locks.iter().all(|lock| lock.is_held()));
}

#[test]
#[cfg(target_os = "linux")]
fn a_folder_that_its_file_system_cannot_sync_counts_as_synced() {
    assert_eq!(
        File::open("/proc").expect("there").sync_all().map_err(|error| error.kind()),
        Err(io::ErrorKind::InvalidInput)
    );
    Disk.sync(Path::new("/proc")).expect("nothing more can be done");
    assert!(Disk.sync(Path::new("/proc/nothing")).is_err());
}

// ---- Reading ----

#[test]
fn no_more_is_read_than_a_file_of_ours_can_have() {
    let folder = Folder::new();
    let path = folder.path("large");
    let file = File::create(&path).expect("made");
    for bytes in [MAX_FILE_BYTES + 1, 1_500 << 20] {
        file.set_len(bytes).expect("a file with nothing in it");
        assert_eq!(kind(Disk.read(&path)), Some(io::ErrorKind::FileTooLarge), "{bytes}");
    }
    for bytes in [0, 1, MAX_FILE_BYTES] {
        file.set_len(bytes).expect("cut");
        assert_eq!(Disk.read(&path).expect("readable").len() as u64, bytes);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_reports_no_size_is_read_up_to_the_same_length() {
    assert!(!Disk.read(Path::new("/proc/self/status")).expect("readable").is_empty());
    assert_eq!(kind(Disk.read(Path::new("/dev/zero"))), Some(io::ErrorKind::FileTooLarge));
}

// ---- Replacing ----

#[test]
fn a_file_is_replaced_wholly_and_leaves_nothing_beside_it() {
    let folder = Folder::new();
    let path = folder.path("state.json");
    for (n, replace) in [Disk::replace, Disk::replace_synced, Disk::replace].iter().enumerate() {
        let content = "x".repeat(100 - n);
        replace(&Disk, &path, content.as_bytes()).expect("replaced");
        assert_eq!(fs::read_to_string(&path).expect("readable"), content);
        assert_eq!(folder.names(), ["state.json"]);
    }
}

#[test]
fn what_cannot_take_a_files_place_is_removed_again() {
    let folder = Folder::new();
    fs::create_dir(folder.path("state.json")).expect("made");
    for replace in [Disk::replace, Disk::replace_synced] {
        replace(&Disk, &folder.path("state.json"), b"{}").expect_err("it is a folder");
        assert_eq!(folder.names(), ["state.json"]);
        assert_eq!(kind(replace(&Disk, &folder.path("none/state.json"), b"{}")), Some(io::ErrorKind::NotFound));
        assert_eq!(kind(replace(&Disk, Path::new("/"), b"{}")), Some(io::ErrorKind::InvalidInput));
    }
}

#[test]
#[cfg(unix)]
fn links_do_not_lead_writes_to_other_files() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    fs::write(folder.path("hosts"), "of the host").expect("written");
    // A link in the way of each name that could be next.
    let (path, (beside, _)) = (folder.path("state"), create_beside(&folder.path("state")).expect("made"));
    let name = beside.to_str().expect("text").strip_suffix(UNFINISHED).expect("its end");
    let (start, number) = name.rsplit_once('-').expect("a number");
    let number: u32 = number.parse().expect("a number");
    (1..20).for_each(|n| symlink(folder.path("hosts"), format!("{start}-{}{UNFINISHED}", number + n)).expect("made"));
    Disk.replace(&path, b"ours").expect("the next one is free");
    assert_eq!(fs::read(&path).expect("readable"), b"ours");

    symlink(folder.path("hosts"), folder.path("link")).expect("made");
    assert!(Disk.lock(&folder.path("link")).is_err() && Disk.truncate(&folder.path("link"), 0).is_err());
    Disk.replace(&folder.path("link"), b"ours").expect("the link itself is replaced");
    assert_eq!(fs::read(folder.path("hosts")).expect("readable"), b"of the host");
}

#[test]
fn many_threads_can_replace_a_file_at_once() {
    let folder = Folder::new();
    let path = folder.path("state");
    std::thread::scope(|scope| {
        for content in ["a", "b", "c", "d"] {
            let path = &path;
            scope.spawn(move || {
                (0..50).for_each(|_| Disk.replace(path, content.repeat(1_000).as_bytes()).expect("ours"))
            });
        }
    });
    let content = fs::read_to_string(&path).expect("readable");
    assert!(content.len() == 1_000 && content == content[..1].repeat(1_000));
    assert_eq!(folder.names(), ["state"]);
}

#[test]
fn what_others_left_unfinished_is_removed_and_nothing_else() {
    let folder = Folder::new();
    let kept = ["state", "state.json", "state.json.old", "state.jsonx.7-1.new", "other.json.7-1.new", "state.new"];
    let removed = ["state.json.7-1.new", "state.json.4294967295-4294967295.new"];
    kept.iter().chain(&removed).for_each(|name| fs::write(folder.path(name), "").expect("written"));
    Disk.remove_unfinished(&folder.path("state.json"));
    let mut kept = kept.map(str::to_owned);
    kept.sort();
    assert_eq!(folder.names(), kept);
    Disk.remove_unfinished(&folder.path("none/state.json"));
}

// ---- Names ----

#[test]
fn files_are_listed_with_what_they_occupy_and_when_they_were_written() {
    let folder = Folder::new();
    let before = modified_ms(&fs::metadata(&folder.0).expect("there")).expect("a time");
    fs::write(folder.path("a"), [1; 5_000]).expect("written");
    File::create(folder.path("holes")).and_then(|file| file.set_len(1 << 20)).expect("a file with nothing in it");
    fs::create_dir(folder.path("folder")).expect("made");
    let mut entries = Disk.list(&folder.0).expect("listed");
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let [a, holes] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((a.name.as_str(), a.bytes, holes.name.as_str(), holes.bytes), ("a", 5_000, "holes", 1 << 20));
    assert!(a.blocks_bytes >= 5_000 && (cfg!(not(unix)) || holes.blocks_bytes < 1 << 20), "{entries:?}");
    let day = 86_400_000;
    assert!(a.modified_ms.is_some_and(|ms| ms >= before - day && ms <= before + day), "{before} {entries:?}");
    assert_eq!(Disk.folders(&folder.0).expect("listed"), ["folder"]);
}

#[test]
#[cfg(unix)]
fn links_and_names_that_are_no_text_are_left_out() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    fs::write(folder.path("a"), "").expect("written");
    fs::create_dir(folder.path("folder")).expect("made");
    for (to, name) in [("a", "link"), ("folder", "link to a folder"), ("nothing", "broken")] {
        symlink(folder.path(to), folder.path(name)).expect("made");
    }
    fs::write(folder.0.join(OsStr::from_bytes(b"\xff.v1.jsonl")), "").expect("written");
    fs::create_dir(folder.0.join(OsStr::from_bytes(b"\xff"))).expect("made");
    let names: Vec<String> = Disk.list(&folder.0).expect("listed").into_iter().map(|entry| entry.name).collect();
    assert_eq!((names, Disk.folders(&folder.0).expect("listed")), (vec!["a".to_owned()], vec!["folder".to_owned()]));
}

#[test]
#[cfg(unix)]
fn a_file_keeps_its_identity_under_another_name() {
    let folder = Folder::new();
    let [a, b, link] = ["a", "b", "link"].map(|name| folder.path(name));
    fs::write(&a, "").expect("written");
    fs::write(&b, "").expect("written");
    std::os::unix::fs::symlink(&a, &link).expect("made");
    let identity = Disk.identity(&a).expect("there");
    assert!(identity != Disk.identity(&b).expect("there") && identity != Disk.identity(&link).expect("there"));
    Disk.rename(&a, &b).expect("renamed");
    assert_eq!(Disk.identity(&b).expect("there"), identity);
    assert_eq!(kind(Disk.identity(&a)), Some(io::ErrorKind::NotFound));
    assert_eq!(kind(Disk.rename(&a, &b)), Some(io::ErrorKind::NotFound));
}

#[test]
fn one_folder_is_made_and_only_where_there_is_nothing() {
    let folder = Folder::new();
    Disk.make_folder(&folder.path("new")).expect("made");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(folder.path("new")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
    fs::write(folder.path("file"), "").expect("written");
    for taken in ["new", "file"] {
        assert_eq!(kind(Disk.make_folder(&folder.path(taken))), Some(io::ErrorKind::AlreadyExists));
    }
    assert_eq!(kind(Disk.make_folder(&folder.path("none/new"))), Some(io::ErrorKind::NotFound));
}

#[test]
fn a_file_is_written_and_synced_before_it_takes_the_place_of_another() {
    let folder = Folder::new();
    let path = folder.path("state");
    fs::write(&path, "old").expect("written");
    let content = |path: &Path| fs::read_to_string(path).expect("text");
    let mut synced = false;
    let sync = |file: &File| {
        synced = true;
        assert_eq!((content(&path).as_str(), file.metadata()?.len()), ("old", 5));
        file.sync_all()
    };
    replace(&path, b"newer", sync).expect("replaced");
    assert!(synced);
    assert_eq!((content(&path).as_str(), folder.names().len()), ("newer", 1));
    // A disk that cannot sync: what was there stays, and nothing is left beside it.
    replace(&path, b"newest", |_| Err(io::Error::other("a fault"))).expect_err("not synced");
    assert_eq!((content(&path).as_str(), folder.names().len()), ("newer", 1));
    Disk.replace_synced(&path, b"newest").expect("replaced");
    assert_eq!(content(&path), "newest");
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_cannot_be_mapped_is_not_left_behind() {
    let folder = Folder::new();
    // More bytes than any file can have.
    Disk.create_mapped(&folder.path("a"), isize::MAX as usize).expect_err("no room");
    assert_eq!(folder.names(), Vec::<String>::new());
}
