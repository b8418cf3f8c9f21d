use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

/// An answer to one request, good or bad.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) takes: Takes,
    pub(super) delay: Duration,
    pub(super) reply: Reply,
    /// Between two bytes of the reply.
    pub(super) trickle: Option<Duration>,
    pub(super) again: Option<Duration>,
    pub(super) only: Only,
    pub(super) names: Option<Names>,
}

/// The records with that text, by their places in the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) text: &'static str,
    /// Places are written as text.
    pub(super) as_text: bool,
}

/// Which batches the answer is for; all others are answered normally.
#[derive(Clone, Copy, Debug)]
pub(super) enum Only {
    Any,
    With(&'static str),
    LongerThan(usize),
}

/// Which records of the request count as received.
#[derive(Clone, Debug)]
pub(super) enum Takes {
    All,
    AllBut(BTreeSet<usize>),
    EverySecond,
    None,
}

/// What goes back over the connection.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// What the platform would say.
    Platform,
    Http {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    Hang,
    Reset,
    Cut,
    Garbage,
    EndlessBody,
    EndlessHeaders,
}

impl Answer {
    /// What the platform would say.
    #[must_use]
    pub const fn normal() -> Self {
        Self::new(Takes::All, Reply::Platform)
    }

    /// That status code; the records are taken if it is a success.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        let takes = if matches!(status, 200..=299) { Takes::All } else { Takes::None };
        Self::new(takes, Reply::Http { status, headers: Vec::new(), body: Vec::new() })
    }

    /// That status code with a JSON body.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::status(status).header("content-type", "application/json").body(body.to_string())
    }

    /// That status code with a page, as firewalls have it.
    #[must_use]
    pub fn blocked(status: u16) -> Self {
        let page = "<html>Request blocked</html>";
        Self::status(status).header("content-type", "text/html").body(page).refusing()
    }

    /// 200 that names these places of the batch as failed, and takes the others.
    #[must_use]
    pub fn partly(failed: &[usize]) -> Self {
        let errors: Vec<_> =
            failed.iter().map(|index| json!({"index": index, "message": "not acceptable"})).collect();
        let answer = Self::json(200, &json!({"success": false, "errors": errors}));
        Self { takes: Takes::AllBut(failed.iter().copied().collect()), ..answer }
    }

    /// 200 that names every second record of the batch, from the first on, as failed, and takes the others.
    #[must_use]
    pub const fn every_second() -> Self {
        Self::new(Takes::EverySecond, Reply::Platform)
    }

    /// 422 as FastAPI has it for batches with records that have that text in their JSON: it names each of them by its place,
    /// a number or the same as text.
    #[must_use]
    pub const fn naming(text: &'static str, as_text: bool) -> Self {
        let mut answer = Self::status(422).if_it_has(text);
        answer.names = Some(Names { text, as_text });
        answer
    }

    /// Takes the records, then breaks the connection: the answer is lost.
    #[must_use]
    pub const fn lost() -> Self {
        Self::new(Takes::All, Reply::Reset)
    }

    /// Breaks the connection.
    #[must_use]
    pub const fn reset() -> Self {
        Self::new(Takes::None, Reply::Reset)
    }

    /// Never answers.
    #[must_use]
    pub const fn hang() -> Self {
        Self::new(Takes::None, Reply::Hang)
    }

    /// Takes the records, then closes the connection in the middle of the body.
    #[must_use]
    pub const fn cut() -> Self {
        Self::new(Takes::All, Reply::Cut)
    }

    /// Bytes that are not HTTP.
    #[must_use]
    pub const fn garbage() -> Self {
        Self::new(Takes::None, Reply::Garbage)
    }

    /// 200 with a body that does not end.
    #[must_use]
    pub const fn endless_body() -> Self {
        Self::new(Takes::None, Reply::EndlessBody)
    }

    /// 200 with headers that do not end.
    #[must_use]
    pub const fn endless_headers() -> Self {
        Self::new(Takes::None, Reply::EndlessHeaders)
    }

    /// Adds a header to an answer made by [`Answer::status`] or [`Answer::json`].
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Reply::Http { headers, .. } = &mut self.reply {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Sets the body of an answer made by [`Answer::status`].
    #[must_use]
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        if let Reply::Http { body, .. } = &mut self.reply {
            *body = bytes.into();
        }
        self
    }

    /// Does not take the records, whatever it says.
    #[must_use]
    pub fn refusing(self) -> Self {
        Self { takes: Takes::None, ..self }
    }

    /// Takes the records, whatever it says.
    #[must_use]
    pub fn taking(self) -> Self {
        Self { takes: Takes::All, ..self }
    }

    /// Answers that much later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Waits that long before each byte.
    #[must_use]
    pub fn trickling(self, pause: Duration) -> Self {
        Self { trickle: Some(pause), ..self }
    }

    /// Sends the answer twice in one go.
    #[must_use]
    pub fn twice(self) -> Self {
        self.again_after(Duration::ZERO)
    }

    /// Sends it again after that time. A client that has asked for something else by then cannot tell.
    #[must_use]
    pub fn again_after(self, pause: Duration) -> Self {
        Self { again: Some(pause), ..self }
    }

    /// Answers so if a record of the batch has that text in its JSON.
    #[must_use]
    pub const fn if_it_has(mut self, text: &'static str) -> Self {
        self.only = Only::With(text);
        self
    }

    /// Answers so if the batch has more than that many records.
    #[must_use]
    pub const fn if_longer_than(mut self, records: usize) -> Self {
        self.only = Only::LongerThan(records);
        self
    }

    const fn new(takes: Takes, reply: Reply) -> Self {
        Self { takes, delay: Duration::ZERO, reply, trickle: None, again: None, only: Only::Any, names: None }
    }
}

impl Takes {
    pub(super) fn takes(&self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(failed) => !failed.contains(&index),
            Self::EverySecond => index % 2 == 1,
            Self::None => false,
        }
    }
}
