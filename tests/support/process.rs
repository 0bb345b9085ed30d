//! Looks at processes, and runs this test binary again as one of them. Linux only: it reads `/proc`.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const AGAIN: &str = "RUN_AGAIN_BY_A_TEST";
const PATIENCE: Duration = Duration::from_secs(30);

/// A process, and when it was started: ids are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    id: u32,
    started: u64,
}

/// This test binary once more, running only the test of that name, which finds [`is_again`] true.
pub(crate) fn again(test: &str, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture"])
        .env(AGAIN, "1")
        .envs(environment.iter().copied());
    command.stdin(Stdio::null());
    command
}

/// Whether this process was started by [`again`].
pub(crate) fn is_again() -> bool {
    env::var_os(AGAIN).is_some()
}

/// The `name=value` lines that a process prints, up to and with the one named `last`.
pub(crate) fn lines_until(output: &mut impl Read, last: &str) -> HashMap<String, String> {
    let mut said = HashMap::new();
    for line in BufReader::new(output).lines() {
        let line = line.unwrap();
        if let Some((name, value)) = line.split_once('=') {
            said.insert(name.to_owned(), value.to_owned());
            if name == last {
                return said;
            }
        }
    }
    panic!("the process ended before it said {last:?}: {said:?}");
}

/// A process and its children.
pub(crate) fn family(id: u32) -> Vec<Identity> {
    let mut family = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(candidate) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        if let Some((parent, started)) = look(candidate)
            && (candidate == id || parent == id)
        {
            family.push(Identity { id: candidate, started });
        }
    }
    family
}

/// Waits until none of these processes is there.
pub(crate) fn wait_until_gone(processes: &[Identity]) {
    let deadline = Instant::now() + PATIENCE;
    for process in processes {
        while look(process.id).is_some_and(|(_, started)| started == process.started) {
            assert!(Instant::now() < deadline, "process {} is still there", process.id);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Waits until a directory is gone.
pub(crate) fn wait_until_removed(directory: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while directory.exists() {
        assert!(Instant::now() < deadline, "{} is still there", directory.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The parent of a process and when it was started; `None` when it is not there, or has ended and only waits for its
/// parent to take notice.
fn look(id: u32) -> Option<(u32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (state, parent, started) = (fields.first()?, fields.get(1)?, fields.get(19)?);
    (*state != "Z").then_some((parent.parse().ok()?, started.parse().ok()?))
}
