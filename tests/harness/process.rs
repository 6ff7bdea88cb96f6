//! Child processes: each has a time limit and is ended by its own id.

use std::{
    fmt::Write as _,
    io::{Read, Write},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What a finished command left.
#[derive(Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub line: String,
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
}

// === impl Finished ===

impl Finished {
    /// The two outputs between rulers, as a panic message shows them.
    #[must_use]
    pub fn framed(&self) -> String {
        let mut text = format!("$ {}\nexit code {:?} after {:?}\n", self.line, self.code, self.elapsed);
        for (name, output) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let _ = writeln!(text, "--- {name} ---\n{}", output.trim_end());
        }
        text
    }

    /// Standard output of a command that must have succeeded.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.framed());
        self.stdout
    }
}

/// Runs `command` to its end and collects both outputs.
///
/// # Panics
/// It cannot be started, or runs longer than `limit` (it is killed first).
#[track_caller]
pub fn run(command: &mut Command, limit: Duration) -> Finished {
    run_with_input(command, None, limit)
}

/// As [`run`], with `input` on standard input.
///
/// # Panics
/// As [`run`].
#[track_caller]
pub fn run_with_input(command: &mut Command, input: Option<&[u8]>, limit: Duration) -> Finished {
    let line = line_of(command);
    let start = Instant::now();
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start `{line}`: {error}"));
    let stdin = child.stdin.take();
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let (code, stdout, stderr, late) = thread::scope(|scope| {
        if let (Some(mut pipe), Some(input)) = (stdin, input) {
            // A program that does not read all of it closes the pipe; that is its right.
            scope.spawn(move || pipe.write_all(input).ok());
        }
        let stdout = scope.spawn(move || read_all(stdout));
        let stderr = scope.spawn(move || read_all(stderr));
        let (code, late) = wait_until(&mut child, start + limit);
        (code, stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default(), late)
    });
    let finished = Finished { line, code, stdout, stderr, elapsed: start.elapsed() };
    assert!(!late, "killed after {limit:?}:\n{}", finished.framed());
    finished
}

/// Runs `program arguments` and returns its standard output; it must succeed within ten seconds.
#[track_caller]
pub fn check(program: &str, arguments: &[&str]) -> String {
    run(Command::new(program).args(arguments), Duration::from_secs(10)).success()
}

fn read_all(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn wait_until(child: &mut Child, deadline: Instant) -> (Option<i32>, bool) {
    let mut nap = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return (status.code(), false);
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            return (child.wait().ok().and_then(|status| status.code()), true);
        }
        thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(5));
    }
}

/// The command as one would type it.
#[must_use]
pub fn line_of(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// A process that runs beside the test and is killed with its guard.
#[derive(Debug)]
pub struct Running {
    child: Child,
    line: String,
}

// === impl Running ===

impl Running {
    /// Starts `command`; its standard streams are as the command says.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let line = line_of(command);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start `{line}`: {error}"));
        Self { child, line }
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit code if it has ended; -1 for a signal.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().ok().flatten().map(|status| status.code().unwrap_or(-1))
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends SIGKILL and waits.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM and waits at most `limit` for the exit code.
    #[track_caller]
    pub fn terminate(&mut self, limit: Duration) -> Option<i32> {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.id()).expect("a process id fits"));
        if self.ended().is_none() {
            let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
        }
        let (code, late) = wait_until(&mut self.child, Instant::now() + limit);
        assert!(!late, "`{}` did not end within {limit:?} of SIGTERM", self.line);
        code
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
