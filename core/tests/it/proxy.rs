//! Delivery through real proxies: tinyproxy (HTTP) and microsocks (SOCKS5), which are Debian packages.

#![cfg(unix)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::child::{self, Folder, NEVER, Program, part, patience, program, told, wait_until};
use crate::front::*;
use crate::server::{Server, nobody};
use base64::prelude::{BASE64_STANDARD, Engine};
use segment_native::{Api, Client, Config, Level, Request};

const USER: &str = "burgundy";
const PASSWORD: &str = "hush-4711";

/// All variables that choose the proxy.
const ENVIRONMENT: [&str; 9] = [
    "ALL_PROXY",
    "all_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
    "REQUEST_METHOD",
];

/// Whether these programs are installed. If not, that is printed, and in CI it is a failure.
fn have(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &&str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if programs.iter().all(is_there) {
        return true;
    }
    let sentence = "SKIPPED: tests of proxies: apt-get install tinyproxy-bin microsocks curl\n";
    assert!(std::env::var_os("CI").is_none(), "{sentence}");
    // Past the harness, which would not show it.
    std::io::stderr().write_all(sentence.as_bytes()).expect("written");
    false
}

/// A port that the system does not give to other programs by chance, so that a proxy can come back to it.
fn free_port() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let n = std::process::id().wrapping_mul(37) + COUNT.fetch_add(1, Ordering::SeqCst) * 101;
        let port = 20_000 + u16::try_from(n % 12_000).expect("small");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A proxy, its files and its log. Dropping this ends it.
struct Proxy {
    port: u16,
    scheme: &'static str,
    folder: Folder,
    command: fn(&Proxy) -> Command,
    credentials: Option<(&'static str, &'static str)>,
    program: Option<Program>,
}

impl Proxy {
    fn http(credentials: Option<(&'static str, &'static str)>) -> Proxy {
        Proxy::start("http", credentials, |proxy| {
            let log = proxy.folder.0.join("log");
            let auth =
                proxy.credentials.map_or(String::new(), |(user, password)| format!("BasicAuth {user} {password}\n"));
            let text = format!(
                "Port {}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\nMaxClients 50\nLogLevel Info\n\
                 LogFile \"{}\"\n{auth}",
                proxy.port,
                log.display()
            );
            let mut command = Command::new("tinyproxy");
            command.arg("-d").arg("-c").arg(file(&proxy.folder, "conf", text));
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        })
    }

    fn socks(credentials: Option<(&'static str, &'static str)>) -> Proxy {
        Proxy::start("socks5", credentials, |proxy| {
            let mut command = Command::new("microsocks");
            command.args(["-i", "127.0.0.1", "-p", &proxy.port.to_string()]);
            if let Some((user, password)) = proxy.credentials {
                command.args(["-u", user, "-P", password]);
            }
            let log = std::fs::OpenOptions::new().append(true).create(true).open(proxy.folder.0.join("log"));
            command.stdout(Stdio::null()).stderr(log.expect("the log"));
            command
        })
    }

    fn start(
        scheme: &'static str,
        credentials: Option<(&'static str, &'static str)>,
        command: fn(&Proxy) -> Command,
    ) -> Proxy {
        let mut proxy = Proxy { port: free_port(), scheme, folder: Folder::new(), command, credentials, program: None };
        proxy.come_back();
        proxy
    }

    fn die(&mut self) {
        self.program.take().expect("it runs").kill();
    }

    #[allow(unsafe_code)]
    fn come_back(&mut self) {
        let mut command = (self.command)(self);
        command.stdin(Stdio::null());
        // SAFETY: it makes one system call.
        unsafe {
            command.pre_exec(|| {
                child::end_with_parent();
                Ok(())
            })
        };
        self.program = Some(Program::start(command));
        assert!(wait_until(|| TcpStream::connect(("127.0.0.1", self.port)).is_ok()), "it does not listen");
    }

    /// With the credentials that it knows.
    fn url(&self) -> String {
        self.credentials.map_or_else(|| self.url_as(""), |(user, password)| self.url_as(&format!("{user}:{password}@")))
    }

