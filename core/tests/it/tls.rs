//! TLS with a real server: which servers are trusted, that one that is not gets nothing, and the sentence that a person
//! reads then.

#![cfg(unix)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::child::{Folder, Program, part, program, told, wait_until};
use crate::front::*;
use crate::server::{Reply, Server};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::ProtocolVersion::{TLSv1_2, TLSv1_3};
use rustls::version::{TLS12, TLS13};
use segment_native::{Client, Config, ErrorKind, Level, Request};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

const UNKNOWN_ISSUER: &str =
    "invalid peer certificate: UnknownIssuer: neither the system nor ca_file knows who issued it";

/// Tries once, so that a refusal is reported at once.
fn once(ca_file: Option<PathBuf>) -> impl FnOnce(&mut Config) {
    move |config| {
        config.retry_max = 0;
        config.ca_file = ca_file;
    }
}

fn trusting(ca_file: &Path) -> impl FnOnce(&mut Config) {
    once(Some(ca_file.to_owned()))
}

/// Started again, this program delivers one message and writes down the result.
#[test]
fn child_main() {
    if part().is_none() {
        return;
    }
    let ca_file = Some(PathBuf::from(told("CA_FILE"))).filter(|file| !file.as_os_str().is_empty());
    let host = Host::new(&told("URL"), once(ca_file));
    let mut delivered = 0;
    for _ in 0..told("TIMES").parse().expect("a number") {
        delivered = host.send().delivered;
    }
    std::fs::write(told("REPORT"), format!("{delivered} delivered {}", host.said())).expect("written");
}

#[test]
fn a_server_is_trusted_by_its_ca_and_name_in_both_versions_of_tls() {
    let folder = Folder::new();
    let ca = Authority::new("Test CA");
    let file = ca_file(&folder, "ca.pem", &[&ca.certificate]);
    let identity = ca.identity(&NAMES);
    for (versions, agreed) in [(&[&TLS12], TLSv1_2), (&[&TLS13], TLSv1_3)] {
        for name in NAMES {
            let server = Server::good();
            let front = Front::speaking(versions, &identity, &server.url());
            let host = Host::new(&front.url_of(name), trusting(&file));
            let stats = host.send();
            assert_eq!((stats.delivered, stats.requests), (1, 1), "{name}: {}", host.said());
            assert_eq!(front.handshakes(), [agreed]);
            assert_eq!(server.requests()[0].header("host"), Some(format!("{name}:{}", front.port()).as_str()));
        }
    }
}

#[test]
fn without_ca_file_the_message_stays_queued_and_the_log_says_why() {
    let server = Server::good();
    let front = Front::new(&Authority::new("Test CA").identity(&NAMES), &server);
    let host = Host::new(&front.url(), |_| {});
    host.track();
    let _ = host.client.flush(Duration::ZERO);
    let line = host.logged(Level::Warning, "to be sent again");
    assert_eq!(line, format!("1 message waits to be sent again: Segment could not be reached: {UNKNOWN_ISSUER}"));
    let stats = host.client.stats();
    assert_eq!((stats.queued, stats.delivered, stats.failed), (1, 0, 0));
    front.heard_nothing();
    assert_eq!(server.begun(), 0);
}

#[test]
fn a_server_that_is_not_trusted_gets_nothing_and_the_reason_is_reported() {
    let folder = Folder::new();
    let ca = Authority::new("Test CA");
    let file = ca_file(&folder, "ca.pem", &[&ca.certificate]);
    let long_ago = |params: &mut rcgen::CertificateParams| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    };
    let not_yet = |params: &mut rcgen::CertificateParams| params.not_before = date_time_ymd(2999, 1, 1);
    let for_clients = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let mut headless = ca.below("Intermediate CA").identity(&NAMES);
    headless.chain.truncate(1);
    for (identity, sentence) in [
        (ca.identity_with(&NAMES, long_ago), "invalid peer certificate: certificate expired: "),
        (ca.identity_with(&NAMES, not_yet), "invalid peer certificate: certificate not valid yet: "),
        (
            ca.identity(&["other.example"]),
            "invalid peer certificate: certificate not valid for name \"localhost\"; certificate is only valid for \
             DnsName(\"other.example\")",
        ),
        (ca.identity(&["127.0.0.1"]), "invalid peer certificate: certificate not valid for name \"localhost\""),
        (
            ca.identity_with(&NAMES, for_clients),
            "invalid peer certificate: certificate does not allow extended key usage for server authentication",
        ),
        (Authority::new("Other CA").identity(&NAMES), UNKNOWN_ISSUER),
        (Authority::new("Test CA").identity(&NAMES), "invalid peer certificate: BadSignature"),
        (headless, UNKNOWN_ISSUER),
        (Identity::self_signed(&NAMES, |_| {}), UNKNOWN_ISSUER),
        (
            Identity::self_signed(&NAMES, be_an_authority),
            "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity)): a CA's own certificate cannot be a \
             server's; make one with CA:FALSE",
        ),
    ] {
        let server = Server::good();
        let front = Front::new(&identity, &server);
        let host = Host::new(&front.url(), trusting(&file));
        let reason = host.fails();
        assert!(reason.starts_with(sentence), "{reason:?} is not {sentence:?}");
        assert_eq!(host.log(Level::Error), [format!("1 message was given up: Segment could not be reached: {reason}")]);
        front.heard_nothing();
        assert_eq!(server.begun(), 0);
    }
}

