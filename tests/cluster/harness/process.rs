//! Child processes that end with the tests, whatever ends the tests.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// Set, the temporary folder with every log and kubeconfig is kept.
const KEEP: &str = "SCALEGATE_TEST_KEEP";

/// Ends what it was told of when its standard input closes, which the kernel does however a process dies. A process
/// group is ended, so that what a child started goes too.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
pids='' folder=''
while read -r word value; do
  case $word in
    add) pids="$pids $value" ;;
    drop) left=''; for pid in $pids; do [ "$pid" = "$value" ] || left="$left $pid"; done; pids=$left ;;
    folder) folder=$value ;;
  esac
done
for pid in $pids; do kill -s KILL -- "-$pid"; done
[ -z "$folder" ] || { sleep 0.2; rm -rf -- "$folder"; }
"#;

static GUARD: OnceLock<Mutex<Child>> = OnceLock::new();

/// Tells the watchdog, which starts with the first word.
fn tell(word: &str, value: impl std::fmt::Display) {
    let guard = GUARD.get_or_init(|| {
        let mut command = Command::new("sh");
        command.args(["-c", WATCHDOG]).process_group(0).stdin(Stdio::piped()).stdout(Stdio::null());
        Mutex::new(command.stderr(Stdio::null()).spawn().expect("sh, for the watchdog"))
    });
    let mut watchdog = guard.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = watchdog.stdin.as_mut().expect("a pipe to the watchdog");
    writeln!(pipe, "{word} {value}").expect("the watchdog reads");
}

/// A new folder under the one temporary folder of this test process. It goes with the process unless
/// `SCALEGATE_TEST_KEEP` is set.
pub fn folder(name: &str) -> PathBuf {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    let root = ROOT.get_or_init(|| {
        let root = tempfile::Builder::new().prefix("scalegate-cluster-").tempdir().expect("a temporary folder").keep();
        if std::env::var_os(KEEP).is_some_and(|value| !value.is_empty()) {
            note(&format!("logs are kept in {}", root.display()));
        } else {
            tell("folder", root.display());
        }
        root
    });
    let folder = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(root).expect("a temporary folder");
    folder.keep()
}

/// A line on standard error, past libtest's capture: it is for whoever waits.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "cluster tests: {text}");
}

/// Looks until there is something, and panics with `what` when there is nothing within that time. A deadline, not a
/// measurement.
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < within, "nothing after {} s: {what}", within.as_secs());
        thread::sleep(LOOK);
    }
}

/// A child with a name for messages. It is killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Its end, once seen.
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts it in a process group of its own, with both output streams appended to the file `log`.
    pub fn spawn(name: &str, log: &Path, mut command: Command) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("a log file");
        let also = file.try_clone().expect("a log file");
        command.stdin(Stdio::null()).stdout(file).stderr(also).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        tell("add", child.id());
        Self { name: name.to_owned(), child, log: log.to_owned(), ended: None }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of what it printed, for messages of failed tests.
    pub fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
            if self.ended.is_some() {
                tell("drop", self.child.id());
            }
        }
        self.ended
    }

    /// Sends a signal by its name: `TERM`, `STOP`, `CONT`.
    pub fn signal(&mut self, signal: &str) {
        if self.ended().is_none() {
            let pid = self.child.id().to_string();
            let status = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid]).status();
            assert!(status.is_ok_and(|status| status.success()), "cannot send {signal} to {}", self.name);
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let name = self.name.clone();
        until(&format!("{name} ends"), within, || self.ended())
    }

    /// SIGTERM, then the end.
    pub fn stop(&mut self, within: Duration) -> ExitStatus {
        self.signal("TERM");
        self.wait(within)
    }

    /// SIGKILL, and it is gone on return.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
            tell("drop", self.child.id());
        }
    }

    /// Waits until `look` finds something; panics with the last lines of the log when the process ends before, or when
    /// the time is over.
    pub fn until<T>(&mut self, what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            let ended = self.ended();
            if ended.is_some() || start.elapsed() > within {
                let how = ended.map_or_else(|| format!("nothing after {within:?}"), |status| format!("{status}"));
                panic!("{}: {what}: {how}; its last words:\n{}", self.name, self.last_words());
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a command that ran to its end left.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// What was run, for messages.
    command: String,
}

impl Ran {
    /// Runs it to its end, with that text as its standard input.
    pub fn of(mut command: Command, stdin: &str) -> Self {
        let line = line(&command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
        let mut pipe = child.stdin.take().expect("a pipe");
        let text = stdin.to_owned();
        // From a thread: a child that prints before it reads would block us both.
        let writer = thread::spawn(move || {
            let _ = pipe.write_all(text.as_bytes());
        });
        let output = child.wait_with_output().expect("a child can be waited for");
        let _ = writer.join();
        Self::from(&output, line)
    }

    fn from(output: &Output, command: String) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Self { code, stdout: text(&output.stdout), stderr: text(&output.stderr), command }
    }

    /// Its standard output; panics with everything when it failed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}{}", self.command, self.stdout, self.stderr);
        self.stdout
    }

    /// Its standard output as JSON; panics with everything when it failed.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Its standard error; panics when it did not fail.
    #[track_caller]
    pub fn refused(self) -> String {
        assert_ne!(self.code, 0, "{} went through\n{}{}", self.command, self.stdout, self.stderr);
        self.stderr
    }
}

/// The program and its arguments.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Set, [`waits_to_be_killed`] has something to do.
const VICTIM: &str = "SCALEGATE_TEST_VICTIM";

/// The other half of the test below.
#[test]
fn waits_to_be_killed() {
    let Some(file) = std::env::var_os(VICTIM) else { return };
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 600 & echo $! >\"$0.unfinished\"; mv \"$0.unfinished\" \"$0\"; wait"]).arg(&file);
    let _process = Process::spawn("sh", &folder("victim").join("log"), command);
    thread::sleep(Duration::from_secs(600));
}

#[test]
fn what_a_killed_test_process_started_ends_with_it() {
    let file = folder("killed").join("pid");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "harness::process::waits_to_be_killed"]).env(VICTIM, &file).env_remove(KEEP);
    let mut victim = Process::spawn("a test process", &folder("killed").join("log"), command);
    let within = Duration::from_secs(60);
    let pid = victim.until("starts a grandchild", within, || fs::read_to_string(&file).ok());
    let lives =
        || Command::new("sh").args(["-c", "kill -s 0 \"$0\"", pid.trim()]).stderr(Stdio::null()).status().unwrap();
    assert!(lives().success());
    victim.kill();
    until("the grandchild ends", within, || (!lives().success()).then_some(()));
}
