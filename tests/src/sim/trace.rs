use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};

use guard_agent_proto::Instant;

/// How many lines a failure shows.
const TAIL: usize = 60;

/// Everything that happened, one line each: hashed whole, the last lines kept for a failure.
#[derive(Debug)]
pub(crate) struct Trace {
    hasher: DefaultHasher,
    tail: VecDeque<String>,
    lines: u64,
    print: bool,
}

impl Trace {
    pub(crate) fn new(print: bool) -> Self {
        Self { hasher: DefaultHasher::new(), tail: VecDeque::with_capacity(TAIL), lines: 0, print }
    }

    #[expect(clippy::print_stdout, reason = "a replay shows what happens")]
    pub(crate) fn line(&mut self, now: Instant, what: fmt::Arguments<'_>) {
        use fmt::Write as _;

        let mut line = if self.tail.len() == TAIL { self.tail.pop_front() } else { None }.unwrap_or_default();
        line.clear();
        // Writing to a string does not fail.
        let _ = write!(line, "{now:?} {what}");
        if self.print {
            println!("{line}");
        }
        self.hasher.write(line.as_bytes());
        self.hasher.write_u8(b'\n');
        self.lines += 1;
        self.tail.push_back(line);
    }

    pub(crate) fn digest(&self) -> u64 {
        self.hasher.finish()
    }

    pub(crate) const fn lines(&self) -> u64 {
        self.lines
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tail.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}
