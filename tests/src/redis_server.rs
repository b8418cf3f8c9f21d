//! Real Redis servers on loopback, for tests.
//!
//! Everything here panics where it cannot go on: a test without its server is not skipped.

use std::fmt;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Only a guard against hanging; a server starts within 100 ms.
const PATIENCE: Duration = Duration::from_secs(60);

/// A redis-server of its own: a free port of loopback, a temporary folder, killed and removed when dropped.
pub struct RedisServer {
    dir: PathBuf,
    port: u16,
    /// That of the user `default`.
    password: Option<String>,
    program: &'static str,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts a server with these lines of configuration beside its own, which are: no snapshots by itself, and
    /// no log of writes. It is ready when this returns.
    ///
    /// Relative paths in the lines begin at [`dir`](Self::dir).
    ///
    /// ```no_run
    /// use guard_agent_tests::redis_server::RedisServer;
    ///
    /// let server = RedisServer::start(&["requirepass s3cret", "maxmemory 4mb"]);
    /// assert_eq!(server.cli(&["PING"]), "PONG");
    /// ```
    #[must_use]
    pub fn start(config: &[&str]) -> Self {
        Self::start_program("redis-server", config, None)
    }

    /// The same, which speaks TLS too, to others of its kind as well: with this certificate, its private key and
    /// that of its authority, in PEM.
    #[must_use]
    pub fn start_tls(config: &[&str], tls: &TlsFiles) -> Self {
        Self::start_program("redis-server", config, Some(tls))
    }

    /// Starts a sentinel with these lines of configuration.
    #[must_use]
    pub fn start_sentinel(config: &[&str]) -> Self {
        Self::start_program("redis-sentinel", config, None)
    }

    /// The same, which speaks TLS too.
    #[must_use]
    pub fn start_tls_sentinel(config: &[&str], tls: &TlsFiles) -> Self {
        Self::start_program("redis-sentinel", config, Some(tls))
    }

