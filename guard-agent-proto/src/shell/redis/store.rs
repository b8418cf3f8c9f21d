use std::boxed::Box;
use std::fmt;
use std::format;
use std::future::Future;
use std::string::String;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::vec::Vec;

use ::redis::cluster::ClusterClient;
use ::redis::{Client, Cmd, ConnectionAddr, ConnectionInfo, Pipeline, RedisError, RedisResult, Value};
use rustls::crypto::CryptoProvider;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

use super::address::{HostAndPort, host_and_port};
use super::{Address, Conversation, SearchPlace, Sentinels, Target, Turn, store_error};
use crate::ConfigError;
use crate::shell::protocol::Protocol;
use crate::shell::{BoxFuture, RedisOptions, Store, Workers};
use crate::store::{StoreAnswer, StoreError, StoreErrorKind, StoreRequest};

/// What a runtime brings to speak to Redis.
pub trait RedisClient: Send + Sync + Sized + 'static {
    /// To one server.
    type Connection: Send;
    /// To a cluster.
    type Cluster: Send;

    /// The cryptography of TLS, for processes that have not chosen one.
    fn crypto() -> CryptoProvider;

    /// Connects; neither that nor any reply may take longer than `limit`.
    fn connect(client: Client, limit: Duration)
    -> impl Future<Output = RedisResult<Self::Connection>> + Send;

    /// Connects to a cluster, within the limits that the client has.
    fn connect_to_cluster(client: ClusterClient) -> impl Future<Output = RedisResult<Self::Cluster>> + Send;

    /// Sends commands together.
    fn send_all(
        connection: &mut Self::Connection,
        commands: &Pipeline,
    ) -> impl Future<Output = RedisResult<Vec<Value>>> + Send;

    /// Sends a command to the node of a cluster that is in charge of its key.
    fn send(cluster: &mut Self::Cluster, command: &Cmd) -> impl Future<Output = RedisResult<Value>> + Send;
}

/// A journal in Redis 6.0 or newer: one server, a cluster, or a master that sentinels watch.
///
/// It is as durable as Redis is configured to be: with `appendonly yes` and `appendfsync everysec`, the default, a
/// crash of the machine costs a second. Redis must not evict keys (`maxmemory-policy noeviction`).
///
/// Nothing is left of a stream that ended, but for a mark of some bytes for 30 days if it was adopted: it keeps off a first
/// owner that slept.
///
/// It has one connection, made when the first operation needs it and again after one that failed or was
/// dropped; nothing is tried again by itself.
///
/// A user of Redis that is limited by an ACL needs the keys `{prefix:*` and `prefix:streams` and the commands `EVAL`,
/// `EVALSHA`, `TYPE`, `PTTL`, `GETRANGE`, `SET`, `DEL`, `UNLINK`, `PEXPIRE`, `HGET`, `HSET`, `HDEL`, `HEXISTS`, `HKEYS`,
/// `HLEN`, `HSTRLEN`, `XADD`, `XDEL`, `XRANGE`, `XREVRANGE`, `SADD`, `SREM`, `SCARD` and `SSCAN`, in a cluster also
/// `CLUSTER`.
pub struct RedisStore<C: RedisClient> {
    target: Target,
    idle: Mutex<Option<Connection<C>>>,
    /// An operation succeeded: whoever answers there is the one that is meant.
    proven: AtomicBool,
    /// For finding out who answers there.
    workers: Workers,
    place: SearchPlace,
}

enum Connection<C: RedisClient> {
    One(C::Connection),
    Cluster(C::Cluster),
}

impl<C: RedisClient> RedisStore<C> {
    /// A store at the place that the options name. It connects when it is first used.
    ///
    /// # Errors
    ///
    /// Every option that cannot be used, by name, together.
    pub fn new(options: &RedisOptions) -> Result<Self, ConfigError> {
        let target = Target::new(options)?;
        if target.address.is_tls() && CryptoProvider::get_default().is_none() {
            // An error means that somebody else was faster.
            let _ = C::crypto().install_default();
        }
        Ok(Self {
            target,
            idle: Mutex::new(None),
            proven: AtomicBool::new(false),
            workers: Workers::default(),
            place: SearchPlace::default(),
        })
    }

