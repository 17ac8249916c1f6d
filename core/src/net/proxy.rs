//! Which proxy a request goes through: the one that was given, or the one that the environment names for its URL. Pure.

use std::net::IpAddr;

use http::Uri;
use ureq::Proxy;

use crate::base::error::Error;
use crate::net::endpoint::has_no_wrong_port;

/// The proxies of a client, by the scheme of the URL.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    https: Option<Proxy>,
    http: Option<Proxy>,
    exceptions: Vec<Exception>,
}

impl Proxies {
    /// This one for every URL.
    pub(crate) fn given(url: &str) -> Result<Self, Error> {
        const KNOWN: [&str; 6] = ["http://", "https://", "socks4://", "socks4a://", "socks5://", "socks5h://"];
        let is_known = |scheme: &&str| url.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
        // Its password has no business in an error.
        let proxy = Some(url).filter(|_| KNOWN.iter().any(is_known)).and_then(read).ok_or_else(|| {
            Error::invalid("proxy must be a URL like http://user:password@host:8080 or socks5://host:1080")
        })?;
        Ok(Proxies { https: Some(proxy.clone()), http: Some(proxy), exceptions: Vec::new() })
    }

    /// What the environment says: `https_proxy` for https, `http_proxy` for http, `all_proxy` for the rest, and
    /// `no_proxy` for exceptions, each in lower case or else in upper case. An empty one means no proxy, as in Python;
    /// one that is not the URL of a proxy is ignored. An empty list of exceptions counts as not set, as in curl.
    pub(crate) fn named_by(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&str]| {
            names.iter().find_map(|name| match variable(name)?.as_str() {
                "" => Some(None),
                url if url.contains("://") => read(url).map(Some),
                host => read(&format!("http://{host}")).map(Some),
            })
        };
        // A web server passes a visitor's `Proxy:` header to its CGI programs as HTTP_PROXY, so there only the lower
        // case can be trusted; on Windows, where both are the same, neither can.
        let http: &[&str] = match variable("REQUEST_METHOD") {
            None => &["http_proxy", "HTTP_PROXY"],
            Some(_) if cfg!(windows) => &[],
            Some(_) => &["http_proxy"],
        };
        let rest = first(&["all_proxy", "ALL_PROXY"]).flatten();
        let exceptions = ["no_proxy", "NO_PROXY"].into_iter().filter_map(&variable).find(|list| !list.is_empty());
        Proxies {
            https: first(&["https_proxy", "HTTPS_PROXY"]).unwrap_or_else(|| rest.clone()),
            http: first(http).unwrap_or(rest),
            exceptions: read_exceptions(&exceptions.unwrap_or_default()),
        }
    }

    /// The proxy for a URL, if there is one.
    pub(crate) fn of(&self, url: &str) -> Option<&Proxy> {
        let url: Uri = url.parse().ok()?;
        let is_https = url.scheme_str() == Some("https");
        let proxy = if is_https { &self.https } else { &self.http }.as_ref()?;
        let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let host = Host::new(url.host()?);
        let is_excepted = self.exceptions.iter().any(|exception| exception.matches(&host, port));
        (!is_excepted).then_some(proxy)
    }
}

fn read(url: &str) -> Option<Proxy> {
    let names_a_host = |proxy: &Proxy| {
        // An invalid port would be read as the default one.
        !proxy.host().is_empty() && proxy.uri().authority().is_some_and(has_no_wrong_port)
    };
    Proxy::new(url).ok().filter(names_a_host)
}

/// The host of a URL, as exceptions are compared with it.
struct Host {
    name: String,
    address: Option<IpAddr>,
}

impl Host {
    fn new(host: &str) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
        Host { address: name.parse().map(|address: IpAddr| address.to_canonical()).ok(), name }
    }
}

/// Hosts that are reached without a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exception {
    hosts: Hosts,
    /// None: any port.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    /// A host of this name, or one in the domain of this name.
    Named(String),
    EndingWith(String),
    BeginningWith(String),
    /// Hosts whose addresses begin with the same bits, this many of them.
    Network(IpAddr, u32),
}

