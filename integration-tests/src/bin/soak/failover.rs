//! What survives a failover that loses acknowledged writes: logouts and renewals.
//!
//! Each instance is a store of its own, with its own connections and its own journal, in this
//! process. One more, which ends nothing, looks on. Replication is cut before the logouts, so that
//! the replica that is promoted has heard of none of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use clap::Args;
use http::Request;
use session_core::{Replicas, SessionToken, Sessions, SigningKeys};
use session_redis::{RedisConfig, RedisStore};
use test_support::eventually;
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    Failure,
    failover_servers::{Loss, Servers},
    print_table,
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The number of sessions whose end is lost
    #[arg(long, default_value_t = 1000)]
    sessions: usize,
    /// Run only the rows whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

/// How long sessions may come back after all is served again, if nothing ends them.
const SETTLE: Duration = Duration::from_secs(3);

/// How many of the sessions are looked for without a pause, through each instance.
const WATCHED: usize = 30;

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let outcome = scenarios(options, &mut rows).await;
    print_table(
        &[
            "what happens",
            "instances that ended sessions",
            "journal",
            "acknowledged",
            "back afterwards",
            "seen through the one that ended it",
            "seen through others",
        ],
        &rows,
    );
    outcome
}

async fn scenarios(options: &Options, rows: &mut Vec<Vec<String>>) -> Result<(), Failure> {
    let wants = |name: &str| name.to_lowercase().contains(&options.only.to_lowercase());
    for loss in Loss::ALL {
        for (instances, journal) in [(1, false), (1, true), (3, true)] {
            let name = loss.to_string();
            if wants(&name) {
                let ends = Ends::All { dies: false };
                rows.push(logouts(options.sessions, loss, instances, journal, ends).await?);
            }
        }
    }
    for (name, ends) in [
        ("one instance died", Ends::All { dies: true }),
        ("confirmed by a replica", Ends::Confirmed),
    ] {
        if wants(name) {
            rows.push(logouts(options.sessions, Loss::Sentinel, 3, true, ends).await?);
        }
    }
    if wants("renewals") {
        rows.push(renewals(options.sessions).await?);
    }
    Ok(())
}

/// How the sessions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// All ends are lost. The first instance may die before the failover.
    All { dies: bool },
    /// Half of the ends reach a replica, which confirms them, and the first instance dies.
    Confirmed,
}

/// One instance of a service.
#[derive(Clone)]
struct Instance(Sessions);

impl Instance {
    async fn start(servers: &Servers, journal: bool) -> Result<Self, Failure> {
        let mut config = RedisConfig::from_url(&servers.url())?
            // what is measured are failovers, and not a busy machine
            .response_timeout(Duration::from_secs(5))
            .total_timeout(Duration::from_secs(10));
        if !journal {
            config = config.ended_journal(Duration::ZERO);
        }
        let store = RedisStore::open(config).await?;
        let keys = SigningKeys::new(["the signing key of all instances of this run"])?;
        Ok(Self(Sessions::builder(store).signing_keys(keys).build()?))
    }

    /// Logs somebody in. Returns the token.
    async fn log_in(&self) -> Result<SessionToken, Failure> {
        let session = self.0.begin(&Request::new(())).load().await?;
        session.log_in("ann")?;
        let _ = session.save().await?;
        Ok(session.token().ok_or("no token")?)
    }

    /// Logs out. Returns how many replicas are known to have it.
    async fn log_out(&self, token: &SessionToken, replicas: Option<Replicas>) -> Acknowledged {
        let session = self.0.open(token).await?.ok_or("no session")?;
        if let Some(replicas) = replicas {
            session.confirm(replicas);
        }
        session.log_out()?;
        let outcome = session.save().await?;
        outcome.ended.ok_or("not ended")?;
        Ok(outcome.replicas)
    }

    /// Whether a token opens its session; `None` if the store does not answer.
    async fn opens(&self, token: &SessionToken) -> Option<bool> {
        self.0.open(token).await.ok().map(|found| found.is_some())
    }

