//! What can be sent about the machine: system, device, language, time zone, and what runs between the program and the
//! system. Only if the settings ask for it. docs/device.md lists the members, and the document behind each sign.

use std::env::consts::{ARCH, OS};
use std::path::Path;

use crate::base::storage::{self, Storage};
use crate::json::object::Object;

/// A name or version longer than this is left out, since every message would carry it.
const MAX_FACT_BYTES: usize = 100;

/// The machine's part of a message's context. What cannot be learned is left out.
///
/// Besides files this reads the environment: for the signs of Steam, snaps and containers, and on Unix other than
/// Apple's (`LANGUAGE`, `LC_ALL`, `LC_MESSAGES`, `LANG`) for the language. That is why it is off by default. No process
/// is started and nothing is sent.
pub(crate) fn context(storage: &dyn Storage) -> Object {
    let machine = Machine {
        system: OS,
        architecture: ARCH,
        read: &|path| String::from_utf8(storage.read(Path::new(path)).ok()?).ok(),
        exists: &|path| storage.identity(Path::new(path)).is_ok(),
        variable: &|name| std::env::var(name).ok(),
        wine: storage::wine_version(),
        processor: storage::processor(),
    };
    let mut context = machine.context();
    set(&mut context, "locale", sys_locale::get_locale().and_then(|locale| language_tag(&locale)));
    set(&mut context, "timezone", timezone());
    context
}

/// What can be read from a machine; tests use machines other than their own.
struct Machine<'a> {
    /// The system and the architecture that the program was built for, as Rust calls them.
    system: &'a str,
    architecture: &'a str,
    /// The text of a file.
    read: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a file is there, even one that may not be read.
    exists: &'a dyn Fn(&str) -> bool,
    /// A variable of the environment.
    variable: &'a dyn Fn(&str) -> Option<String>,
    /// Wine's version, if this Windows is Wine.
    wine: Option<String>,
    /// The processor's architecture, where a system call reports it.
    processor: Option<&'static str>,
}

