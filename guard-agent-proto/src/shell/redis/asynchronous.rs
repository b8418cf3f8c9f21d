use std::time::Duration;
use std::vec::Vec;

use ::redis::aio::{ConnectionLike as _, MultiplexedConnection};
use ::redis::cluster::ClusterClient;
use ::redis::cluster_async::ClusterConnection;
use ::redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisResult, Value};
use rustls::crypto::{CryptoProvider, aws_lc_rs};

use super::RedisClient;

/// Redis on the runtime of whoever polls: on tokio inside one of its runtimes, else on smol.
#[derive(Clone, Copy, Debug)]
pub struct AsyncRedis;

impl RedisClient for AsyncRedis {
    type Connection = MultiplexedConnection;
    type Cluster = ClusterConnection;

    fn crypto() -> CryptoProvider {
        aws_lc_rs::default_provider()
    }

    async fn connect(client: Client, limit: Duration) -> RedisResult<MultiplexedConnection> {
        let limit = Some(limit);
        let config = AsyncConnectionConfig::new().set_connection_timeout(limit).set_response_timeout(limit);
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn connect_to_cluster(client: ClusterClient) -> RedisResult<ClusterConnection> {
        client.get_async_connection().await
    }

    async fn send_all(
        connection: &mut MultiplexedConnection,
        commands: &Pipeline,
    ) -> RedisResult<Vec<Value>> {
        connection.send_packed_commands(commands, 0, commands.len()).await
    }

    async fn send(cluster: &mut ClusterConnection, command: &Cmd) -> RedisResult<Value> {
        cluster.req_packed_command(command).await
    }
}
