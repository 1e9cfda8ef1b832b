//! Users who log in and out on many instances, whose sessions expire, are evicted and are ended all
//! at once, while instances are killed and replaced. Every fifth session expires within a second.
//!
//! Afterwards what was acknowledged is compared with what was seen ([`History`]) and with what is
//! in Redis: no session survives an acknowledged `end_all`, no user ever has more sessions than
//! allowed, every living session is listed, and a list of everybody leaves no entry without a
//! session.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Instant,
};

use clap::Args;
use session_core::{SessionId, Store};

use crate::{
    Failure, print_table,
    user_history::{History, Report},
    users_redis::{Servers, Topology, index, print_memory, without_session},
    users_worker::{LIMIT, SHORT, Service, now, tag_value, user_name},
    worker::target,
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The number of operations of all processes together, on each topology
    #[arg(long, default_value_t = 100_000)]
    operations: usize,
    /// The number of processes
    #[arg(long, default_value_t = 4)]
    processes: usize,
    /// The number of tasks of each process
    #[arg(long, default_value_t = 16)]
    tasks: usize,
    /// The number of users
    #[arg(long, default_value_t = 100)]
    users: usize,
    /// The number of tags
    #[arg(long, default_value_t = 100)]
    tags: usize,
    /// How many processes are killed, and replaced by others
    #[arg(long, default_value_t = 12)]
    kills: usize,
    /// Where the sessions are [default: first a server, then a cluster]
    #[arg(long)]
    topology: Option<Topology>,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    for topology in [Topology::Server, Topology::Cluster] {
        if options.topology.is_none_or(|only| only == topology) {
            let servers = Servers::start(topology);
            Run::check(options, topology, &servers).await?;
        }
    }
    Ok(())
}

/// A process that was started, and what is left for it to do.
struct Instance {
    child: Child,
    left: usize,
    killed: bool,
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the readers of the processes send: the number of the process, and a line or the end.
type Message = (usize, Option<Result<Report, String>>);

struct Run<'a> {
    options: &'a Options,
    url: String,
    instances: Vec<Instance>,
    sender: Sender<Message>,
    history: History,
}

