//! Finds the primary: asks every sentinel and believes the newest configuration.
//!
//! Sentinels learn of a failover one after the other, so they contradict each other for a while.
//! Each configuration has an epoch, and among sentinels the highest epoch wins (Redis
//! documentation, "Sentinel", *Configuration epochs*). The same rule holds here. The redis crate
//! believes the first sentinel that replies.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::{FromRedisValue, Value};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    address::Address,
    config::{RedisConfig, Role},
    endpoint::Endpoint,
    failure::Failure,
};

/// How long to wait for the other sentinels after the first has replied.
const GRACE: Duration = Duration::from_millis(100);

/// What one sentinel says about a service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SentinelView {
    primary: Address,
    epoch: u64,
    /// The sentinel believes that the primary is down, so a failover may be in progress.
    down: bool,
}

/// Returns the address of the primary of a service.
pub(crate) async fn find_primary(
    config: &Arc<RedisConfig>,
    sentinels: &[Address],
    service: &str,
) -> Result<Address, Failure> {
    let mut queries = JoinSet::new();
    for sentinel in sentinels {
        let (config, sentinel, service) = (config.clone(), sentinel.clone(), service.to_owned());
        queries.spawn(async move {
            timeout(config.connect_timeout, query(&config, &sentinel, &service))
                .await
                .unwrap_or_else(|_| Err(Failure::unavailable("timed out").at(&sentinel)))
        });
    }
    let mut views = Vec::new();
    let mut failure = Failure::unavailable("there is no sentinel");
    while let Some(reply) = queries.join_next().await {
        match reply.unwrap_or_else(|_| Err(Failure::unavailable("query was aborted"))) {
            Ok(view) => views.push(view),
            Err(error) => failure = error,
        }
        if !views.is_empty() {
            break;
        }
    }
    let _ = timeout(GRACE, async {
        while let Some(reply) = queries.join_next().await {
            views.extend(reply.ok().and_then(Result::ok));
        }
    })
    .await;
    match newest(views) {
        Some(view) if view.down => Err(Failure::unavailable(format!(
            "sentinels report that primary {} is down",
            view.primary
        ))),
        Some(view) => Ok(view.primary),
        None => Err(Failure::unavailable(format!(
            "no sentinel knows the primary: {failure}"
        ))),
    }
}

/// Returns the view with the highest epoch; among equals, one that believes the primary to be up.
fn newest(views: Vec<SentinelView>) -> Option<SentinelView> {
    views
        .into_iter()
        .max_by_key(|view| (view.epoch, !view.down))
}

async fn query(
    config: &RedisConfig,
    sentinel: &Address,
    service: &str,
) -> Result<SentinelView, Failure> {
    let mut connection = Endpoint::Tcp(sentinel)
        .connect(config, Role::Sentinel)
        .await?;
    let reply = redis::cmd("SENTINEL")
        .arg("MASTER")
        .arg(service)
        .query_async::<Value>(&mut connection)
        .await;
    let reply = reply.map_err(|error| Failure::from_connecting(&error).at(sentinel))?;
    parse_view(reply).ok_or_else(|| Failure::unavailable("unexpected reply").at(sentinel))
}

fn parse_view(reply: Value) -> Option<SentinelView> {
    let fields = HashMap::<String, String>::from_redis_value(reply).ok()?;
    let flags: Vec<&str> = fields.get("flags")?.split(',').collect();
    Some(SentinelView {
        primary: Address {
            host: fields.get("ip")?.clone(),
            port: fields.get("port")?.parse().ok()?,
        },
        epoch: fields.get("config-epoch")?.parse().ok()?,
        down: flags.contains(&"s_down") || flags.contains(&"o_down") || !flags.contains(&"master"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(host: &str, epoch: u64, down: bool) -> SentinelView {
        SentinelView {
            primary: Address {
                host: host.to_owned(),
                port: 1,
            },
            epoch,
            down,
        }
    }

    #[test]
    fn the_newest_epoch_wins_over_the_majority() {
        let (old, new) = (view("old", 1, false), view("new", 2, false));
        let views = vec![old.clone(), new.clone(), old];
        assert_eq!(newest(views), Some(new));
        assert_eq!(newest(vec![]), None);
    }

    #[test]
    fn within_an_epoch_one_sentinel_that_reaches_the_primary_is_enough() {
        let (down, up) = (view("a", 1, true), view("a", 1, false));
        assert_eq!(newest(vec![down.clone(), up.clone()]), Some(up));
        assert_eq!(newest(vec![down.clone()]), Some(down));
    }

    #[test]
    fn replies_of_both_protocols_are_parsed() {
        let fields = |flags: &str| {
            let words = [
                "ip",
                "10.0.0.1",
                "port",
                "6379",
                "flags",
                flags,
                "config-epoch",
                "7",
            ];
            words.map(|word| Value::BulkString(word.into())).to_vec()
        };
        for (flags, down) in [
            ("master", false),
            ("master,o_down", true),
            ("s_down,master", true),
            ("slave", true),
        ] {
            let words = fields(flags);
            let pairs = words.chunks(2);
            let pairs = pairs.map(|pair| (pair[0].clone(), pair[1].clone()));
            let map = Value::Map(pairs.collect());
            let mut expected = view("10.0.0.1", 7, down);
            expected.primary.port = 6379;
            assert_eq!(parse_view(Value::Array(words)), Some(expected.clone()));
            assert_eq!(parse_view(map), Some(expected));
        }
        assert_eq!(parse_view(Value::Nil), None);
    }
}
