//! A private PostgreSQL server: for `everstep dev`, the demo, the bench and the tests.
//!
//! Always a new one, in a directory of its own that goes away with it, reachable on loopback with a random password;
//! never a database that was there before. It is safe against a crash of the machine (`fsync` is on), unlike most
//! servers for tests, because durability is what is tested. Not responsible for what the databases contain.
//!
//! The calls block, a start for about two seconds: in async code, call them through `spawn_blocking`.

mod install;

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};

use super::child::{self, Child};
use super::scratch::Scratch;
use install::Install;

/// The one user of the server, a superuser.
pub const USER: &str = "postgres";

/// How long a server may take to start, recovery included, and to stop when asked politely.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
/// A port that was free may be taken before the server listens on it: then another is tried.
const PORTS_TRIED: usize = 5;

/// What a private server may differ in. `Options::default()` is right for tests and `dev`.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Settings as in `postgresql.conf`, which win over ours: `("synchronous_commit", "off")`.
    pub settings: Vec<(String, String)>,
    /// Environment variables of the server.
    pub environment: Vec<(OsString, OsString)>,
    /// Where the server's directory is made, instead of the directory for temporary files. When we are root, the
    /// user `postgres` (else `nobody`) must be able to enter it.
    pub parent: Option<PathBuf>,
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Connections are cut, transactions rolled back, everything is written.
    Fast,
    /// As in a crash: the next start recovers from the write-ahead log.
    Immediate,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable binaries are installed; the text says what was looked at and what to install.
    #[error("{0}")]
    NotInstalled(String),
    /// The operating system refused something.
    #[error("private PostgreSQL: {doing}")]
    System {
        /// What we were doing.
        doing: String,
        /// What it answered.
        source: io::Error,
    },
    /// One of PostgreSQL's own programs failed; `output` is what it said.
    #[error("private PostgreSQL: {program} failed: {output}")]
    Program {
        /// Its name.
        program: String,
        /// What it printed, or the end of its log.
        output: String,
    },
}

/// A running server. Dropped, it is stopped and its directory is removed.
pub struct Postgres {
    // Before the directory: fields are dropped in this order, and the server lives in the directory.
    server: Option<Child>,
    install: Install,
    owner: Option<User>,
    options: Options,
    port: u16,
    password: String,
    directory: Scratch,
}

impl Postgres {
    /// Creates a new server and waits until it accepts connections.
    ///
    /// # Errors
    /// No PostgreSQL of version 15 or newer is installed, or it could not be started: the message has the end of its
    /// log.
    pub fn start(options: Options) -> Result<Self, Error> {
        let install = Install::newest()?;
        let directory = Scratch::new("everstep-postgres-", options.parent.as_deref())
            .map_err(system("creating a directory for it"))?;
        let owner = unprivileged_user()?;
        let password = random_password()?;
        let mut postgres = Self {
            server: None,
            install,
            owner,
            options,
            port: 0,
            password,
            directory,
        };
        postgres.initialise()?;

        let mut attempt = 0;
        loop {
            attempt += 1;
            postgres.port = free_port().map_err(system("looking for a free port"))?;
            match postgres.resume() {
                Err(Error::Program { output, .. }) if output.contains("could not bind") && attempt < PORTS_TRIED => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(postgres),
            }
        }
    }

