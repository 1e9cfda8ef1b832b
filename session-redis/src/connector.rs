//! Finds the server of a node, makes connections to it, and checks them.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    address::Address,
    batcher::{Batcher, Observer},
    config::{RedisConfig, Role},
    connection::Connection,
    credentials::Credentials,
    endpoint::{Endpoint, Resp3Refused},
    failure::Failure,
    heartbeat::Heartbeat,
    identity::ServerIdentity,
    pushes::{OnDisconnect, Pushes},
    reauthentication::{Reauthenticate, Reauthentication},
    role::is_primary,
    sentinel::{OnChange, Sentinels},
    sentinel_watcher::Watching,
    topology::Topology,
    tracking::{NodeTracking, Tracking},
};

/// Where the server of a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Tcp(Address),
    Unix(PathBuf),
    /// Wherever the sentinels say that the primary of a service is.
    Sentinel {
        sentinels: Vec<Address>,
        service: String,
    },
}

impl Source {
    /// A short name, for metrics.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Tcp(_) | Self::Unix(_) => self.to_string(),
            Self::Sentinel { service, .. } => service.clone(),
        }
    }
}

impl fmt::Display for Source {
    /// Writes the addresses, for log lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
            Self::Sentinel { sentinels, service } => {
                let sentinels: Vec<_> = sentinels.iter().map(Address::to_string).collect();
                write!(f, "service {service} of sentinels {}", sentinels.join(","))
            }
        }
    }
}

/// Makes the connections to one node.
#[derive(Debug)]
pub(crate) struct Connector {
    source: Source,
    config: Arc<RedisConfig>,
    server: Server,
    resp3_refused: Resp3Refused,
    tracking: NodeTracking,
    identity: ServerIdentity,
}

/// How the address of the server is known.
#[derive(Debug)]
enum Server {
    Fixed(ServerAddress),
    Sentinel {
        sentinels: Arc<Sentinels>,
        watching: Watching,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ServerAddress {
    Tcp(Address),
    Unix(PathBuf),
}

/// Where the server is now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    address: ServerAddress,
    /// See [`Connector::generation`].
    generation: u64,
}

/// A shared connection that replies, and the generation it belongs to.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) connection: Batcher,
    pub(crate) generation: u64,
    /// It passed a check. Otherwise it is new.
    pub(crate) checked: bool,
}

/// A connection that replied when it was made or checked.
#[derive(Debug)]
pub(crate) struct ServerConnection {
    pub(crate) connection: Connection,
    place: Place,
    credentials: Credentials,
    _reauthentication: Option<Reauthentication>,
}

impl ServerConnection {
    /// See [`Connector::generation`].
    pub(crate) fn generation(&self) -> u64 {
        self.place.generation
    }

    /// Whether it announces changes as well as a new connection would.
    fn can_announce(&self) -> bool {
        let tracking = self.connection.tracking();
        tracking.is_none_or(|tracking| !tracking.is_replaceable())
    }
}

impl ServerAddress {
    fn endpoint(&self) -> Endpoint<'_> {
        match self {
            Self::Tcp(address) => Endpoint::Tcp(address),
            Self::Unix(path) => Endpoint::Unix(path),
        }
    }
}

impl Connector {
    /// `on_change` is called when connections lead to a server that is no longer the primary.
    pub(crate) fn new(
        source: Source,
        config: Arc<RedisConfig>,
        on_change: OnChange,
        tracking: NodeTracking,
        identity: ServerIdentity,
    ) -> Self {
        let server = match &source {
            Source::Tcp(address) => Server::Fixed(ServerAddress::Tcp(address.clone())),
            Source::Unix(path) => Server::Fixed(ServerAddress::Unix(path.clone())),
            Source::Sentinel { sentinels, service } => {
                let (addresses, service) = (sentinels.clone(), service.clone());
                let sentinels = Sentinels::new(config.clone(), addresses, service, on_change);
                Server::Sentinel {
                    watching: Watching::new(sentinels.clone()),
                    sentinels,
                }
            }
        };
        Self {
            source,
            config,
            server,
            resp3_refused: Resp3Refused::default(),
            tracking,
            identity,
        }
    }

