use core::fmt;
use core::ops::RangeInclusive;
use std::format;
use std::string::{String, ToString as _};
use std::vec::Vec;

use ::redis::io::tcp::TcpSettings;
use ::redis::{Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisResult, Value, cmd};

use super::store_error;
use crate::store::{StoreError, StoreErrorKind};
use crate::{ConfigProblem, Secret};

/// Where the URL of a Redis leads.
#[derive(Clone)]
pub enum Address {
    /// `redis://[[user]:password@]host[:port][/database]`, the same with `rediss` for TLS, or
    /// `redis+unix:///path[?db=database&user=user&pass=password]`.
    One(ConnectionInfo),
    /// `redis+cluster://[[user]:password@]host[:port],host[:port]…`, or with `rediss`: some nodes of a cluster,
    /// which know the others.
    Cluster(Vec<ConnectionInfo>),
    /// `redis+sentinel://[[user]:password@]host[:port],host[:port]…/master[/database]`, or with `rediss`.
    Sentinels(Sentinels),
}

/// Sentinels, which know the master of that name. User, password and database are the master's: the sentinels
/// are asked without.
#[derive(Clone)]
pub struct Sentinels {
    nodes: Vec<ConnectionInfo>,
    name: String,
    /// The master, but for its host and port.
    master: ConnectionInfo,
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// What is wrong with it, under the name `redis_url`, without user, password and whatever may be one.
    pub fn parse(url: &Secret) -> Result<Self, ConfigProblem> {
        parse(url.expose()).map_err(|bound| ConfigProblem {
            field: "redis_url",
            value: match url.expose().contains("://") {
                true => crate::config::endpoint::show(url.expose()),
                false => "[secret]".to_string(),
            },
            bound: bound.to_string(),
        })
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.server().is_some_and(is_encrypted)
    }

    /// The password, which nothing that is shown may repeat.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.server()?.redis_settings().password()
    }

    /// The servers that the URL names.
    pub(super) fn nodes(&self) -> &[ConnectionInfo] {
        match self {
            Self::One(server) => core::slice::from_ref(server),
            Self::Cluster(nodes) => nodes,
            Self::Sentinels(sentinels) => sentinels.nodes(),
        }
    }

    fn server(&self) -> Option<&ConnectionInfo> {
        match self {
            Self::One(server) => Some(server),
            Self::Cluster(nodes) => nodes.first(),
            Self::Sentinels(sentinels) => Some(&sentinels.master),
        }
    }
}

impl Sentinels {
    /// Whom to ask, one after the other.
    #[must_use]
    pub fn nodes(&self) -> &[ConnectionInfo] {
        &self.nodes
    }

    /// What to ask.
    #[must_use]
    pub fn question(&self) -> Cmd {
        cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name).take()
    }

    /// Where the master is.
    ///
    /// # Errors
    ///
    /// The sentinel failed, or does not know the master.
    pub fn master(&self, reply: RedisResult<Value>) -> Result<ConnectionInfo, StoreError> {
        let value = reply.and_then(Value::extract_error).map_err(|error| store_error(&error))?;
        let Ok((host, port)) = ::redis::from_redis_value::<(String, u16)>(value) else {
            return Err(StoreError::new(StoreErrorKind::Unreachable, "a sentinel does not know the master"));
        };
        Ok(self.master.clone().set_addr(address(is_encrypted(&self.master), host, port)))
    }
}

impl fmt::Display for Address {
    /// The URL without user and password, and with the port and the database that it leaves out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.is_tls() { "s" } else { "" };
        match self {
            Self::One(server) => {
                let db = server.redis_settings().db();
                if let ConnectionAddr::Unix(path) = server.addr() {
                    return write!(f, "redis+unix://{}?db={db}", path.display());
                }
                write!(f, "redis{s}://{}/{db}", HostAndPort(server.addr()))
            }
            Self::Cluster(nodes) => write!(f, "redis{s}+cluster://{}", list(nodes)),
            Self::Sentinels(Sentinels { nodes, name, master }) => {
                let db = master.redis_settings().db();
                write!(f, "redis{s}+sentinel://{}/{name}/{db}", list(nodes))
            }
        }
    }
}

fn list(nodes: &[ConnectionInfo]) -> String {
    nodes.iter().map(|node| HostAndPort(node.addr()).to_string()).collect::<Vec<_>>().join(",")
}

