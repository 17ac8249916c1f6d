//! TLS in front of the scripted server, with certificates made by the tests; and a client that remembers its log.

#![allow(dead_code, unreachable_pub)] // each test program uses a part of it

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ALL_VERSIONS, ProtocolVersion, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use segment_native::{Client, Config, ErrorKind, Level, Stats};

use crate::child::{Folder, NEVER, balanced, patience, wait_until};
use crate::server::Server;

// ---- Certificates ----

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The chain from its own certificate up to the trusted one, which is left out.
    chain: Vec<CertificateDer<'static>>,
    /// Its own certificate.
    pub certificate: CertificateDer<'static>,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let (params, key) = (authority(name), key());
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        Authority { issuer: Issuer::new(params, key), chain: Vec::new(), certificate }
    }

    /// An authority below this one.
    pub fn below(&self, name: &str) -> Authority {
        let (params, key) = (authority(name), key());
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").der().clone();
        let chain = [std::slice::from_ref(&certificate), self.chain.as_slice()].concat();
        Authority { issuer: Issuer::new(params, key), chain, certificate }
    }

    /// The identity of a server with these names.
    pub fn identity(&self, names: &[&str]) -> Identity {
        self.identity_with(names, |_| {})
    }

    pub fn identity_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let (mut params, key) = (for_names(names), key());
        change(&mut params);
        let mut chain = vec![params.signed_by(&key, &self.issuer).expect("a certificate").der().clone()];
        chain.extend(self.chain.iter().cloned());
        Identity { chain, key: key.serialize_der() }
    }
}

/// What a server shows: its chain of certificates, its own first; and its private key.
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: Vec<u8>,
}

impl Identity {
    /// With a certificate that it has signed itself.
    pub fn self_signed(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let (mut params, key) = (for_names(names), key());
        change(&mut params);
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        Identity { chain: vec![certificate], key: key.serialize_der() }
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}

fn for_names(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).expect("names")
}

fn authority(name: &str) -> CertificateParams {
    let mut params = for_names(&[]);
    params.distinguished_name.push(DnType::CommonName, name);
    be_an_authority(&mut params);
    params
}

pub fn be_an_authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
}

pub fn pem(what: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
}

/// A file with these certificates.
pub fn ca_file(folder: &Folder, name: &str, certificates: &[&CertificateDer<'_>]) -> PathBuf {
    let text: String = certificates.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect();
    file(folder, name, &text)
}

pub fn file(folder: &Folder, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let file = folder.0.join(name);
    std::fs::write(&file, content).expect("written");
    file
}

// ---- The server ----

/// A TLS server: it passes what it gets to the server behind it, and the answers back.
pub struct Front {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    /// Connections that did not begin with TLS.
    plain: AtomicUsize,
    /// The TLS versions that were agreed upon, one for each handshake that was completed.
    handshakes: Mutex<Vec<ProtocolVersion>>,
    /// Bytes that clients sent through TLS.
    received: AtomicUsize,
    stop: AtomicBool,
}

impl Front {
    pub fn new(identity: &Identity, behind: &Server) -> Front {
        Front::speaking(ALL_VERSIONS, identity, &behind.url())
    }

    /// With these versions of TLS, in front of the server at `http://address:port`.
    pub fn speaking(versions: &[&'static SupportedProtocolVersion], identity: &Identity, behind: &str) -> Front {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key.clone()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(identity.chain.clone(), key)
            .expect("a certificate and its key");
        let (config, state) = (Arc::new(config), Arc::new(State::default()));
        let behind: SocketAddr = behind.trim_start_matches("http://").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let serving = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stop.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let (state, config) = (serving.clone(), config.clone());
                std::thread::spawn(move || {
                    let _ = state.serve(stream, config, behind);
                });
            }
        });
        Front { address, state }
    }

    /// Its URL with the name `localhost`.
    pub fn url(&self) -> String {
        self.url_of("localhost")
    }

    pub fn url_of(&self, host: &str) -> String {
        format!("https://{host}:{}", self.port())
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    pub fn handshakes(&self) -> Vec<ProtocolVersion> {
        self.state.handshakes.lock().expect("no panic").clone()
    }

    /// Fails if anything but TLS was sent, or anything within TLS.
    pub fn heard_nothing(&self) {
        assert_eq!(self.state.received.load(Ordering::SeqCst), 0, "bytes were sent through TLS");
        assert_eq!(self.state.plain.load(Ordering::SeqCst), 0, "a connection without TLS");
        assert_eq!(self.handshakes(), [], "a handshake was completed");
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // so that it notices
    }
}

/// The first byte of a TLS connection.
pub const TLS: u8 = 0x16;

