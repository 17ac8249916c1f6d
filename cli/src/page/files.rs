//! The files of the page. They are in the program: it needs nothing beside it, and nothing from elsewhere.

use axum::http::header;
use axum::response::{IntoResponse as _, Response};

/// A file.
pub(super) struct File {
    pub(super) path: &'static str,
    kind: &'static str,
    text: &'static str,
}

impl File {
    pub(super) fn answer(&self) -> Response {
        ([(header::CONTENT_TYPE, self.kind)], self.text).into_response()
    }
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// All files.
pub(super) static FILES: &[File] = &[
    File { path: "/", kind: HTML, text: include_str!("../../web/index.html") },
    File { path: "/-/icon.svg", kind: SVG, text: include_str!("../../web/icon.svg") },
    File { path: "/-/theme.css", kind: CSS, text: include_str!("../../web/theme.css") },
    File { path: "/-/page.css", kind: CSS, text: include_str!("../../web/page.css") },
    File { path: "/-/detail.css", kind: CSS, text: include_str!("../../web/detail.css") },
    File { path: "/-/main.js", kind: JS, text: include_str!("../../web/main.js") },
    File { path: "/-/dom.js", kind: JS, text: include_str!("../../web/dom.js") },
    File { path: "/-/stream.js", kind: JS, text: include_str!("../../web/stream.js") },
    File { path: "/-/rows.js", kind: JS, text: include_str!("../../web/rows.js") },
    File { path: "/-/filter.js", kind: JS, text: include_str!("../../web/filter.js") },
    File { path: "/-/table.js", kind: JS, text: include_str!("../../web/table.js") },
    File { path: "/-/columns.js", kind: JS, text: include_str!("../../web/columns.js") },
    File { path: "/-/detail.js", kind: JS, text: include_str!("../../web/detail.js") },
    File { path: "/-/json.js", kind: JS, text: include_str!("../../web/json.js") },
    File { path: "/-/copy.js", kind: JS, text: include_str!("../../web/copy.js") },
    File { path: "/-/chart.js", kind: JS, text: include_str!("../../web/chart.js") },
    File { path: "/-/faults.js", kind: JS, text: include_str!("../../web/faults.js") },
    File { path: "/-/keys.js", kind: JS, text: include_str!("../../web/keys.js") },
];