    fn start_program(program: &'static str, config: &[&str], tls: Option<&TlsFiles>) -> Self {
        // Somebody else may take the port between our look and the server's.
        for _ in 0..20 {
            let port = free_port();
            let dir = std::env::temp_dir().join(format!("guard-redis-{}-{port}", std::process::id()));
            must(fs::create_dir_all(&dir), "a temporary folder");
            let mut text = format!("port {port}\nbind 127.0.0.1\ndir {}\n", dir.display());
            if program == "redis-server" {
                text.push_str("save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\n");
            }
            if let Some(tls) = tls {
                text.push_str(&format!("tls-port {}\n", tls_port(port)));
                text.push_str(&tls.write(&dir));
            }
            text.extend(config.iter().flat_map(|line| [line, "\n"]));
            must(fs::write(dir.join("redis.conf"), text), "the server's configuration");

            let password = config.iter().find_map(|line| line.strip_prefix("requirepass "));
            let mut server =
                Self { dir, port, password: password.map(str::to_owned), program, process: None };
            if server.try_spawn() {
                return server;
            }
        }
        panic!("{program} does not start with this configuration: {config:?}");
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The same for TLS, if it was started with.
    #[must_use]
    pub const fn tls_port(&self) -> u16 {
        tls_port(self.port)
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its URL, with the password of `requirepass`.
    #[must_use]
    pub fn url(&self) -> String {
        let login = self.password.as_ref().map(|password| format!(":{password}@"));
        format!("redis://{}127.0.0.1:{}", login.unwrap_or_default(), self.port)
    }

    /// The URL for TLS, if it was started with.
    #[must_use]
    pub fn tls_url(&self) -> String {
        let url = self.url().replacen("redis", "rediss", 1);
        url.replace(&format!(":{}", self.port), &format!(":{}", self.tls_port()))
    }

    /// What the server answers to a command, by redis-cli.
    ///
    /// # Panics
    ///
    /// If that is an error.
    pub fn cli(&self, command: &[&str]) -> String {
        self.try_cli(command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// What the server answers to a command, by redis-cli.
    ///
    /// # Errors
    ///
    /// The server's error, or that it cannot be reached.
    pub fn try_cli(&self, command: &[&str]) -> Result<String, String> {
        let mut cli = Command::new("redis-cli");
        cli.args(["-e", "-h", "127.0.0.1", "-p", &self.port.to_string()]).args(command);
        if let Some(password) = &self.password {
            cli.env("REDISCLI_AUTH", password);
        }
        let output = must(cli.stdin(Stdio::null()).output(), MISSING);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stdout) + &text(&output.stderr)),
        }
    }

    /// Writes a snapshot, to which the server returns when it is killed and starts again.
    pub fn save(&self) {
        self.cli(&["SAVE"]);
    }

    /// Asks the server to end, and waits until it has.
    pub fn stop(&mut self) {
        self.signal("TERM");
        self.reap();
    }

    /// Kills the server: what it has not written is lost.
    pub fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            // An error means that it is dead already.
            let _ = process.kill();
        }
        self.reap();
    }

    /// Starts it again, after [`stop`](Self::stop) or [`kill`](Self::kill), on the same port with what it has in
    /// its folder. It is ready when this returns.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it is running");
        assert!(self.try_spawn(), "{self:?} does not start again");
    }

    /// Kills it and starts it again, with all its data.
    pub fn restart(&mut self) {
        self.save();
        self.kill();
        self.start_again();
    }

    /// Kills it and starts it again, with nothing.
    pub fn wipe(&mut self) {
        self.kill();
        for entry in must(fs::read_dir(&self.dir), "the server's folder") {
            let path = must(entry, "the server's folder").path();
            if path.is_dir() {
                must(fs::remove_dir_all(path), "the log of writes goes");
            } else if path.extension().is_some_and(|end| end == "rdb" || end == "aof") {
                must(fs::remove_file(path), "the data goes");
            }
        }
        self.start_again();
    }

    /// Suspends the process: it keeps its connections, takes new ones, and answers nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Ends [`pause`](Self::pause).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        if let Some(process) = &self.process {
            let pid = process.id().to_string();
            let status = must(Command::new("kill").args(["-s", name, &pid]).status(), "the command `kill`");
            assert!(status.success(), "SIG{name} to {self:?}");
        }
    }

    fn reap(&mut self) {
        if let Some(mut process) = self.process.take() {
            must(process.wait(), "the end of the server");
        }
    }

    /// Whether it runs and answers; otherwise it could not use the port or its configuration.
    fn try_spawn(&mut self) -> bool {
        let log = must(fs::File::create(self.dir.join("log")), "the server's log");
        let process = Command::new(self.program)
            .arg("redis.conf")
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(must(process, MISSING));
        eventually("the server is ready", || {
            let process = self.process.as_mut()?;
            match process.try_wait() {
                Ok(None) => is_ready(self.port).then_some(true),
                Ok(Some(_)) | Err(_) => {
                    self.process = None;
                    Some(false)
                }
            }
        })
    }
}

