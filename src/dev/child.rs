//! Child processes that end with this one, however it ends: returned, panicked or killed.
//!
//! Not responsible for what the children are, nor for their files ([`super::scratch`]).
//!
//! On Linux the kernel sends a child its last signal when the *thread* that started it ends. So one thread, which
//! lives as long as the process, starts them all; and `setpriv` asks for that signal between fork and exec, which
//! this crate cannot do itself without `unsafe`. Elsewhere a child is ended when its [`Child`] is dropped, and
//! outlives a killed parent.

use std::ffi::OsStr;
use std::io;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const POLL: Duration = Duration::from_millis(5);

/// A running child process. Dropped, it is killed and waited for.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
}

impl Child {
    /// Starts a command that [`command`] has begun.
    ///
    /// # Errors
    /// As `Command::spawn`: the program does not exist, or no process could be started.
    pub fn spawn(command: Command) -> io::Result<Self> {
        let (reply, answer) = mpsc::sync_channel(1);
        let lost = |_| io::Error::other("the thread that starts child processes has ended");
        spawner()
            .send((command, reply))
            .map_err(|error| lost(error.to_string()))?;
        let process = answer.recv().map_err(|error| lost(error.to_string()))??;
        Ok(Self { process })
    }

    /// The process id. It stays ours until this value is dropped.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends `signal`, unless the process has ended already.
    ///
    /// # Errors
    /// The signal could not be sent, as when the process has changed its user.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.exit_status()?.is_some() {
            return Ok(());
        }
        // Not waited for yet: even if it has ended since, the id cannot belong to another process.
        kill(pid(self.id()), signal).map_err(io::Error::from)
    }

    /// How the process ended, `None` while it runs.
    ///
    /// # Errors
    /// The operating system could not say.
    pub fn exit_status(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Waits until the process has ended, for `patience` at most: `None` says that it still runs.
    ///
    /// # Errors
    /// As [`Child::exit_status`].
    pub fn wait_for(&mut self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.exit_status()?;
            if status.is_some() || Instant::now() >= deadline {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
    }

    /// Asks the process to end with `signal`, waits for `patience`, then kills it.
    ///
    /// # Errors
    /// The process could be neither asked nor killed.
    pub fn end(&mut self, signal: Signal, patience: Duration) -> io::Result<()> {
        self.signal(signal)?;
        if self.wait_for(patience)?.is_none() {
            self.process.kill()?;
            self.process.wait()?;
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing is left to do about a process that cannot be killed; one that has ended is no error.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A command for `program`, to be completed and given to [`Child::spawn`]: it gets `last` when this process ends.
#[must_use]
pub fn command(program: impl AsRef<OsStr>, last: Signal) -> Command {
    if !cfg!(target_os = "linux") {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .arg("--pdeathsig")
        .arg(last.as_str().trim_start_matches("SIG"))
        .arg("--")
        .arg(program);
    command
}

type Order = (Command, mpsc::SyncSender<io::Result<std::process::Child>>);

/// The way to the thread that starts all children; it never ends, because its sender is never dropped.
fn spawner() -> mpsc::Sender<Order> {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let sender = SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in orders {
                // Who asked may have been cancelled meanwhile: then the child is dropped here, and must not be left.
                if let Err(mpsc::SendError(Ok(mut unwanted))) = reply.send(command.spawn()) {
                    let _ = unwanted.kill();
                    let _ = unwanted.wait();
                }
            }
        });
        Mutex::new(sender)
    });
    sender.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("process ids of this platform are positive 32-bit integers"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    fn sleeper() -> Child {
        let mut sleep = command("sleep", Signal::SIGKILL);
        sleep.arg("600").stdin(Stdio::null());
        Child::spawn(sleep).unwrap()
    }

    fn is_there(id: u32) -> bool {
        kill(pid(id), None).is_ok()
    }

    #[test]
    fn child_outlives_the_thread_that_asked_for_it() {
        let mut child = thread::spawn(sleeper).join().unwrap();
        assert_eq!(child.wait_for(Duration::from_millis(200)).unwrap(), None);
    }

    #[test]
    fn dropped_child_is_gone() {
        let child = sleeper();
        let id = child.id();
        assert!(is_there(id));
        drop(child);
        assert!(!is_there(id));
    }

    #[test]
    fn child_that_ignores_the_request_to_end_is_killed() {
        let mut stubborn = command("sh", Signal::SIGKILL);
        stubborn
            .args(["-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
            .stdout(Stdio::piped());
        let mut child = Child::spawn(stubborn).unwrap();
        let mut ready = [0; 6];
        io::Read::read_exact(child.process.stdout.as_mut().unwrap(), &mut ready).unwrap();
        child.end(Signal::SIGTERM, Duration::from_millis(100)).unwrap();
        assert!(!is_there(child.id()));
    }

    #[test]
    fn signal_to_a_child_that_has_ended_is_no_error() {
        let mut child = sleeper();
        child.end(Signal::SIGTERM, Duration::from_secs(10)).unwrap();
        child.signal(Signal::SIGTERM).unwrap();
    }

    #[test]
    fn missing_program_is_an_error() {
        assert!(Child::spawn(Command::new("/nonexistent/program")).is_err());
    }
}
