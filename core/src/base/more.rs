//! Room for fields to come, in the structs that callers fill in.

/// The last field of such a struct, hidden and of a type that has no name outside of this crate. So a literal of the
/// struct must end with `..`, and still compiles when a field is added. (`#[non_exhaustive]` would forbid the literal.)
///
/// ```
/// use segment_native::{Address, Company, Config, HttpResponse, OAuth, Options, Product, Request};
///
/// let _ = Config { flush_at: 20, ..Config::new("WRITE_KEY") };
/// let _ = OAuth { scope: "tracking_api:write".into(), ..OAuth::new("CLIENT_ID", "KEY_ID", "PEM") };
/// let _ = Request { path: "/v1/group/", ..Request::default() };
/// let _ = Options { anonymous_id: Some("a-7"), ..Options::default() };
/// let _ = HttpResponse { status: 200, headers: Vec::new(), body: Vec::new(), ..HttpResponse::default() };
/// let _ = (Address { city: Some("Oslo"), ..Address::default() }, Company { id: Some("c"), ..Company::default() });
/// let _ = Product { sku: Some("G-32"), ..Product::default() };
/// ```
///
/// ```compile_fail,E0063
/// let _ = segment_native::HttpResponse { status: 200, headers: Vec::new(), body: Vec::new() };
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct More(());