    /// Makes one operation.
    ///
    /// The connection stays out while it is in use: after an error or a dropped call, late replies are nobody's.
    ///
    /// # Errors
    ///
    /// As [`Store::execute`].
    pub async fn converse(&self, request: StoreRequest) -> Result<StoreAnswer, StoreError> {
        if self.proven.load(Ordering::Relaxed) {
            return self.try_converse(request).await.map_err(|error| self.without_secrets(error));
        }
        let timeout = request.timeout;
        // Who answers there is found out in the rest of the time.
        let request = StoreRequest { timeout: timeout - timeout / 4, ..request };
        match self.try_converse(request).await {
            Ok(answer) => {
                self.proven.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            Err(error) => {
                let stranger = self.stranger(&error, timeout / 5).await;
                Err(stranger.unwrap_or_else(|| self.without_secrets(error)))
            }
        }
    }

    /// The error that says what is wrong where not a Redis answers, or one with TLS in place of one without, or without in
    /// place of one with.
    async fn stranger(&self, error: &StoreError, limit: Duration) -> Option<StoreError> {
        // Every other kind is what a Redis said.
        if !matches!(error.kind, StoreErrorKind::Unreachable | StoreErrorKind::TimedOut) {
            return None;
        }
        let nodes = self.target.address.nodes().iter().filter_map(|node| host_and_port(node.addr()));
        let nodes: Vec<_> = nodes.map(|(host, port)| (String::from(host), port)).collect();
        let look = self.workers.call(move || {
            let share = limit / u32::try_from(nodes.len()).unwrap_or(u32::MAX).max(1);
            nodes.iter().find_map(|(host, port)| Protocol::of(host, *port, share))
        });
        let message = match (look.await.ok()??, self.target.address.is_tls()) {
            (Protocol::Redis, false) | (Protocol::Tls, true) => return None,
            (Protocol::Redis, true) => {
                "that port speaks Redis without TLS: `redis_url` needs `redis://` instead of `rediss://`, or another port"
            }
            (Protocol::Tls, false) => {
                "that port speaks TLS: `redis_url` needs `rediss://` instead of `redis://`, or another port"
            }
            (Protocol::Http, _) => {
                "an HTTP server answers there, not Redis: `redis_url` needs another host or port"
            }
        };
        Some(StoreError::new(StoreErrorKind::Unreachable, message))
    }

    async fn try_converse(&self, request: StoreRequest) -> Result<StoreAnswer, StoreError> {
        let idle = self.idle().take();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect(request.timeout).await?,
        };
        let mut turn = Conversation::open(&self.target.key_prefix, &self.place, request);
        let result = loop {
            turn = match turn {
                Turn::Send(commands, conversation) => conversation.hear(connection.send(commands).await),
                Turn::End(result) => break result,
            };
        };
        if result.is_ok() {
            *self.idle() = Some(connection);
        }
        result
    }