#[test]
fn a_self_signed_certificate_can_be_trusted_itself() {
    let folder = Folder::new();
    let identity = Identity::self_signed(&NAMES, |_| {});
    let file = ca_file(&folder, "self.pem", &[&identity.chain[0]]);
    let server = Server::good();
    let front = Front::new(&identity, &server);
    assert_eq!(Host::new(&front.url(), trusting(&file)).send().delivered, 1);
}

#[test]
fn intermediate_certificates_and_files_with_many_certificates_work() {
    let folder = Folder::new();
    let (ca, others) = (Authority::new("Test CA"), [Authority::new("One"), Authority::new("Two")]);
    let certificates = [&others[0].certificate, &ca.certificate, &others[1].certificate];
    let texts = certificates.map(|certificate| format!("Some words\n{}\r\n", pem("CERTIFICATE", certificate)));
    let with_key = pem("PRIVATE KEY", &ca.identity(&NAMES).key);
    let unknown = pem("CERTIFICATE", b"no certificate of a known kind");
    let file = file(&folder, "many.pem", format!("{with_key}{unknown}{}", texts.concat()));
    let server = Server::good();
    let front = Front::new(&ca.below("Intermediate CA").below("Another").identity(&NAMES), &server);
    assert_eq!(Host::new(&front.url(), trusting(&file)).send().delivered, 1);
}

#[test]
fn an_unusable_ca_file_is_named_before_anything_is_sent() {
    let folder = Folder::new();
    let key = Authority::new("Test CA").identity(&NAMES).key;
    let refused = |file: &Path| {
        let config = Config { ca_file: Some(file.to_owned()), ..Config::new("WRITE_KEY") };
        let error = Client::new(config).expect_err("refused");
        let named = format!("ca_file {} ", file.display());
        (error.kind(), error.message().strip_prefix(&named).expect("it is named").to_owned())
    };
    let (kind, sentence) = refused(&folder.0.join("missing.pem"));
    assert_eq!(kind, ErrorKind::Storage);
    assert!(sentence.starts_with("cannot be read: "), "{sentence}");
    let (kind, sentence) = refused(&folder.0);
    assert_eq!(kind, ErrorKind::Storage);
    assert!(sentence.starts_with("cannot be read: "), "{sentence}");
    for (content, expected) in [
        (String::new(), "holds no certificate"),
        ("certificate".to_owned(), "holds no certificate"),
        (pem("PRIVATE KEY", &key), "holds no certificate"),
        (pem("CERTIFICATE", b"garbage"), "holds no certificate that can be read: "),
        (pem("CERTIFICATE", &key), "holds no certificate that can be read: "),
        ("-----BEGIN CERTIFICATE-----\n%&/(\n-----END CERTIFICATE-----\n".to_owned(), "is not PEM: "),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n".to_owned(), "is not PEM: "),
    ] {
        let (kind, sentence) = refused(&file(&folder, "none.pem", &content));
        assert_eq!(kind, ErrorKind::Invalid);
        let is_expected = if expected.ends_with(' ') { sentence.starts_with(expected) } else { sentence == expected };
        assert!(is_expected, "{sentence:?} for {content:?}");
    }
}

/// A server that does this with each connection, and the first bytes of each.
struct Raw {
    port: u16,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Raw {
    fn new(serve: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Raw {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (hearing, serve) = (heard.clone(), Arc::new(serve));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (hearing, serve) = (hearing.clone(), serve.clone());
                std::thread::spawn(move || {
                    let mut bytes = vec![0; 1 << 16];
                    let read = stream.read(&mut bytes).unwrap_or(0);
                    hearing.lock().expect("no panic").push(bytes[..read].to_vec());
                    serve(&mut stream);
                });
            }
        });
        Raw { port, heard }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Fails if a connection did not begin with TLS.
    fn heard_only_tls(&self) -> usize {
        let heard = self.heard.lock().expect("no panic");
        assert!(heard.iter().all(|bytes| bytes.first().is_none_or(|byte| *byte == TLS)), "{heard:?}");
        heard.len()
    }
}

