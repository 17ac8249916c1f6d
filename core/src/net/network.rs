//! HTTP over the real network.

use std::collections::HashMap;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::{CertificateError, InvalidMessage, RootCertStore};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Proxy, RequestBuilder};

use crate::base::error::{Error, ErrorKind};
use crate::base::fork::PerProcess;
use crate::base::storage::Storage;
use crate::net::proxy::Proxies;
use crate::net::resolver::Names;
use crate::net::transport::{HttpRequest, HttpResponse, Transport, UPLOADS_MAX};
use crate::net::wire;

/// Connections are not kept longer than this, so that a change of address is noticed.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);

/// Load balancers close connections that are idle for a minute; no request may use one of those.
const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(50);

/// How to reach the network.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    proxies: Proxies,
    certificates: Option<Arc<Vec<Certificate<'static>>>>,
    /// Shared by all clones; a forked child makes its own, since it has none of its parent's threads.
    names: Arc<PerProcess<Names>>,
}

impl Route {
    /// Through this proxy; if none is given, through those that the environment names; if it is empty, through none.
    /// The certificates in this file are trusted too.
    pub(crate) fn new(proxy: Option<&str>, ca_file: Option<&Path>, storage: &dyn Storage) -> Result<Self, Error> {
        let proxies = match proxy {
            None => Proxies::named_by(|name| std::env::var(name).ok()),
            Some("") => Proxies::default(),
            Some(url) => Proxies::given(url)?,
        };
        let certificates = ca_file.map(|file| read_certificates(file, storage)).transpose()?;
        let names = Arc::new(PerProcess::new(Names::default));
        Ok(Route { proxies, certificates: certificates.map(Arc::new), names })
    }

    /// The same error, naming the proxy in between, without the credentials for it.
    fn named(&self, url: &str, error: Error) -> Error {
        match self.proxies.of(url).filter(|_| error.kind() != ErrorKind::Closed) {
            Some(proxy) => {
                Error::new(error.kind(), format!("{error} (through the proxy {}:{})", proxy.host(), proxy.port()))
            }
            None => error,
        }
    }
}

fn read_certificates(file: &Path, storage: &dyn Storage) -> Result<Vec<Certificate<'static>>, Error> {
    let pem = storage.read(file).map_err(|error| {
        Error::new(ErrorKind::Storage, format!("ca_file {} cannot be read: {error}", file.display()))
    })?;
    let mut certificates = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(Error::invalid(format!("ca_file {} is not PEM: {error}", file.display()))),
        }
    }
    if certificates.is_empty() {
        return Err(Error::invalid(format!("ca_file {} holds no certificate", file.display())));
    }
    // Some of them may be of a kind that is not supported; one that is supported is enough.
    let unread = |certificate: &Certificate<'_>| RootCertStore::empty().add(certificate.der().into()).err();
    let errors: Vec<_> = certificates.iter().map_while(unread).collect();
    match errors.first() {
        Some(error) if errors.len() == certificates.len() => {
            Err(Error::invalid(format!("ca_file {} holds no certificate that can be read: {error}", file.display())))
        }
        _ => Ok(certificates),
    }
}

/// The real network.
pub(crate) struct Network {
    route: Route,
    connections: Mutex<Connections>,
}

struct Connections {
    agents: HashMap<Trust, Agent>,
    made: Instant,
    /// Which certificates have vouched for a host.
    trusted: HashMap<String, Trust>,
    aborted: bool,
    interruptions: u64,
}

/// Which certificates may vouch for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Trust {
    /// The certificates of the settings.
    Given,
    /// The system's.
    System,
    /// The ones built in, for a machine that has none.
    BuiltIn,
}

impl Network {
    pub(crate) fn new(route: Route) -> Self {
        let connections = Connections {
            agents: HashMap::new(),
            made: Instant::now(),
            trusted: HashMap::new(),
            aborted: false,
            interruptions: 0,
        };
        Network { route, connections: Mutex::new(connections) }
    }

    /// The agent to use; made anew when its connections have become old.
    fn agent(&self, trust: Trust, interruptions: u64) -> Result<Agent, Error> {
        let mut connections = self.lock();
        if connections.aborted {
            return Err(Error::new(ErrorKind::Closed, "the client was ended"));
        }
        if connections.interruptions != interruptions {
            return Err(Error::new(ErrorKind::Network, "the request was interrupted"));
        }
        if connections.made.elapsed() > CONNECTION_AGE_MAX {
            connections.agents.clear();
            connections.made = Instant::now();
        }
        let agent = connections.agents.entry(trust).or_insert_with(|| agent(&self.route, trust));
        Ok(agent.clone())
    }

    /// The certificates to try for a host, in order.
    fn order(&self, host: &str) -> Vec<Trust> {
        let mut order = vec![Trust::System];
        if self.route.certificates.is_some() {
            order.insert(0, Trust::Given);
        }
        let last = self.lock().trusted.get(host).copied();
        if let Some(last) = last {
            order.retain(|trust| *trust != last);
            order.insert(0, last);
        }
        order
    }

