use std::borrow::ToOwned as _;
use std::boxed::Box;
use std::net::SocketAddr;
use std::time::Duration;
use std::vec::Vec;

use ::redis::aio::{ConnectionLike as _, MultiplexedConnection};
use ::redis::cluster::ClusterClient;
use ::redis::cluster_async::ClusterConnection;
use ::redis::io::AsyncDNSResolver;
use ::redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisFuture, RedisResult, Value};
use rustls::crypto::{CryptoProvider, aws_lc_rs};

use super::RedisClient;
use crate::shell::Workers;

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
        let config = config.set_dns_resolver(Resolver::default());
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

/// Names are looked up on threads that may be lacking: then a connection fails, where the ways of the runtimes panic or ask
/// for a thread again and again.
#[derive(Default)]
pub(super) struct Resolver(Workers);

impl AsyncDNSResolver for Resolver {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        let addresses = self.0.resolve(host.to_owned(), port);
        Box::pin(async move { Ok(Box::new(addresses.await?) as Box<dyn Iterator<Item = SocketAddr> + Send>) })
    }
}