    /// What the shared connections announce.
    pub(crate) fn tracking(&self) -> &NodeTracking {
        &self.tracking
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Connections of earlier generations lead to a server that is no longer the primary.
    pub(crate) fn generation(&self) -> u64 {
        match &self.server {
            Server::Fixed(_) => 0,
            Server::Sentinel { sentinels, .. } => sentinels.generation(),
        }
    }

    /// How long one attempt to connect takes at most, about: to get credentials, to ask sentinels,
    /// to connect with either protocol, to check the result, to track, and to ask the server who it
    /// is.
    pub(crate) fn longest_attempt(&self) -> Duration {
        let RedisConfig {
            connect_timeout,
            response_timeout,
            ..
        } = &*self.config;
        (*connect_timeout * 5).saturating_add(*response_timeout * 3)
    }

    /// Whether a message reports a connection that the server closes.
    pub(crate) fn reports_disconnects(&self) -> bool {
        !self.resp3_refused.get()
    }

    /// Watches the sentinels, if the server is found through them.
    pub(crate) fn keep_watching(&self) {
        if let Server::Sentinel { watching, .. } = &self.server {
            watching.keep_running();
        }
    }

    /// The server behaves as a primary does that was cut off: asks the sentinels soon.
    pub(crate) fn suspect_primary(&self) {
        if let Server::Sentinel { watching, .. } = &self.server {
            watching.suspect_primary();
        }
    }

    /// Checks the previous connection, or makes another; either way the result replies. `discard`
    /// replaces a connection that would pass the check, because its server must not be used.
    pub(crate) async fn connect(
        &self,
        previous: &mut Option<ServerConnection>,
        discard: bool,
        on_disconnect: &OnDisconnect,
        observer: Observer,
    ) -> Result<Connected, Failure> {
        if discard {
            *previous = None;
        }
        let place = self
            .find_server()
            .await
            .inspect_err(|_| self.identity.unreachable())?;
        let reached = self.reach(&place, previous, Some(on_disconnect)).await;
        if reached.is_err() {
            self.identity.unreachable();
        }
        let (mut server, checked) = reached?;
        if !checked {
            let limit = self.config.response_timeout;
            let identified = self.identity.check(&mut server.connection, limit).await;
            identified.map_err(|failure| failure.at(place.address.endpoint()))?;
        }
        let response_timeout = self.config.response_timeout;
        let connected = Connected {
            connection: Batcher::start(server.connection.clone(), response_timeout, observer),
            generation: server.generation(),
            checked,
        };
        *previous = Some(server);
        Ok(connected)
    }

    /// Makes a connection that is not shared.
    pub(crate) async fn connect_unshared(&self) -> Result<ServerConnection, Failure> {
        let place = self.find_server().await?;
        let (server, _) = self.reach(&place, &mut None, None).await?;
        Ok(server)
    }

    /// Makes sure that a connection that is not shared is as a new one would be, and, if it was
    /// idle, that it replies.
    pub(crate) async fn check_unshared(
        &self,
        server: &mut ServerConnection,
        idle: bool,
    ) -> Result<(), Failure> {
        let credentials = self.credentials(&server.place).await?;
        let same_login = server.credentials.is_same_login(&credentials);
        if !same_login || server.generation() != self.generation() {
            return Err(Failure::Closed);
        }
        match idle {
            true => server.connection.check(self.config.response_timeout).await,
            false => Ok(()),
        }
    }

    async fn find_server(&self) -> Result<Place, Failure> {
        match &self.server {
            Server::Fixed(address) => Ok(Place {
                address: address.clone(),
                generation: 0,
            }),
            Server::Sentinel {
                sentinels,
                watching,
            } => {
                watching.keep_alive();
                let primary = sentinels.find_primary().await?;
                Ok(Place {
                    address: ServerAddress::Tcp(primary.address),
                    generation: primary.generation,
                })
            }
        }
    }

    /// As [`set_up`](Self::set_up), until the primary changes: the old one may hang.
    async fn reach(
        &self,
        place: &Place,
        previous: &mut Option<ServerConnection>,
        on_disconnect: Option<&OnDisconnect>,
    ) -> Result<(ServerConnection, bool), Failure> {
        let set_up = self.set_up(place, previous, on_disconnect);
        match &self.server {
            Server::Fixed(_) => set_up.await,
            Server::Sentinel { sentinels, .. } => {
                let reached = sentinels.while_primary(place.generation, set_up).await;
                let changed = || Failure::unavailable("the primary is another now");
                reached.unwrap_or_else(|| Err(changed().at(place.address.endpoint())))
            }
        }
    }

    /// Checks the previous connection, or makes another; then checks the role of the server, and
    /// keeps the connection authenticated. Returns whether it is the previous one. One of an
    /// earlier generation is not used, even if its server is the primary again: its feed has ended
    /// for good.
    async fn set_up(
        &self,
        place: &Place,
        previous: &mut Option<ServerConnection>,
        on_disconnect: Option<&OnDisconnect>,
    ) -> Result<(ServerConnection, bool), Failure> {
        let credentials = self.credentials(place).await?;
        let usable = previous.take().filter(|previous| {
            let same_login = previous.credentials.is_same_login(&credentials);
            same_login && previous.place == *place && previous.can_announce()
        });
        let (mut connection, checked) = match self.checked(usable).await {
            Some(connection) => (connection, true),
            None => {
                let made = self.make(place, &credentials, on_disconnect).await?;
                (made, false)
            }
        };
        if let (Server::Sentinel { sentinels, .. }, ServerAddress::Tcp(primary)) =
            (&self.server, &place.address)
        {
            self.check_role(&mut connection, primary, sentinels).await?;
        }
        let config = &self.config;
        let reauthenticate = Reauthenticate {
            connection: connection.clone(),
            login: config.login(Role::Server).clone(),
            connect_timeout: config.connect_timeout,
            response_timeout: config.response_timeout,
            server: place.address.endpoint().to_string(),
        };
        let server = ServerConnection {
            connection,
            place: place.clone(),
            _reauthentication: reauthenticate.start(&credentials),
            credentials,
        };
        Ok((server, checked))
    }

    async fn credentials(&self, place: &Place) -> Result<Credentials, Failure> {
        let login = self.config.login(Role::Server);
        let credentials = login.credentials(self.config.connect_timeout).await;
        credentials.map_err(|failure| failure.at(place.address.endpoint()))
    }

    async fn checked(&self, server: Option<ServerConnection>) -> Option<Connection> {
        let mut connection = server?.connection;
        let checked = connection.check(self.config.response_timeout).await;
        checked.is_ok().then_some(connection)
    }

    async fn make(
        &self,
        place: &Place,
        credentials: &Credentials,
        on_disconnect: Option<&OnDisconnect>,
    ) -> Result<Connection, Failure> {
        let (endpoint, config) = (place.address.endpoint(), &*self.config);
        let knew = self.resp3_refused.get();
        let tracking = on_disconnect.map(|_| self.tracking.of_connection(place.generation));
        let pushes = on_disconnect.zip(tracking.as_ref());
        let pushes = pushes.map(|(to, tracking)| Pushes::new(to.clone(), tracking.clone()));
        let connected = endpoint
            .connect_as(
                config,
                Role::Server,
                credentials,
                &self.resp3_refused,
                pushes,
            )
            .await;
        if !knew && self.resp3_refused.get() {
            tracing::info!(server = %endpoint, "Redis refuses RESP3, so RESP2 is used");
        }
        let connection = connected?;
        if let Some(tracking) = tracking {
            self.track(&connection, tracking, place).await;
        }
        Ok(connection)
    }

    /// Begins to track what is read on a new connection, before anything is. If nobody listens, it
    /// begins when somebody does.
    async fn track(&self, connection: &Connection, tracking: Arc<Tracking>, place: &Place) {
        let mut heartbeat = Heartbeat {
            connection: connection.downgrade(),
            tracking: tracking.clone(),
            in_cluster: matches!(self.config.topology, Topology::Cluster(_)),
            response_timeout: self.config.response_timeout,
            server: place.address.endpoint().to_string(),
            tracks: false,
        };
        if tracking.announcer().is_on() {
            heartbeat.beat().await;
        }
        if !tracking.is_over() {
            let task = tokio::spawn(heartbeat.run());
            connection.track(tracking, task.abort_handle());
        }
    }

    /// Asks the connection that will be used, so that the role cannot change in between.
    async fn check_role(
        &self,
        connection: &mut Connection,
        primary: &Address,
        sentinels: &Sentinels,
    ) -> Result<(), Failure> {
        let role = timeout(self.config.response_timeout, is_primary(connection)).await;
        let timed_out = |_| Err(Failure::unavailable("timed out while checking the role"));
        role.unwrap_or_else(timed_out)
            .and_then(|is_primary| {
                sentinels.on_role(primary, is_primary);
                match is_primary {
                    true => Ok(()),
                    false => Err(Failure::unavailable(
                        "sentinels name it, but it is not a primary",
                    )),
                }
            })
            .map_err(|failure| failure.at(primary))
    }
}

#[cfg(test)]
mod tests {
    use session_core::{Listener, SessionId};
    use test_support::Redis;

