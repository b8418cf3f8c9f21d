use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use guard_agent_proto::shell::redis::{RedisClient, RedisStore as Shared};
use guard_agent_proto::shell::{BoxFuture, RedisOptions, Store};
use guard_agent_proto::store::{StoreAnswer, StoreError, StoreErrorKind, StoreRequest};
use redis::cluster::{ClusterClient, ClusterConnection};
use redis::{Client, Cmd, Connection, ConnectionLike as _, Pipeline, RedisResult, Value};
use rustls::crypto::{CryptoProvider, ring};

use crate::ConfigError;
use crate::block_on::block_on;
use crate::workers::Workers;

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
        let (give, take) = oneshot::channel();
        let store = Arc::clone(&self.store);
        let run = self.workers.run(Box::new(move || {
            // Whoever waited may have gone meanwhile.
            let _ = give.send(block_on(store.converse(request)));
        }));
        Box::pin(async move {
            let other = |cause: String| StoreError::new(StoreErrorKind::Other, cause);
            run.map_err(|error| other(format!("no thread: {error}")))?;
            take.await.unwrap_or_else(|oneshot::Canceled| Err(other("the client of Redis panicked".into())))
        })
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
