//! The suite that every store passes, on each topology.

use session_redis::RedisStore;

use crate::server::{Cluster, Kept, Sentinels, Server, Shared};

mod standalone {
    use super::*;

    static SERVER: Shared<Server> = Shared::new();

    session_core::contract!(|| async {
        let server = SERVER.get(Server::start);
        Kept(
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
        Kept(
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
        Kept(
            RedisStore::connect(&cluster.url()).await.expect("a store"),
            cluster,
        )
    });
}