#[test]
fn a_server_without_tls_is_not_spoken_to_in_plain_http() {
    let folder = Folder::new();
    let file = ca_file(&folder, "ca.pem", &[&Authority::new("Test CA").certificate]);
    let raw = Raw::new(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    });
    for ca_file in [None, Some(file)] {
        let host = Host::new(&raw.url(), once(ca_file));
        let text = "the server does not speak TLS: received corrupt message of type InvalidContentType";
        assert_eq!(host.fails(), text);
    }
    let host = Host::new(&raw.url(), |_| {});
    for _ in 0..3 {
        host.track();
        let _ = host.client.flush(Duration::ZERO);
    }
    assert!(wait_until(|| host.client.stats().retries >= 1));
    assert!(raw.heard_only_tls() >= 4);
    let mut scripted = Server::good().url();
    scripted.replace_range(..4, "https");
    let host = Host::new(&scripted, once(None));
    assert_eq!(host.send().delivered, 0);
}

#[test]
fn a_handshake_that_stalls_ends_at_the_deadline() {
    let silent = |stream: &mut TcpStream| {
        let _ = stream.read(&mut [0]);
    };
    let trickling = |stream: &mut TcpStream| {
        // A record of 16 KiB, byte by byte.
        let mut sent = stream.write_all(&[TLS, 3, 3, 0x40, 0]);
        while sent.is_ok() {
            std::thread::sleep(Duration::from_millis(20));
            sent = stream.write_all(&[2]);
        }
    };
    for raw in [Raw::new(silent), Raw::new(trickling)] {
        let host = Host::new(&raw.url(), |config| {
            config.retry_max = 0;
            config.timeout = Duration::from_millis(300);
        });
        assert_eq!(host.fails(), "there was no answer in time");
        // On a busy machine the time may be over before there is a connection.
        assert!(wait_until(|| {
            let error = host.client.call(&Request { path: "/v1/x", ..Request::default() }).expect_err("no answer");
            assert_eq!((error.kind(), error.message()), (ErrorKind::Timeout, "there was no answer in time"));
            raw.heard_only_tls() >= 2
        }));
    }
}

#[test]
fn a_handshake_that_is_broken_off_is_tried_again() {
    let raw = Raw::new(|_| {});
    let host = Host::new(&raw.url(), |config| config.retry_max = 1);
    let stats = host.send();
    assert_eq!((stats.failed, stats.requests, stats.retries), (1, 2, 1));
    assert_eq!(raw.heard_only_tls(), 2);
}

#[test]
fn one_handshake_serves_many_batches() {
    let folder = Folder::new();
    let ca = Authority::new("Test CA");
    let file = ca_file(&folder, "ca.pem", &[&ca.certificate]);
    for version in [&TLS12, &TLS13] {
        let server = Server::good();
        let front = Front::speaking(&[version], &ca.identity(&NAMES), &server.url());
        let host = Host::new(&front.url(), trusting(&file));
        for n in 1..=5 {
            assert_eq!(host.send().delivered, n);
        }
        assert_eq!((front.connections(), front.handshakes().len()), (1, 1));
        assert_eq!(server.requests().len(), 5);
    }
}

#[test]
fn a_batch_larger_than_a_record_and_than_all_buffers_arrives_whole() {
    let folder = Folder::new();
    let ca = Authority::new("Test CA");
    let file = ca_file(&folder, "ca.pem", &[&ca.certificate]);
    let server = Server::good();
    let front = Front::new(&ca.identity(&NAMES), &server);
    let host = Host::new(&front.url(), |config| {
        config.gzip = false;
        config.flush_at = 10_000;
        trusting(&file)(config);
    });
    for _ in 0..2_000 {
        host.track();
    }
    assert_eq!(host.send().delivered, 2_001);
    assert!(server.requests()[0].raw_bytes > 300_000);
    assert_eq!(front.handshakes().len(), 1);
}

#[test]
fn what_was_delivered_survives_a_connection_that_the_server_closes() {
    let folder = Folder::new();
    let ca = Authority::new("Test CA");
    let file = ca_file(&folder, "ca.pem", &[&ca.certificate]);
    let server = Server::new(|n, _| if n == 1 { Reply::Close } else { Reply::status(200) });
    let front = Front::new(&ca.identity(&NAMES), &server);
    let host = Host::new(&front.url(), |config| config.ca_file = Some(file));
    assert_eq!(host.send().delivered, 1);
    let stats = host.send();
    assert_eq!((stats.delivered, stats.requests, stats.retries), (2, 3, 1));
    assert_eq!(
        host.log(Level::Warning),
        ["1 message waits to be sent again: Segment could not be reached: the connection was closed"]
    );
}

