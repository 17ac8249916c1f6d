//! Who the user is and what they agreed to.

pub(crate) mod context;
pub(crate) mod identity;
pub(crate) mod person;
