//! The `lagvalve` program under test: started, fed, signalled, and heard to its end.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "one module of several test binaries")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use serde_json::Value;

/// A program about to start. Everything about it blocks; the broker has threads of its own.
pub struct Launch {
    command: Command,
}

impl Launch {
    /// `lagvalve produce`.
    pub fn new(arguments: &[&str]) -> Self {
        Self::of("produce", arguments)
    }

    /// Any sub-command.
    pub fn of(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lagvalve"));
        command.arg(name).args(arguments).env("NO_COLOR", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command }
    }

    pub fn start(mut self) -> Running {
        let mut child = self.command.spawn().unwrap();
        Running {
            stdin: child.stdin.take(),
            stdout: Some(lines_of(child.stdout.take().unwrap())),
            stderr: lines_of(child.stderr.take().unwrap()),
            child,
            seen: Output::default(),
        }
    }

    /// Runs it to its end with `text` as its whole input.
    pub fn fed(self, text: impl Into<String>) -> Output {
        let mut running = self.start();
        let (mut stdin, text) = (running.stdin.take().unwrap(), text.into());
        // A program that stops early closes its end of the pipe.
        std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
        running.ends()
    }

    /// Runs it to its end without input.
    pub fn ends(self) -> Output {
        self.start().ends()
    }
}

/// The lines of a pipe; it is closed when the receiver is dropped and one more line comes.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            if sender.send(line.unwrap() + "\n").is_err() {
                return;
            }
        }
    });
    receiver
}

pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<Receiver<String>>,
    stderr: Receiver<String>,
    seen: Output,
}

impl Running {
    pub fn write(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The next line of standard output; `None` at its end. What standard error says meanwhile is kept.
    pub fn next_line(&mut self) -> Option<String> {
        let line = self.stdout.as_ref()?.recv().ok()?;
        self.seen.stdout.push_str(&line);
        Some(line)
    }

    /// Waits for one more line of standard output with `part`.
    pub fn line_with(&mut self, part: &str) {
        loop {
            let line = self.stdout.as_ref().unwrap().recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("no line with {part}: {error} {:#?}", self.seen));
            self.seen.stdout.push_str(&line);
            if line.contains(part) {
                return;
            }
        }
    }

    /// The same of standard error.
    pub fn error_line_with(&mut self, part: &str) {
        loop {
            let line = self.stderr.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("no line with {part}: {error} {:#?}", self.seen));
            self.seen.stderr.push_str(&line);
            if line.contains(part) {
                return;
            }
        }
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    pub fn close_output(&mut self) {
        self.stdout = None;
    }

    pub fn ends(mut self) -> Output {
        self.stdin = None;
        let mut drain = |lines: &Receiver<String>, into: &mut String| {
            loop {
                match lines.recv_timeout(PATIENCE) {
                    Ok(line) => into.push_str(&line),
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        let _ = self.child.kill();
                        panic!("the program does not end: {into}");
                    }
                }
            }
        };
        if let Some(stdout) = &self.stdout {
            drain(stdout, &mut self.seen.stdout);
        }
        drain(&self.stderr, &mut self.seen.stderr);
        self.seen.code = self.child.wait().unwrap().code();
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails when it has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program said, and how it ended.
#[derive(Debug, Default)]
pub struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    pub fn says(&self, part: &str) -> &Self {
        assert!(self.stderr.contains(part), "{part}: {self:#?}");
        self
    }

    /// The last line of standard output.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let last: Value = serde_json::from_str(self.stdout.lines().last().expect("a line")).unwrap();
        assert_eq!(last["event"], "summary");
        last
    }
}

/// How long anything may take that takes a second.
pub const PATIENCE: Duration = Duration::from_secs(60);
