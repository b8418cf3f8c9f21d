use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use guard_agent_proto::{AgentConfig, AgentConfigBuilder};
use lexopt::{Arg, ValueExt as _};

/// What the flags say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// From `--config`, the flags for single fields, and `--set`.
    pub config: AgentConfig,
    /// `--shutdown-timeout`: deadline of the final flush; 10 s by default.
    pub shutdown_timeout: Duration,
    /// `--stats-every`: how often to print the statistics.
    pub stats_every: Option<Duration>,
    /// `--ack`: whether to print what becomes of each record.
    pub ack: bool,
    /// `--executor`: one of those that the pipe knows.
    pub executor: Option<String>,
}

/// Flags or a configuration that cannot be used, in one line.
#[derive(Debug)]
struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

impl Options {
    /// Reads the flags of this process, for a pipe that runs on one of these executors.
    ///
    /// # Errors
    ///
    /// There is nothing to run, for a reason that was told: what the process ends with.
    pub fn from_env(executors: &[&str]) -> Result<Self, ExitCode> {
        if env::args_os().any(|arg| arg == "--help") {
            let _ = io::stdout().write_all(super::USAGE.as_bytes());
            return Err(ExitCode::SUCCESS);
        }
        Self::parse(env::args_os().skip(1), executors).map_err(super::refuse)
    }

    /// Reads flags, without the name of the program.
    ///
    /// # Errors
    ///
    /// A flag that is unknown or lacks its value; a file that cannot be read; a configuration that is not valid.
    fn parse(
        args: impl IntoIterator<Item = impl Into<OsString>>,
        executors: &[&str],
    ) -> Result<Self, UsageError> {
        let mut args = lexopt::Parser::from_args(args);
        let mut file = None;
        let mut fields = Vec::new();
        let mut shutdown_timeout = Duration::from_secs(10);
        let mut stats_every = None;
        let mut ack = false;
        let mut executor = None;
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("config") => file = Some(read(&args.value()?)?),
                Arg::Long("set") => {
                    let field = args.value()?.string()?;
                    let (name, value) = field
                        .split_once('=')
                        .ok_or_else(|| UsageError(format!("--set {field}: not KEY=VALUE")))?;
                    fields.push((name.to_owned(), value.to_owned()));
                }
                Arg::Long(name @ ("endpoint" | "api-key" | "project-id")) => {
                    let name = name.replace('-', "_");
                    fields.push((name, args.value()?.string()?));
                }
                Arg::Long("shutdown-timeout") => {
                    shutdown_timeout = seconds("--shutdown-timeout", &args.value()?)?
                }
                Arg::Long("stats-every") => stats_every = Some(seconds("--stats-every", &args.value()?)?),
                Arg::Long("redis") => {
                    fields.push((String::from("redis_url"), journal("--redis", args.value()?)?))
                }
                Arg::Long("journal") => {
                    fields.push((String::from("journal_dir"), journal("--journal", args.value()?)?));
                }
                Arg::Long("ack") => ack = true,
                Arg::Long("executor") if !executors.is_empty() => {
                    let name = args.value()?.string()?;
                    if !executors.contains(&name.as_str()) {
                        let known = executors.join(" or ");
                        return Err(UsageError(format!("--executor {name}: not {known}")));
                    }
                    executor = Some(name);
                }
                Arg::Long(_) | Arg::Short(_) | Arg::Value(_) => return Err(arg.unexpected().into()),
            }
        }
        let mut builder = AgentConfigBuilder::default();
        if let Some(json) = file {
            builder = builder.merge_json(json);
        }
        for (name, value) in fields {
            builder = builder.set(&name, &value);
        }
        let config = builder.build().map_err(|error| UsageError(error.to_string()))?;
        config.warnings.iter().for_each(super::tell);
        Ok(Self { config, shutdown_timeout, stats_every, ack, executor })
    }
}

fn read(path: &OsString) -> Result<Vec<u8>, UsageError> {
    fs::read(path).map_err(|error| UsageError(format!("--config {}: {error}", path.display())))
}

/// An empty value, as of an unset variable, would silently be no journal.
fn journal(flag: &str, value: OsString) -> Result<String, UsageError> {
    if value.is_empty() { Err(UsageError(format!("{flag}: it is empty"))) } else { Ok(value.string()?) }
}

fn seconds(flag: &str, value: &OsString) -> Result<Duration, UsageError> {
    let wrong = || UsageError(format!("{flag} {}: not a number of seconds above 0", value.display()));
    let seconds = value.to_str().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NEEDED: [&str; 2] = ["--api-key", "0123456789"];

    fn parse(args: &[&str]) -> Result<Options, UsageError> {
        Options::parse(NEEDED.iter().chain(args), &["smol"])
    }

    #[test]
    fn flags_win_over_the_file_and_the_last_one_wins() {
        let path = std::env::temp_dir().join(format!("pipe-config-{}.json", std::process::id()));
        fs::write(&path, r#"{"api_key":"of-the-file","buffer_size":7,"project_id":"a"}"#).unwrap();
        let options =
            parse(&["--set", "project_id=b", "--config", path.to_str().unwrap(), "--project-id=42"]);
        fs::remove_file(path).unwrap();

        let options = options.unwrap();
        assert_eq!(options.config.api_key.expose(), NEEDED[1]);
        assert_eq!(options.config.buffer_size, 7);
        assert_eq!(options.config.project_id.as_deref(), Some("42"));
        assert_eq!(options.shutdown_timeout, Duration::from_secs(10));
        assert_eq!((options.stats_every, options.ack), (None, false));
        assert!(parse(&["--ack"]).unwrap().ack);
    }

    #[test]
    fn times_are_seconds() {
        let options = parse(&["--shutdown-timeout", "0.5", "--stats-every=2"]).unwrap();
        assert_eq!(options.shutdown_timeout, Duration::from_millis(500));
        assert_eq!(options.stats_every, Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let cases: [(&[&str], &str); 15] = [
            (&["--colour"], "--colour"),
            (&["-v"], "-v"),
            (&["words"], "words"),
            (&["--endpoint"], "--endpoint"),
            (&["--redis"], "--redis"),
            (&["--redis="], "--redis: it is empty"),
            (&["--journal", ""], "--journal: it is empty"),
            (&["--executor", "tokio"], "--executor tokio: not smol"),
            (&["--redis", "redis://localhost", "--journal=/tmp"], "journal_dir"),
            (&["--set", "buffer_size"], "not KEY=VALUE"),
            (&["--set", "bufer_size=1"], "bufer_size"),
            (&["--set", "buffer_size=0"], "buffer_size"),
            (&["--config", "/nonexistent"], "/nonexistent"),
            (&["--shutdown-timeout", "0"], "--shutdown-timeout"),
            (&["--stats-every", "nan"], "--stats-every"),
        ];
        for (args, named) in cases {
            let error = parse(args).unwrap_err().to_string();
            assert!(error.contains(named), "{args:?}: {error}");
        }
        let error = Options::parse(["--api-key", "short"], &[]).unwrap_err().to_string();
        assert!(error.contains("api_key") && !error.contains("short"), "{error}");
        let error = Options::parse(["--executor=smol"], &[]).unwrap_err().to_string();
        assert!(error.contains("--executor"), "{error}");
    }
}