    fn url_as(&self, credentials: &str) -> String {
        format!("{}://{credentials}127.0.0.1:{}", self.scheme, self.port)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("log")).unwrap_or_default()
    }

    /// How many connections it has made to this host and port. Both kinds log a line for each.
    fn connections_to(&self, host: &str, port: u16) -> usize {
        let line = match self.scheme {
            "http" => format!("opensock: opening connection to {host}:{port}\n"),
            _ => format!("connected to {host}:{port}\n"),
        };
        self.log().matches(&line).count()
    }
}

fn port_of(server: &Server) -> u16 {
    server.url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

fn through(proxy: &str) -> impl FnOnce(&mut Config) {
    let proxy = Some(proxy.to_owned());
    move |config| {
        config.proxy = proxy;
        config.retry_max = 0;
    }
}

/// Fails if a text has the user or the password, in any spelling.
fn tells_no_secrets(text: &str) {
    let encoded = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for secret in [USER, PASSWORD, "wrong-4712", &encoded] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

/// Stands for no proxy in the settings.
const ENVIRONMENTS: &str = "the environment's";

/// Started again, this program delivers one message, or calls two APIs, and writes down the result.
#[test]
fn child_main() {
    match part().as_deref() {
        None => return,
        Some("call") => return call_both(),
        Some(_) => {}
    }
    let host = Host::new(&told("URL"), |config| {
        config.proxy = Some(told("PROXY")).filter(|proxy| proxy != ENVIRONMENTS);
        config.ca_file = Some(PathBuf::from(told("CA_FILE")));
        config.retry_max = 0;
    });
    let delivered = host.send().delivered;
    std::fs::write(told("REPORT"), format!("{delivered} delivered {}", host.said())).expect("written");
}

/// Calls the Tracking API at one URL and the Profile API at another, with one client.
fn call_both() {
    let client = Client::new(Config {
        endpoint: told("URL"),
        profile_endpoint: told("OTHER_URL"),
        profile_token: Some("token".to_owned()),
        ca_file: Some(PathBuf::from(told("CA_FILE"))),
        ..Config::new("WRITE_KEY")
    });
    let client = client.expect("good settings");
    let said = [Api::Tracking, Api::Profile].map(|api| {
        let answer = client.call(&Request { api, method: "GET", path: "/", ..Request::default() });
        answer.map_or_else(|error| error.to_string(), |answer| answer.status.to_string())
    });
    std::fs::write(told("REPORT"), said.join("\n")).expect("written");
}

/// Starts this program with an environment that says nothing else about proxies.
fn run(part: &str, told: &[(&str, &str)], environment: &[(&str, &str)]) {
    let mut command = program(part, told);
    for name in ENVIRONMENT {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied());
    Program::start(command).succeeded();
}

/// A server with TLS, and what a program needs to deliver to it.
struct Target {
    folder: Folder,
    front: Front,
    server: Server,
}

impl Target {
    fn new() -> Target {
        let (folder, server) = (Folder::new(), Server::good());
        let ca = Authority::new("Test CA");
        ca_file(&folder, "ca.pem", &[&ca.certificate]);
        let front = Front::new(&ca.identity(&["127.0.0.1"]), &server);
        Target { folder, front, server }
    }

    fn url(&self) -> String {
        self.front.url_of("127.0.0.1")
    }

    fn trusted(&self) -> PathBuf {
        self.folder.0.join("ca.pem")
    }

    /// Delivers in a process whose environment names these proxies and no others. Returns how many were delivered, and
    /// the log.
    fn deliver_from(&self, environment: &[(&str, &str)], proxy: &str) -> String {
        let (url, report, trusted) = (self.url(), self.folder.0.join("report"), self.trusted());
        let told = [
            ("URL", url.as_str()),
            ("PROXY", proxy),
            ("CA_FILE", trusted.to_str().expect("text")),
            ("REPORT", report.to_str().expect("text")),
        ];
        run("deliver", &told, environment);
        let said = std::fs::read_to_string(report).expect("written");
        tells_no_secrets(&said);
        said
    }

    /// Calls this server and the one without TLS from a process with this environment. Returns the proxy of each call,
    /// if there was one.
    fn call_both_from(&self, environment: &[(&str, &str)]) -> [Option<String>; 2] {
        let (url, other, report, trusted) =
            (self.url(), self.server.url(), self.folder.0.join("report"), self.trusted());
        let told = [
            ("URL", url.as_str()),
            ("OTHER_URL", &other),
            ("CA_FILE", trusted.to_str().expect("text")),
            ("REPORT", report.to_str().expect("text")),
        ];
        run("call", &told, environment);
        let said = std::fs::read_to_string(report).expect("written");
        let (https, http) = said.split_once('\n').expect("two lines");
        [https, http].map(|said| match said.split_once(" (through the proxy ") {
            Some((_, proxy)) => Some(format!("http://{}", proxy.trim_end_matches(')'))),
            None => {
                assert_eq!(said, "200", "{environment:?}");
                None
            }
        })
    }
}

#[test]
fn messages_and_calls_go_through_an_http_proxy() {
    if !have(&["tinyproxy"]) {
        return;
    }
    for credentials in [None, Some((USER, PASSWORD))] {
        let proxy = Proxy::http(credentials);
        let server = Server::good();
        let host = Host::new(&server.url(), through(&proxy.url()));
        for n in 1..=3 {
            assert_eq!(host.send().delivered, n, "{}", host.said());
        }
        assert_eq!(proxy.connections_to("127.0.0.1", port_of(&server)), 1, "the tunnel is kept: {}", proxy.log());
        let answer = host.client.call(&Request { path: "/v1/x", body: b"{}", ..Request::default() });
        assert_eq!(answer.expect("an answer").status, 200);
        assert_eq!(proxy.connections_to("127.0.0.1", port_of(&server)), 2, "calls have a connection of their own");
        assert!(server.requests().iter().all(|request| request.header("proxy-authorization").is_none()));
        tells_no_secrets(&host.said());
    }
}

#[test]
fn messages_go_through_a_socks_proxy() {
    if !have(&["microsocks"]) {
        return;
    }
    for credentials in [None, Some((USER, PASSWORD))] {
        let proxy = Proxy::socks(credentials);
        let server = Server::good();
        let host = Host::new(&server.url(), through(&proxy.url()));
        for n in 1..=3 {
            assert_eq!(host.send().delivered, n, "{}", host.said());
        }
        assert_eq!(proxy.connections_to("127.0.0.1", port_of(&server)), 1, "{}", proxy.log());
        tells_no_secrets(&host.said());
    }
}

#[test]
fn credentials_may_hold_whatever_is_escaped() {
    if !have(&["microsocks"]) {
        return;
    }
    let proxy = Proxy::socks(Some(("burgundy@corp", "h:u/s h%é")));
    let server = Server::good();
    let url = proxy.url_as("burgundy%40corp:h%3Au%2Fs%20h%25%C3%A9@");
    assert_eq!(Host::new(&server.url(), through(&url)).send().delivered, 1);
    assert_eq!(proxy.connections_to("127.0.0.1", port_of(&server)), 1, "{}", proxy.log());
}

#[test]
fn tls_reaches_through_the_tunnel() {
    if !have(&["tinyproxy", "microsocks"]) {
        return;
    }
    for proxy in [Proxy::http(Some((USER, PASSWORD))), Proxy::socks(Some((USER, PASSWORD)))] {
        let target = Target::new();
        let front = &target.front;
        let host = Host::new(&target.url(), |config| {
            through(&proxy.url())(config);
            config.ca_file = Some(target.trusted());
        });
        for n in 1..=3 {
            assert_eq!(host.send().delivered, n, "{}", host.said());
        }
        assert_eq!((front.connections(), front.handshakes().len()), (1, 1));
        assert_eq!(proxy.connections_to("127.0.0.1", front.port()), 1, "{}", proxy.log());
        // A certificate that is not trusted is not trusted through a proxy either.
        let host = Host::new(&target.url(), through(&proxy.url()));
        let reason = host.fails();
        assert!(reason.starts_with("invalid peer certificate: UnknownIssuer: "), "{reason}");
        assert!(reason.ends_with(&format!(" (through the proxy 127.0.0.1:{})", proxy.port)), "{reason}");
        assert_eq!((front.handshakes().len(), target.server.requests().len()), (1, 3));
        tells_no_secrets(&host.said());
    }
}

#[test]
fn a_proxy_with_tls_is_trusted_like_any_server_or_gets_no_password() {
    if !have(&["tinyproxy"]) {
        return;
    }
    let folder = Folder::new();
    let ca = Authority::new("Test CA");
    let trusted = ca_file(&folder, "ca.pem", &[&ca.certificate]);
    let proxy = Proxy::http(Some((USER, PASSWORD)));
    let identity = ca.identity(&["127.0.0.1"]);
    let server = Server::good();
    let target = Front::new(&identity, &server);
    let front = || Front::speaking(rustls::ALL_VERSIONS, &identity, &proxy.url_as(""));
    let by = |front: &Front| format!("https://{USER}:{PASSWORD}@127.0.0.1:{}", front.port());
    for (n, url) in [server.url(), target.url_of("127.0.0.1")].iter().enumerate() {
        let stranger = front();
        let host = Host::new(url, through(&by(&stranger)));
        let reason = host.fails();
        assert!(reason.starts_with("invalid peer certificate: UnknownIssuer: "), "{reason}");
        tells_no_secrets(&host.said());
        stranger.heard_nothing();
        let known = front();
        let host = Host::new(url, |config| {
            through(&by(&known))(config);
            config.ca_file = Some(trusted.clone());
        });
        assert_eq!(host.send().delivered, 1, "{}", host.said());
        tells_no_secrets(&host.said());
        assert_eq!((known.handshakes().len(), server.requests().len()), (1, n + 1));
    }
    assert_eq!(target.handshakes().len(), 1);
    assert_eq!(proxy.connections_to("127.0.0.1", target.port()), 1, "{}", proxy.log());
}

#[test]
fn a_proxy_that_refuses_is_named_and_no_secret_is_told() {
    if !have(&["tinyproxy", "microsocks"]) {
        return;
    }
    let (http, socks) = (Proxy::http(Some((USER, PASSWORD))), Proxy::socks(Some((USER, PASSWORD))));
    let wrong = format!("{USER}:wrong-4712@");
    let wants = "the proxy requires a valid user name and password: proxy server responded ";
    for (proxy, credentials, sentence) in [
        (&http, "", wants),
        (&http, wrong.as_str(), wants),
        (&socks, "", "no acceptable auth methods"),
        (&socks, wrong.as_str(), "password authentication failed"),
    ] {
        let server = Server::good();
        let host = Host::new(&server.url(), through(&proxy.url_as(credentials)));
        let reason = host.fails();
        assert!(reason.starts_with(sentence), "{reason}");
        assert!(reason.ends_with(&format!(" (through the proxy 127.0.0.1:{})", proxy.port)), "{reason}");
        let call = host.client.call(&Request { path: "/v1/x", api: Api::Tracking, ..Request::default() });
        tells_no_secrets(&format!("{} {:?} {:?}", host.said(), call.expect_err("refused"), host.client));
        assert_eq!((server.begun(), server.connections()), (0, 0));
    }
    // A host that the proxy cannot reach gives another reason.
    for proxy in [&http, &socks] {
        let reason = Host::new(&nobody(), through(&proxy.url())).fails();
        let expected = if proxy.scheme == "http" { "the proxy made no connection: " } else { "connection refused" };
        assert!(reason.starts_with(expected), "{reason}");
    }
}

#[test]
fn a_message_waits_for_a_proxy_that_is_gone() {
    if !have(&["tinyproxy", "microsocks"]) {
        return;
    }
    for mut proxy in [Proxy::http(Some((USER, PASSWORD))), Proxy::socks(Some((USER, PASSWORD)))] {
        let server = Server::good();
        let host = Host::new(&server.url(), |config| config.proxy = Some(proxy.url()));
        assert_eq!(host.send().delivered, 1);
        proxy.die();
        host.track();
        let _ = host.client.flush(Duration::ZERO);
        let refused = format!("Connection refused (os error 111) (through the proxy 127.0.0.1:{})", proxy.port);
        host.logged(Level::Warning, if cfg!(target_os = "linux") { &refused } else { "Connection refused" });
        assert_eq!(host.client.stats().queued, 1);
        proxy.come_back();
        host.client.flush(patience()).expect("settled");
        assert_eq!((host.client.stats().delivered, server.requests().len()), (2, 2), "{}", host.said());
        tells_no_secrets(&host.said());
    }
}

#[test]
fn the_proxy_of_the_environment_is_used() {
    if !have(&["tinyproxy", "microsocks"]) {
        return;
    }
    let target = Target::new();
    let (http, socks) = (Proxy::http(Some((USER, PASSWORD))), Proxy::socks(Some((USER, PASSWORD))));
    let (by_http, by_socks) = (http.url(), socks.url());
    let mut expected = (0, 0);
    for (environment, is_http) in [
        ([("HTTPS_PROXY", by_http.as_str()), ("UNUSED", "")], true),
        ([("https_proxy", &by_http), ("UNUSED", "")], true),
        ([("ALL_PROXY", &by_http), ("UNUSED", "")], true),
        ([("ALL_PROXY", &by_socks), ("HTTPS_PROXY", &by_http)], true),
        ([("ALL_PROXY", ""), ("HTTPS_PROXY", &by_http)], true),
        ([("HTTPS_PROXY", &by_http), ("NO_PROXY", "example.com,.localhost,127.0.0.2")], true),
        ([("all_proxy", &by_socks), ("UNUSED", "")], false),
    ] {
        let said = target.deliver_from(&environment, ENVIRONMENTS);
        assert!(said.starts_with("1 delivered "), "{environment:?}: {said}");
        if is_http {
            expected.0 += 1
        } else {
            expected.1 += 1
        }
        let port = target.front.port();
        let connections = (http.connections_to("127.0.0.1", port), socks.connections_to("127.0.0.1", port));
        assert_eq!(connections, expected, "{environment:?}: {} {}", http.log(), socks.log());
    }
}

#[test]
fn each_scheme_has_its_own_proxy() {
    let target = Target::new();
    let [one, other] = [(); 2].map(|()| format!("http://127.0.0.1:{}", free_port()));
    for (environment, https, http) in [
        (&[("HTTP_PROXY", one.as_str())][..], None, Some(&one)),
        (&[("https_proxy", &one)], Some(&one), None),
        (&[("HTTPS_PROXY", &one), ("all_proxy", &other)], Some(&one), Some(&other)),
        (&[("all_proxy", &one), ("http_proxy", "")], Some(&one), None),
        (&[("HTTP_PROXY", &one), ("REQUEST_METHOD", "GET")], None, None),
        (&[("all_proxy", &one), ("no_proxy", "127.0.0.0/8")], None, None),
        (&[("all_proxy", "http://127.0.0.1:99999")], None, None),
    ] {
        let [by_https, by_http] = target.call_both_from(environment);
        assert_eq!((by_https.as_ref(), by_http.as_ref()), (https, http), "{environment:?}");
    }
}

/// The proxy that curl uses in this environment: the one that it fails to reach.
fn curl_goes_through(target: &Target, url: &str, environment: &[(&str, &str)]) -> Option<String> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--output", "/dev/null", "--cacert"]).arg(target.trusted()).arg(url);
    ENVIRONMENT.iter().for_each(|name| _ = curl.env_remove(name));
    let done = curl.envs(environment.iter().copied()).output().expect("it runs");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    if done.status.success() {
        return None;
    }
    let port = said.split_once(" port ").and_then(|(_, rest)| rest.split(' ').next()).expect(&said);
    Some(format!("http://127.0.0.1:{port}"))
}

/// For many environments of these variables. Two differences are intended: an empty variable means no proxy here, as in
/// Python, and curl ignores it; and HTTP_PROXY in upper case counts here, except in a CGI program.
#[test]
fn the_environments_proxies_are_those_that_curl_takes() {
    if !have(&["curl"]) {
        return;
    }
    let target = Target::new();
    let proxies = [(); 5].map(|()| format!("http://127.0.0.1:{}", free_port()));
    let names = ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let exceptions = [
        None,
        Some("127.0.0.1"),
        Some("127.0.0.0/8"),
        Some("10.0.0.0/8, example.com"),
        Some("*"),
        Some("127.0.0.1.example.com"),
        Some("::1,[::1]"),
    ];
    for set in 0..1 << names.len() {
        // Not all of 32 times 7: each set of proxies with two of the exceptions, so each exception with many sets.
        for exception in [exceptions[0], exceptions[1 + set % 6]] {
            let mut environment: Vec<(&str, &str)> = Vec::new();
            for (n, name) in names.iter().enumerate().filter(|(n, _)| set >> n & 1 == 1) {
                environment.push((name, &proxies[n]));
            }
            if let Some(exception) = exception {
                environment.push((if set % 2 == 0 { "no_proxy" } else { "NO_PROXY" }, exception));
            }
            let [https, http] = target.call_both_from(&environment);
            assert_eq!(https, curl_goes_through(&target, &target.url(), &environment), "https, {environment:?}");
            assert_eq!(http, curl_goes_through(&target, &target.server.url(), &environment), "http, {environment:?}");
        }
    }
}

#[test]
fn what_is_given_and_the_exceptions_come_before_the_proxy_of_the_environment() {
    if !have(&["tinyproxy"]) {
        return;
    }
    let target = Target::new();
    let dead = nobody().replace("http://", &format!("http://{USER}:{PASSWORD}@"));
    let said = target.deliver_from(&[("HTTPS_PROXY", &dead)], ENVIRONMENTS);
    assert!(said.starts_with("0 delivered ") && said.contains(" (through the proxy 127.0.0.1:"), "{said}");
    for exceptions in ["127.0.0.1", "*", "localhost,127.0.0.1", "localhost, 127.0.0.1", "example.com 127.0.0.1"] {
        for name in ["NO_PROXY", "no_proxy"] {
            let said = target.deliver_from(&[("ALL_PROXY", &dead), (name, exceptions)], ENVIRONMENTS);
            assert!(said.starts_with("1 delivered "), "{exceptions}: {said}");
        }
    }
    let said = target.deliver_from(&[("HTTPS_PROXY", &dead), ("ALL_PROXY", &dead)], "");
    assert!(said.starts_with("1 delivered "), "{said}");
    let proxy = Proxy::http(None);
    let said = target.deliver_from(&[("ALL_PROXY", &dead), ("NO_PROXY", "*")], &proxy.url());
    assert!(said.starts_with("1 delivered "), "{said}");
    assert_eq!(proxy.connections_to("127.0.0.1", target.front.port()), 1, "{}", proxy.log());
}

#[test]
fn the_name_is_looked_up_here_or_by_the_socks_proxy() {
    const IPV4: u8 = 1;
    const NAME: u8 = 3;
    const IPV6: u8 = 4;
    for (scheme, expected) in
        [("socks4", &[IPV4][..]), ("socks4a", &[NAME]), ("socks5", &[IPV4, IPV6]), ("socks5h", &[NAME])]
    {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 8];
            if scheme.starts_with("socks4") {
                stream.read_exact(&mut request).ok()?;
                return Some(if request[4..] == [0, 0, 0, 1] { NAME } else { IPV4 });
            }
            stream.read_exact(&mut request[..3]).expect("a greeting");
            stream.write_all(&[5, 0]).expect("written");
            stream.read_exact(&mut request[..4]).expect("a request");
            Some(request[3])
        });
        let server = Server::good();
        let reason = Host::new(&format!("http://localhost:{}", port_of(&server)), through(&url)).fails();
        let asked = asked.join().expect("no panic");
        // If the first address of the name is IPv6, SOCKS4 cannot ask for it.
        let is_expected = asked.map_or(reason.contains("IPv6"), |asked| expected.contains(&asked));
        assert!(is_expected, "{scheme}: {asked:?}, {reason}");
        assert_eq!(server.connections(), 0);
    }
}

