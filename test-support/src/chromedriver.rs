//! A driver for headless Chromium.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::{process::Process, program};

const START_LIMIT: Duration = Duration::from_secs(30);

/// A chromedriver process on a port of its own, with an empty profile for its browser.
#[derive(Debug)]
pub struct ChromeDriver {
    _process: Process,
    url: String,
    /// Deleted after the browser has ended.
    profile: TempDir,
}

impl ChromeDriver {
    /// Starts the driver and waits until it listens.
    pub fn start() -> Self {
        let mut command = Command::new(program::path_of("chromedriver"));
        command
            .arg("--port=0")
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let (process, stdout) = Process::spawn_piped(&mut command);
        // it prints its port when it is ready; reading on keeps its pipe from filling up
        let (sender, port) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("successfully on port ") {
                    let _ = sender.send(rest.trim_end_matches('.').to_owned());
                }
            }
        });
        let port = port
            .recv_timeout(START_LIMIT)
            .expect("chromedriver prints its port");
        Self {
            _process: process,
            url: format!("http://127.0.0.1:{port}"),
            profile: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// The URL of the WebDriver protocol.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The WebDriver capabilities of a headless Chromium with the profile of this driver.
    pub fn capabilities(&self) -> Map<String, Value> {
        let profile = format!("--user-data-dir={}", self.profile.path().display());
        let arguments = [
            "--headless",
            // Chromium does not run as root with its sandbox; it opens no pages but those of the
            // test
            "--no-sandbox",
            "--disable-gpu",
            // containers give little shared memory
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &profile,
        ];
        let options = json!({ "binary": program::path_of("chromium"), "args": arguments });
        Map::from_iter([("goog:chromeOptions".to_owned(), options)])
    }
}