/// A server, for messages.
pub(super) struct HostAndPort<'a>(pub(super) &'a ConnectionAddr);

impl fmt::Display for HostAndPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match host_and_port(self.0) {
            // The colons of an IPv6 address stand in brackets.
            Some((host, port)) if host.contains(':') && !host.starts_with('[') => {
                write!(f, "[{host}]:{port}")
            }
            Some((host, port)) => write!(f, "{host}:{port}"),
            None => f.write_str("a socket"),
        }
    }
}

pub(super) fn host_and_port(addr: &ConnectionAddr) -> Option<(&str, u16)> {
    match addr {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host, *port)),
        // A socket has none, and whatever the library may add is unknown.
        ConnectionAddr::Unix(_) | _ => None,
    }
}

impl fmt::Debug for Address {
    /// Without hosts, users and passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(_) => f.write_str("One(..)"),
            Self::Cluster(_) => f.write_str("Cluster(..)"),
            Self::Sentinels(sentinels) => sentinels.fmt(f),
        }
    }
}

impl fmt::Debug for Sentinels {
    /// Without hosts, users and passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sentinels(..)")
    }
}

/// What Redis counts databases in.
const DATABASES: RangeInclusive<i64> = 0..=i32::MAX as i64;

const SCHEMES: &str = "a URL that begins with `redis://`, `rediss://`, `redis+unix://`, `redis+cluster://`, `rediss+cluster://`, \
     `redis+sentinel://` or `rediss+sentinel://`";

fn parse(url: &str) -> Result<Address, &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or(SCHEMES)?;
    if scheme == "redis+unix" {
        let server =
            url.into_connection_info().map_err(|_| "a path, and `db`, `user` and `pass` after `?`")?;
        return Ok(Address::One(settled(server)));
    }
    let (is_tls, kind) = match scheme.strip_prefix("redis").ok_or(SCHEMES)? {
        kind if kind.starts_with('s') => (true, &kind[1..]),
        kind => (false, kind),
    };
    if rest.contains(['?', '#']) {
        return Err("a URL without `?` and `#`: in a password they are written as %3F and %23");
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').map_or(("", authority), |(login, hosts)| (login, hosts));
    let nodes = |login: &str, database: &str| {
        hosts.split(',').map(|host| node(is_tls, login, host, database)).collect::<Result<Vec<_>, _>>()
    };
    match kind {
        "" => match <[ConnectionInfo; 1]>::try_from(nodes(login, path)?) {
            Ok([server]) => Ok(Address::One(server)),
            Err(_) => Err("one host: several are for `redis+cluster://` and `redis+sentinel://`"),
        },
        "+cluster" if path.is_empty() => Ok(Address::Cluster(nodes(login, "")?)),
        "+cluster" => Err("a URL that ends with the hosts: a cluster has one database"),
        "+sentinel" => {
            let (name, database) = path.split_once('/').unwrap_or((path, ""));
            if name.is_empty() {
                return Err("a URL that ends with `/` and the name of the master");
            }
            let master = node(is_tls, login, "localhost", database)?;
            Ok(Address::Sentinels(Sentinels { nodes: nodes("", "")?, name: name.to_string(), master }))
        }
        _ => Err(SCHEMES),
    }
}

fn node(is_tls: bool, login: &str, host: &str, database: &str) -> Result<ConnectionInfo, &'static str> {
    let at = if login.is_empty() { "" } else { "@" };
    let url = format!("redis://{login}{at}{host}/{database}");
    let node = url.into_connection_info().map_err(|_| {
        "hosts with or without port, after user and password if any, and before the number of the database"
    })?;
    if !DATABASES.contains(&node.redis_settings().db()) {
        return Err("the number of a database from 0 to 2147483647");
    }
    let ConnectionAddr::Tcp(host, port) = node.addr() else { return Err("hosts") };
    let addr = address(is_tls, host.clone(), *port);
    Ok(settled(node.set_addr(addr)))
}

const fn address(is_tls: bool, host: String, port: u16) -> ConnectionAddr {
    if is_tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn is_encrypted(server: &ConnectionInfo) -> bool {
    matches!(server.addr(), ConnectionAddr::TcpTls { .. })
}

/// Small requests leave at once, and the client does not introduce itself, which is newer than Redis 6.
fn settled(node: ConnectionInfo) -> ConnectionInfo {
    let settings = node.redis_settings().clone().set_skip_set_lib_name();
    node.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true))
}