    use super::*;
    use crate::{announcer::Announcer, batcher::BatchEnd, feed::FeedEnd, metrics::NodeMetrics};

    struct Listens;

    impl Listener for Listens {
        fn changed(&self, _: &SessionId) {}
    }

    fn connector(source: Source, url: &str, announcer: &Arc<Announcer>) -> Connector {
        let config = Arc::new(RedisConfig::from_url(url).expect("a URL"));
        let tracking = NodeTracking::new(announcer.clone(), NodeMetrics::new("node"));
        let identity = ServerIdentity::new(None);
        Connector::new(source, config, Arc::new(|| {}), tracking, identity)
    }

    fn address(server: &Redis) -> Address {
        Address {
            host: "127.0.0.1".to_owned(),
            port: server.port(),
        }
    }

    /// Connects. Returns whether the previous connection was reused.
    async fn reuses(connector: &Connector, previous: &mut Option<ServerConnection>) -> bool {
        let (on_disconnect, observer) = (Arc::new(|| {}), Arc::new(|_: BatchEnd| {}));
        let on_disconnect: OnDisconnect = on_disconnect;
        let connected = connector
            .connect(previous, false, &on_disconnect, observer)
            .await;
        connected.expect("a connection").checked
    }

    fn tracking(previous: &Option<ServerConnection>) -> &Arc<Tracking> {
        let server = previous.as_ref().expect("a connection");
        server.connection.tracking().expect("it tracks")
    }