#[test]
fn calls_go_through_tls_too() {
    let folder = Folder::new();
    let ca = Authority::new("Test CA");
    let file = ca_file(&folder, "ca.pem", &[&ca.certificate]);
    let server = Server::new(|_, _| Reply::Body(201, "application/json", "{\"a\":1}".to_owned()));
    let front = Front::new(&ca.identity(&NAMES), &server);
    let request = Request { path: "/v1/group/", body: b"{}", ..Request::default() };
    let host = Host::new(&front.url(), trusting(&file));
    for _ in 0..2 {
        let answer = host.client.call(&request).expect("an answer");
        assert_eq!((answer.status, answer.body.as_slice()), (201, b"{\"a\":1}".as_slice()));
    }
    assert_eq!(front.handshakes().len(), 1);
    let stranger = Host::new(&front.url(), once(None));
    let error = stranger.client.call(&request).expect_err("refused");
    assert_eq!((error.kind(), error.message()), (ErrorKind::Network, UNKNOWN_ISSUER));
    assert_eq!((front.handshakes().len(), server.begun()), (1, 2));
}

#[test]
fn plain_http_is_warned_about_once_and_https_is_not() {
    let warning = "the endpoint is plain http: what is sent can be read on the way";
    let folder = Folder::new();
    let ca = Authority::new("Test CA");
    let file = ca_file(&folder, "ca.pem", &[&ca.certificate]);
    let server = Server::good();
    let front = Front::new(&ca.identity(&NAMES), &server);
    for (url, warnings) in [
        (server.url(), vec![warning]),
        (server.url().to_uppercase().replace("/V1", ""), vec![warning]),
        (front.url(), vec![]),
    ] {
        let host = Host::new(&url, trusting(&file));
        for n in 1..=3 {
            assert_eq!(host.send().delivered, n, "{url}: {}", host.said());
        }
        assert_eq!(host.log(Level::Warning), warnings, "{url}");
        assert_eq!(host.said().matches("plain http").count(), warnings.len(), "{url}");
    }
}

/// Where the system's certificates are in a file, they can be replaced for a program.
#[cfg(not(target_vendor = "apple"))]
mod system {
    use super::*;

    /// Delivers so many messages in a process whose system trusts what is in this file. Returns how many were
    /// delivered, and the log.
    fn deliver(folder: &Folder, url: &str, system: &Path, ca_file: &str, times: &str) -> String {
        let report = folder.0.join("report");
        let told = [("URL", url), ("CA_FILE", ca_file), ("TIMES", times), ("REPORT", report.to_str().expect("text"))];
        let mut command = program("deliver", &told);
        command.env("SSL_CERT_FILE", system).env_remove("SSL_CERT_DIR");
        Program::start(command).succeeded();
        std::fs::read_to_string(report).expect("written")
    }

    #[test]
    fn the_systems_certificates_count_beside_ca_file() {
        let folder = Folder::new();
        let (ca, other) = (Authority::new("Test CA"), Authority::new("Other CA"));
        let system = ca_file(&folder, "system.pem", &[&ca.certificate]);
        let other = ca_file(&folder, "other.pem", &[&other.certificate]);
        for (ca_file, refusals) in [("", 0), (other.to_str().expect("text"), 1)] {
            // Each request has a connection of its own. Which of the two verifiers is right is found out once.
            let closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
            let server = Server::new(|_, _| Reply::Raw(closing.to_vec()));
            let front = Front::new(&ca.identity(&NAMES), &server);
            let said = deliver(&folder, &front.url(), &system, ca_file, "3");
            assert!(said.starts_with("3 delivered "), "{said}");
            assert_eq!((front.handshakes().len(), front.connections()), (3, 3 + refusals));
        }
    }

    #[test]
    fn a_system_without_certificates_does_without_them() {
        let folder = Folder::new();
        let ca = Authority::new("Test CA");
        let none = folder.0.join("none.pem");
        let file = ca_file(&folder, "ca.pem", &[&ca.certificate]);
        let server = Server::good();
        let front = Front::new(&ca.identity(&NAMES), &server);
        let said = deliver(&folder, &front.url(), &none, file.to_str().expect("text"), "1");
        assert!(said.starts_with("1 delivered "), "{said}");
        // Then the built-in certificates count, which do not include it either.
        let said = deliver(&folder, &front.url(), &none, "", "1");
        assert!(said.starts_with("0 delivered ") && said.contains(UNKNOWN_ISSUER), "{said}");
        assert_eq!((server.begun(), front.handshakes().len()), (1, 1));
    }
}
