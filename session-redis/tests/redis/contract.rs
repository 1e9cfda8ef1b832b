//! The suite that every store passes, on each topology.

use session_redis::RedisStore;
use test_support::{Cluster, Redis, Sentinels, Shared};

use crate::with_server::WithServer;

mod standalone {
    use super::*;

    static SERVER: Shared<Redis> = Shared::new();

    session_core::contract!(|| async {
        let server = SERVER.get(Redis::start);
        WithServer(
            RedisStore::connect(&server.url()).await.expect("a store"),
            server,
        )
    });
}

mod sentinel {
    use super::*;

    static SERVERS: Shared<Sentinels> = Shared::new();

    session_core::contract!(|| async {
        let servers = SERVERS.get(Sentinels::start);
        WithServer(
            RedisStore::connect(&servers.url()).await.expect("a store"),
            servers,
        )
    });
}

mod cluster {
    use super::*;

    static CLUSTER: Shared<Cluster> = Shared::new();

    session_core::contract!(|| async {
        let cluster = CLUSTER.get(Cluster::start);
        WithServer(
            RedisStore::connect(&cluster.url()).await.expect("a store"),
            cluster,
        )
    });
}
