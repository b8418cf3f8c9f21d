use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use guard_agent_proto::shell::{HttpError, StartError};
use guard_agent_proto::{AgentConfig, AgentConfigBuilder, ConfigError, ConfigProblem};
use lexopt::{Arg, ValueExt as _};
use zeroize::Zeroizing;

/// What the flags say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// From `--config`, the environment, the flags for single fields, `--set` and `--set-file`: what is named later wins,
    /// and of flags the last one.
    pub config: AgentConfig,
    /// `--shutdown-timeout`: deadline of the final flush; 10 s by default.
    pub shutdown_timeout: Duration,
    /// `--stats-every`: how often to print the statistics.
    pub stats_every: Option<Duration>,
    /// `--ack`: whether to print what becomes of each record.
    pub ack: bool,
    /// `--executor`: one of those that the pipe knows.
    pub executor: Option<String>,
    flags: Flags,
}

/// Flags or a configuration that cannot be used, a line for each problem. No line repeats an argument, which may be a
/// secret in the wrong place.
#[derive(Debug)]
struct UsageError(Vec<String>);

impl UsageError {
    fn new(message: impl fmt::Display) -> Self {
        Self(vec![message.to_string()])
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for UsageError {}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self::new(match error {
            lexopt::Error::MissingValue { option: Some(flag) } => format!("{flag} needs a value"),
            lexopt::Error::UnexpectedValue { option, .. } => format!("{option} takes no value"),
            lexopt::Error::NonUnicodeValue(_) => "an argument is not UTF-8".into(),
            lexopt::Error::MissingValue { option: None }
            | lexopt::Error::UnexpectedOption(_)
            | lexopt::Error::UnexpectedArgument(_)
            | lexopt::Error::ParsingFailed { .. }
            | lexopt::Error::Custom(_) => "the arguments cannot be read".into(),
        })
    }
}

impl Options {
    /// Reads the flags of this process, for a pipe that runs on one of these executors, and `GUARD_AGENT_` variables.
    ///
    /// # Errors
    ///
    /// There is nothing to run, for a reason that was told: what the process ends with.
    pub fn from_env(executors: &[&str]) -> Result<Self, ExitCode> {
        if env::args_os().any(|arg| arg == "--help") {
            let _ = io::stdout().write_all(super::USAGE.as_bytes());
            return Err(ExitCode::SUCCESS);
        }
        let builder = AgentConfigBuilder::default;
        let options = Self::parse(env::args_os().skip(1), executors, |json| {
            json.map_or_else(builder, |json| builder().merge_json(json)).merge_env()
        });
        options.map_err(|error| {
            error.0.iter().for_each(super::tell);
            ExitCode::from(2)
        })
    }

    /// Starts an agent with this configuration, and tells what there is to know of it.
    ///
    /// # Errors
    ///
    /// It does not start, for a reason that was told: what the process ends with.
    pub fn start<A>(&self, start: impl FnOnce(AgentConfig) -> Result<A, StartError>) -> Result<A, ExitCode> {
        if !self.config.enabled {
            // Nothing is started that would.
            self.config.warnings.iter().for_each(super::tell);
        }
        super::warnings::told(|| start(self.config.clone())).map_err(|error| self.refuse(&error))
    }

    fn refuse(&self, error: &StartError) -> ExitCode {
        if let StartError::Config(error) | StartError::Http(HttpError::Config(error)) = error {
            self.flags.describe(error).iter().for_each(super::tell);
        } else {
            super::tell(error);
        }
        ExitCode::from(2)
    }