    async fn open_of(&self, tokens: &[SessionToken]) -> Option<usize> {
        let mut open = 0;
        for token in tokens {
            open += usize::from(self.opens(token).await?);
        }
        Some(open)
    }
}

type Acknowledged = Result<Option<u32>, Failure>;

/// When sessions that had ended could be used again.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    times: u64,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.times += other.times;
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.into_iter().chain(other.last).max();
    }

    fn text(&self, ends: bool) -> String {
        match (self.first, self.last) {
            (Some(_), Some(_)) if !ends => "to the end".to_owned(),
            (Some(first), Some(last)) => format!("{} ms", (last - first).as_millis()),
            _ => "never".to_owned(),
        }
    }
}

/// Looks for sessions through an instance until it is told to stop.
fn watch(instance: Instance, tokens: Vec<SessionToken>, stop: Arc<AtomicBool>) -> JoinHandle<Seen> {
    tokio::spawn(async move {
        let mut seen = Seen::default();
        while !stop.load(Relaxed) {
            for token in &tokens {
                match instance.opens(token).await {
                    Some(true) => {
                        let now = Instant::now();
                        seen.add(Seen {
                            times: 1,
                            first: Some(now),
                            last: Some(now),
                        });
                    }
                    Some(false) => {}
                    None => sleep(Duration::from_millis(1)).await,
                }
            }
        }
        seen
    })
}

/// Sessions on the server that will be lost.
async fn sessions(
    count: usize,
    servers: &Servers,
    by: &Instance,
) -> Result<Vec<SessionToken>, Failure> {
    let mut tokens = Vec::new();
    while tokens.len() < count {
        let token = by.log_in().await?;
        if servers.loses(&token.id()) {
            tokens.push(token);
        }
    }
    Ok(tokens)
}

async fn wait_until_served(instances: &[Instance], tokens: &[SessionToken]) {
    eventually("all instances are served again", async || {
        for instance in instances {
            if instance.open_of(tokens).await.is_none() {
                return false;
            }
        }
        true
    })
    .await;
}

