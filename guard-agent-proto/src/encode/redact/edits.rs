//! Replacements of parts of a text.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

/// A replacement of a part of a text.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) with: Cow<'static, str>,
}

impl Edit {
    pub(super) fn new(range: Range<usize>, with: impl Into<Cow<'static, str>>) -> Self {
        Self { range, with: with.into() }
    }
}

/// Adds an edit that may begin within what is edited already: then all of that is replaced.
pub(super) fn push(edits: &mut Vec<Edit>, mut edit: Edit) {
    while let Some(last) = edits.pop_if(|last| last.range.end > edit.range.start) {
        edit.range.start = edit.range.start.min(last.range.start);
        edit.range.end = edit.range.end.max(last.range.end);
    }
    edits.push(edit);
}

/// The text with the replacements made, which are in order and apart; `None` if that changes nothing.
pub(super) fn apply(text: &str, edits: Vec<Edit>) -> Option<String> {
    if edits.iter().all(|edit| text.get(edit.range.clone()) == Some(&*edit.with)) {
        return None;
    }
    let mut edited = String::with_capacity(text.len());
    let mut kept = 0;
    for edit in edits {
        edited.push_str(text.get(kept..edit.range.start).unwrap_or_default());
        edited.push_str(&edit.with);
        kept = edit.range.end;
    }
    edited.push_str(text.get(kept..).unwrap_or_default());
    Some(edited)
}