    /// Reads flags, without the name of the program. `base` is what they win over, with the file of `--config`.
    ///
    /// # Errors
    ///
    /// A flag that is unknown or lacks its value; a file that cannot be read; a configuration that is not valid.
    fn parse(
        args: impl IntoIterator<Item = impl Into<OsString>>,
        executors: &[&str],
        base: impl FnOnce(Option<&[u8]>) -> AgentConfigBuilder,
    ) -> Result<Self, UsageError> {
        let mut args = lexopt::Parser::from_args(args);
        let count = |args: &mut lexopt::Parser| args.try_raw_args().map(|rest| rest.as_slice().len());
        let all = count(&mut args).unwrap_or_default();
        let mut number = 1;
        let mut file = None;
        let mut fields: Vec<(String, Zeroizing<String>)> = Vec::new();
        let mut shutdown_timeout = Duration::from_secs(10);
        let mut stats_every = None;
        let mut ack = false;
        let mut executor = None;
        loop {
            if let Some(left) = count(&mut args) {
                number = all - left + 1;
            }
            let Some(arg) = args.next()? else { break };
            match arg {
                Arg::Long("config") => file = Some(read("--config", &args.value()?, LONGEST_CONFIG)?),
                Arg::Long("set") => {
                    let (name, value) = pair("--set", number, args.value()?)?;
                    fields.push((name, value.into()));
                }
                Arg::Long("set-file") => {
                    let (name, path) = pair("--set-file", number, args.value()?)?;
                    fields.push((name, secret("--set-file", &path.into())?));
                }
                Arg::Long("api-key-file") => {
                    fields.push((String::from("api_key"), secret("--api-key-file", &args.value()?)?));
                }
                Arg::Long(name @ ("endpoint" | "api-key" | "project-id")) => {
                    let name = name.replace('-', "_");
                    fields.push((name, args.value()?.string()?.into()));
                }
                Arg::Long("shutdown-timeout") => {
                    shutdown_timeout = seconds("--shutdown-timeout", &args.value()?)?
                }
                Arg::Long("stats-every") => stats_every = Some(seconds("--stats-every", &args.value()?)?),
                Arg::Long("redis") => {
                    fields.push((String::from("redis_url"), journal("--redis", args.value()?)?.into()))
                }
                Arg::Long("journal") => {
                    fields.push((String::from("journal_dir"), journal("--journal", args.value()?)?.into()));
                }
                Arg::Long("ack") => ack = true,
                Arg::Long("executor") if !executors.is_empty() => {
                    let name = args.value()?.string()?;
                    if !executors.contains(&name.as_str()) {
                        let known = executors.join(" or ");
                        return Err(UsageError::new(format_args!("--executor must be {known}")));
                    }
                    executor = Some(name);
                }
                Arg::Long(_) | Arg::Short(_) => {
                    return Err(UsageError::new(format_args!(
                        "argument {number} is no flag of the pipe: see --help"
                    )));
                }
                Arg::Value(_) => {
                    return Err(UsageError::new(format_args!(
                        "argument {number} belongs to no flag: see --help"
                    )));
                }
            }
        }
        let mut builder = base(file.as_ref().map(|file| file.as_slice()));
        for (name, value) in &fields {
            builder = builder.set(name, value);
        }
        let flags = Flags(fields.into_iter().map(|(name, _)| name).collect());
        let config = builder.build().map_err(|error| UsageError(flags.describe(&error)))?;
        Ok(Self { config, shutdown_timeout, stats_every, ack, executor, flags })
    }
}

/// The configuration fields that flags have set.
#[derive(Clone, Debug)]
struct Flags(Vec<String>);

impl Flags {
    /// The problems of a configuration, without the values of these fields.
    fn describe(&self, error: &ConfigError) -> Vec<String> {
        let describe = |problem: &ConfigProblem| {
            let ConfigProblem { field, value, bound } = problem;
            match *field == "field name" || self.0.iter().any(|flag| flag == field) {
                true => format!("invalid configuration: `{field}` must be {bound}"),
                false => format!("invalid configuration: `{field}` is {value} but must be {bound}"),
            }
        };
        error.problems.iter().map(describe).collect()
    }
}

/// Longest file of `--config`, in bytes.
const LONGEST_CONFIG: u64 = 16 << 20;
/// Longest file that holds one value.
const LONGEST_SECRET: u64 = 64 << 10;

/// Reads the beginning of a file: whatever is longer is no configuration.
fn read(flag: &str, path: &OsString, longest: u64) -> Result<Zeroizing<Vec<u8>>, UsageError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let length = fs::File::open(path).and_then(|file| {
        // Room for all of it from the start leaves no copies behind.
        let length = file.metadata().map_or(0, |file| file.len()).min(longest);
        bytes.reserve_exact(usize::try_from(length).unwrap_or(0) + 1);
        file.take(longest + 1).read_to_end(&mut bytes)
    });
    match length {
        Ok(_) if bytes.len() as u64 > longest => {
            Err(UsageError::new(format_args!("{flag}: the file is longer than {longest} bytes")))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(UsageError::new(format_args!("{flag}: the file cannot be read: {error}"))),
    }
}

/// What a file holds, without the line end that editors put there. A file with nothing would silently be no secret.
fn secret(flag: &str, path: &OsString) -> Result<Zeroizing<String>, UsageError> {
    let bytes = read(flag, path, LONGEST_SECRET)?;
    let text =
        str::from_utf8(&bytes).map_err(|_| UsageError::new(format_args!("{flag}: the file is not UTF-8")))?;
    let value = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    match value.trim().is_empty() {
        true => Err(UsageError::new(format_args!("{flag}: the file is blank"))),
        false => Ok(value.to_owned().into()),
    }
}