    fn idle(&self) -> MutexGuard<'_, Option<Connection<C>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self, timeout: Duration) -> Result<Connection<C>, StoreError> {
        match &self.target.address {
            Address::One(server) => self.connect_to(server, timeout).await,
            Address::Cluster(nodes) => {
                let connect = async { C::connect_to_cluster(self.cluster(nodes, timeout)?).await };
                connect.await.map(Connection::Cluster).map_err(|error| store_error(&error))
            }
            Address::Sentinels(sentinels) => {
                let master = self.find_master(sentinels, timeout).await?;
                let connection = self.connect_to(&master, timeout).await;
                connection.map_err(|error| with_peer(error, "master", &master))
            }
        }
    }

    async fn connect_to(
        &self,
        server: &ConnectionInfo,
        limit: Duration,
    ) -> Result<Connection<C>, StoreError> {
        let server = server.clone();
        let client = if matches!(server.addr(), ConnectionAddr::TcpTls { .. }) {
            Client::build_with_tls(server, self.target.certificates.clone())
        } else {
            Client::open(server)
        };
        let connect = async { C::connect(client?, limit).await };
        connect.await.map(Connection::One).map_err(|error| store_error(&error))
    }

    /// A node that hangs must leave time for asking another one.
    fn cluster(&self, nodes: &[ConnectionInfo], timeout: Duration) -> RedisResult<ClusterClient> {
        let mut builder = ClusterClient::builder(nodes.iter().cloned())
            .connection_timeout(timeout / 3)
            .response_timeout(timeout / 2)
            .retries(3)
            .min_retry_wait(10)
            .max_retry_wait(100);
        #[cfg(any(feature = "redis-smol", feature = "redis-tokio"))]
        {
            builder = builder.async_dns_resolver(super::asynchronous::Resolver::default());
        }
        // They turn TLS on.
        if self.target.address.is_tls() {
            builder = builder.certs(self.target.certificates.clone());
        }
        builder.build()
    }

    async fn find_master(
        &self,
        sentinels: &Sentinels,
        timeout: Duration,
    ) -> Result<ConnectionInfo, StoreError> {
        let share = timeout / (sentinels.nodes().len() + 1).try_into().unwrap_or(u32::MAX);
        let mut failure = StoreError::new(StoreErrorKind::Unreachable, "no sentinel answers");
        for node in sentinels.nodes() {
            let ask = async {
                let mut connection = self.connect_to(node, share).await?;
                let mut replies = connection.send(std::vec![sentinels.question()]).await;
                match replies.pop() {
                    Some(reply) => sentinels.master(reply),
                    None => Err(StoreError::new(StoreErrorKind::Unreachable, "a sentinel does not answer")),
                }
            };
            match ask.await {
                Ok(master) => return Ok(master),
                Err(error) => failure = with_peer(error, "sentinel", node),
            }
        }
        Err(failure)
    }

    fn without_secrets(&self, error: StoreError) -> StoreError {
        match self.target.address.password() {
            Some(password) if !password.is_empty() && error.message.contains(password) => {
                StoreError::new(error.kind, "the server's message repeats the password")
            }
            Some(_) | None => error,
        }
    }
}

fn with_peer(error: StoreError, role: &str, peer: &ConnectionInfo) -> StoreError {
    let message = format!("{} (the {role} at {})", error.message, HostAndPort(peer.addr()));
    StoreError::new(error.kind, message)
}

impl<C: RedisClient> Connection<C> {
    async fn send(&mut self, commands: Vec<Cmd>) -> Vec<RedisResult<Value>> {
        match self {
            Self::One(connection) => {
                let mut pipeline = ::redis::pipe();
                for command in commands {
                    pipeline.add_command(command);
                }
                match C::send_all(connection, &pipeline).await {
                    Ok(values) => values.into_iter().map(Ok).collect(),
                    Err(error) => std::vec![Err(error)],
                }
            }
            Self::Cluster(cluster) => {
                let mut replies = Vec::with_capacity(commands.len());
                for command in &commands {
                    let reply = C::send(cluster, command).await;
                    let is_lost = reply.as_ref().is_err_and(RedisError::is_io_error);
                    replies.push(reply);
                    if is_lost {
                        break;
                    }
                }
                replies
            }
        }
    }
}

impl<C: RedisClient> Store for RedisStore<C> {
    fn execute(&self, request: StoreRequest) -> BoxFuture<'_, Result<StoreAnswer, StoreError>> {
        // As for HTTP: who turns log records into events would otherwise keep the agent busy with itself.
        Box::pin(self.converse(request).with_subscriber(Dispatch::none()))
    }

    fn place(&self) -> Option<String> {
        Some(format!("{}", self.target.address))
    }
}

impl<C: RedisClient> fmt::Debug for RedisStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("target", &self.target).finish_non_exhaustive()
    }
}