impl<'a> Run<'a> {
    /// Runs the processes, and checks what they leave behind.
    async fn check(
        options: &'a Options,
        topology: Topology,
        servers: &Servers,
    ) -> Result<(), Failure> {
        let (sender, receiver) = mpsc::channel();
        let mut run = Self {
            options,
            url: servers.url(),
            instances: Vec::new(),
            sender,
            history: History::default(),
        };
        let service = Service::connect(&run.url).await?;
        let begun = Instant::now();
        let killed = run.drive(&receiver)?;
        let took = begun.elapsed();
        let Findings {
            alive,
            unlisted,
            orphans,
            entries,
            bytes,
        } = run.look(&service, servers).await?;
        let history = &run.history;
        let survivors = history.survivors().len();
        let (outlived, most) = (history.outlived_logout(), history.most_at_a_time());
        let left = run.end_everything(&service, servers).await?;

        println!("\n{topology:?}\n");
        let mut rows = vec![
            ("logins", history.sessions.len().to_string()),
            ("logouts", history.logouts.to_string()),
            (
                "end_all and end_others of a user",
                history.ended_users.len().to_string(),
            ),
            ("end_all of a tag", history.ended_tags.len().to_string()),
        ];
        let mut others: Vec<_> = history.others.iter().collect();
        others.sort_unstable();
        rows.extend(
            others
                .iter()
                .map(|(name, count)| (name.as_str(), count.to_string())),
        );
        rows.extend([
            ("instances killed", killed.to_string()),
            ("sessions alive at the end", alive.to_string()),
            (
                "**sessions that survived an acknowledged end_all**",
                survivors.to_string(),
            ),
            (
                "**sessions that survived an acknowledged logout**",
                outlived.to_string(),
            ),
            (
                "**most sessions of a user at a time** (limit 5)",
                most.to_string(),
            ),
            (
                "**living sessions that are not listed**",
                unlisted.to_string(),
            ),
            (
                "**entries without a session after a list of everybody**",
                orphans.to_string(),
            ),
            (
                "**entries after all sessions were ended**",
                left.to_string(),
            ),
            ("entries of the index", entries.to_string()),
            (
                "bytes of an entry",
                format!("{:.0}", bytes as f64 / entries.max(1) as f64),
            ),
            ("seconds", format!("{:.1}", took.as_secs_f64())),
        ]);
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(what, figure)| vec![what.to_owned(), figure])
            .collect();
        print_table(&["what", "figure"], &rows);
        if let Servers::Server(server) = servers {
            print_memory(&service, server).await?;
        }
        let is_meaningful = alive > 0 && most == LIMIT && killed == options.kills;
        match (survivors, outlived, unlisted, orphans + left) {
            (0, 0, 0, 0) if most <= LIMIT && is_meaningful => Ok(()),
            (0, 0, 0, 0) if most <= LIMIT => Err("the run is too small to show anything".into()),
            _ => Err("a promise was broken".into()),
        }
    }

    /// Starts the processes, kills some of them, and reads all reports. Returns how many were
    /// killed.
    fn drive(&mut self, receiver: &Receiver<Message>) -> Result<usize, Failure> {
        let Options {
            operations,
            processes,
            kills,
            ..
        } = *self.options;
        for _ in 0..processes {
            self.start(operations / processes)?;
        }
        let (mut done, mut killed, mut open) = (0, 0, processes);
        while open > 0 {
            let (number, message) = receiver.recv()?;
            let Some(report) = message else {
                open -= 1;
                let status = self.instances[number].child.wait()?;
                let Instance { left, killed, .. } = self.instances[number];
                if killed {
                    self.start(left)?;
                    open += 1;
                } else if !status.success() {
                    return Err(format!("a process ended with {status}").into());
                }
                continue;
            };
            let report = report?;
            if report.is_operation() {
                done += 1;
                let left = &mut self.instances[number].left;
                *left = left.saturating_sub(1);
            }
            self.history.add(report);
            // evenly over the run
            if killed < kills && done >= (killed + 1) * operations / (kills + 1) {
                let running: Vec<_> = (0..self.instances.len())
                    .filter(|&n| !self.instances[n].killed && self.instances[n].left > 0)
                    .collect();
                if let Some(&victim) = running.get(target(killed, 1, running.len().max(1))) {
                    self.instances[victim].killed = true;
                    self.instances[victim].child.kill()?;
                    killed += 1;
                }
            }
        }
        Ok(killed)
    }

    fn start(&mut self, operations: usize) -> Result<(), Failure> {
        let number = self.instances.len();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["users-worker", "--store", &self.url])
            .args(["--seed", &number.to_string()])
            .args(["--tasks", &self.options.tasks.to_string()])
            .args(["--operations", &operations.to_string()])
            .args(["--users", &self.options.users.to_string()])
            .args(["--tags", &self.options.tags.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take();
        self.instances.push(Instance {
            child,
            left: operations,
            killed: false,
        });
        let (sender, stdout) = (self.sender.clone(), stdout.ok_or("no pipe")?);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let report = match line {
                    Ok(line) => line.parse(),
                    Err(error) => Err(error.to_string()),
                };
                if sender.send((number, Some(report))).is_err() {
                    return;
                }
            }
            let _ = sender.send((number, None));
        });
        Ok(())
    }

    /// Lists the sessions of everybody, which removes the entries of those that have ended, and
    /// looks at what is left.
    async fn look(&mut self, service: &Service, servers: &Servers) -> Result<Findings, Failure> {
        // no request extends the short sessions any more, so all of them have expired after it
        tokio::time::sleep(2 * SHORT).await;
        let mut listed = HashSet::new();
        for user in 0..self.options.users {
            let list = service.sessions(user).of(&user_name(user)).list().await?;
            listed.extend(list.iter().map(|info| info.id()));
        }
        for tag in 0..self.options.tags {
            let tagged = service.sessions(0).tagged("tag", &tag_value(tag));
            let _ = tagged.list().await?;
        }
        let (mut alive, mut unlisted) = (0, 0);
        let ids: Vec<_> = self.history.sessions.keys().cloned().collect();
        for id in ids {
            let (begun, parsed) = (now(), id.parse::<SessionId>()?);
            if service.store().load(&parsed).await?.is_some() {
                alive += 1;
                unlisted += usize::from(!listed.contains(&parsed));
                self.history.add(Report::Alive { id, begun });
            }
        }
        let (entries, bytes) = index(servers.nodes());
        Ok(Findings {
            alive,
            unlisted,
            orphans: without_session(service, &entries).await?,
            entries: entries.len(),
            bytes,
        })
    }

    /// Ends the sessions of everybody. Returns how many entries are left.
    async fn end_everything(&self, service: &Service, servers: &Servers) -> Result<usize, Failure> {
        for user in 0..self.options.users {
            let _ = service
                .sessions(user)
                .of(&user_name(user))
                .end_all()
                .await?;
        }
        for tag in 0..self.options.tags {
            let tagged = service.sessions(0).tagged("tag", &tag_value(tag));
            // of a login whose process was killed, perhaps only the tag is listed
            let _ = tagged.end_all().await?;
        }
        Ok(index(servers.nodes()).0.len())
    }
}

/// What is in Redis after the processes have ended.
struct Findings {
    alive: usize,
    unlisted: usize,
    orphans: usize,
    entries: usize,
    bytes: u64,
}
