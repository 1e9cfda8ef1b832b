//! What a sentinel publishes about a service, and the connection on which it does.
//!
//! The connection is one of its own, and speaks RESP2, which every server does.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use redis::{
    Msg,
    aio::{PubSubSink, PubSubStream},
};
use tokio::time::timeout;

use crate::{
    address::Address,
    config::{RedisConfig, Role},
    endpoint::Endpoint,
    failure::Failure,
};

/// The command that subscribes. The redis crate sends it.
pub(crate) const SUBSCRIBE: &str = "SUBSCRIBE";

/// Where the sentinel that leads a failover publishes that it will promote a replica next, about
/// 0.1 s before it does.
const PROMOTING: &str = "+failover-state-send-slaveof-noone";

/// Where every sentinel publishes that a service has another primary. The one that leads the
/// failover notices the promotion by its next `INFO`, up to a second later, and publishes this
/// when it has reconfigured the other replicas.
const SWITCHED: &str = "+switch-master";

/// What is subscribed to.
pub(crate) const CHANNELS: [&str; 2] = [PROMOTING, SWITCHED];

/// What a sentinel has published about a service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A replica takes the place of this primary in a moment.
    Promoting { primary: Address, replica: Address },
    /// Another server is the primary.
    Switched,
}

impl News {
    /// Parses a message, unless it is about another service.
    fn parse(channel: &str, text: &str, service: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let address = |host: &str, port: &str| {
            let (host, port) = (host.to_owned(), port.parse().ok()?);
            Some(Address { host, port })
        };
        match (channel, &words[..]) {
            (SWITCHED, [name, ..]) if *name == service => Some(Self::Switched),
            (PROMOTING, ["slave", _, host, port, "@", name, old_host, old_port])
                if *name == service =>
            {
                Some(Self::Promoting {
                    primary: address(old_host, old_port)?,
                    replica: address(host, port)?,
                })
            }
            _ => None,
        }
    }
}

/// A connection to a sentinel that is subscribed.
pub(crate) struct Subscription {
    sentinel: Address,
    service: String,
    requests: PubSubSink,
    messages: PubSubStream,
}

impl Subscription {
    /// Connects to a sentinel and subscribes.
    ///
    /// # Errors
    ///
    /// The sentinel cannot be reached, or refuses.
    pub(crate) async fn start(
        sentinel: &Address,
        service: &str,
        config: &RedisConfig,
    ) -> Result<Self, Failure> {
        let connected = Endpoint::Tcp(sentinel)
            .connect_to_subscribe(config, Role::Sentinel)
            .await?;
        let (requests, messages) = connected.split();
        let mut subscription = Self {
            sentinel: sentinel.clone(),
            service: service.to_owned(),
            requests,
            messages,
        };
        subscription.confirm(config).await?;
        tracing::debug!(%sentinel, "subscribed to a sentinel");
        Ok(subscription)
    }

    /// Subscribes, or makes sure that the sentinel still replies: to subscribe again changes
    /// nothing, and needs no other permission.
    ///
    /// # Errors
    ///
    /// The sentinel does not reply, or refuses.
    pub(crate) async fn confirm(&mut self, config: &RedisConfig) -> Result<(), Failure> {
        let subscribed = self.requests.subscribe(&CHANNELS);
        match timeout(config.connect_timeout, subscribed).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::from_connecting(&error)),
            Err(_) => Err(Failure::unavailable("timed out while subscribing")),
        }
        .map_err(|failure| failure.at(&self.sentinel))
    }

    /// The next news of the service; `None` if the connection is closed.
    pub(crate) fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<Option<News>> {
        loop {
            let message: Option<Msg> = match Pin::new(&mut self.messages).poll_next(cx) {
                Poll::Ready(message) => message,
                Poll::Pending => return Poll::Pending,
            };
            let Some(message) = message else {
                return Poll::Ready(None);
            };
            let text = message.get_payload::<String>().unwrap_or_default();
            let news = News::parse(message.get_channel_name(), &text, &self.service);
            if news.is_some() {
                return Poll::Ready(news);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(channel: &str, text: &str) -> Option<News> {
        News::parse(channel, text, "sessions")
    }

    #[test]
    fn the_news_of_the_service_are_parsed_and_others_left_out() {
        let promoting = |primary: &str, replica: &str| {
            let address = |host: &str| Address {
                host: host.to_owned(),
                port: 6379,
            };
            Some(News::Promoting {
                primary: address(primary),
                replica: address(replica),
            })
        };
        for (channel, text, expected) in [
            (
                SWITCHED,
                "sessions 10.0.0.1 6379 10.0.0.2 6379",
                Some(News::Switched),
            ),
            (SWITCHED, "others 10.0.0.1 6379 10.0.0.2 6379", None),
            (
                PROMOTING,
                "slave 10.0.0.2:6379 10.0.0.2 6379 @ sessions 10.0.0.1 6379",
                promoting("10.0.0.1", "10.0.0.2"),
            ),
            (
                PROMOTING,
                "slave [fd00::2]:6379 fd00::2 6379 @ sessions fd00::1 6379",
                promoting("fd00::1", "fd00::2"),
            ),
            (
                PROMOTING,
                "slave 10.0.0.2:6379 10.0.0.2 6379 @ others 10.0.0.1 6379",
                None,
            ),
            (
                PROMOTING,
                "slave 10.0.0.2:6379 10.0.0.2 x @ sessions 10.0.0.1 1",
                None,
            ),
            (PROMOTING, "master sessions 10.0.0.1 6379", None),
            (PROMOTING, "", None),
            ("+sdown", "sessions 10.0.0.1 6379", None),
        ] {
            assert_eq!(parse(channel, text), expected, "{channel} {text}");
        }
    }
}