/// Reads exceptions as most programs do: separated by commas or spaces.
fn read_exceptions(list: &str) -> Vec<Exception> {
    list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).filter_map(Exception::read).collect()
}

impl Exception {
    /// `host`, `.domain`, `10.*`, `10.0.0.0/8`, `::1`, `[::1]`, or `*`; with `:port` or without. None for anything
    /// else, which excepts nothing.
    fn read(entry: &str) -> Option<Self> {
        if let Some(network) = read_network(entry) {
            return Some(Exception { hosts: network, port: None });
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        let hosts = read_network(host).or_else(|| read_names(&host.to_ascii_lowercase()))?;
        Some(Exception { hosts, port })
    }

    fn matches(&self, host: &Host, port: u16) -> bool {
        let has_port = self.port.is_none_or(|own| own == port);
        has_port
            && match &self.hosts {
                Hosts::All => true,
                Hosts::Named(name) => {
                    host.name.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                }
                Hosts::EndingWith(end) => host.name.ends_with(end.as_str()),
                Hosts::BeginningWith(start) => host.name.starts_with(start.as_str()),
                Hosts::Network(network, bits) => {
                    host.address.is_some_and(|address| begin_alike(address, *network, *bits))
                }
            }
    }
}

fn read_network(text: &str) -> Option<Hosts> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let (address, bits) = match bare.split_once('/') {
        Some((address, bits)) => (address.parse::<IpAddr>().ok()?, Some(bits.parse().ok()?)),
        None => (bare.parse::<IpAddr>().ok()?.to_canonical(), None),
    };
    let all = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(all);
    (bits <= all).then_some(Hosts::Network(address, bits))
}

fn read_names(name: &str) -> Option<Hosts> {
    let is_start_of_address = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    Some(match name {
        "" | "." => return None,
        "*" => Hosts::All,
        _ if name.starts_with('*') => Hosts::EndingWith(name[1..].to_owned()),
        _ if name.starts_with('.') => Hosts::EndingWith(name.to_owned()),
        _ if name.ends_with('*') => Hosts::BeginningWith(name[..name.len() - 1].to_owned()),
        _ if name.ends_with('.') && is_start_of_address(name) => Hosts::BeginningWith(name.to_owned()),
        // A fully qualified name may end with a dot.
        _ => Hosts::Named(name.strip_suffix('.').unwrap_or(name).to_owned()),
    })
}

