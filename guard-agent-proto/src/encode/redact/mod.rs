//! What of a record's text is not sent: secrets, and what is too long.

mod credentials;
mod document;
mod edits;
mod members;
mod names;
mod scan;
mod text;
mod truncate;
mod value;
mod view;

pub(super) use members::{Limits, Redactor, Writer};

/// What stands for a redacted value.
pub(super) const PLACEHOLDER: &str = "[REDACTED]";

/// Deepest value that is looked at as a value.
const MAX_DEPTH: usize = 10;

/// Where a value stands in a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    depth: usize,
    /// Values in metadata and tags are redacted as other agents do it: whole where they are too deep or JSON that is
    /// too long. Elsewhere they are evidence, and are cut.
    is_metadata: bool,
}

impl Place {
    /// A field, or a member beside the fields.
    pub(super) const FIELD: Self = Self { depth: 1, is_metadata: false };
    /// A member of metadata, or a tag.
    pub(super) const METADATA: Self = Self { depth: 1, is_metadata: true };

    const fn deeper(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    const fn is_too_deep(self) -> bool {
        self.depth > MAX_DEPTH
    }
}
