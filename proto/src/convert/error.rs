//! Why a message is refused.

use std::fmt::Display;

/// A field of a message that cannot be taken as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct WireError {
    /// Path of the field in the message, as `groups[1].template.image`.
    pub field: String,
    /// What is wrong with it, in words.
    pub why: String,
}

impl WireError {
    /// `field` is refused because of `why`.
    pub fn new(field: impl Into<String>, why: impl Display) -> Self {
        Self { field: field.into(), why: why.to_string() }
    }

    /// The same, seen from the message that has this one in its field `parent`.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        Self { field: format!("{parent}.{}", self.field), why: self.why }
    }
}

/// The sender is at fault, and asking again with the same message will not help.
impl From<WireError> for tonic::Status {
    fn from(error: WireError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}
