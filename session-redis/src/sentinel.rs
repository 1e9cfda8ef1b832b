//! Who the primary is: asks every sentinel and believes the newest.
//!
//! Sentinels learn of a failover one after the other, so they contradict each other for a while. Each configuration has an epoch,
//! and among sentinels the highest wins (Redis documentation, "Sentinel", *Configuration epochs*); the same rule holds here. The
//! client library takes the first sentinel's word, through connections whose deadlines cannot be set.

use std::{collections::HashMap, time::Duration};

use redis::{FromRedisValue, Value};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    config::{Address, RedisConfig},
    connector,
    error::Failure,
};

/// How long the other sentinels have, once one has answered.
const GRACE: Duration = Duration::from_millis(100);

/// What one sentinel says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Opinion {
    primary: Address,
    epoch: u64,
    /// It thinks that the primary is down, so a failover may be under way.
    down: bool,
}

/// The address of the primary of a service.
pub(crate) async fn primary(
    config: &RedisConfig,
    sentinels: &[Address],
    service: &str,
) -> Result<Address, Failure> {
    let mut asked = JoinSet::new();
    for sentinel in sentinels {
        let info = connector::info(
            config,
            &connector::Endpoint::Tcp(sentinel),
            &config.sentinel_login,
            0,
        )?;
        let service = service.to_owned();
        let patience = config.connect_timeout;
        asked.spawn(async move {
            timeout(patience, ask(info, &service))
                .await
                .unwrap_or(Err(Failure::unreached("no answer within its deadline")))
        });
    }
    let mut opinions = Vec::new();
    let mut failure = Failure::unreached("no sentinel");
    while let Some(answer) = asked.join_next().await {
        match answer.unwrap_or_else(|_| Err(Failure::unreached("sentinel was not asked"))) {
            Ok(opinion) => opinions.push(opinion),
            Err(error) => failure = error,
        }
        if !opinions.is_empty() {
            break;
        }
    }
    let _ = timeout(GRACE, async {
        while let Some(answer) = asked.join_next().await {
            opinions.extend(answer.ok().and_then(Result::ok));
        }
    })
    .await;
    match newest(opinions) {
        Some(opinion) if opinion.down => Err(Failure::unreached(format!(
            "sentinels say that primary {} is down",
            opinion.primary
        ))),
        Some(opinion) => Ok(opinion.primary),
        None => Err(Failure::unreached(format!(
            "no sentinel knows the primary: {failure}"
        ))),
    }
}

/// The highest epoch; within it, one that sees the primary up.
fn newest(opinions: Vec<Opinion>) -> Option<Opinion> {
    opinions
        .into_iter()
        .max_by_key(|opinion| (opinion.epoch, !opinion.down))
}

async fn ask(info: redis::ConnectionInfo, service: &str) -> Result<Opinion, Failure> {
    let client = redis::Client::open(info).map_err(|error| Failure::connecting(&error))?;
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    let connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await;
    let mut connection = connection.map_err(|error| Failure::connecting(&error))?;
    let reply = redis::cmd("SENTINEL")
        .arg("MASTER")
        .arg(service)
        .query_async::<Value>(&mut connection)
        .await;
    opinion(reply.map_err(|error| Failure::connecting(&error))?)
        .ok_or_else(|| Failure::unreached("sentinel names no primary"))
}

fn opinion(reply: Value) -> Option<Opinion> {
    let fields = HashMap::<String, String>::from_redis_value(reply).ok()?;
    let flags = fields.get("flags")?;
    Some(Opinion {
        primary: Address {
            host: fields.get("ip")?.clone(),
            port: fields.get("port")?.parse().ok()?,
        },
        epoch: fields.get("config-epoch")?.parse().ok()?,
        down: flags
            .split(',')
            .any(|flag| flag == "s_down" || flag == "o_down")
            || !flags.contains("master"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(host: &str, epoch: u64, down: bool) -> Opinion {
        Opinion {
            primary: Address {
                host: host.to_owned(),
                port: 1,
            },
            epoch,
            down,
        }
    }

    #[test]
    fn the_newest_epoch_wins_over_the_many() {
        let opinions = vec![
            says("old", 1, false),
            says("new", 2, false),
            says("old", 1, false),
        ];
        assert_eq!(newest(opinions), Some(says("new", 2, false)));
        assert_eq!(
            newest(vec![says("a", 1, true), says("a", 1, false)]),
            Some(says("a", 1, false))
        );
        assert_eq!(newest(vec![]), None);
    }

    #[test]
    fn what_a_sentinel_says_is_read_in_both_protocols() {
        let words = [
            "ip",
            "10.0.0.1",
            "port",
            "6379",
            "flags",
            "master,o_down",
            "config-epoch",
            "7",
        ];
        let words = words.map(|word| Value::BulkString(word.into()));
        let pairs = words
            .chunks(2)
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect();
        let expected = Opinion {
            primary: Address {
                host: "10.0.0.1".into(),
                port: 6379,
            },
            epoch: 7,
            down: true,
        };
        assert_eq!(
            opinion(Value::Array(words.to_vec())),
            Some(expected.clone())
        );
        assert_eq!(opinion(Value::Map(pairs)), Some(expected));
        assert_eq!(opinion(Value::Nil), None);
    }
}