fn pair(flag: &str, number: usize, value: OsString) -> Result<(String, String), UsageError> {
    let text = value.string()?;
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| UsageError::new(format_args!("argument {number}: {flag} takes KEY=VALUE")))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// An empty value, as of an unset variable, would silently be no journal.
fn journal(flag: &str, value: OsString) -> Result<String, UsageError> {
    match value.is_empty() {
        true => Err(UsageError::new(format_args!("{flag}: it is empty"))),
        false => Ok(value.string()?),
    }
}

fn seconds(flag: &str, value: &OsString) -> Result<Duration, UsageError> {
    let wrong = || UsageError::new(format_args!("{flag}: not a number of seconds above 0"));
    let seconds = value.to_str().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::PathBuf;

    use guard_agent_proto::ConfigWarning;

    use super::*;

    const NEEDED: [&str; 2] = ["--api-key", "0123456789"];

    fn parse_all<'a>(
        args: impl IntoIterator<Item = &'a str>,
        executors: &[&str],
    ) -> Result<Options, UsageError> {
        let base = |json: Option<&[u8]>| {
            json.into_iter().fold(AgentConfigBuilder::default(), AgentConfigBuilder::merge_json)
        };
        Options::parse(args, executors, base)
    }

    fn parse(args: &[&str]) -> Result<Options, UsageError> {
        parse_all(NEEDED.iter().chain(args).copied(), &["smol"])
    }

    /// A file with that text, removed in the end.
    struct File(PathBuf);

    impl File {
        fn new(name: &str, text: impl AsRef<[u8]>) -> Self {
            let path = env::temp_dir().join(format!("pipe-{name}-{}", std::process::id()));
            fs::write(&path, text).unwrap();
            Self(path)
        }

        fn path(&self) -> &str {
            self.0.to_str().unwrap()
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_last_one_wins() {
        let file = File::new("config", r#"{"api_key":"of-the-file","buffer_size":7,"project_id":"a"}"#);
        let options = parse(&["--set", "project_id=b", "--config", file.path(), "--project-id=42"]).unwrap();
        assert_eq!(options.config.api_key.expose(), NEEDED[1]);
        assert_eq!(options.config.buffer_size, 7);
        assert_eq!(options.config.project_id.as_deref(), Some("42"));
        assert_eq!(options.shutdown_timeout, Duration::from_secs(10));
        assert_eq!((options.stats_every, options.ack), (None, false));
        assert!(parse(&["--ack"]).unwrap().ack);
    }

    #[test]
    fn secrets_come_from_files_without_the_line_end() {
        let key = File::new("key", "key-of-a-file\r\n");
        let secret = File::new("secret", "two words\n");
        let set = format!("payload_signing_secret={}", secret.path());
        let options = parse_all(["--api-key-file", key.path(), "--set-file", &set], &[]).unwrap();
        assert_eq!(options.config.api_key.expose(), "key-of-a-file");
        assert_eq!(options.config.payload_signing_secret.unwrap().expose(), "two words");
        assert!(options.config.warnings.is_empty(), "{:?}", options.config.warnings);

        // What else is around it is white space around a secret, from wherever it comes.
        let secret = File::new("padded", "  two words \n\n");
        let set = format!("payload_signing_secret={}", secret.path());
        let options = parse(&["--set-file", &set]).unwrap();
        assert_eq!(options.config.payload_signing_secret.unwrap().expose(), "two words");
        let [ConfigWarning::Trimmed { field: "payload_signing_secret", .. }] = options.config.warnings[..]
        else {
            panic!("{:?}", options.config.warnings)
        };

        for (text, told) in
            [(&b""[..], "blank"), (b" \n", "blank"), (b"\xff", "UTF-8"), (&[b'x'; 70_000], "longer")]
        {
            let file = File::new("unusable", text);
            for flag in ["--api-key-file".to_owned(), "--set-file=redis_url".to_owned()] {
                let flags = match flag.contains('=') {
                    true => vec![format!("{flag}={}", file.path())],
                    false => vec![flag, file.path().to_owned()],
                };
                let flags: Vec<_> = flags.iter().map(String::as_str).collect();
                let error = parse(&flags).unwrap_err().to_string();
                assert!(error.contains(told) && !error.contains(file.path()), "{error}");
            }
        }
    }

    #[test]
    fn the_environment_is_between_file_and_flags() {
        let base = |json: Option<&[u8]>| {
            let builder = AgentConfigBuilder::default().merge_json(json.unwrap());
            builder
                .merge_vars([("GUARD_AGENT_API_KEY", "of-the-environment"), ("GUARD_AGENT_RATE_LIMIT", "11")])
        };
        let file = File::new("below", r#"{"api_key":"of-the-file","rate_limit":12,"buffer_size":7}"#);
        let options = Options::parse(["--config", file.path(), "--set=rate_limit=13"], &[], base).unwrap();
        assert_eq!(options.config.api_key.expose(), "of-the-environment");
        assert_eq!((options.config.rate_limit, options.config.buffer_size), (13, 7));
    }

    #[test]
    fn times_are_seconds() {
        let options = parse(&["--shutdown-timeout", "0.5", "--stats-every=2"]).unwrap();
        assert_eq!(options.shutdown_timeout, Duration::from_millis(500));
        assert_eq!(options.stats_every, Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let cases: [(&[&str], &str); 19] = [
            (&["--colour"], "argument 3 is no flag"),
            (&["-v"], "argument 3 is no flag"),
            (&["words"], "argument 3 belongs to no flag"),
            (&["--ack", "--redis", "redis://h", "words"], "argument 6 belongs to no flag"),
            (&["--endpoint"], "--endpoint needs a value"),
            (&["--redis"], "--redis"),
            (&["--redis="], "--redis: it is empty"),
            (&["--journal", ""], "--journal: it is empty"),
            (&["--executor", "tokio"], "--executor must be smol"),
            (&["--redis", "redis://localhost", "--journal=/tmp"], "journal_dir"),
            (&["--set", "buffer_size"], "argument 3: --set takes KEY=VALUE"),
            (
                &["--set", "bufer_size=1"],
                "`field name` must be that of a configuration field, such as `buffer_size`",
            ),
            (&["--set", "buffer_size=0"], "buffer_size"),
            (&["--set", "buffer_size=0", "--set=rate_limit=1"], "; invalid configuration: `rate_limit`"),
            (&["--set-file", "buffer_size=/nonexistent"], "--set-file: the file cannot be read"),
            (&["--config", "/nonexistent"], "--config: the file cannot be read"),
            (&["--shutdown-timeout", "0"], "--shutdown-timeout"),
            (&["--stats-every", "nan"], "--stats-every"),
            (&["--ack=yes"], "--ack takes no value"),
        ];
        for (args, named) in cases {
            let error = parse(args).unwrap_err().to_string();
            assert!(error.contains(named), "{args:?}: {error}");
        }
        let error = parse_all(["--api-key", "short"], &[]).unwrap_err().to_string();
        assert!(error.contains("api_key") && !error.contains("short"), "{error}");
        let error = parse_all(["--executor=smol"], &[]).unwrap_err().to_string();
        assert!(error.contains("argument 1 is no flag"), "{error}");
    }

    #[test]
    fn no_message_repeats_an_argument() {
        const SECRET: &str = "hunter2";
        let mut cases = vec![
            vec![format!("--api-kye={SECRET}")],
            vec![format!("--{SECRET}")],
            vec![format!("-{SECRET}")],
            vec![String::from(SECRET)],
            vec![format!("--ack={SECRET}")],
            vec![format!("--set={SECRET}")],
            vec![format!("--set={SECRET}=")],
            vec![format!("--set-file={SECRET}")],
            vec![format!("--executor={SECRET}")],
            vec![format!("--endpoint={SECRET}")],
            vec![format!("--endpoint=ftp://{SECRET}")],
            vec![format!("--project-id={SECRET}\n1")],
            vec![format!("--redis=redis://localhost"), format!("--journal={SECRET}")],
        ];
        for flag in ["config", "api-key-file", "set-file=api_key", "shutdown-timeout", "stats-every"] {
            cases.push(vec![format!("--{flag}={SECRET}")]);
        }
        for field in AgentConfig::FIELDS {
            cases.push(vec![format!("--set={field}=\u{1b}{SECRET}")]);
        }
        let mut told = 0;
        for args in &cases {
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            let Err(error) = parse(&args) else { continue };
            assert!(!error.to_string().contains(SECRET), "{args:?}: {error}");
            told += 1;
        }
        assert!(told > cases.len() / 2, "{told} of {}", cases.len());

        let options = parse(&["--redis", "http://user:hunter2@hunter2"]).unwrap();
        let problem = ConfigProblem { field: "redis_url", value: SECRET.into(), bound: "a URL".into() };
        assert_eq!(
            options.flags.describe(&ConfigError { problems: vec![problem] }),
            ["invalid configuration: `redis_url` must be a URL"]
        );
    }

    #[cfg(unix)]
    #[test]
    fn an_argument_that_is_no_text_is_not_repeated() {
        use std::os::unix::ffi::OsStringExt as _;

        for flag in ["--project-id", "--set", "--redis", "--stats-every", "--api-key"] {
            let args = [OsString::from(flag), OsString::from_vec(b"hunter2\xff".to_vec())];
            let error = Options::parse(args, &[], |_| AgentConfigBuilder::default()).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