/// Sessions are ended by several instances, each its part of them, and all of that is lost.
async fn logouts(
    count: usize,
    loss: Loss,
    instances: usize,
    journal: bool,
    ends: Ends,
) -> Result<Vec<String>, Failure> {
    eprintln!("{loss}, {instances} instances, journal {journal}, {ends:?}");
    let servers = Servers::start(loss);
    let onlooker = Instance::start(&servers, journal).await?;
    let mut acting = Vec::new();
    for _ in 0..instances {
        acting.push(Instance::start(&servers, journal).await?);
    }
    let tokens = sessions(count, &servers, &onlooker).await?;
    let parts: Vec<Vec<_>> = (0..instances)
        .map(|n| tokens.iter().skip(n).step_by(instances).cloned().collect())
        .collect();

    let mut confirmed = Vec::new();
    if ends != Ends::Confirmed {
        servers.keep_no_more();
    }
    for half in 0..2 {
        // no replica will answer the second half, and one that was away for long is not promoted
        let wait = Duration::from_millis([1000, 1][half]);
        let replicas = (ends == Ends::Confirmed).then(|| Replicas::new(1).timeout(wait));
        for (instance, part) in acting.iter().zip(&parts) {
            let (first, second) = part.split_at(part.len() / 2);
            for token in [first, second][half] {
                if instance.log_out(token, replicas).await? == Some(1) {
                    confirmed.push(token.clone());
                }
            }
        }
        if half == 0 && ends == Ends::Confirmed {
            servers.keep_no_more();
        }
    }
    let died = match ends {
        Ends::All { dies: false } => Vec::new(),
        Ends::All { dies: true } | Ends::Confirmed => {
            drop(acting.remove(0));
            parts[0].clone()
        }
    };

    let stop = Arc::new(AtomicBool::new(false));
    let (mut own, mut others) = (Vec::new(), Vec::new());
    let living = parts.iter().skip(parts.len() - acting.len());
    for (n, part) in living.enumerate() {
        let part: Vec<_> = part.iter().take(WATCHED).cloned().collect();
        own.push(watch(acting[n].clone(), part.clone(), stop.clone()));
        others.push(watch(onlooker.clone(), part.clone(), stop.clone()));
        if acting.len() > 1 {
            let other = acting[(n + 1) % acting.len()].clone();
            others.push(watch(other, part, stop.clone()));
        }
    }
    servers.lose();
    servers.wait_until_replaced().await;
    let all: Vec<_> = acting.iter().chain([&onlooker]).cloned().collect();
    wait_until_served(&all, &tokens).await;
    // what nobody who lives has ended
    let forgotten: Vec<_> = match journal {
        true => died,
        false => tokens.clone(),
    };
    let (kept, lost): (Vec<_>, Vec<_>) = tokens
        .iter()
        .cloned()
        .partition(|token| !forgotten.contains(token));
    eventually(
        "what living instances have ended has ended again",
        async || onlooker.open_of(&kept).await == Some(0),
    )
    .await;
    sleep(SETTLE).await;
    stop.store(true, Relaxed);
    let seen = async |tasks: Vec<JoinHandle<Seen>>| {
        let mut seen = Seen::default();
        for task in tasks {
            seen.add(task.await?);
        }
        Ok::<_, Failure>(seen)
    };
    let (own, others) = (seen(own).await?, seen(others).await?);

    let back = onlooker.open_of(&tokens).await.ok_or("not served")?;
    let expected = lost.iter().filter(|token| !confirmed.contains(token));
    let expected = expected.count();
    let said = match ends {
        Ends::All { .. } => count.to_string(),
        Ends::Confirmed => format!("{count}, {} confirmed", confirmed.len()),
    };
    let name = match ends {
        Ends::All { dies: false } => loss.to_string(),
        Ends::All { dies: true } => format!("{loss}, one instance died"),
        Ends::Confirmed => format!("{loss}, one instance died, half confirmed by a replica"),
    };
    if back != expected || (journal && own.times > 0) {
        let times = own.times;
        return Err(format!("{name}: {back} are back, {expected} expected, {times} seen").into());
    }
    Ok(vec![
        name,
        instances.to_string(),
        if journal { "on" } else { "off" }.to_owned(),
        said,
        back.to_string(),
        own.text(journal),
        others.text(journal),
    ])
}

/// Renewals are lost: they are not replayed.
async fn renewals(count: usize) -> Result<Vec<String>, Failure> {
    eprintln!("renewals");
    let servers = Servers::start(Loss::Sentinel);
    let instance = Instance::start(&servers, true).await?;
    let mut renewed = Vec::new();
    for _ in 0..count {
        let session = instance.0.begin(&Request::new(())).load().await?;
        session.log_in("ann")?;
        let _ = session.save().await?;
        let before = session.token().ok_or("no token")?;
        renewed.push((session, before));
    }
    servers.keep_no_more();
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for (session, before) in renewed {
        session.renew()?;
        let _ = session.save().await?;
        new.push(session.token().ok_or("no token")?);
        old.push(before);
    }
    if (instance.open_of(&old).await, instance.open_of(&new).await) != (Some(0), Some(count)) {
        return Err("not renewed".into());
    }
    servers.lose();
    servers.wait_until_replaced().await;
    wait_until_served(std::slice::from_ref(&instance), &old).await;
    sleep(SETTLE).await;
    let opened = async |tokens| instance.open_of(tokens).await.ok_or("not served");
    let (old, new) = (opened(&old).await?, opened(&new).await?);
    if (old, new) != (count, 0) {
        return Err(format!("{old} old tokens and {new} new ones open").into());
    }
    Ok(vec![
        format!("{}, renewals", Loss::Sentinel),
        "1".to_owned(),
        "on".to_owned(),
        count.to_string(),
        format!("{old} old tokens; {new} new ones open"),
        String::new(),
        String::new(),
    ])
}
