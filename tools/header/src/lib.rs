//! What C programs compile against, written from `src/`: `include/segment.h`, and `include/segment.abi.json` for
//! bindings in other languages. The order of the header, its titles and its prose are in `segment.h.in`.

mod header;
mod manifest;
pub mod model;

pub use header::write as header;
pub use manifest::write as manifest;
