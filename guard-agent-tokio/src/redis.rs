use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use guard_agent_proto::ConfigError;
use guard_agent_proto::shell::BoxFuture;
use guard_agent_proto::shell::Store;
use guard_agent_proto::shell::redis::{Address, Conversation, Sentinels, Turn, store_error};
use guard_agent_proto::store::{StoreAnswer, StoreError, StoreErrorKind, StoreRequest};
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, RedisError, RedisResult, Value,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

use crate::RedisOptions;
use crate::redis_options::Target;

/// A journal in Redis 6.0 or newer: one server, a cluster, or a master that sentinels watch.
///
/// It is as durable as Redis is configured to be: with `appendonly yes` and `appendfsync everysec`, the default, a
/// crash of the machine costs a second. Redis must not evict keys (`maxmemory-policy noeviction`).
///
/// It has one connection, made when the first operation needs it and again after one that failed or was
/// dropped; nothing is tried again by itself.
///
/// A user of Redis that is limited by an ACL needs the keys `{prefix:*` and `prefix:streams` and the commands `EVAL`,
/// `EVALSHA`, `TYPE`, `EXISTS`, `GET`, `SET`, `DEL`, `UNLINK`, `PEXPIRE`, `HGET`, `HSET`, `HDEL`, `HEXISTS`, `HGETALL`,
/// `XADD`, `XDEL`, `XRANGE`, `XREVRANGE`, `SADD`, `SREM` and `SMEMBERS`, in a cluster also `CLUSTER`.
pub struct RedisStore {
    target: Target,
    idle: Mutex<Option<Connection>>,
}

enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl RedisStore {
    /// A store at the place that the options name. It connects when it is first used.
    ///
    /// ```
    /// use guard_agent_tokio::{AgentConfig, RedisOptions, RedisStore};
    ///
    /// let config = AgentConfig::builder("key-of-the-project").redis_url("redis:/localhost").build()?;
    /// let error = RedisStore::new(&RedisOptions::new(&config)).unwrap_err();
    /// assert!(error.to_string().contains("redis_url"));
    /// # Ok::<(), guard_agent_tokio::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Every option that cannot be used, by name, together.
    pub fn new(options: &RedisOptions) -> Result<Self, ConfigError> {
        let target = options.target()?;
        if target.address.is_tls() && CryptoProvider::get_default().is_none() {
            // An error means that somebody else was faster.
            let _ = aws_lc_rs::default_provider().install_default();
        }
        Ok(Self { target, idle: Mutex::new(None) })
    }

    /// The connection stays out while it is in use: after an error or a dropped call, late replies are nobody's.
    async fn converse(&self, request: StoreRequest) -> Result<StoreAnswer, StoreError> {
        let idle = self.idle().take();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect(request.timeout).await?,
        };
        let mut turn = Conversation::open(&self.target.key_prefix, request);
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

    fn idle(&self) -> MutexGuard<'_, Option<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self, timeout: Duration) -> Result<Connection, StoreError> {
        match &self.target.address {
            Address::One(server) => self.connect_to(server).await.map(Connection::One),
            Address::Cluster(nodes) => self.connect_to_cluster(nodes, timeout).await.map(Connection::Cluster),
            Address::Sentinels(sentinels) => {
                let master = self.find_master(sentinels, timeout).await?;
                self.connect_to(&master).await.map(Connection::One)
            }
        }
    }

    /// Without limits of its own: it is the operation that has one.
    async fn connect_to(&self, server: &ConnectionInfo) -> Result<MultiplexedConnection, StoreError> {
        let server = server.clone();
        let client = if matches!(server.addr(), ConnectionAddr::TcpTls { .. }) {
            Client::build_with_tls(server, self.target.certificates.clone())
        } else {
            Client::open(server)
        };
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connect = async { client?.get_multiplexed_async_connection_with_config(&config).await };
        connect.await.map_err(|error| store_error(&error))
    }

    /// A node that hangs must leave time for asking another one.
    async fn connect_to_cluster(
        &self,
        nodes: &[ConnectionInfo],
        timeout: Duration,
    ) -> Result<ClusterConnection, StoreError> {
        let mut builder = ClusterClient::builder(nodes.iter().cloned())
            .connection_timeout(timeout / 3)
            .response_timeout(timeout / 2)
            .overall_response_timeout(None)
            .retries(3)
            .min_retry_wait(10)
            .max_retry_wait(100);
        // They turn TLS on.
        if self.target.address.is_tls() {
            builder = builder.certs(self.target.certificates.clone());
        }
        let connect = async { builder.build()?.get_async_connection().await };
        connect.await.map_err(|error| store_error(&error))
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
                let mut connection = self.connect_to(node).await?;
                sentinels.master(connection.send_packed_command(&sentinels.question()).await)
            };
            match tokio::time::timeout(share, ask).await {
                Ok(Ok(master)) => return Ok(master),
                Ok(Err(error)) => failure = error,
                Err(_) => {}
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

impl Store for RedisStore {
    fn execute(&self, request: StoreRequest) -> BoxFuture<'_, Result<StoreAnswer, StoreError>> {
        // As for HTTP: who turns log records into events would otherwise keep the agent busy with itself.
        let conversation = self.converse(request).with_subscriber(Dispatch::none());
        Box::pin(async { conversation.await.map_err(|error| self.without_secrets(error)) })
    }
}

impl Connection {
    async fn send(&mut self, commands: Vec<Cmd>) -> Vec<RedisResult<Value>> {
        match self {
            Self::One(connection) => {
                let mut pipeline = redis::pipe();
                let count = commands.len();
                for command in commands {
                    pipeline.add_command(command);
                }
                match connection.send_packed_commands(&pipeline, 0, count).await {
                    Ok(values) => values.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                }
            }
            Self::Cluster(connection) => {
                let mut replies = Vec::with_capacity(commands.len());
                for command in &commands {
                    let reply = connection.req_packed_command(command).await;
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

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("target", &self.target).finish_non_exhaustive()
    }
}