fn begin_alike(one: IpAddr, other: IpAddr, bits: u32) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (one.to_bits() ^ other.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            (one.to_bits() ^ other.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTPS: &str = "https://api.example/v1/batch";
    const HTTP: &str = "http://api.example/v1/batch";

    fn environment(variables: &[(&str, &str)]) -> Proxies {
        let find = |name: &str| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        Proxies::named_by(find)
    }

    /// The host of the proxy; empty if there is none.
    fn proxy_of<'a>(proxies: &'a Proxies, url: &str) -> &'a str {
        proxies.of(url).map_or("", Proxy::host)
    }

    #[test]
    fn the_environment_names_a_proxy_for_each_scheme() {
        for (variables, https, http) in [
            (&[][..], "", ""),
            (&[("https_proxy", "http://a:1")], "a", ""),
            (&[("HTTPS_PROXY", "http://a:1")], "a", ""),
            (&[("http_proxy", "http://a:1")], "", "a"),
            (&[("HTTP_PROXY", "http://a:1")], "", "a"),
            (&[("all_proxy", "http://a:1")], "a", "a"),
            (&[("ALL_PROXY", "socks5://a")], "a", "a"),
            // Lower case wins, and the scheme's own.
            (&[("https_proxy", "http://a:1"), ("HTTPS_PROXY", "http://b:1")], "a", ""),
            (&[("all_proxy", "http://a:1"), ("ALL_PROXY", "http://b:1")], "a", "a"),
            (&[("all_proxy", "http://a:1"), ("HTTPS_PROXY", "http://b:1")], "b", "a"),
            (&[("ALL_PROXY", "http://a:1"), ("HTTP_PROXY", "http://b:1")], "a", "b"),
            // An empty one means none, for its scheme.
            (&[("all_proxy", "http://a:1"), ("https_proxy", "")], "", "a"),
            (&[("all_proxy", "http://a:1"), ("HTTP_PROXY", "")], "a", ""),
            (&[("HTTPS_PROXY", "http://a:1"), ("https_proxy", "")], "", ""),
            (&[("HTTPS_PROXY", "http://a:1"), ("all_proxy", "")], "a", ""),
            (&[("ALL_PROXY", "http://a:1"), ("all_proxy", "")], "", ""),
            // What a web server's visitor sends is ignored.
            (&[("HTTP_PROXY", "http://a:1"), ("REQUEST_METHOD", "GET")], "", ""),
            (&[("HTTP_PROXY", "http://a:1"), ("all_proxy", "http://b:1"), ("REQUEST_METHOD", "")], "b", "b"),
            (&[("HTTPS_PROXY", "http://a:1"), ("REQUEST_METHOD", "GET")], "a", ""),
            // What is not the URL of a proxy is ignored.
            (&[("https_proxy", "ftp://a"), ("HTTPS_PROXY", "http://b:1")], "b", ""),
            (&[("https_proxy", "http://a:99999"), ("all_proxy", "http://b:1")], "b", "b"),
            (&[("https_proxy", "http://a:0"), ("http_proxy", "a:x")], "", ""),
            (&[("https_proxy", " "), ("http_proxy", "http://")], "", ""),
        ] {
            let proxies = environment(variables);
            assert_eq!((proxy_of(&proxies, HTTPS), proxy_of(&proxies, HTTP)), (https, http), "{variables:?}");
        }
        #[cfg(not(windows))]
        {
            let proxies = environment(&[("http_proxy", "http://a:1"), ("REQUEST_METHOD", "GET")]);
            assert_eq!(proxy_of(&proxies, HTTP), "a");
        }
    }

    #[test]
    fn a_proxy_of_the_environment_need_not_say_http() {
        for (value, scheme, host, port) in [
            ("a", "http", "a", 80),
            ("a:3128", "http", "a", 3128),
            ("a:3128/", "http", "a", 3128),
            ("u:p@a:3128", "http", "a", 3128),
            ("[::1]:3128", "http", "[::1]", 3128),
            ("socks://a", "socks", "a", 1080),
            ("SOCKS5H://a:1", "socks5h", "a", 1),
        ] {
            let proxies = environment(&[("all_proxy", value)]);
            let proxy = proxies.of(HTTPS).expect(value);
            let own = proxy.uri().scheme_str().unwrap_or_default().to_ascii_lowercase();
            assert_eq!((own.as_str(), proxy.host(), proxy.port()), (scheme, host, port), "{value}");
        }
        let proxies = environment(&[("all_proxy", "u%40x:p%3A%2F@a:1")]);
        let proxy = proxies.of(HTTPS).expect("one");
        assert_eq!((proxy.username(), proxy.password()), (Some("u@x"), Some("p:/")));
    }

    #[test]
    fn a_list_of_exceptions_in_lower_case_wins_unless_it_is_empty() {
        for (variables, expected) in [
            ([("no_proxy", "other"), ("NO_PROXY", "api.example")], "a"),
            ([("no_proxy", "api.example"), ("NO_PROXY", "other")], ""),
            ([("no_proxy", ""), ("NO_PROXY", "api.example")], ""),
            ([("no_proxy", "api.example"), ("NO_PROXY", "")], ""),
            ([("no_proxy", ""), ("NO_PROXY", "")], "a"),
        ] {
            let variables = [&[("all_proxy", "http://a:1")], variables.as_slice()].concat();
            assert_eq!(proxy_of(&environment(&variables), HTTPS), expected, "{variables:?}");
        }
        let given = Proxies::given("http://a:1").expect("a proxy");
        assert_eq!((proxy_of(&given, HTTPS), proxy_of(&given, HTTP)), ("a", "a"));
    }

    fn is_direct(exceptions: &str, url: &str) -> bool {
        environment(&[("all_proxy", "http://a:1"), ("no_proxy", exceptions)]).of(url).is_none()
    }

    #[test]
    fn exceptions_are_hosts_and_domains_with_commas_or_spaces() {
        for exceptions in ["corp.example", "a, corp.example", "a corp.example", ",,CORP.example , b", "corp.example."] {
            for host in ["corp.example", "api.corp.example", "API.Corp.Example", "corp.example."] {
                assert!(is_direct(exceptions, &format!("https://{host}:8443/v1")), "{host} in {exceptions:?}");
            }
            for host in ["example", "notcorp.example", "corp.example.org", "api.segment.io"] {
                assert!(!is_direct(exceptions, &format!("https://{host}:8443/v1")), "{host} in {exceptions:?}");
            }
        }
    }

    #[test]
    fn exceptions_are_patterns_addresses_networks_and_ports() {
        for (exceptions, url, expected) in [
            ("", "https://api.segment.io", false),
            ("*", "https://api.segment.io", true),
            ("a,*", "https://api.segment.io", true),
            ("*", "http://[::1]:8080", true),
            ("*:443", "https://api.segment.io", true),
            ("*:443", "http://api.segment.io", false),
            (".segment.io", "https://api.segment.io", true),
            ("*.segment.io", "https://api.segment.io", true),
            (".segment.io", "https://segment.io", false),
            ("segment.io:443", "https://api.segment.io", true),
            ("segment.io:80", "http://api.segment.io", true),
            ("segment.io:80", "https://api.segment.io", false),
            ("segment.io:8443", "https://segment.io:8443/v1", true),
            ("segment.io:x", "https://segment.io", false),
            ("segment.io:99999", "https://segment.io", false),
            (".", "https://segment.io", false),
            ("127.0.0.1", "http://127.0.0.1:8080", true),
            ("127.0.0.1", "http://127.0.0.11", false),
            ("127.0.0.1", "http://1.127.0.0.1.example", false),
            ("127.0.0.1:8080", "http://127.0.0.1:8080", true),
            ("127.0.0.1:8080", "http://127.0.0.1", false),
            ("10.*", "http://10.1.2.3", true),
            ("10.", "http://10.1.2.3", true),
            ("127.0.0.0/8", "http://127.1.2.3", true),
            ("127.0.0.1/8", "http://127.1.2.3", true),
            ("127.0.0.0/8", "http://128.1.2.3", false),
            ("127.0.0.0/8", "http://127.example", false),
            ("127.0.0.0/8", "http://[::1]", false),
            ("10.0.0.4/30", "http://10.0.0.7", true),
            ("10.0.0.4/30", "http://10.0.0.8", false),
            ("10.0.0.4/32", "http://10.0.0.4", true),
            ("0.0.0.0/0", "http://10.0.0.4", true),
            ("10.0.0.4/33", "http://10.0.0.4", false),
            ("10.0.0.4/x", "http://10.0.0.4", false),
            ("10.0.0.4/", "http://10.0.0.4", false),
            ("fd00::/8", "http://[fd12:3456::1]:8080", true),
            ("fd00::/8", "http://[fe80::1]", false),
            ("::/0", "http://[fe80::1]", true),
            ("fd00::1/128", "http://[fd00::1]", true),
            ("fd00::/129", "http://[fd00::1]", false),
            ("::1", "http://[::1]:8080", true),
            ("0:0:0:0:0:0:0:1", "http://[::1]:8080", true),
            ("[::1]", "http://[::1]:8080", true),
            ("[::1]:8080", "http://[::1]:8080", true),
            ("[::1]:8080", "http://[::1]", false),
            ("::2", "http://[::1]", false),
            ("127.0.0.0/8", "http://[::ffff:127.0.0.1]", true),
        ] {
            assert_eq!(is_direct(exceptions, url), expected, "{url} in {exceptions:?}");
        }
    }
}
