//! JSON: writing it, checking it, objects.

pub(crate) mod object;
pub(crate) mod pieces;
pub(crate) mod scan;
pub(crate) mod write;