impl fmt::Debug for RedisServer {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on port {} in {}", self.program, self.port, self.dir.display())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        // A leftover in the temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What a server needs for TLS, in PEM.
#[derive(Debug)]
pub struct TlsFiles {
    /// The certificate of its authority.
    pub authority: String,
    /// Its own.
    pub certificate: String,
    /// The private key of that one.
    pub key: String,
}

impl TlsFiles {
    /// Those of a server of that name or address, with a private authority of its own.
    ///
    /// # Panics
    ///
    /// If there can be no such certificate.
    #[cfg(feature = "suites")]
    #[must_use]
    #[allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
    pub fn issue(name: &str) -> Self {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        Self { authority: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Writes them, and answers the lines of configuration that name them.
    fn write(&self, dir: &Path) -> String {
        let files = [
            ("tls-ca-cert-file", "authority.pem", &self.authority),
            ("tls-cert-file", "certificate.pem", &self.certificate),
            ("tls-key-file", "key.pem", &self.key),
        ];
        let mut lines = String::from("tls-auth-clients no\ntls-replication yes\ntls-cluster yes\n");
        for (option, name, content) in files {
            must(fs::write(dir.join(name), content), "a file of the server");
            lines.push_str(&format!("{option} {name}\n"));
        }
        lines
    }
}

/// A Redis Cluster of six processes: three masters, each with a replica.
#[derive(Debug)]
pub struct RedisCluster {
    /// The processes, in no particular order.
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts a cluster with these lines of configuration for each node. Every slot is served, and every
    /// replica in step, when this returns.
    #[must_use]
    pub fn start(config: &[&str]) -> Self {
        let own = [
            "cluster-enabled yes",
            "cluster-node-timeout 2000",
            "cluster-replica-validity-factor 0",
            "cluster-allow-replica-migration no",
        ];
        let config = [&own, config].concat();
        let cluster = Self { nodes: (0..6).map(|_| RedisServer::start(&config)).collect() };

        let addresses = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let output = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .stdin(Stdio::null())
            .output();
        let output = must(output, MISSING);
        assert!(output.status.success(), "no cluster: {}", String::from_utf8_lossy(&output.stdout));
        eventually("the cluster is complete", || {
            cluster.nodes.iter().all(RedisServer::is_complete_node).then_some(())
        });
        cluster
    }

    /// Its URL: all nodes.
    #[must_use]
    pub fn url(&self) -> String {
        let nodes: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }

    /// The index of the node that is in charge of a key now.
    #[must_use]
    pub fn master_of(&self, key: &str) -> usize {
        // A node that is not in charge refuses, without looking at the key.
        let serves = |node: &RedisServer| node.try_cli(&["EXISTS", key]).is_ok_and(|_| node.is_master());
        eventually("a node is in charge", || self.nodes.iter().position(serves))
    }
}

impl RedisServer {
    fn is_master(&self) -> bool {
        self.try_cli(&["ROLE"]).is_ok_and(|role| role.starts_with("master"))
    }

    fn is_complete_node(&self) -> bool {
        let info = self.try_cli(&["CLUSTER", "INFO"]).unwrap_or_default();
        let replication = self.try_cli(&["INFO", "replication"]).unwrap_or_default();
        info.contains("cluster_state:ok")
            && info.contains("cluster_known_nodes:6")
            && (replication.contains("master_link_status:up") || replication.contains("state=online"))
    }
}

/// What a closure finds, which is called until it finds something.
///
/// # Panics
///
/// After a minute.
pub fn eventually<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

const MISSING: &str =
    "redis-server and its tools are needed: sudo apt-get install -y redis-server redis-sentinel";

fn must<T>(result: io::Result<T>, what: &str) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Whether a server answers there, and not that it is still loading. One that asks for a password is ready.
fn is_ready(port: u16) -> bool {
    let ping = || -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = vec![0; 64];
        let len = stream.read(&mut answer)?;
        answer.truncate(len);
        Ok(answer)
    };
    ping().is_ok_and(|answer| !answer.is_empty() && !answer.starts_with(b"-LOADING"))
}

/// Where a server speaks TLS. The bus of a cluster is 10,000 above the port for clients, which is this one then.
const fn tls_port(port: u16) -> u16 {
    port + 10_000
}

/// A port that nobody uses. Not from the range of outgoing connections, one of which might take it while the server
/// is down; and with room for the bus of a cluster, 10,000 above.
fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const PORTS: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    // Processes that run at the same time begin at different places.
    let start = (std::process::id() % 1_000) as u16 * 12;
    eventually("a free port", || {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS) % PORTS;
        (free(port) && free(port + 10_000)).then_some(port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_keeps_what_it_should() {
        let mut server = RedisServer::start(&["requirepass s3cret"]);
        server.cli(&["SET", "key", "value"]);
        server.restart();
        assert_eq!(server.cli(&["GET", "key"]), "value");
        server.cli(&["SET", "key", "newer"]);
        server.kill();
        server.start_again();
        assert_eq!(server.cli(&["GET", "key"]), "value");
        server.wipe();
        assert_eq!(server.cli(&["EXISTS", "key"]), "0");
        server.stop();
        assert!(server.try_cli(&["PING"]).is_err());
    }

    #[test]
    fn a_dropped_server_leaves_nothing() {
        let server = RedisServer::start(&[]);
        server.pause();
        let (dir, port) = (server.dir().to_owned(), server.port());
        drop(server);
        assert!(!dir.exists());
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }

    #[test]
    fn a_cluster_serves_every_key() {
        let cluster = RedisCluster::start(&[]);
        for key in ["a", "b", "c", "d"] {
            cluster.nodes[cluster.master_of(key)].cli(&["SET", key, "value"]);
        }
    }
}
