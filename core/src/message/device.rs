//! What may be said about the machine: system, kind of device, language, time zone. Only for those who ask for it.

use std::env::consts::OS;
use std::path::Path;

use crate::base::storage::Storage;
use crate::json::object::Object;

/// A name or version longer than this is none; every message would carry it.
const MAX_FACT_BYTES: usize = 100;

/// The machine's part of a message's context. What cannot be learned is left out.
///
/// Besides files this looks, on Unix but Apple's, at the environment (`LANGUAGE`, `LC_ALL`, `LC_MESSAGES`, `LANG`) for
/// the language, which is why nobody gets it unasked. No process is started and nothing is sent.
pub(crate) fn context(storage: &dyn Storage) -> Object {
    let read = |path: &str| String::from_utf8(storage.read(Path::new(path)).ok()?).ok();
    let system = system(OS, &read);
    let mut os = Object::new();
    set(&mut os, "name", system.name);
    set(&mut os, "version", system.version);
    let mut context = Object::new();
    if !os.is_empty() {
        context.set("os", &os);
    }
    // Segment's mobile libraries send the platform as the device's type.
    context.set("device", &Object::from([("type", OS)]));
    set(&mut context, "locale", sys_locale::get_locale().and_then(|locale| language_tag(&locale)));
    set(&mut context, "timezone", timezone());
    context
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

/// A value as a shell would take it, but for variables; none if a quote is left open.
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

/// The name of a locale as BCP 47 writes it, `en-US`. None for the locale of no language, `C` or `POSIX`.
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

/// The system's time zone. `TZ`, which is about one process, is not looked at.
fn timezone() -> Option<String> {
    iana_time_zone::get_timezone().ok().and_then(|name| zone_name(&name))
}

/// A name of the tz database, `Europe/Amsterdam`. Some systems have a rule in its place, `CET-1CEST`, or an offset.
fn zone_name(name: &str) -> Option<String> {
    let name = name.trim();
    // The same zones stand in these folders again, with and without leap seconds.
    let name = name.strip_prefix("posix/").or_else(|| name.strip_prefix("right/")).unwrap_or(name);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+');
    let begins_well = |part: &str| part.starts_with(|c: char| c.is_ascii_uppercase());
    // Outside the folders no name of today has a digit; `EST5EDT` is an old one and looks like a rule.
    let is_rule = !name.contains('/') && !name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
    let is_name = name.bytes().all(allowed) && name.split('/').all(begins_well) && !is_rule;
    // `Factory` is how the database says that nobody has chosen one.
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
    use serde_json::Value;

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

    #[test]
    fn this_machine_has_a_context_without_gaps() {
        let json = context(&Disk).to_json().expect("not marked");
        let value: Value = serde_json::from_str(&json).expect("JSON");
        assert!(!has_gaps(&value), "{json}");
        assert_eq!(value["device"]["type"], OS);
        if ["linux", "macos", "windows"].contains(&OS) {
            assert!(value["os"]["name"].is_string(), "{json}");
        }
        let known = ["os", "device", "locale", "timezone"];
        assert!(value.as_object().expect("an object").keys().all(|name| known.contains(&name.as_str())), "{json}");
    }
}
