use alloc::borrow::Cow;
use alloc::string::String;

/// What stands at the end of truncated text.
pub(super) const SUFFIX: &str = "...[TRUNCATED]";

/// At most `limit` bytes of `text`, the suffix included; cut between characters.
pub(super) fn truncate(text: Cow<'_, str>, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit { text } else { cut(&text, limit) }
}

/// The same of text that goes on behind what is given.
pub(super) fn cut(text: &str, limit: usize) -> Cow<'static, str> {
    let Some(size) = limit.checked_sub(SUFFIX.len()) else {
        return Cow::Borrowed(&SUFFIX[..limit]);
    };
    let kept = beginning(text, size);
    let mut cut = String::with_capacity(kept.len() + SUFFIX.len());
    cut.push_str(kept);
    cut.push_str(SUFFIX);
    Cow::Owned(cut)
}

/// At most `limit` bytes of `text`, cut between characters.
pub(super) fn beginning(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
