//! What a middleware knows of a request when it makes an event of it: borrowed strings.

/// Twelve fields of an event (with the time) and two members of its metadata.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub event_type: &'a str,
    pub ip_address: &'a str,
    pub country: &'a str,
    pub user_agent: &'a str,
    pub action_taken: &'a str,
    pub reason: &'a str,
    pub endpoint: &'a str,
    pub method: &'a str,
    pub status_code: u16,
    pub response_time: f64,
    pub handler_name: &'a str,
    pub request_id: &'a str,
    pub tenant: &'a str,
}

/// Requests that differ as those of a service do, so that compression is not flattered.
pub struct Requests(Vec<Owned>);

struct Owned {
    event_type: &'static str,
    ip_address: String,
    country: &'static str,
    user_agent: String,
    reason: String,
    endpoint: String,
    method: &'static str,
    status_code: u16,
    response_time: f64,
    request_id: String,
    tenant: String,
}

impl Requests {
    /// As many as fit into a cache, to be used again and again.
    pub fn new() -> Self {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        Self((0..1_024).map(|_| Owned::new(&mut random)).collect())
    }

    /// Without end: from the first on again after the last.
    pub fn cycle(&self) -> impl Iterator<Item = Request<'_>> + Clone {
        self.0.iter().cycle().map(Owned::borrow)
    }
}

impl Owned {
    fn new(random: &mut Random) -> Self {
        let [a, b, c, d, ..] = random.next().to_le_bytes();
        let id = random.next();
        let version = 90 + random.below(40);
        Self {
            event_type: ["ip_banned", "rate_limited", "suspicious_request", "penetration_attempt"]
                [random.below(4)],
            ip_address: format!("{a}.{b}.{c}.{d}"),
            country: ["DE", "US", "BR", "CN", "FR"][random.below(5)],
            user_agent: format!(
                "Mozilla/5.0 (X11; Linux x86_64) Chrome/{version}.0.{}.0 Safari/537.36",
                random.below(7_000)
            ),
            reason: format!("Rule {} matched 3 times in 60 seconds", random.below(200)),
            endpoint: format!("/api/v1/orders/{}/items?page={}", random.below(100_000), random.below(40)),
            method: ["GET", "POST", "PUT"][random.below(3)],
            status_code: [200, 403, 429][random.below(3)],
            response_time: random.below(1_000_000) as f64 / 1e6,
            request_id: format!("{id:016x}"),
            tenant: format!("tenant-{}", random.below(200)),
        }
    }

    fn borrow(&self) -> Request<'_> {
        Request {
            event_type: self.event_type,
            ip_address: &self.ip_address,
            country: self.country,
            user_agent: &self.user_agent,
            action_taken: "request_blocked",
            reason: &self.reason,
            endpoint: &self.endpoint,
            method: self.method,
            status_code: self.status_code,
            response_time: self.response_time,
            handler_name: "rate_limit",
            request_id: &self.request_id,
            tenant: &self.tenant,
        }
    }
}

/// The same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
