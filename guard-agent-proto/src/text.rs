use alloc::borrow::Cow;
use alloc::string::String;

/// Text that is either a fixed word or owned.
pub(crate) type Text = Cow<'static, str>;

/// Borrowed text as a record holds it: words that every service uses cost no allocation.
pub(crate) fn intern(text: &str) -> Text {
    match known(text) {
        Some(word) => Cow::Borrowed(word),
        None => Cow::Owned(String::from(text)),
    }
}

fn known(text: &str) -> Option<&'static str> {
    Some(match text {
        "" => "",
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => return None,
    })
}
