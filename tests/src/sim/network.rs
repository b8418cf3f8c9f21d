use std::time::Duration;

use guard_agent_proto::{Response, TransportError, TransportErrorKind};

use super::rng::Rng;

/// What can go wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection.
    Refused,
    /// The connection breaks before the platform has the request.
    Reset,
    /// Nothing comes back, nothing arrived.
    Hang,
    /// The platform takes it, then the connection breaks.
    LostToReset,
    /// The platform takes it, and the answer does not come in time.
    LostToTimeout,
    /// It takes nearly all the time there is.
    Slow,
    /// The answer comes twice.
    AnsweredTwice,
    /// The answer comes after the time limit.
    AnsweredLate,
    /// The request arrives twice.
    ArrivesTwice,
    /// 408, 425, 5xx.
    ServerError,
    /// 429.
    SlowDown,
    /// 400, 422, although nothing is wrong with the content.
    Refusal,
    /// 413, although it is small enough.
    TooLarge,
    /// 401, 403, 404.
    Unauthorized,
    /// Redirects, a proxy that wants credentials, and other statuses.
    OddStatus,
    /// The account may send no more for now.
    QuotaUsedUp,
    /// 201, 202, 204, or a 200 that says little.
    OddSuccess,
    /// A 200 with a page of HTML, such as a captive portal's, with bytes that are not text, or with nothing.
    NotThePlatform,
    /// The platform takes some records and names the others.
    Partial,
    /// The platform says no in a 200 and names nothing.
    Unsure,
}

impl Fault {
    pub(crate) const ALL: [Self; 20] = [
        Self::Refused,
        Self::Reset,
        Self::Hang,
        Self::LostToReset,
        Self::LostToTimeout,
        Self::Slow,
        Self::AnsweredTwice,
        Self::AnsweredLate,
        Self::ArrivesTwice,
        Self::ServerError,
        Self::SlowDown,
        Self::Refusal,
        Self::TooLarge,
        Self::Unauthorized,
        Self::OddStatus,
        Self::QuotaUsedUp,
        Self::OddSuccess,
        Self::NotThePlatform,
        Self::Partial,
        Self::Unsure,
    ];

    /// Whether it makes the agent believe that records are not acceptable.
    pub(crate) const fn blames_content(self) -> bool {
        matches!(self, Self::Refusal | Self::TooLarge | Self::Partial | Self::Unsure)
    }
}

/// What an answer means for the agent, as the contract has it.
#[derive(Clone, Debug)]
pub(crate) enum Meaning {
    /// These records were taken. `named` says that others were named as not taken.
    Taken { records: Vec<u64>, named: bool },
    /// A success, but not for what was sent.
    Unsure,
    /// The content was refused, or was too large.
    Content,
    /// Counts for the breaker.
    Failure,
    /// Wait, for so long if it says so.
    SlowDown(Option<Duration>),
    /// Refused for a reason that is not the content.
    Hold,
    /// The account may send no more for now.
    Quota,
    /// The rules of that version.
    Rules(i64),
    /// The rules have not changed.
    NotModified,
}

/// An answer and what it means.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) result: Result<Response, TransportError>,
    pub(crate) meaning: Meaning,
}

impl Answer {
    pub(crate) fn error(kind: TransportErrorKind) -> Self {
        Self { result: Err(TransportError::new(kind, "simulated")), meaning: Meaning::Failure }
    }

    pub(crate) fn status(status: u16, body: &str, meaning: Meaning) -> Self {
        Self { result: Ok(Response { status, body: body.into(), ..Response::default() }), meaning }
    }

    /// Whether a failure can be due to what was sent: nothing is sent without a connection.
    pub(crate) fn may_blame_content(&self) -> bool {
        self.result.as_ref().map_or_else(|error| error.kind != TransportErrorKind::Connect, |_| true)
    }

    fn retry_after(mut self, value: Option<&str>) -> Self {
        if let Ok(response) = &mut self.result {
            response.retry_after = value.map(String::from);
        }
        self
    }
}

/// How those who say that a quota is used up say it.
pub(crate) fn quota(rng: &mut Rng) -> Answer {
    let (status, body) = rng.pick(&[
        (200, "{\"success\":false,\"errors\":[\"Event quota exceeded for this month\"]}"),
        (402, ""),
        (403, "{\"detail\":\"the limit of your plan is reached\"}"),
        (400, "{\"detail\":\"Event quota exceeded\"}"),
        (422, "{\"detail\":[{\"loc\":[\"body\"],\"msg\":\"monthly limit reached\"}]}"),
    ]);
    Answer::status(status, body, Meaning::Quota)
}

/// The way of one request.
#[derive(Debug)]
pub(crate) enum Route {
    /// It never arrives; the answer comes after that time.
    Nowhere(Duration, Answer),
    /// It arrives after that time (also a second time after `again`).
    There { after: Duration, again: Option<Duration>, back: Back, twist: Twist },
}

/// The way of an answer; all times are from the sending of the request.
#[derive(Clone, Debug)]
pub(crate) enum Back {
    /// It comes that long after the request arrived.
    After(Duration),
    /// It comes again.
    Twice(Duration, Duration),
    /// It is lost: that error, that long after the request was sent.
    Lost(Duration, TransportErrorKind),
    /// An error first, then the answer, both that long after the request was sent.
    Late(Duration, TransportErrorKind, Duration),
}

/// What the platform is made to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twist {
    None,
    /// A success in other words: status, and whether there is a body.
    Success(u16, &'static str),
    Partial,
    Unsure,
}

/// The network, and whatever stands in it.
#[derive(Debug)]
pub(crate) struct Network {
    rng: Rng,
    weights: Vec<(Fault, u32)>,
    /// Slowest round trip of good weather.
    slowest: Duration,
}

