//! The measured process, and what processes cost. Linux only: it reads `/proc`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::rig::Result;

/// Clock ticks a second, as `/proc` counts them: the same on all Linux machines that we know.
const TICKS: f64 = 100.0;

/// `everstep all`; killed when dropped.
pub(crate) struct Service(Child);

impl Service {
    /// Starts it for one namespace, with its log thrown away but for warnings.
    pub(crate) fn start(everstep: &Path, kubeconfig: &Path, database: &str, namespace: &str) -> Result<Self> {
        let child = Command::new(everstep)
            .args([
                "all",
                "--listen",
                "127.0.0.1:0",
                "--log",
                "warn",
                "--namespaces",
                namespace,
            ])
            .env("KUBECONFIG", kubeconfig)
            .env("EVERSTEP_DATABASE_URL", database)
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Stops it as Kubernetes does, and waits.
    pub(crate) fn stop(&mut self) -> Result<()> {
        kill(Pid::from_raw(self.0.id().try_into()?), Signal::SIGTERM)?;
        let status = self.0.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("everstep ended with {status}").into())
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processor time of a process, in seconds; nought when there is none.
pub(crate) fn seconds_of(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |stat| stat.seconds)
}

/// The same of a process, its children that run, and those that ended.
pub(crate) fn seconds_of_tree(pid: u32) -> f64 {
    let Some(parent) = stat(pid) else { return 0.0 };
    let children = fs::read_dir("/proc").into_iter().flatten().flatten();
    let running: f64 = children
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .filter(|child| child.parent == pid)
        .map(|child| child.seconds)
        .sum();
    parent.seconds + parent.ended + running
}

struct Stat {
    parent: u32,
    seconds: f64,
    ended: f64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets, which may hold anything.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |n: usize| fields.get(n)?.parse::<f64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        seconds: (ticks(11)? + ticks(12)?) / TICKS,
        ended: (ticks(13)? + ticks(14)?) / TICKS,
    })
}