    #[tokio::test]
    async fn a_connection_that_announces_nothing_any_more_is_not_reused() {
        let server = Redis::start();
        let announcer = Announcer::new("session:");
        let listener: Arc<dyn Listener> = Arc::new(Listens);
        announcer.add(Arc::downgrade(&listener));
        let source = Source::Tcp(address(&server));
        let connector = connector(source, &server.url(), &announcer);
        let mut previous = None;
        assert!(!reuses(&connector, &mut previous).await);
        assert!(reuses(&connector, &mut previous).await);
        for (end, reused) in [(FeedEnd::ConnectionLost, false), (FeedEnd::Refused, true)] {
            tracking(&previous).finish(end);
            assert_eq!(reuses(&connector, &mut previous).await, reused, "{end:?}");
            assert_eq!(tracking(&previous).feed().is_none(), reused, "{end:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_handover_that_fails_leaves_a_connection_that_can_announce() {
        let servers = test_support::Sentinels::start();
        let announcer = Announcer::new("session:");
        let source = Source::Sentinel {
            sentinels: servers.sentinels.iter().map(address).collect(),
            service: test_support::Sentinels::SERVICE.to_owned(),
        };
        let connector = connector(source, &servers.url(), &announcer);
        let mut previous = None;
        assert!(!reuses(&connector, &mut previous).await);
        let Server::Sentinel { sentinels, .. } = &connector.server else {
            panic!("found through sentinels");
        };
        let (primary, replica) = (address(&servers.servers[0]), address(&servers.servers[1]));
        let handover = sentinels.hand_over(&primary, &replica);
        let ends = timeout(Duration::from_millis(50), handover).await;
        assert!(ends.is_err(), "the replica is not promoted");
        connector
            .tracking()
            .leave_old_primary(connector.generation());
        assert!(tracking(&previous).is_over());
        reuses(&connector, &mut previous).await;
        assert!(!tracking(&previous).is_over());
        let server = previous.as_ref().expect("a connection");
        assert_eq!(server.generation(), connector.generation());
    }
}