    /// The address of a database, with the password: `postgres://…`.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// The port on 127.0.0.1. It stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password of [`USER`].
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The process id of the server's first process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// The directory of the server's own programs, such as `psql` and `pgbench`.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.install.programs
    }

    /// The directory that goes away with the server.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the server writes its log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Creates an empty database.
    ///
    /// # Errors
    /// The server refused, as when it exists already.
    pub fn create_database(&self, name: &str) -> Result<(), Error> {
        self.sql(&format!("CREATE DATABASE {}", quoted(name)))
    }

    /// Creates a database as a copy of another, to which nobody may be connected.
    ///
    /// # Errors
    /// The server refused, as when somebody is connected to the template.
    pub fn create_database_from_template(&self, name: &str, template: &str) -> Result<(), Error> {
        self.sql(&format!(
            "CREATE DATABASE {} TEMPLATE {}",
            quoted(name),
            quoted(template)
        ))
    }

    /// Stops and starts the server, with its data and on its port.
    ///
    /// # Errors
    /// As [`Postgres::stop`] and [`Postgres::resume`].
    pub fn restart(&mut self, shutdown: Shutdown) -> Result<(), Error> {
        self.stop(shutdown)?;
        self.resume()
    }

    /// Stops the server and keeps its data. Not an error when it is stopped.
    ///
    /// # Errors
    /// The server could not be signalled.
    pub fn stop(&mut self, shutdown: Shutdown) -> Result<(), Error> {
        let signal = match shutdown {
            Shutdown::Fast => Signal::SIGINT,
            Shutdown::Immediate => Signal::SIGQUIT,
        };
        match self.server.take() {
            Some(mut server) => server.end(signal, PATIENCE).map_err(system("stopping it")),
            None => Ok(()),
        }
    }

    /// Kills the server's first process, which gets no chance to do anything. Its data stays.
    ///
    /// # Errors
    /// The server could not be signalled.
    pub fn kill(&mut self) -> Result<(), Error> {
        match self.server.take() {
            Some(mut server) => server.end(Signal::SIGKILL, PATIENCE).map_err(system("killing it")),
            None => Ok(()),
        }
    }

    /// Starts a stopped or killed server again and waits until it accepts connections. Not an error when it runs.
    ///
    /// # Errors
    /// The server does not start: the message has the end of its log.
    pub fn resume(&mut self) -> Result<(), Error> {
        if self.server.is_some() {
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            // What was logged before must not be taken for the reason of a failure now.
            let logged_before = fs::metadata(self.log_path()).map_or(0, |log| log.len());
            let mut server = self.launch()?;
            match self.wait_until_ready(&mut server, logged_before, deadline)? {
                Start::Ready => {
                    self.server = Some(server);
                    return Ok(());
                }
                // After a kill, the last of the server's processes may still be there for a moment.
                Start::Failed(log) if log.contains("still in use") && Instant::now() < deadline => thread::sleep(POLL),
                Start::Failed(output) => {
                    return Err(Error::Program {
                        program: "postgres".to_owned(),
                        output,
                    });
                }
            }
        }
    }

    /// Creates the data directory and the configuration.
    fn initialise(&self) -> Result<(), Error> {
        let root = self.directory.path();
        let password_file = root.join("password");
        fs::write(&password_file, &self.password).map_err(system("writing its password"))?;
        if let Some(owner) = &self.owner {
            for path in [root, &password_file] {
                chown(path, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))
                    .map_err(system("giving its directory to an unprivileged user"))?;
            }
        }
        let mut initdb = Command::new(self.install.programs.join("initdb"));
        initdb
            .arg("--pgdata")
            .arg(self.data())
            .arg("--pwfile")
            .arg(&password_file)
            .args([
                "--username",
                USER,
                "--auth",
                "scram-sha-256",
                "--encoding",
                "UTF8",
                "--locale",
                "C",
                "--no-sync",
            ])
            .current_dir(root);
        self.as_owner(&mut initdb);
        run(initdb, "initdb")?;
        fs::remove_file(&password_file).map_err(system("removing its password file"))?;

        let settings = DEFAULTS.iter().map(|(name, value)| (*name, *value));
        let own = self
            .options
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let text: String = settings.chain(own).map(|(name, value)| setting(name, value)).collect();
        // The last mention of a setting wins, and this file is read last.
        let path = self.data().join("postgresql.auto.conf");
        fs::write(path, text).map_err(system("writing its configuration"))
    }

    fn launch(&self) -> Result<Child, Error> {
        let log = File::options().create(true).append(true).open(self.log_path());
        let log = log.map_err(system("opening its log"))?;
        // SIGQUIT is the immediate shutdown: nothing of the server is left, not even its shared memory.
        let mut postgres = child::command(self.install.programs.join("postgres"), Signal::SIGQUIT);
        postgres
            .arg("-D")
            .arg(self.data())
            .arg("-p")
            .arg(self.port.to_string())
            .envs(self.options.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(system("opening its log"))?)
            .stderr(log)
            // Its own group: Ctrl-C at the terminal is for us to act on.
            .process_group(0);
        self.as_owner(&mut postgres);
        Child::spawn(postgres).map_err(system("starting it"))
    }

    fn wait_until_ready(&self, server: &mut Child, logged_before: u64, deadline: Instant) -> Result<Start, Error> {
        loop {
            if server.exit_status().map_err(system("waiting for it"))?.is_some() {
                return Ok(Start::Failed(self.log_since(logged_before)));
            }
            if self.says_ready(server.id()) {
                return Ok(Start::Ready);
            }
            if Instant::now() >= deadline {
                return Ok(Start::Failed(format!(
                    "not ready after {PATIENCE:?}: {}",
                    self.log_since(logged_before)
                )));
            }
            thread::sleep(POLL);
        }
    }

    /// The server's lock file has its process id in the first line and its state in the eighth.
    fn says_ready(&self, id: u32) -> bool {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines();
        lines.next().is_some_and(|first| first.trim() == id.to_string())
            && lines.nth(6).is_some_and(|state| state.trim() == "ready")
    }

    fn log_since(&self, offset: u64) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let start = usize::try_from(offset).unwrap_or(0).min(log.len());
        String::from_utf8_lossy(&log[start..]).trim().to_owned()
    }

    fn sql(&self, statement: &str) -> Result<(), Error> {
        let mut psql = Command::new(self.install.programs.join("psql"));
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "--set",
            "ON_ERROR_STOP=1",
            "--host",
            "127.0.0.1",
            "--username",
            USER,
        ])
        .args([
            "--port",
            &self.port.to_string(),
            "--dbname",
            "postgres",
            "--command",
            statement,
        ])
        .env("PGPASSWORD", &self.password)
        .current_dir("/");
        run(psql, "psql")
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// PostgreSQL refuses to run as root: then it runs as another user.
    fn as_owner(&self, command: &mut Command) {
        if let Some(owner) = &self.owner {
            command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
        }
    }
}