/// How bad it is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Each request meets a fault with that chance, in permille.
    Mixed(u64),
    /// Every request meets the same one.
    Outage(Fault),
}

impl Network {
    pub(crate) const fn new(rng: Rng, weights: Vec<(Fault, u32)>, slowest: Duration) -> Self {
        Self { rng, weights, slowest }
    }

    pub(crate) fn weather(&mut self) -> Weather {
        match self.rng.below(4) {
            0 => Weather::Fair,
            1 => Weather::Outage(self.rng.weighted(&self.weights)),
            _ => Weather::Mixed(self.rng.between(50, 900)),
        }
    }

    /// Where a request goes. `timeout` is what the runtime gives it.
    pub(crate) fn route(&mut self, weather: Weather, timeout: Duration) -> (Option<Fault>, Route) {
        let fault = match weather {
            Weather::Fair => None,
            Weather::Mixed(permille) if self.rng.chance(permille) => Some(self.rng.weighted(&self.weights)),
            Weather::Mixed(_) => None,
            Weather::Outage(fault) => Some(fault),
        };
        (fault, self.way(fault, timeout))
    }

    fn way(&mut self, fault: Option<Fault>, timeout: Duration) -> Route {
        let half = self.half();
        let there = |back, twist| Route::There { after: half, again: None, back, twist };
        let Some(fault) = fault else { return there(Back::After(self.half()), Twist::None) };
        match fault {
            Fault::Refused => Route::Nowhere(half, Answer::error(TransportErrorKind::Connect)),
            Fault::Reset => Route::Nowhere(half, Answer::error(TransportErrorKind::Connection)),
            Fault::Hang => Route::Nowhere(timeout, Answer::error(TransportErrorKind::Timeout)),
            Fault::LostToReset => {
                there(Back::Lost(half + self.half(), TransportErrorKind::Connection), Twist::None)
            }
            Fault::LostToTimeout => there(Back::Lost(timeout, TransportErrorKind::Timeout), Twist::None),
            Fault::Slow => there(Back::After(timeout.mul_f64(0.9).saturating_sub(half)), Twist::None),
            Fault::AnsweredTwice => there(Back::Twice(self.half(), self.half()), Twist::None),
            Fault::AnsweredLate => {
                let late = timeout + self.half() * 100;
                there(Back::Late(timeout, TransportErrorKind::Timeout, late), Twist::None)
            }
            Fault::ArrivesTwice => Route::There {
                after: half,
                again: Some(half + self.half() * 10),
                back: Back::After(self.half()),
                twist: Twist::None,
            },
            Fault::Partial => there(Back::After(self.half()), Twist::Partial),
            Fault::Unsure => there(Back::After(self.half()), Twist::Unsure),
            Fault::OddSuccess => {
                let (status, body) = self.rng.pick(&[
                    (200, "{\"success\":null}"),
                    (201, "{}"),
                    (201, "{\"success\":true,\"errors\":[]}"),
                    (202, ""),
                    (204, ""),
                ]);
                there(Back::After(self.half()), Twist::Success(status, body))
            }
            Fault::ServerError => {
                let status = self.rng.pick(&[408, 425, 500, 502, 503, 504]);
                let answer = Answer::status(status, "Bad gateway", Meaning::Failure);
                let retry_after = if status == 503 { self.retry_after().0 } else { None };
                Route::Nowhere(half, answer.retry_after(retry_after))
            }
            Fault::SlowDown => {
                let (text, wait) = self.retry_after();
                let answer = Answer::status(429, "{\"detail\":\"slow down\"}", Meaning::SlowDown(wait));
                Route::Nowhere(half, answer.retry_after(text))
            }
            Fault::Refusal => {
                let status = self.rng.pick(&[400, 422]);
                Route::Nowhere(half, Answer::status(status, "{\"detail\":\"no\"}", Meaning::Content))
            }
            Fault::TooLarge => Route::Nowhere(half, Answer::status(413, "", Meaning::Content)),
            Fault::Unauthorized => {
                let status = self.rng.pick(&[401, 403, 404]);
                Route::Nowhere(half, Answer::status(status, "{\"detail\":\"who?\"}", Meaning::Hold))
            }
            Fault::OddStatus => {
                let status = self.rng.pick(&[301, 302, 307, 405, 407, 409, 410, 451]);
                Route::Nowhere(half, Answer::status(status, "", Meaning::Hold))
            }
            Fault::QuotaUsedUp => Route::Nowhere(half, quota(&mut self.rng)),
            Fault::NotThePlatform => {
                let body = self.rng.pick(&[
                    "<html>Welcome to the hotel</html>",
                    "\u{0}\u{1}\u{2}",
                    "{\"succ",
                    "",
                    "{}",
                ]);
                Route::Nowhere(half, Answer::status(200, body, Meaning::Hold))
            }
        }
    }

    /// `Retry-After` as servers and others write it, and the time it means.
    fn retry_after(&mut self) -> (Option<&'static str>, Option<Duration>) {
        let (text, seconds) = self.rng.pick(&[
            ("1", Some(1)),
            ("5", Some(5)),
            (" 20 ", Some(20)),
            ("120", Some(120)),
            ("9999", Some(300)),
            ("0", None),
            ("nan", None),
            ("inf", None),
            ("-5", None),
            ("", None),
            ("soon", None),
            ("Thu, 01 Jan 1970 00:00:00 GMT", None),
            ("absent", None),
        ]);
        ((text != "absent").then_some(text), seconds.map(Duration::from_secs))
    }

    fn half(&mut self) -> Duration {
        self.rng.duration(Duration::from_millis(1), self.slowest / 2)
    }
}
