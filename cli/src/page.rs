//! The page of `segment inspect`: its files, what happens, and its switches.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::json;

mod files;
mod guard;
mod shown;
mod stream;

pub(crate) use guard::Guard;
pub(crate) use shown::Page;

/// Its paths. None of them is one of the Tracking API's.
pub(crate) fn router(page: Arc<Page>) -> Router {
    let mut router = Router::new();
    for file in files::FILES {
        router = router.route(file.path, get(move || async move { file.answer() }));
    }
    router
        .route("/-/stream", get(stream::stream))
        .route("/-/fault", post(fault))
        .route("/-/clear", post(clear))
        .layer(DefaultBodyLimit::max(64 * 1024))
        .layer(middleware::from_fn_with_state(page.guard.clone(), guard::check))
        .with_state(page)
}

async fn fault(State(page): State<Arc<Page>>, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(fault) => {
            page.faults.switch(fault);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => {
            let body = json!({"code": "invalid_fault", "message": error.to_string()}).to_string();
            (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
        }
    }
}

async fn clear(State(page): State<Arc<Page>>) -> StatusCode {
    page.journal.clear();
    StatusCode::NO_CONTENT
}
