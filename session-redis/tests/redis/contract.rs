//! The suite that every store passes, on each topology.

use session_core::Store;
use session_redis::RedisStore;
use test_support::{Cluster, Redis, Sentinels, Shared};

use crate::with_server::WithServer;

mod standalone {
    use super::*;

    static SERVER: Shared<Redis> = Shared::new();

    async fn store() -> impl Store {
        let server = SERVER.get(Redis::start);
        WithServer(
            RedisStore::connect(&server.url()).await.expect("a store"),
            server,
        )
    }

    session_core::contract!(store);
    session_core::index_contract!(store);
    session_core::changes_contract!(store);
}

mod sentinel {
    use super::*;

    static SERVERS: Shared<Sentinels> = Shared::new();

    async fn store() -> impl Store {
        let servers = SERVERS.get(Sentinels::start);
        WithServer(
            RedisStore::connect(&servers.url()).await.expect("a store"),
            servers,
        )
    }

    session_core::contract!(store);
    session_core::index_contract!(store);
    session_core::changes_contract!(store);
}

mod cluster {
    use super::*;

    static CLUSTER: Shared<Cluster> = Shared::new();

    async fn store() -> impl Store {
        let cluster = CLUSTER.get(Cluster::start);
        WithServer(
            RedisStore::connect(&cluster.url()).await.expect("a store"),
            cluster,
        )
    }

    session_core::contract!(store);
    session_core::index_contract!(store);
    session_core::changes_contract!(store);
}