impl State {
    fn serve(&self, mut stream: TcpStream, config: Arc<ServerConfig>, behind: SocketAddr) -> std::io::Result<()> {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let mut first = [0];
        if stream.peek(&mut first)? > 0 && first != [TLS] {
            self.plain.fetch_add(1, Ordering::SeqCst);
            return Ok(());
        }
        let mut tls = ServerConnection::new(config).map_err(std::io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        let version = tls.protocol_version().expect("after the handshake");
        self.handshakes.lock().expect("no panic").push(version);
        let mut behind = TcpStream::connect(behind)?;
        // Neither side is waited for while the other may send something.
        for stream in [&stream, &behind] {
            stream.set_read_timeout(Some(Duration::from_millis(1)))?;
        }
        let mut front = StreamOwned::new(tls, stream);
        let mut bytes = vec![0; 1 << 16];
        loop {
            let Some(read) = available(&mut front, &mut bytes)? else { return Ok(()) };
            self.received.fetch_add(read, Ordering::SeqCst);
            behind.write_all(&bytes[..read])?;
            let Some(read) = available(&mut behind, &mut bytes)? else {
                front.conn.send_close_notify();
                return front.flush();
            };
            front.write_all(&bytes[..read])?;
            front.flush()?;
        }
    }
}

/// How many bytes could be read; none if there will be no more.
fn available(from: &mut impl Read, bytes: &mut [u8]) -> std::io::Result<Option<usize>> {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    match from.read(bytes) {
        Ok(0) => Ok(None),
        Ok(read) => Ok(Some(read)),
        Err(error) if matches!(error.kind(), WouldBlock | TimedOut) => Ok(Some(0)),
        Err(error) => Err(error),
    }
}

// ---- The client ----

/// A client that sends without a proxy, whatever the environment says, and its log.
pub struct Host {
    pub client: Client,
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    log: Vec<(Level, String)>,
    told: Vec<Option<(ErrorKind, String)>>,
}

impl Host {
    pub fn new(endpoint: &str, change: impl FnOnce(&mut Config)) -> Host {
        let said = Arc::new(Mutex::new(Said::default()));
        let mut config = Config {
            endpoint: endpoint.to_owned(),
            proxy: Some(String::new()),
            flush_interval: NEVER,
            timeout: NEVER,
            shutdown: Duration::from_millis(1),
            ..Config::new("WRITE_KEY")
        };
        let telling = said.clone();
        config.on_delivery = Some(Box::new(move |delivery| {
            let error = delivery.error.map(|error| (error.kind(), error.message().to_owned()));
            let told = delivery.message_ids.iter().map(|_| error.clone());
            telling.lock().expect("no panic").told.extend(told);
        }));
        let logging = said.clone();
        config.on_log = Some(Box::new(move |level, line| {
            logging.lock().expect("no panic").log.push((level, line.to_owned()));
        }));
        change(&mut config);
        Host { client: Client::new(config).expect("good settings"), said }
    }

    pub fn track(&self) {
        self.client.track("u", "Event", None, None).expect("taken");
    }

    /// Tracks a message, and waits until it is settled.
    pub fn send(&self) -> Stats {
        self.track();
        self.client.flush(patience()).expect("settled in time");
        let stats = self.client.stats();
        balanced(&stats);
        stats
    }

    /// Tracks a message that is not delivered, by a client that tries once. Returns the reason.
    pub fn fails(&self) -> String {
        let stats = self.send();
        assert_eq!((stats.delivered, stats.failed, stats.requests), (0, 1, 1), "{:?}", self.said());
        let told = self.said.lock().expect("no panic").told.clone();
        let Some(Some((ErrorKind::Network, sentence))) = told.last() else { panic!("{told:?}") };
        sentence.strip_prefix("Segment could not be reached: ").expect("the beginning").to_owned()
    }

    /// The log lines of this level.
    pub fn log(&self, level: Level) -> Vec<String> {
        let said = self.said.lock().expect("no panic");
        said.log.iter().filter(|line| line.0 == level).map(|line| line.1.clone()).collect()
    }

    /// Waits for a log line with this text.
    pub fn logged(&self, level: Level, text: &str) -> String {
        let mut line = None;
        let _ = wait_until(|| {
            line = self.log(level).into_iter().find(|line| line.contains(text));
            line.is_some()
        });
        line.unwrap_or_else(|| panic!("no line with {text:?}: {}", self.said()))
    }

    /// Everything that the host was told, by the log and about its messages.
    pub fn said(&self) -> String {
        let said = self.said.lock().expect("no panic");
        format!("{:?} {:?}", said.log, said.told)
    }
}