    /// Tries one after the other. A host is refused before anything is sent to it, so the next can be tried.
    fn trusting(&self, request: &HttpRequest<'_>, interruptions: u64) -> Result<HttpResponse, Error> {
        let until = Instant::now() + request.timeout;
        let (host, proxy) = (host(request.url), self.route.proxies.of(request.url));
        let mut order = self.order(host);
        let mut refused: Option<Failure> = None;
        let mut at = 0;
        while let Some(&trust) = order.get(at) {
            at += 1;
            let timeout = until.saturating_duration_since(Instant::now());
            let agent = self.agent(trust, interruptions)?;
            let failure = match attempt(&agent, proxy, &HttpRequest { timeout, ..*request }) {
                Ok(response) => {
                    self.lock().trusted.insert(host.to_owned(), trust);
                    return Ok(response);
                }
                Err(failure) => failure,
            };
            match failure.flaw {
                Flaw::None => return Err(refused.filter(Failure::says_much).unwrap_or(failure).error),
                Flaw::NobodyToAsk if order.contains(&Trust::BuiltIn) => {}
                Flaw::NobodyToAsk => order.push(Trust::BuiltIn),
                Flaw::UnknownIssuer | Flaw::Certificate => {
                    refused = Some(refused.filter(Failure::says_much).unwrap_or(failure));
                }
            }
        }
        Err(refused.map_or_else(
            || Error::new(ErrorKind::Network, "there are no certificates to check the host with"),
            |failure| failure.error,
        ))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Interrupts what is under way. Connections made later are not affected.
    fn hang_up(&self, forever: bool) {
        let mut connections = self.lock();
        connections.aborted |= forever;
        connections.interruptions += 1;
        connections.agents.drain().for_each(|(_, agent)| agent.shutdown());
    }
}

impl Transport for Network {
    fn exchange(&self, request: &HttpRequest<'_>) -> Result<HttpResponse, Error> {
        self.exchange_since(request, self.interruptions())
    }

    fn exchange_since(&self, request: &HttpRequest<'_>, interruptions: u64) -> Result<HttpResponse, Error> {
        let contained = |_| {
            // The panic may have left the connections in a bad state.
            self.lock().agents.clear();
            Err(Error::new(ErrorKind::Network, "a bug in the HTTP library was contained"))
        };
        catch_unwind(AssertUnwindSafe(|| self.trusting(request, interruptions)))
            .unwrap_or_else(contained)
            .map_err(|error| self.route.named(request.url, error))
    }

    fn abort(&self) {
        self.hang_up(true);
    }

    fn interrupt(&self) {
        self.hang_up(false);
    }

    fn interruptions(&self) -> u64 {
        self.lock().interruptions
    }
}

/// `https://host:port`
fn host(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    &url[..end]
}

fn agent(route: &Route, trust: Trust) -> Agent {
    let roots = match (trust, &route.certificates) {
        (Trust::Given, Some(certificates)) => RootCerts::Specific(certificates.clone()),
        (Trust::BuiltIn, _) => RootCerts::WebPki,
        _ => RootCerts::PlatformVerifier,
    };
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None) // each request has its own
        .user_agent(concat!("segment-native/", env!("CARGO_PKG_VERSION")))
        .max_idle_age(CONNECTION_IDLE_MAX)
        .max_idle_connections(UPLOADS_MAX)
        .max_idle_connections_per_host(UPLOADS_MAX)
        .input_buffer_size(16 * 1024)
        .output_buffer_size(64 * 1024)
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build();
    Agent::with_parts(config, wire::connector(), route.names.get(Names::default).clone())
}

fn attempt(agent: &Agent, proxy: Option<&Proxy>, request: &HttpRequest<'_>) -> Result<HttpResponse, Failure> {
    let HttpRequest { url, body, .. } = *request;
    let (response, is_whole) = wire::watched(|| match request.method {
        "POST" => prepared(agent.post(url), proxy, request).send(body),
        "PUT" => prepared(agent.put(url), proxy, request).send(body),
        "PATCH" => prepared(agent.patch(url), proxy, request).send(body),
        "DELETE" if body.is_empty() => prepared(agent.delete(url), proxy, request).call(),
        "DELETE" => prepared(agent.delete(url), proxy, request).force_send_body().send(body),
        _ if body.is_empty() => prepared(agent.get(url), proxy, request).call(),
        _ => prepared(agent.get(url), proxy, request).force_send_body().send(body),
    });
    let mut response = response.map_err(Failure::of)?;
    let status = response.status().as_u16();
    // Any status is an answer, but a server cannot have accepted what was not sent.
    if !is_whole && (200..300).contains(&status) {
        let sentence = "the connection was closed before the whole request was sent";
        return Err(Failure { error: Error::new(ErrorKind::Network, sentence), flaw: Flaw::None });
    }
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    if request.status_will_do && !(200..300).contains(&status) {
        // As much of the body as there is: to show it, and to see whether it is a web page.
        let mut body = Vec::new();
        let _ = response.body_mut().as_reader().take(request.answer_max_bytes as u64).read_to_end(&mut body);
        return Ok(HttpResponse { status, headers, body, ..HttpResponse::default() });
    }
    let body = response.body_mut().with_config().limit(request.answer_max_bytes as u64).read_to_vec();
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            let kind = kind(&error);
            let sentence = match error {
                ureq::Error::BodyExceedsLimit(bytes) => format!("the answer is larger than {bytes} bytes"),
                error => format!("the answer could not be read: {}", sentence(&error)),
            };
            return Err(Failure { error: Error::new(kind, sentence), flaw: Flaw::None });
        }
    };
    Ok(HttpResponse { status, headers, body, ..HttpResponse::default() })
}