impl Machine<'_> {
    fn context(&self) -> Object {
        let system = system(self.system, &|path| self.read_of_host(path));
        let mut os = Object::new();
        set(&mut os, "name", system.name);
        set(&mut os, "version", system.version);
        let mut context = Object::new();
        if !os.is_empty() {
            context.set("os", &os);
        }
        context.set("device", &self.device());
        let runtime = self.runtime();
        if !runtime.is_empty() {
            context.set("runtime", &runtime);
        }
        context
    }

    /// In a sandbox with files of its own, the host's os-release is elsewhere (systemd.io/CONTAINER_INTERFACE).
    fn read_of_host(&self, path: &str) -> Option<String> {
        let has_own_files = self.is_flatpak() || self.container_manager().as_deref() == Some(STEAM_RUNTIME);
        match path {
            "/etc/os-release" if has_own_files => (self.read)("/run/host/os-release").or_else(|| (self.read)(path)),
            _ => (self.read)(path),
        }
    }

    fn device(&self) -> Object {
        // Segment's mobile libraries send the platform as the device's type.
        let mut device = Object::from([("type", self.system)]);
        if let Some(model) = self.steam_deck() {
            device.set("manufacturer", "Valve").set("name", "Steam Deck");
            set(&mut device, "model", model);
        }
        device
    }

    /// Whether this is a Steam Deck, and which model. The firmware names it (Linux, drm_panel_orientation_quirks.c);
    /// where its names cannot be read, Steam does. Not the other way round: the sessions of other handhelds set
    /// Steam's variable too.
    fn steam_deck(&self) -> Option<Option<String>> {
        // Wine shows the files of the system below it as a drive.
        let root = if self.wine.is_some() { "Z:" } else { "" };
        let firmware = |name: &str| {
            let text = (self.read)(&format!("{root}/sys/class/dmi/id/{name}"))?;
            fact(&text)
        };
        match firmware("product_name").filter(|_| self.is_linux() || self.wine.is_some()) {
            Some(model) => {
                let is_valves = |name: &&str| firmware(name).as_deref() == Some("Valve");
                let is_deck = ["board_vendor", "sys_vendor"].iter().any(is_valves);
                (is_deck && ["Jupiter", "Galileo"].contains(&model.as_str())).then_some(Some(model))
            }
            None => (self.variable)("SteamDeck").is_some_and(|value| value == "1").then_some(None),
        }
    }

    /// What runs between the program and the system that it was built for.
    fn runtime(&self) -> Object {
        let mut runtime = Object::new();
        if let Some(wine) = self.wine.as_deref().and_then(fact) {
            runtime.set("wine", &wine);
            // Steam sets it for Linux programs too: only under Wine does it mean Proton. (steam-runtime-tools,
            // steam-compat-tool-interface.md)
            if (self.variable)("STEAM_COMPAT_DATA_PATH").is_some() {
                runtime.set("proton", true);
            }
        }
        if self.is_linux() {
            set(&mut runtime, "sandbox", self.sandbox());
            set(&mut runtime, "container", self.container());
            if self.is_wsl() {
                runtime.set("wsl", true);
            }
        }
        set(&mut runtime, "emulatedOn", self.emulated_on());
        runtime
    }

    fn is_linux(&self) -> bool {
        self.system == "linux"
    }

    fn sandbox(&self) -> Option<String> {
        let name = if self.is_flatpak() { "flatpak" } else { "snap" };
        (self.is_flatpak() || self.is_snap()).then(|| name.to_owned())
    }

    /// flatpak-metadata(5): the effective metadata of what is running is in this file.
    fn is_flatpak(&self) -> bool {
        self.is_linux() && (self.exists)("/.flatpak-info")
    }

    /// snapcraft.io/docs, Environment variables: the name of the snap, and the folder that it is mounted on.
    fn is_snap(&self) -> bool {
        let (Some(name), Some(folder)) = ((self.variable)("SNAP_NAME"), (self.variable)("SNAP")) else { return false };
        !name.is_empty() && Path::new(&folder).is_absolute()
    }

    /// Which manager made the container. Sandboxes and WSL use the same files, but are not containers.
    fn container(&self) -> Option<String> {
        let manager = self.container_manager().or_else(|| {
            // podman-run(1); Docker makes its file too, though only its users' documents say so.
            let files = [("/run/.containerenv", "podman"), ("/.dockerenv", "docker")];
            files.into_iter().find(|(path, _)| (self.exists)(path)).map(|(_, name)| name.to_owned())
        });
        manager.filter(|name| !matches!(name.as_str(), "flatpak" | "snap" | "wsl"))
    }

    /// systemd.io/CONTAINER_INTERFACE: the manager's name is in one of these files, or in this variable.
    fn container_manager(&self) -> Option<String> {
        let is_name = |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let named = |text: Option<String>| text.and_then(|text| fact(&text)).filter(is_name);
        named((self.read)("/run/host/container-manager"))
            .or_else(|| named((self.read)("/run/systemd/container")))
            .or_else(|| named((self.variable)("container")))
    }

    /// As Microsoft recommends: github.com/microsoft/WSL/issues/423.
    fn is_wsl(&self) -> bool {
        let release = (self.read)("/proc/sys/kernel/osrelease").unwrap_or_default();
        release.contains("WSL") || release.to_ascii_lowercase().contains("microsoft")
    }

    /// The processor's architecture, if it differs from the one that the program was built for. A processor that also
    /// runs 32-bit programs does not emulate them. (Linux, Documentation/admin-guide/sysctl/kernel.rst: arch)
    fn emulated_on(&self) -> Option<String> {
        let kernels = (self.read)("/proc/sys/kernel/arch").filter(|_| self.is_linux());
        let (processors, family) = architecture(self.processor.or(kernels.as_deref().map(str::trim))?)?;
        let (_, built_for) = architecture(self.architecture)?;
        (family != built_for).then(|| processors.to_owned())
    }
}

/// The name of the container of Steam's own runtime, in which it starts Linux programs.
const STEAM_RUNTIME: &str = "pressure-vessel";

