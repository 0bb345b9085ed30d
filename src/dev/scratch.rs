//! Directories that go away with this process, however it ends.
//!
//! A `TempDir` is removed when it is dropped, which a killed process never does, nor one that keeps it in a static.
//! So each directory has a small shell beside us that waits until its standard input is closed, which the kernel does
//! when we end, and removes the directory then.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Waits for the end of its input, then removes the directory; again for a while, because servers that are ending
/// at the same moment may still write to it.
const SWEEP: &str = r#"
cat >/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -e "$1" ] || exit 0
    rm -rf -- "$1"
    sleep 0.2
done
"#;

/// A new, empty directory that only this process' user may enter. Dropped, it is removed with all it contains.
#[derive(Debug)]
pub struct Scratch {
    directory: TempDir,
    sweeper: Child,
}

impl Scratch {
    /// Creates a directory with a name that begins with `prefix`, in `parent` or else in the directory for temporary
    /// files.
    ///
    /// # Errors
    /// The directory could not be created, or the shell that sweeps it could not be started.
    pub fn new(prefix: &str, parent: Option<&Path>) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(prefix);
        let directory = match parent {
            Some(parent) => builder.tempdir_in(std::path::absolute(parent)?)?,
            None => builder.tempdir()?,
        };
        let sweeper = Command::new("sh")
            .args(["-c", SWEEP, "everstep-sweeper"])
            .arg(directory.path())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Its own group: Ctrl-C at the terminal ends us, and must not end the sweeper first.
            .process_group(0)
            .spawn()?;
        Ok(Self { directory, sweeper })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now, the sweeper tries again for a few seconds.
        let _ = std::fs::remove_dir_all(self.path());
        drop(self.sweeper.stdin.take());
        let _ = self.sweeper.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_scratch_is_gone_with_its_contents() {
        let scratch = Scratch::new("everstep-test-", None).unwrap();
        let path = scratch.path().to_owned();
        std::fs::create_dir(path.join("inner")).unwrap();
        std::fs::write(path.join("inner/file"), "x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn scratch_is_made_where_it_is_wanted() {
        let outer = Scratch::new("everstep-test-", None).unwrap();
        let inner = Scratch::new("inner-", Some(outer.path())).unwrap();
        assert_eq!(inner.path().parent(), Some(outer.path()));
    }
}
