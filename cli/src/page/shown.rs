//! What the page is about.

use std::sync::Arc;

use crate::fault::Faults;
use crate::journal::Journal;
use crate::page::guard::Guard;

/// What the page shows and changes.
pub(crate) struct Page {
    pub(crate) journal: Arc<Journal>,
    pub(crate) faults: Arc<Faults>,
    /// What the page says about the tracking plan.
    pub(crate) plan: Option<String>,
    /// Where events are stored.
    pub(crate) store: Option<String>,
    pub(crate) guard: Arc<Guard>,
}