/// One name for an architecture that has several, and its family, whose programs it runs without emulation.
fn architecture(name: &str) -> Option<(&str, &str)> {
    Some(match name {
        "x86_64" | "amd64" => ("x86_64", "x86"),
        "x86" | "i386" | "i486" | "i586" | "i686" => ("x86", "x86"),
        "aarch64" | "aarch64_be" | "arm64" => ("arm64", "arm"),
        name if name.starts_with("arm") => ("arm", "arm"),
        name if name.starts_with("riscv") => (name, "riscv"),
        name if name.starts_with("ppc") || name.starts_with("powerpc") => (name, "power"),
        name if name.starts_with("s390") => (name, "s390"),
        name if name.starts_with("loongarch") => (name, "loongarch"),
        _ => return None,
    })
}

fn set(object: &mut Object, name: &str, fact: Option<String>) {
    if let Some(fact) = fact {
        object.set(name, &fact);
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct System {
    name: Option<String>,
    version: Option<String>,
}

/// Name and version of the system, given what Rust calls it and a way to read its files.
fn system(kind: &str, read: &dyn Fn(&str) -> Option<String>) -> System {
    let named = |name: &str, version| System { name: Some(name.to_owned()), version };
    let release = || read("/etc/os-release").or_else(|| read("/usr/lib/os-release"));
    let product = || read("/System/Library/CoreServices/SystemVersion.plist").and_then(|text| product_version(&text));
    match kind {
        "linux" => match release() {
            Some(text) => os_release(&text),
            None => named("Linux", read("/proc/sys/kernel/osrelease").and_then(|text| fact(&text))),
        },
        "macos" => named("macOS", product()),
        "ios" => named("iOS", product()),
        "windows" => named("Windows", windows_version()),
        "android" => named("Android", None), // no file that an app may read has its version
        _ => release().map(|text| os_release(&text)).unwrap_or_default(),
    }
}

/// Reads os-release(5). A system without a name is called Linux there; one without a version is always the newest.
fn os_release(text: &str) -> System {
    let value = |name: &str| {
        // Shells read this file too, and for them the last assignment counts.
        let assigned = |line: &str| line.trim_start().strip_prefix(name)?.strip_prefix('=').and_then(unquoted);
        text.lines().rev().find_map(assigned).and_then(|text| fact(&text))
    };
    System { name: value("NAME").or_else(|| Some("Linux".to_owned())), version: value("VERSION_ID") }
}

/// A value as a shell would read it, except for variables; none if a quote is left open.
fn unquoted(value: &str) -> Option<String> {
    let mut text = String::new();
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (None, '\\') => text.push(chars.next()?),
            (None, c) if c.is_whitespace() => break,
            (Some(open), c) if c == open => quote = None,
            (Some('"'), '\\') => {
                let escaped = chars.next()?;
                if !matches!(escaped, '"' | '\\' | '$' | '`') {
                    text.push('\\');
                }
                text.push(escaped);
            }
            (_, c) => text.push(c),
        }
    }
    quote.is_none().then_some(text)
}

/// Reads the version of Apple's systems from their property list.
fn product_version(plist: &str) -> Option<String> {
    let (_, after) = plist.split_once("<key>ProductVersion</key>")?;
    let (version, _) = after.trim_start().strip_prefix("<string>")?.split_once("</string>")?;
    fact(version)
}

#[cfg(windows)]
fn windows_version() -> Option<String> {
    let version = windows_version::OsVersion::current();
    Some(format!("{}.{}.{}", version.major, version.minor, version.build))
}

#[cfg(not(windows))]
fn windows_version() -> Option<String> {
    None
}

/// The name of a locale as BCP 47 writes it, `en-US`. None for a locale without a language, `C` or `POSIX`.
fn language_tag(locale: &str) -> Option<String> {
    let name = locale.split(['.', '@']).next()?.trim();
    let mut parts = name.split(['_', '-']);
    let language = parts.next()?.to_ascii_lowercase();
    if !matches!(language.len(), 2 | 3) || !language.bytes().all(|b| b.is_ascii_alphabetic()) || language == "und" {
        return None;
    }
    let mut tag = language;
    let mut extended = false;
    for part in parts {
        if !matches!(part.len(), 1..=8) || !part.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        extended |= part.len() == 1;
        let mut part = part.to_ascii_lowercase();
        let letters = part.bytes().all(|b| b.is_ascii_alphabetic());
        match part.len() {
            2 if letters && !extended => part.make_ascii_uppercase(), // a region
            4 if letters && !extended => part[..1].make_ascii_uppercase(), // a script
            _ => {}
        }
        tag.push('-');
        tag.push_str(&part);
    }
    fact(&tag)
}

