//! The way to Segment: proxy, name, connection, TLS, clock; and one event, if it is asked for.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use segment_native::{Client, EU_ENDPOINT, HttpResponse, Options as Rest, Request, US_ENDPOINT};

use crate::connection::{Connection, said};
use crate::doctor::finding::Finding;
use crate::lock::lock;

/// What is said about the endpoint.
const ENDPOINT: &str = "endpoint";

/// More than this is told.
const SKEW_SECONDS: i64 = 10;
/// With more than this, TLS and OAuth may fail.
const SKEW_MUCH_SECONDS: i64 = 300;

/// The variables that name a proxy, in the order in which the library reads them.
fn proxies(endpoint: &str) -> &'static [&'static str] {
    match endpoint.get(..7) {
        Some(scheme) if !scheme.eq_ignore_ascii_case("http://") => {
            &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
        }
        _ if std::env::var_os("REQUEST_METHOD").is_some() => &["http_proxy", "all_proxy", "ALL_PROXY"],
        _ => &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
    }
}

pub(crate) fn look(connection: &Connection, send: bool) -> Vec<Finding> {
    let endpoint = endpoint(connection);
    if endpoint.contains('@') {
        let sentence = "it has an @ in it, as if a user and a password stood there; it is neither shown nor asked";
        return vec![Finding::bad(ENDPOINT, sentence, "leave them out: the write key is all that Segment asks for")];
    }
    if let Some(mistake) = public_api(&endpoint) {
        return vec![mistake];
    }
    let mut findings = vec![place(&endpoint)];
    let proxy = proxy(connection, &endpoint);
    let is_direct = proxy.is_none();
    findings.extend(proxy);
    if is_direct && let Some(host) = host_and_port(&endpoint) {
        findings.push(name(&host, connection.timeout));
    }
    let key = connection.write_key.as_deref().map(str::trim).filter(|key| !key.is_empty()).unwrap_or("none");
    let mut config = connection.config_with(key);
    config.on_log = None;
    let client = match Client::new(config) {
        Ok(client) => client,
        Err(error) => {
            findings.push(Finding::bad("settings", said(&error), "correct it"));
            return findings;
        }
    };
    let began = Instant::now();
    // A path that brings nothing in. It needs no key, so none is sent.
    let request = Request { method: "GET", path: "/", headers: &[("authorization", "none")], ..Request::default() };
    match client.call(&request) {
        Ok(answer) => {
            findings.push(reached(&endpoint, &answer, began.elapsed()));
            findings.extend(clock(&answer));
        }
        Err(error) => findings.push(unreached(error.message())),
    }
    if send {
        findings.push(event(connection, key));
    }
    findings
}

fn endpoint(connection: &Connection) -> String {
    match connection.endpoint.as_deref().unwrap_or_default() {
        "" => US_ENDPOINT.to_owned(),
        eu if eu.eq_ignore_ascii_case("eu") => EU_ENDPOINT.to_owned(),
        url => url.to_owned(),
    }
}

/// Segment's Public API is at hosts whose names look like those for events. It configures workspaces and takes none.
fn public_api(endpoint: &str) -> Option<Finding> {
    let host = host_and_port(endpoint)?.rsplit_once(':')?.0.to_ascii_lowercase();
    let (region, advice) = match host.as_str() {
        "eu1.api.segmentapis.com" => ("EU", format!("give --endpoint eu, which is {EU_ENDPOINT}")),
        "api.segmentapis.com" => ("US", format!("leave --endpoint out: events go to {US_ENDPOINT}")),
        _ => return None,
    };
    Some(Finding::bad(ENDPOINT, format!("{host} is the Public API in the {region}, and takes no events"), advice))
}

fn place(endpoint: &str) -> Finding {
    // A query may hold a key.
    let endpoint = endpoint.split('?').next().unwrap_or_default();
    if endpoint.starts_with("http://") && !is_local(endpoint) {
        let advice = "use https://: what is sent, and the write key, can be read and changed on the way";
        return Finding::doubtful(ENDPOINT, format!("{endpoint} is not encrypted"), advice);
    }
    let region = match endpoint {
        US_ENDPOINT => "; data of workspaces in the EU is lost there: they need --endpoint eu",
        EU_ENDPOINT => "; data of workspaces in the US is lost there",
        _ => "",
    };
    Finding::good(ENDPOINT, format!("{endpoint}{region}"))
}

