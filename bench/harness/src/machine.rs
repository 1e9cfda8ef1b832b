//! The machine: its cores, who runs on which, and what others do on it meanwhile.

use std::{
    fs,
    process::{self, Command},
    thread,
};

use anyhow::{Context, ensure};

/// Ticks of `/proc` in a second; Linux says 100 to every program, whatever the kernel uses.
pub(crate) const TICKS: f64 = 100.0;

/// Which cores are whose.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// The server's core, or nothing where there is one core for all.
    pub(crate) server: Option<String>,
    /// Everybody else's.
    pub(crate) others: Option<String>,
}

impl Machine {
    /// Gives the server the first core, and Redis, load and harness the rest.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let cores = thread::available_parallelism()?.get();
        Ok(match cores {
            1 => Self {
                server: None,
                others: None,
            },
            _ => Self {
                server: Some("0".into()),
                others: Some(format!("1-{}", cores - 1)),
            },
        })
    }

    /// Keeps this process, and what it starts, off the server's core.
    pub(crate) fn pin_harness(&self) -> anyhow::Result<()> {
        let Some(others) = &self.others else {
            return Ok(());
        };
        let status = Command::new("taskset")
            .args(["--cpu-list", "--pid", others, &process::id().to_string()])
            .stdout(process::Stdio::null())
            .status()
            .context("taskset")?;
        ensure!(status.success(), "taskset failed");
        Ok(())
    }
}

/// CPU time of all programs, and the time that the host gave to other guests, in seconds since the
/// start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy {
    pub(crate) programs: f64,
    pub(crate) stolen: f64,
}

impl Busy {
    pub(crate) fn now() -> anyhow::Result<Self> {
        Self::parse(&fs::read_to_string("/proc/stat")?).context("/proc/stat")
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let fields: Vec<f64> = line
            .split_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        // user, nice, system, idle, iowait, irq, softirq, steal
        let [user, nice, system, _, _, _, _, stolen, ..] = fields[..] else {
            return None;
        };
        Some(Self {
            programs: (user + nice + system) / TICKS,
            stolen: stolen / TICKS,
        })
    }
}

/// CPU time of one process with all its threads, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    ticks(&fs::read_to_string(format!("/proc/{pid}/stat"))?)
        .context("/proc/PID/stat")
        .map(|ticks| ticks as f64 / TICKS)
}

fn ticks(stat: &str) -> Option<u64> {
    // the name of the program stands in parentheses, and may hold spaces
    let fields: Vec<_> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// The memory that a process holds, in MiB.
pub(crate) fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("VmRSS")?;
    let kib: f64 = line.split_whitespace().next().context("VmRSS")?.parse()?;
    Ok(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_read() {
        let busy = Busy::parse("cpu  100 10 50 9000 1 2 3 40 0 0\ncpu0 1\n").expect("a line");
        assert_eq!((busy.programs, busy.stolen), (1.6, 0.4));
        assert_eq!(
            ticks("7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 300 45 0 0"),
            Some(345)
        );
        assert!(
            cpu_seconds(std::process::id()).is_ok()
                && resident_mib(std::process::id()).expect("here") > 0.0
        );
    }
}
