//! The paths of the Tracking API and their answers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Extension, FromRequest as _, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use segment_native::Call;
use serde::Deserialize;
use serde_json::json;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use crate::batch::{Delivery, Refusal};
use crate::body::{self, MAX_BODY_BYTES, Received};
use crate::collector::Collector;
use crate::fault::{self, Faults, Outage};
use crate::note::Note;
use crate::note::Slowed;
use crate::warning::Warning;

type Routes = Router<Arc<Collector>>;

/// A transparent image of one pixel.
const GIF: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00\
    ,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

/// All paths, documented or only used by Segment's own SDKs.
pub(crate) fn router(collector: Arc<Collector>, faults: Arc<Faults>) -> Router {
    let outage = Outage { faults, collector: collector.clone() };
    let mut routes = Router::new();
    for path in ["batch", "import", "b"] {
        routes = add(routes, path, post(batch));
    }
    for call in Call::ALL {
        let take = move |state, received| one_call(state, received, call);
        routes = add(routes, call.name(), post(take));
        routes = add(routes, &call.name()[..1], post(take));
        routes = add(
            routes,
            &format!("pixel/{}", call.name()),
            get(move |slowed, state, request, query| pixel(slowed, state, request, query, call)),
        );
    }
    add(routes, "projects/{write_key}/settings", get(settings))
        .fallback(elsewhere)
        .layer(middleware::from_fn_with_state(outage, fault::befall))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(
            CorsLayer::new()
                .allow_origin(Any)
                .allow_methods(Any)
                // A star would leave out Authorization.
                .allow_headers(AllowHeaders::mirror_request())
                // Pages from the internet ask for this before they reach a local address.
                .allow_private_network(true),
        )
        .with_state(collector)
}

/// Adds a path with and without `/v1`, which some SDKs count to the host, and with and without a slash at the end.
fn add(routes: Routes, path: &str, method: MethodRouter<Arc<Collector>>) -> Routes {
    [format!("/v1/{path}"), format!("/v1/{path}/"), format!("/{path}"), format!("/{path}/")]
        .iter()
        .fold(routes, |routes, path| routes.route(path, method.clone()))
}

async fn one_call(State(collector): State<Arc<Collector>>, received: Received, call: Call) -> Response {
    answer(&collector, &received, |body| Delivery::of_call(body, call, received.has_key))
}

async fn batch(State(collector): State<Arc<Collector>>, received: Received) -> Response {
    answer(&collector, &received, |body| Delivery::of_batch(body, received.has_key))
}

fn answer<'a>(
    collector: &Collector,
    received: &'a Received,
    read: impl FnOnce(&'a str) -> Result<Delivery<'a>, Refusal>,
) -> Response {
    let note = &received.note;
    match received.text.as_ref().map_err(Refusal::clone).and_then(|body| read(body)) {
        Ok(delivery) => {
            collector.take(note, delivery);
            json(StatusCode::OK, r#"{"success": true}"#)
        }
        Err(refusal) => {
            collector.refuse(note, &refusal);
            error(&refusal)
        }
    }
}

#[derive(Deserialize)]
struct Pixel {
    data: String,
}

async fn pixel(
    slowed: Option<Extension<Slowed>>,
    State(collector): State<Arc<Collector>>,
    (method, uri, headers): (Method, Uri, HeaderMap),
    query: Result<Query<Pixel>, QueryRejection>,
    call: Call,
) -> Response {
    let text = match &query {
        Ok(Query(pixel)) => body::pixel_text(&pixel.data),
        Err(_) => Err(Refusal::bad_request("no_data", "the query has no data, or more than one")),
    };
    let delivery = text.as_ref().map_err(Refusal::clone).and_then(|text| Delivery::of_call(text, call, false));
    let delivery = delivery.unwrap_or_else(|refusal| Delivery {
        events: Vec::new(),
        warnings: vec![Warning::EmptyPixel(refusal.message)],
    });
    let mut note = Note::new(&method, &uri, &headers);
    note.fault = slowed.map(|Extension(Slowed(name))| name);
    collector.take(&note, delivery);
    ([(header::CONTENT_TYPE, "image/gif"), (header::CACHE_CONTROL, "no-store")], GIF).into_response()
}

/// What SDKs ask for when they start. Without an `apiHost`, they keep the one they are configured with.
async fn settings(Path(write_key): Path<String>) -> Response {
    let settings = json!({
        "integrations": {"Segment.io": {"apiKey": write_key}},
        "plan": {"track": {}},
        "edgeFunction": {},
    });
    json(StatusCode::OK, settings.to_string())
}

/// A gateway may have batches at any path, and its users look at what they send here first.
async fn elsewhere(state: State<Arc<Collector>>, request: Request) -> Response {
    let path = request.uri().path().trim_end_matches('/');
    if request.method() == Method::POST && (path.ends_with("/batch") || path.ends_with("/b")) {
        let Ok(received) = Received::from_request(request, &state.0).await;
        return batch(state, received).await;
    }
    unknown(&state.0, &Note::new(request.method(), request.uri(), request.headers()))
}

fn unknown(collector: &Collector, note: &Note) -> Response {
    let refusal = Refusal {
        status: StatusCode::NOT_FOUND,
        code: "not_found",
        message: "the Tracking API has no such path".to_owned(),
    };
    collector.unknown(note, &refusal);
    error(&refusal)
}

fn error(refusal: &Refusal) -> Response {
    let body = json!({"code": refusal.code, "message": refusal.message});
    json(refusal.status, body.to_string())
}

fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}