fn is_local(endpoint: &str) -> bool {
    host_and_port(endpoint)
        .is_some_and(|host| host.starts_with("127.") || host.starts_with("localhost:") || host.starts_with("[::1]"))
}

/// `host:port` of a URL.
fn host_and_port(endpoint: &str) -> Option<String> {
    let (scheme, rest) = endpoint.split_once("://")?;
    let authority = rest.split(['/', '?']).next().filter(|authority| !authority.is_empty())?;
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let port = if scheme.eq_ignore_ascii_case("http") { 80 } else { 443 };
    Some(if has_port { authority.to_owned() } else { format!("{authority}:{port}") })
}

/// The proxy, if there is one. Its URL may hold a password, so only its source is told.
fn proxy(connection: &Connection, endpoint: &str) -> Option<Finding> {
    let value = |name: &&&str| std::env::var_os(name);
    // The first that is set; if it is empty, there is none.
    let set = || proxies(endpoint).iter().find(|name| value(name).is_some());
    let source = match connection.proxy.as_deref() {
        Some("") => return None,
        Some(_) => "--proxy".to_owned(),
        None => {
            set().filter(|name| value(name).is_some_and(|value| !value.is_empty())).map(|name| (*name).to_owned())?
        }
    };
    Some(Finding::good(
        "proxy",
        format!("{source} names one; it looks names up and makes the connections, but for NO_PROXY"),
    ))
}

fn name(host: &str, timeout: Duration) -> Finding {
    const CHECK: &str = "name";
    let (sender, receiver) = mpsc::channel();
    let asked = host.to_owned();
    // A look-up cannot be broken off; it ends with the process.
    thread::spawn(move || sender.send(asked.to_socket_addrs().map(Iterator::collect::<Vec<SocketAddr>>)));
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let advice = "look at /etc/resolv.conf and the firewall; a container may need --dns; a company may need --proxy";
    match receiver.recv_timeout(timeout) {
        Ok(Ok(addresses)) if !addresses.is_empty() => {
            let first = addresses[0].ip();
            Finding::good(CHECK, format!("{name} is {first}, and {} more addresses", addresses.len() - 1))
        }
        Ok(Ok(_)) => Finding::bad(CHECK, format!("{name} has no address"), advice),
        Ok(Err(error)) => Finding::bad(CHECK, format!("{name} is not found: {error}"), advice),
        Err(_) => {
            Finding::bad(CHECK, format!("looking {name} up took longer than {} s", timeout.as_secs_f64()), advice)
        }
    }
}

fn reached(endpoint: &str, answer: &HttpResponse, took: Duration) -> Finding {
    const CHECK: &str = "connection";
    let what = if endpoint.starts_with("https://") { "TLS and HTTP work" } else { "HTTP works" };
    let body = answer.body.trim_ascii_start();
    let is_page =
        answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html")) || body.starts_with(b"<");
    if is_page && (answer.status < 400 || answer.status == 511) {
        let advice = "a login page of the network may be in between: open a browser; \
            behind a proxy of a company, ask for api.segment.io to be let through";
        return Finding::doubtful(CHECK, format!("a web page answered, HTTP {}", answer.status), advice);
    }
    if answer.status == 407 {
        return Finding::bad(CHECK, "the proxy wants a password", "--proxy http://user:password@host:port");
    }
    Finding::good(CHECK, format!("{what}: an answer after {} ms", took.as_millis()))
}

fn unreached(error: &str) -> Finding {
    let lower = error.to_ascii_lowercase();
    let advice = if lower.contains("certificate") || lower.contains("unknownissuer") {
        "something in between shows a certificate of its own: give its CA with --ca-file; \
         or the clock of this machine is wrong"
    } else if lower.contains("refused") {
        "nothing listens there: is the URL right, does the collector run?"
    } else if lower.contains("407") || lower.contains("proxy") {
        "look at the proxy: its URL, user and password; --proxy '' goes without"
    } else if lower.contains("time") {
        "a firewall may swallow the packets: let port 443 out, or give --proxy"
    } else {
        "look at the firewall and the proxy"
    };
    Finding::bad("connection", error, advice)
}