/// A proxy that answers with these bytes, one after the other, and nothing more.
fn slow_proxy(answer: impl Iterator<Item = u8> + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{USER}:{PASSWORD}@{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 1024]);
                for byte in answer {
                    if stream.write_all(&[byte]).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                let _ = stream.read(&mut [0; 1024]);
                std::thread::sleep(NEVER);
            });
        }
    });
    url
}

#[test]
fn a_proxy_that_stalls_does_not_outlast_the_deadline() {
    for answer in [b"".as_slice(), b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"] {
        let server = Server::good();
        let host = Host::new(&server.url(), |config| {
            through(&slow_proxy(answer.iter().copied()))(config);
            config.timeout = Duration::from_millis(300);
        });
        let reason = host.fails();
        assert!(reason.starts_with("there was no answer in time (through the proxy 127.0.0.1:"), "{reason}");
        tells_no_secrets(&host.said());
        assert_eq!(server.connections(), 0);
    }
}

/// An answer whose header takes longer than any wait of the tests.
fn endless() -> impl Iterator<Item = u8> + Clone + Send + 'static {
    let bytes = usize::try_from(patience().as_millis() / 10).expect("a number of bytes");
    b"HTTP/1.1 200 OK\r\nX: ".iter().copied().chain(std::iter::repeat_n(b'x', bytes))
}