impl fmt::Debug for Postgres {
    /// Without the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Postgres")
            .field("version", &self.install.version)
            .field("port", &self.port)
            .field("pid", &self.pid())
            .field("directory", &self.directory.path())
            .finish_non_exhaustive()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // If it cannot be asked, dropping the child kills it.
        let _ = self.stop(Shutdown::Immediate);
    }
}

/// Settings of every private server. Durable as in production; small enough for several at once.
const DEFAULTS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("fsync", "on"),
    ("max_connections", "200"),
    ("shared_buffers", "128MB"),
    // As much as is kept, so that segments are recycled and no bench measures their creation.
    ("min_wal_size", "512MB"),
    ("max_wal_size", "512MB"),
    ("log_min_messages", "warning"),
    ("log_line_prefix", "%m [%p] %d "),
    ("log_timezone", "UTC"),
    ("timezone", "UTC"),
];

enum Start {
    Ready,
    /// What the server logged.
    Failed(String),
}

/// Who the server runs as instead of root; `None` when we are not root.
fn unprivileged_user() -> Result<Option<User>, Error> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)
            .map_err(io::Error::from)
            .map_err(system("looking for a user"))?
        {
            return Ok(Some(user));
        }
    }
    let missing = io::Error::other("there is neither a user `postgres` nor a user `nobody`, and it refuses to be root");
    Err(system("looking for a user")(missing))
}

fn random_password() -> Result<String, Error> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.map_err(system("choosing a password"))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn run(mut command: Command, program: &str) -> Result<(), Error> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(system(format!("running {program}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Error::Program {
        program: program.to_owned(),
        output: String::from_utf8_lossy(&said).trim().to_owned(),
    })
}

/// One line of a configuration file.
fn setting(name: &str, value: &str) -> String {
    format!("{name} = '{}'\n", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// A name as SQL writes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let doing = doing.into();
    |source| Error::System { doing, source }
}
