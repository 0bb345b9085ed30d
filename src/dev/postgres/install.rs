//! Finds the PostgreSQL programs that are installed on this machine. Starts none of them but to ask for a version.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;

/// The oldest major version that Everstep works with.
const OLDEST: u32 = 15;
const NEEDED: &[&str] = &["initdb", "postgres", "psql"];

/// One installed PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Install {
    pub(super) version: u32,
    pub(super) programs: PathBuf,
}

impl Install {
    /// The newest of those that are installed and new enough.
    pub(super) fn newest() -> Result<Self, Error> {
        newest_of(candidates().into_iter().filter_map(Self::at).collect())
    }

    /// What is installed in a directory: all the programs we need, or nothing.
    fn at(programs: PathBuf) -> Option<Self> {
        if !NEEDED.iter().all(|program| programs.join(program).is_file()) {
            return None;
        }
        let output = Command::new(programs.join("postgres")).arg("--version").output().ok()?;
        let version = major(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { version, programs })
    }
}

/// Where the programs may be: what `pg_config` says, `PATH`, and where Debian and Red Hat put them beside it.
fn candidates() -> BTreeSet<PathBuf> {
    let mut directories: BTreeSet<PathBuf> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output()
        && output.status.success()
    {
        directories.insert(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    directories.extend(versions_in(Path::new("/usr/lib/postgresql"), ""));
    directories.extend(versions_in(Path::new("/usr"), "pgsql-"));
    directories
}

/// The `bin` directories of all `parent/<prefix><version>`.
fn versions_in(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let versions = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    versions.map(|entry| entry.path().join("bin")).collect()
}

fn newest_of(found: Vec<Install>) -> Result<Install, Error> {
    let newest = found.into_iter().max_by_key(|install| install.version);
    match newest {
        Some(install) if install.version >= OLDEST => Ok(install),
        Some(install) => Err(Error::NotInstalled(format!(
            "PostgreSQL {OLDEST} or newer is needed, and the newest one here is {} in {}: install a newer one, on \
             Debian or Ubuntu with `apt-get install postgresql`",
            install.version,
            install.programs.display(),
        ))),
        None => Err(Error::NotInstalled(format!(
            "the programs of a PostgreSQL server ({OLDEST} or newer) are not installed: neither `pg_config --bindir`, \
             nor PATH, nor /usr/lib/postgresql has {}; on Debian or Ubuntu install them with \
             `apt-get install postgresql`",
            NEEDED.join(", "),
        ))),
    }
}

/// The major version in `postgres (PostgreSQL) 17.2 (Debian …)` or `… 18beta1`.
fn major(text: &str) -> Option<u32> {
    let number = text.split_once(") ")?.1;
    let end = number
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(number.len());
    number[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(version: u32) -> Install {
        Install {
            version,
            programs: PathBuf::from(format!("/opt/{version}/bin")),
        }
    }

    #[test]
    fn major_version_is_read_from_what_servers_print() {
        for (text, expected) in [
            ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("postgres (PostgreSQL) 17", Some(17)),
            ("postgres (PostgreSQL) devel", None),
            ("", None),
        ] {
            assert_eq!(major(text), expected, "{text}");
        }
    }

    #[test]
    fn newest_install_is_taken() {
        assert_eq!(
            newest_of(vec![install(16), install(18), install(15)]).unwrap(),
            install(18)
        );
    }

    #[test]
    fn missing_install_is_an_error_that_names_the_package() {
        let error = newest_of(Vec::new()).unwrap_err().to_string();
        assert!(error.contains("apt-get install postgresql"), "{error}");
    }

    #[test]
    fn old_install_is_an_error_that_names_its_version_and_the_package() {
        let error = newest_of(vec![install(13), install(14)]).unwrap_err().to_string();
        assert!(error.contains("newest one here is 14"), "{error}");
        assert!(error.contains("apt-get install postgresql"), "{error}");
    }
}
