use alloc::vec;

/// Most bytes for one that is escaped: `&quot;`, `\u0022`.
const LONGEST_ESCAPE: usize = 6;

/// Whether a text repeats a secret, of which all but ASCII's letters and digits may be escaped in whatever way.
pub(super) fn repeats(text: &str, secret: &str) -> bool {
    // The words alone rule out nearly every answer, and are found fast.
    let mut words = secret.split(|c: char| !c.is_ascii_alphanumeric());
    !secret.is_empty()
        && words.all(|word| text.contains(word))
        && (text.contains(secret) || repeats_escaped(text.as_bytes(), secret.as_bytes()))
}

fn repeats_escaped(text: &[u8], secret: &[u8]) -> bool {
    // Where the words so far may end, and how many bytes of the secret follow until the next.
    let (mut ends, mut between) = (None, 0);
    for word in secret.split(|byte| !byte.is_ascii_alphanumeric()) {
        if !word.is_empty() {
            let mut next = vec![false; text.len() + 1];
            for (at, found) in text.windows(word.len()).enumerate() {
                next[at + word.len()] = found == word && follows(ends.as_deref(), at, between);
            }
            (ends, between) = (Some(next), 0);
        }
        between += 1;
    }
    ends.is_some_and(|ends| ends.contains(&true))
}

fn follows(ends: Option<&[bool]>, at: usize, between: usize) -> bool {
    let Some(ends) = ends else { return true };
    (between..=between * LONGEST_ESCAPE).any(|gap| at.checked_sub(gap).is_some_and(|end| ends[end]))
}
