//! A child process that does not outlive the test.

use std::{
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::wait::wait_until;

/// A child process. It is killed when the value is dropped.
///
/// Methods take `&self`, so that tests can share a server and still kill it.
#[derive(Debug)]
pub struct Process(Mutex<Option<Child>>);

impl Process {
    /// Starts a command. The caller decides what becomes of its output.
    ///
    /// # Panics
    ///
    /// If the command cannot be started.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("cannot start {}: {error}", command.get_program().display())
        });
        Self(Mutex::new(Some(child)))
    }

    /// Starts a command, and returns the process with its standard output.
    ///
    /// # Panics
    ///
    /// If the command cannot be started.
    #[track_caller]
    pub fn spawn_piped(command: &mut Command) -> (Self, ChildStdout) {
        let process = Self::spawn(command.stdout(Stdio::piped()));
        let stdout = process
            .child()
            .as_mut()
            .and_then(|child| child.stdout.take());
        (process, stdout.expect("a pipe"))
    }

    /// Kills the process with `SIGKILL` and waits for its end. Does nothing if it has ended.
    pub fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the process with `SIGSTOP`: its connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Continues a paused process.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Sends `SIGTERM` and waits for the end of the process.
    pub fn terminate(&self) -> ExitStatus {
        self.signal("TERM");
        wait_until("the process ends", || !self.is_running());
        let mut child = self.child().take().expect("not killed concurrently");
        child.wait().expect("a child of this process")
    }

    /// The id of the process; `None` after [`kill`](Self::kill) and [`terminate`](Self::terminate).
    pub fn id(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// Whether the process has not ended.
    pub fn is_running(&self) -> bool {
        self.child()
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn signal(&self, name: &str) {
        let id = self.id().expect("the process is running");
        let status = Command::new("kill")
            .args([format!("-{name}"), id.to_string()])
            .status()
            .expect("kill is on the PATH");
        assert!(status.success(), "cannot send SIG{name} to process {id}");
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeping() -> Process {
        Process::spawn(Command::new("sleep").arg("60"))
    }

    #[test]
    fn a_killed_process_is_no_longer_running() {
        let process = sleeping();
        assert!(process.is_running());
        process.kill();
        assert!(!process.is_running() && process.id().is_none());
    }

    #[test]
    fn terminate_returns_how_the_process_ended() {
        let status = sleeping().terminate();
        assert!(!status.success(), "sleep ends by the signal: {status}");
    }
}