fn clock(answer: &HttpResponse) -> Option<Finding> {
    const CHECK: &str = "clock";
    let theirs = httpdate::parse_http_date(answer.header("date")?).ok()?;
    let seconds = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    };
    let ahead = seconds(SystemTime::now()) - seconds(theirs);
    let way = if ahead > 0 { "ahead" } else { "behind" };
    let sentence = format!("it is {} s {way} of the server's", ahead.abs());
    Some(match ahead.abs() {
        0..=SKEW_SECONDS => Finding::good(CHECK, "it agrees with the server's"),
        skew if skew <= SKEW_MUCH_SECONDS => {
            Finding::doubtful(CHECK, sentence, "Segment corrects times by sentAt; better turn on NTP")
        }
        _ => Finding::bad(
            CHECK,
            sentence,
            "set the clock, turn on NTP: TLS and OAuth fail by it, and times that are not corrected are wrong",
        ),
    })
}

fn event(connection: &Connection, key: &str) -> Finding {
    const CHECK: &str = "event";
    let mut config = connection.config_with(key);
    let denied = std::sync::Arc::new(std::sync::Mutex::new(None));
    let told = denied.clone();
    config.on_log = Some(Box::new(move |_, line| {
        if let Some((_, words)) = line.split_once("as delivered, but the answer denies it: ") {
            *lock(&told) = Some(words.to_owned());
        }
    }));
    config.retry_max = 2;
    let fate = std::sync::Arc::new(std::sync::Mutex::new(None));
    let told = fate.clone();
    config.on_delivery = Some(Box::new(move |delivery| {
        *lock(&told) = Some(delivery.error.map_or_else(|| Ok(()), |error| Err(error.to_string())));
    }));
    let options = Rest { anonymous_id: Some("segment-doctor"), ..Rest::default() };
    let sent = Client::new(config).and_then(|client| {
        client.track(None, "Segment Doctor", None, options)?;
        client.flush(connection.timeout + Duration::from_secs(5))
    });
    let fate = lock(&fate).take();
    if let (Some(Ok(())), Some(words)) = (&fate, lock(&denied).take()) {
        let advice = format!("look at what the server says: {words}");
        return Finding::doubtful(CHECK, "the answer is a success, but its body denies it", advice);
    }
    match (sent, fate) {
        (_, Some(Ok(()))) => Finding::good(
            CHECK,
            "Segment Doctor was received; that Segment took it shows only in the source's Debugger",
        ),
        (_, Some(Err(error))) => Finding::bad(CHECK, error, "see above"),
        (Err(error), None) => Finding::bad(CHECK, said(&error), "see above"),
        (Ok(()), None) => Finding::bad(CHECK, "nobody knows what became of it", "run it again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn hosts_have_ports() {
        for (url, host) in [
            ("https://host/batch?a=b", "host:443"),
            ("https://api.segment.io", "api.segment.io:443"),
            ("http://localhost:8765/v1", "localhost:8765"),
            ("http://x", "x:80"),
            ("https://[::1]:9/", "[::1]:9"),
        ] {
            assert_eq!(host_and_port(url).as_deref(), Some(host), "{url}");
        }
        assert_eq!(host_and_port("nonsense"), None);
    }

    #[test]
    fn the_hosts_of_the_public_api_are_not_for_events() {
        let advice = |endpoint| public_api(endpoint).map(|finding| (finding.verdict, finding.lines()));
        for (endpoint, told) in [
            ("https://eu1.api.segmentapis.com", "give --endpoint eu, which is https://events.eu1.segmentapis.com"),
            ("https://EU1.api.segmentapis.com:443/v1/", "give --endpoint eu"),
            ("https://api.segmentapis.com/v1/batch", "events go to https://api.segment.io"),
        ] {
            let (verdict, lines) = advice(endpoint).expect(endpoint);
            assert_eq!(verdict, Verdict::Bad);
            assert!(lines.contains(told) && lines.contains("takes no events"), "{lines}");
        }
        for endpoint in [US_ENDPOINT, EU_ENDPOINT, "https://api.segmentapis.com.example", "http://127.0.0.1:9"] {
            assert!(advice(endpoint).is_none(), "{endpoint}");
        }
    }

    #[test]
    fn a_query_is_not_shown() {
        let shown = place("https://host/batch?key=SECRET").lines();
        assert!(shown.contains("https://host/batch") && !shown.contains("SECRET"), "{shown}");
    }

    #[test]
    fn errors_have_advice_that_fits() {
        let advice = |error| unreached(error).advice.unwrap_or_default();
        assert!(advice("invalid peer certificate: UnknownIssuer").contains("--ca-file"));
        assert!(advice("Connection refused").contains("nothing listens"));
        assert!(advice("timeout: connect").contains("firewall"));
    }
}