fn prepared<B>(mut builder: RequestBuilder<B>, proxy: Option<&Proxy>, request: &HttpRequest<'_>) -> RequestBuilder<B> {
    for (name, value) in request.headers {
        builder = builder.header(name, value);
    }
    builder.config().proxy(proxy.cloned()).timeout_global(Some(request.timeout)).build()
}

/// Why there is no answer.
struct Failure {
    error: Error,
    flaw: Flaw,
}

/// What is wrong with the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// Nothing: the failure has another cause.
    None,
    /// The system has no certificates: an empty container, a game console.
    NobodyToAsk,
    /// No trusted issuer has issued its certificate, which says less than any other reason.
    UnknownIssuer,
    /// Its certificate is not valid.
    Certificate,
}

impl Failure {
    fn of(error: ureq::Error) -> Self {
        let flaw = match tls_error(&error) {
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => Flaw::UnknownIssuer,
            Some(rustls::Error::InvalidCertificate(_)) => Flaw::Certificate,
            // This is the error of the system's verifier.
            Some(rustls::Error::General(text)) if text.contains("No CA certificates") => Flaw::NobodyToAsk,
            _ => Flaw::None,
        };
        Failure { error: Error::new(kind(&error), sentence(&error)), flaw }
    }

    fn says_much(&self) -> bool {
        self.flaw == Flaw::Certificate
    }
}

fn kind(error: &ureq::Error) -> ErrorKind {
    if matches!(error, ureq::Error::Timeout(_)) { ErrorKind::Timeout } else { ErrorKind::Network }
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// An error in a sentence for people. None of them holds a proxy's credentials.
fn sentence(error: &ureq::Error) -> String {
    if let Some(error) = tls_error(error) {
        let text = error.to_string();
        return match error {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                format!("{text}: neither the system nor ca_file knows who issued it")
            }
            rustls::Error::InvalidCertificate(_) if text.contains("CaUsedAsEndEntity") => {
                format!("{text}: a CA's own certificate cannot be a server's; make one with CA:FALSE")
            }
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                format!("the server does not speak TLS: {text}")
            }
            _ => text,
        };
    }
    match error {
        ureq::Error::Timeout(_) => "there was no answer in time".to_owned(),
        ureq::Error::HostNotFound => "the host was not found".to_owned(),
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the connection was closed".to_owned()
        }
        ureq::Error::Io(error) => error.to_string(),
        // Some proxies answer 401 instead of 407.
        ureq::Error::ConnectProxyFailed(reason) if reason.contains("407") || reason.contains("401") => {
            format!("the proxy requires a valid user name and password: {reason}")
        }
        ureq::Error::ConnectProxyFailed(reason) => format!("the proxy made no connection: {reason}"),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::base::storage::Disk;
    use crate::patience::patience;

    #[test]
    fn a_panic_within_a_request_is_a_failure_like_any_other() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let _ = stream.read(&mut [0; 1024]);
            stream.write_all(b"HTTP/1.1 204 Fine\r\n\r\n").expect("written");
        });
        let panics = AtomicBool::new(true);
        let names = Names::with(
            move |_| Ok(vec![address]),
            move |run| {
                assert!(!panics.swap(false, Ordering::SeqCst), "a bug in a library");
                run();
                Ok(())
            },
        );
        let route = Route::new(Some(""), None, &Disk).expect("no proxy");
        let network = Network::new(Route { names: Arc::new(PerProcess::new(|| names)), ..route });
        let request = HttpRequest {
            method: "GET",
            url: "http://host.example/",
            headers: &[],
            body: b"",
            timeout: patience(),
            answer_max_bytes: 100,
            status_will_do: false,
        };
        let error = network.exchange(&request).expect_err("a panic");
        assert_eq!((error.kind(), error.message()), (ErrorKind::Network, "a bug in the HTTP library was contained"));
        assert_eq!(network.exchange(&request).expect("the next one is answered").status, 204);
    }
}