/// The system's time zone. `TZ`, which is about one process, is ignored.
fn timezone() -> Option<String> {
    iana_time_zone::get_timezone().ok().and_then(|name| zone_name(&name))
}

/// A name of the tz database, `Europe/Amsterdam`. Some systems have a rule in its place, `CET-1CEST`, or an offset.
fn zone_name(name: &str) -> Option<String> {
    let name = name.trim();
    // These folders have the same zones again, without and with leap seconds.
    let name = name.strip_prefix("posix/").or_else(|| name.strip_prefix("right/")).unwrap_or(name);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+');
    let begins_well = |part: &str| part.starts_with(|c: char| c.is_ascii_uppercase());
    // Outside the folders no current name has a digit; `EST5EDT` is an old one that looks like a rule.
    let is_rule = !name.contains('/') && !name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
    let is_name = name.bytes().all(allowed) && name.split('/').all(begins_well) && !is_rule;
    // In the database, `Factory` means that no zone was chosen.
    fact(name).filter(|_| is_name && name != "Factory")
}

/// A text worth sending: not empty, not long, on one line.
fn fact(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= MAX_FACT_BYTES && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::storage::Disk;
    use serde_json::{Value, json};

    const DEBIAN: &str = r#"PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
"#;
    const UBUNTU: &str = r#"PRETTY_NAME="Ubuntu 24.04.1 LTS"
NAME="Ubuntu"
VERSION_ID="24.04"
VERSION="24.04.1 LTS (Noble Numbat)"
ID=ubuntu
ID_LIKE=debian
"#;
    const ALPINE: &str = r#"NAME="Alpine Linux"
ID=alpine
VERSION_ID=3.20.3
PRETTY_NAME="Alpine Linux v3.20"
"#;
    const ARCH: &str = r#"NAME="Arch Linux"
PRETTY_NAME="Arch Linux"
ID=arch
BUILD_ID=rolling
ANSI_COLOR="38;2;23;147;209"
"#;
    const PLIST: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>ProductBuildVersion</key>
	<string>23G93</string>
	<key>ProductName</key>
	<string>macOS</string>
	<key>ProductUserVisibleVersion</key>
	<string>14.6.1</string>
	<key>ProductVersion</key>
	<string>14.6.1</string>
</dict>
</plist>
"#;

    fn is(name: &str, version: &str) -> System {
        let known = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        System { name: known(name), version: known(version) }
    }

    fn with_file<'a>(path: &'a str, content: &'a str) -> impl Fn(&str) -> Option<String> + 'a {
        move |asked| (asked == path).then(|| content.to_owned())
    }

    #[test]
    fn distributions_say_who_they_are() {
        assert_eq!(os_release(DEBIAN), is("Debian GNU/Linux", "12"));
        assert_eq!(os_release(UBUNTU), is("Ubuntu", "24.04"));
        assert_eq!(os_release(ALPINE), is("Alpine Linux", "3.20.3"));
        assert_eq!(os_release(ARCH), is("Arch Linux", ""));
    }

    #[test]
    fn os_release_is_read_as_a_shell_reads_it() {
        for (text, name) in [
            ("NAME=Plain", "Plain"),
            ("NAME='single \"quotes\" \\ $5'", "single \"quotes\" \\ $5"),
            (r#"NAME="a \"b\" \$5 \`c\` \\ \d""#, r#"a "b" $5 `c` \ \d"#),
            (r"NAME=Two\ words", "Two words"),
            ("NAME=First # and a remark", "First"),
            ("  NAME=Indented", "Indented"),
            ("NAME=one\r\nNAME=two\r\n", "two"),
            ("# NAME=remark\n\nMY_NAME=mine\nNAMES=many", "Linux"),
            ("NAME=", "Linux"),
            ("NAME=\"\"", "Linux"),
            ("NAME=\"open", "Linux"),
            ("NAME=\"open\\", "Linux"),
            ("", "Linux"),
        ] {
            assert_eq!(os_release(text), is(name, ""), "{text}");
        }
        let long = format!("NAME={}\nVERSION_ID=\"1\u{7}\"", "x".repeat(MAX_FACT_BYTES + 1));
        assert_eq!(os_release(&long), is("Linux", ""));
    }

    #[test]
    fn every_system_is_asked_in_its_own_way() {
        let nothing = |_: &str| None;
        let plist = with_file("/System/Library/CoreServices/SystemVersion.plist", PLIST);
        let debian = with_file("/etc/os-release", DEBIAN);
        assert_eq!(system("linux", &debian), is("Debian GNU/Linux", "12"));
        assert_eq!(system("linux", &with_file("/usr/lib/os-release", ALPINE)), is("Alpine Linux", "3.20.3"));
        assert_eq!(system("linux", &with_file("/proc/sys/kernel/osrelease", "6.1.0-18\n")), is("Linux", "6.1.0-18"));
        assert_eq!(system("linux", &nothing), is("Linux", ""));
        assert_eq!(system("macos", &plist), is("macOS", "14.6.1"));
        assert_eq!(system("macos", &nothing), is("macOS", ""));
        assert_eq!(system("ios", &plist), is("iOS", "14.6.1"));
        assert_eq!(system("android", &debian), is("Android", ""));
        assert_eq!(system("windows", &nothing).name.as_deref(), Some("Windows"));
        let freebsd = with_file("/etc/os-release", "NAME=FreeBSD\nVERSION_ID=14.1\n");
        assert_eq!(system("freebsd", &freebsd), is("FreeBSD", "14.1"));
        assert_eq!(system("plan9", &nothing), System::default());
    }

    #[test]
    fn a_property_list_without_a_version_has_none() {
        assert_eq!(product_version(PLIST).as_deref(), Some("14.6.1"));
        for text in [
            "",
            "bplist00",
            "<key>ProductVersion</key>",
            "<key>ProductVersion</key><string>14",
            "<key>ProductVersion</key><string> </string>",
            "<key>ProductVersion</key><integer>14</integer>",
            "<key>ProductVersionExtra</key><string>(a)</string>",
        ] {
            assert_eq!(product_version(text), None, "{text}");
        }
    }

    #[test]
    fn locales_become_language_tags() {
        for (locale, tag) in [
            ("en_US.UTF-8", Some("en-US")),
            ("en-US", Some("en-US")),
            ("DE_de@euro", Some("de-DE")),
            ("nl", Some("nl")),
            ("fil_PH", Some("fil-PH")),
            ("zh-hans-cn", Some("zh-Hans-CN")),
            ("es-419", Some("es-419")),
            ("ca-ES-valencia", Some("ca-ES-valencia")),
            ("en-US-u-ca-gregory", Some("en-US-u-ca-gregory")),
            ("de-DE-x-goethe", Some("de-DE-x-goethe")),
            ("sl-rozaj-1994", Some("sl-rozaj-1994")),
            ("C", None),
            ("C.UTF-8", None),
            ("POSIX", None),
            ("", None),
            ("und", None),
            ("e_US", None),
            ("en_", None),
            ("en__US", None),
            ("en_US!", None),
            ("é_FR", None),
            ("12-US", None),
            ("/usr/share/locale/en", None),
        ] {
            assert_eq!(language_tag(locale).as_deref(), tag, "{locale}");
        }
        assert_eq!(language_tag(&format!("en{}", "-abcdefgh".repeat(20))), None);
    }

    #[test]
    fn only_names_of_the_tz_database_are_time_zones() {
        for (text, name) in [
            ("Europe/Amsterdam", Some("Europe/Amsterdam")),
            ("Europe/Amsterdam\n", Some("Europe/Amsterdam")),
            ("America/Argentina/Buenos_Aires", Some("America/Argentina/Buenos_Aires")),
            ("America/Port-au-Prince", Some("America/Port-au-Prince")),
            ("Etc/GMT+5", Some("Etc/GMT+5")),
            ("posix/Asia/Tokyo", Some("Asia/Tokyo")),
            ("right/Asia/Tokyo", Some("Asia/Tokyo")),
            ("UTC", Some("UTC")),
            ("Japan", Some("Japan")),
            ("NZ-CHAT", Some("NZ-CHAT")),
            ("", None),
            ("Factory", None),
            ("localtime", None),
            ("CET-1CEST", None),
            ("CET-1CEST,M3.5.0,M10.5.0/3", None),
            ("<+03>-3", None),
            ("GMT+0100", None),
            ("Europe/", None),
            ("/Europe/Paris", None),
            ("../Europe/Paris", None),
            ("Europe/New York", None),
        ] {
            assert_eq!(zone_name(text).as_deref(), name, "{text}");
        }
    }

    fn has_gaps(value: &Value) -> bool {
        match value {
            Value::Object(members) => members.is_empty() || members.values().any(has_gaps),
            Value::String(text) => text.is_empty(),
            _ => true,
        }
    }

    /// A machine with these files and variables.
    struct Elsewhere {
        system: &'static str,
        files: Vec<(&'static str, &'static str)>,
        variables: Vec<(&'static str, &'static str)>,
        wine: Option<&'static str>,
        processor: Option<&'static str>,
    }

    fn linux(files: &[(&'static str, &'static str)]) -> Elsewhere {
        Elsewhere { system: "linux", files: files.to_vec(), variables: Vec::new(), wine: None, processor: None }
    }

    impl Elsewhere {
        fn with(mut self, variables: &[(&'static str, &'static str)]) -> Self {
            self.variables = variables.to_vec();
            self
        }

        /// What a program that was built for this architecture sends.
        fn says_of(&self, architecture: &str) -> Value {
            let one = |of: &[(&str, &str)], name: &str| {
                of.iter().find(|(other, _)| *other == name).map(|(_, text)| (*text).to_owned())
            };
            let machine = Machine {
                system: self.system,
                architecture,
                // A file that may not be read exists, but has no text.
                read: &|path| one(&self.files, path).filter(|text| text != "closed"),
                exists: &|path| one(&self.files, path).is_some(),
                variable: &|name| one(&self.variables, name),
                wine: self.wine.map(str::to_owned),
                processor: self.processor,
            };
            serde_json::from_str(&machine.context().to_json().expect("not marked")).expect("JSON")
        }

        fn says(&self) -> Value {
            self.says_of("x86_64")
        }

        fn runtime(&self) -> Value {
            self.says()["runtime"].clone()
        }
    }

    const RELEASE: (&str, &str) = ("/etc/os-release", DEBIAN);

    #[test]
    fn an_ordinary_machine_has_nothing_in_between() {
        let os = json!({"name": "Debian GNU/Linux", "version": "12"});
        let plain =
            [RELEASE, ("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n"), ("/proc/sys/kernel/arch", "x86_64\n")];
        assert_eq!(linux(&plain).says(), json!({"os": os, "device": {"type": "linux"}}));
        // Nor does one with similar variables: Steam sets its own for Linux programs too.
        let variables = [("STEAM_COMPAT_DATA_PATH", "/x"), ("SteamDeck", "0"), ("SNAP_NAME", "x"), ("container", "")];
        assert_eq!(linux(&plain).with(&variables).runtime(), Value::Null);
    }

    #[test]
    fn a_steam_deck_is_known_by_its_firmware_or_else_by_steam() {
        let named =
            |vendor, product| [("/sys/class/dmi/id/board_vendor", vendor), ("/sys/class/dmi/id/product_name", product)];
        let steam = [("SteamDeck", "1")];
        let deck =
            |model: &str| json!({"type": "linux", "manufacturer": "Valve", "model": model, "name": "Steam Deck"});
        for model in ["Jupiter", "Galileo"] {
            assert_eq!(linux(&named("Valve\n", model)).says()["device"], deck(model));
        }
        let system = [("/sys/class/dmi/id/sys_vendor", "Valve\n"), ("/sys/class/dmi/id/product_name", "Galileo\n")];
        assert_eq!(linux(&system).says()["device"], deck("Galileo"));
        let other = json!({"type": "linux"});
        for (vendor, product) in [("Valve", "Fremont"), ("LENOVO", "83Q2"), ("LENOVO", "Jupiter")] {
            // Steam sets the variable on other machines too.
            assert_eq!(linux(&named(vendor, product)).with(&steam).says()["device"], other, "{vendor} {product}");
        }
        let by_steam = json!({"type": "linux", "manufacturer": "Valve", "name": "Steam Deck"});
        assert_eq!(linux(&[]).with(&steam).says()["device"], by_steam);
        assert_eq!(linux(&[]).with(&[("SteamDeck", "0")]).says()["device"], other);
        // Under Wine the firmware's names are on another drive; Windows has none of these files.
        let below = [("Z:/sys/class/dmi/id/sys_vendor", "Valve"), ("Z:/sys/class/dmi/id/product_name", "Galileo")];
        let wine = Elsewhere { system: "windows", wine: Some("9.0"), ..linux(&below) };
        assert_eq!(wine.says()["device"]["model"], "Galileo");
        let below = [("Z:/sys/class/dmi/id/sys_vendor", "LENOVO"), ("Z:/sys/class/dmi/id/product_name", "83Q2")];
        let wine = Elsewhere { system: "windows", wine: Some("9.0"), ..linux(&below) };
        assert_eq!(wine.with(&steam).says()["device"], json!({"type": "windows"}));
        let windows = Elsewhere { system: "windows", ..linux(&named("LENOVO", "83Q2")) };
        assert_eq!(windows.with(&steam).says()["device"]["name"], "Steam Deck");
    }

    #[test]
    fn wine_is_told_from_windows_and_proton_from_wine() {
        let wine = |version| Elsewhere { system: "windows", wine: Some(version), ..linux(&[]) };
        assert_eq!(wine("9.0").says()["os"]["name"], "Windows");
        assert_eq!(wine("9.0").runtime(), json!({"wine": "9.0"}));
        let proton = wine("9.0 (Staging)").with(&[("STEAM_COMPAT_DATA_PATH", "/steam/compatdata/70")]);
        assert_eq!(proton.runtime(), json!({"wine": "9.0 (Staging)", "proton": true}));
        let windows = Elsewhere { system: "windows", ..linux(&[("/.flatpak-info", ""), ("/.dockerenv", "")]) };
        assert_eq!(windows.with(&[("STEAM_COMPAT_DATA_PATH", "x"), ("container", "podman")]).runtime(), Value::Null);
    }

    #[test]
    fn sandboxes_are_told_from_containers() {
        let host = ("/run/host/os-release", "NAME=SteamOS\nVERSION_ID=3.6\n");
        let manager = |name| ("/run/host/container-manager", name);
        let flatpak = linux(&[("/.flatpak-info", "closed"), manager("flatpak\n"), RELEASE, host]).says();
        assert_eq!(flatpak["runtime"], json!({"sandbox": "flatpak"}));
        assert_eq!(flatpak["os"], json!({"name": "SteamOS", "version": "3.6"}));
        let older = linux(&[("/.flatpak-info", ""), RELEASE]).says();
        assert_eq!((&older["os"]["version"], &older["runtime"]["sandbox"]), (&json!("12"), &json!("flatpak")));
        let snap = linux(&[RELEASE]).with(&[("SNAP", "/snap/game/27"), ("SNAP_NAME", "game")]).says();
        assert_eq!(snap["runtime"], json!({"sandbox": "snap"}));
        assert_eq!(linux(&[]).with(&[("SNAP", "yes"), ("SNAP_NAME", "game")]).runtime(), Value::Null);
        let steam = linux(&[manager("pressure-vessel"), RELEASE, host]).says();
        assert_eq!(steam["runtime"], json!({"container": "pressure-vessel"}));
        assert_eq!(steam["os"]["name"], "SteamOS");
        // In other containers the program sees the container's system.
        let nspawn = linux(&[("/run/systemd/container", "systemd-nspawn\n"), RELEASE, host]).says();
        assert_eq!(nspawn["runtime"], json!({"container": "systemd-nspawn"}));
        assert_eq!(nspawn["os"]["name"], "Debian GNU/Linux");
    }

    #[test]
    fn containers_are_known_by_their_managers_name_or_file() {
        assert_eq!(linux(&[("/.dockerenv", "")]).runtime(), json!({"container": "docker"}));
        assert_eq!(linux(&[("/run/.containerenv", "closed")]).runtime(), json!({"container": "podman"}));
        assert_eq!(linux(&[]).with(&[("container", "lxc")]).runtime(), json!({"container": "lxc"}));
        let oci = linux(&[("/.dockerenv", ""), ("/run/systemd/container", "oci\n")]);
        assert_eq!(oci.runtime(), json!({"container": "oci"}));
        for nonsense in ["", " ", "two words", "/path", "\u{e9}"] {
            assert_eq!(linux(&[]).with(&[("container", nonsense)]).runtime(), Value::Null, "{nonsense}");
        }
    }

    #[test]
    fn wsl_is_known_by_its_kernel() {
        for release in ["4.4.0-19041-Microsoft\n", "5.15.153.1-microsoft-standard-WSL2\n", "6.6.0-my-WSL2\n"] {
            let files = [("/proc/sys/kernel/osrelease", release), ("/run/systemd/container", "wsl\n"), RELEASE];
            assert_eq!(linux(&files).runtime(), json!({"wsl": true}), "{release}");
        }
        let docker = [("/proc/sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2"), ("/.dockerenv", "")];
        assert_eq!(linux(&docker).runtime(), json!({"container": "docker", "wsl": true}));
    }

    #[test]
    fn an_emulated_architecture_differs_from_the_processors() {
        for (built_for, kernel, emulated_on) in [
            ("x86_64", "aarch64\n", json!("arm64")),
            ("x86", "aarch64", json!("arm64")),
            ("aarch64", "x86_64\n", json!("x86_64")),
            ("arm", "i686", json!("x86")),
            ("x86_64", "armv7l", json!("arm")),
            ("riscv64", "x86_64", json!("x86_64")),
            ("x86_64", "riscv64", json!("riscv64")),
            ("x86", "x86_64", Value::Null),
            ("arm", "aarch64", Value::Null),
            ("powerpc64", "ppc64le", Value::Null),
            ("x86_64", "e2k", Value::Null),
            ("wasm32", "x86_64", Value::Null),
            ("x86_64", "", Value::Null),
        ] {
            let machine = linux(&[("/proc/sys/kernel/arch", kernel)]);
            assert_eq!(machine.says_of(built_for)["runtime"]["emulatedOn"], emulated_on, "{built_for} on {kernel}");
        }
        for system in ["windows", "macos"] {
            let on = |processor| Elsewhere { system, processor, ..linux(&[("/proc/sys/kernel/arch", "aarch64")]) };
            assert_eq!(on(Some("aarch64")).runtime(), json!({"emulatedOn": "arm64"}));
            assert_eq!((on(Some("x86_64")).runtime(), on(None).runtime()), (Value::Null, Value::Null));
            assert_eq!(on(Some("aarch64")).says_of("aarch64")["runtime"], Value::Null);
        }
    }

    #[test]
    fn this_machine_has_a_context_without_gaps() {
        let json = context(&Disk).to_json().expect("not marked");
        let value: Value = serde_json::from_str(&json).expect("JSON");
        assert!(!has_gaps(&value), "{json}");
        assert_eq!(value["device"]["type"], OS);
        if ["linux", "macos", "windows"].contains(&OS) {
            assert!(value["os"]["name"].is_string(), "{json}");
        }
        let known = ["os", "device", "runtime", "locale", "timezone"];
        assert!(value.as_object().expect("an object").keys().all(|name| known.contains(&name.as_str())), "{json}");
    }
}