#[test]
fn a_proxy_that_trickles_does_not_outlast_the_deadline() {
    let server = Server::good();
    let host = Host::new(&server.url(), |config| {
        through(&slow_proxy(endless()))(config);
        config.timeout = Duration::from_millis(300);
    });
    let reason = host.fails();
    assert!(reason.starts_with("there was no answer in time (through the proxy 127.0.0.1:"), "{reason}");
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_proxy_that_trickles_does_not_outlast_a_shutdown() {
    let server = Server::good();
    let host = Host::new(&server.url(), through(&slow_proxy(endless())));
    host.track();
    let _ = host.client.flush(Duration::from_millis(100));
    let start = Instant::now();
    assert!(host.client.shutdown(Duration::from_millis(300)).is_err());
    drop(host);
    assert!(start.elapsed() < patience(), "{:?}", start.elapsed());
    assert_eq!(server.connections(), 0);
}

#[test]
fn what_is_no_url_of_a_proxy_is_refused_and_its_password_not_shown() {
    for url in [
        "nonsense",
        "127.0.0.1:8080",
        "burgundy:hush-4711@127.0.0.1:8080",
        "ftp://burgundy:hush-4711@127.0.0.1:8080",
        "http:/burgundy:hush-4711@127.0.0.1",
        "http://",
        "http://:8080",
        "http://burgundy:hush-4711@",
        "http://burgundy:hush-4711@:8080",
        "http://burgundy:hush-4711@127.0.0.1:",
        "http://burgundy:hush-4711@127.0.0.1:0",
        "http://burgundy:hush-4711@127.0.0.1:99999",
        "http://burgundy:hush-4711@127.0.0.1:port",
        "http://burgundy:hush 4711@127.0.0.1:8080",
        "http://burgundy:%FF@127.0.0.1:8080",
        "socks5://burgundy:hush-4711@[::1:1080",
    ] {
        let error = Client::new(Config { proxy: Some(url.to_owned()), ..Config::new("WRITE_KEY") });
        let error = error.expect_err(url);
        let expected = "proxy must be a URL like http://user:password@host:8080 or socks5://host:1080";
        assert_eq!(error.message(), expected, "{url}");
        tells_no_secrets(&format!("{error:?}"));
    }
    for url in
        ["http://host", "HTTP://host:1/", "https://u@host", "socks4://h:1", "socks4a://h", "socks5h://u:p@[::1]:1080"]
    {
        assert!(Client::new(Config { proxy: Some(url.to_owned()), ..Config::new("WRITE_KEY") }).is_ok(), "{url}");
    }
}
