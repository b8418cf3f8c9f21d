use alloc::borrow::Cow;
use alloc::string::String;

/// What stands at the end of truncated text.
const SUFFIX: &str = "...[TRUNCATED]";

/// At most `limit` bytes of `text`, the suffix included; cut between characters.
pub(super) fn truncate(text: Cow<'_, str>, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return text;
    }
    let Some(room) = limit.checked_sub(SUFFIX.len()) else {
        return Cow::Borrowed(&SUFFIX[..limit]);
    };
    let mut end = room;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut cut = String::with_capacity(end + SUFFIX.len());
    cut.push_str(&text[..end]);
    cut.push_str(SUFFIX);
    Cow::Owned(cut)
}
