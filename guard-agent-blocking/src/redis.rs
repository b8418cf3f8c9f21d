use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use guard_agent_proto::shell::redis::{RedisClient, RedisStore as Shared};
use guard_agent_proto::shell::{BoxFuture, RedisOptions, Store, Workers};
use guard_agent_proto::store::{StoreAnswer, StoreError, StoreErrorKind, StoreRequest};
use redis::cluster::{ClusterClient, ClusterConnection};
use redis::{Client, Cmd, Connection, ConnectionLike as _, Pipeline, RedisResult, Value};
use rustls::crypto::{CryptoProvider, ring};

use crate::ConfigError;
use crate::block_on::block_on;

/// A journal in Redis by its synchronous client; an operation keeps a thread while it is under way. See
/// [`shell::redis::RedisStore`](guard_agent_proto::shell::redis::RedisStore).
pub struct RedisStore {
    store: Arc<Shared<SyncRedis>>,
    workers: Workers,
}

impl RedisStore {
    /// A store at the place that the options name. It connects when it is first used.
    ///
    /// # Errors
    ///
    /// Every option that cannot be used, by name, together.
    pub fn new(options: &RedisOptions) -> Result<Self, ConfigError> {
        Ok(Self { store: Arc::new(Shared::new(options)?), workers: Workers::default() })
    }
}

impl Store for RedisStore {
    fn execute(&self, request: StoreRequest) -> BoxFuture<'_, Result<StoreAnswer, StoreError>> {
        let store = Arc::clone(&self.store);
        let call = self.workers.call(move || block_on(store.converse(request)));
        Box::pin(async move {
            // Without a thread no operation can be made, whichever it is.
            let unreachable =
                |error: io::Error| StoreError::new(StoreErrorKind::Unreachable, error.to_string());
            call.await.map_err(unreachable)?
        })
    }

    fn place(&self) -> Option<String> {
        self.store.place()
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

/// Each future of it blocks, and is done when it is first polled.
struct SyncRedis;

impl RedisClient for SyncRedis {
    type Connection = Connection;
    type Cluster = ClusterConnection;

    fn crypto() -> CryptoProvider {
        ring::default_provider()
    }

    async fn connect(client: Client, limit: Duration) -> RedisResult<Connection> {
        let connection = client.get_connection_with_timeout(limit)?;
        connection.set_read_timeout(Some(limit))?;
        connection.set_write_timeout(Some(limit))?;
        Ok(connection)
    }

    async fn connect_to_cluster(client: ClusterClient) -> RedisResult<ClusterConnection> {
        client.get_connection()
    }

    async fn send_all(connection: &mut Connection, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        connection.req_packed_commands(&commands.get_packed_pipeline(), 0, commands.len())
    }

    async fn send(cluster: &mut ClusterConnection, command: &Cmd) -> RedisResult<Value> {
        cluster.req_command(command)
    }
}
