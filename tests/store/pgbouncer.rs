//! A real PgBouncer in front of the private server: Debian's `pgbouncer`.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use everstep::dev::{
    child::{self, Child},
    postgres::Postgres,
    scratch::Scratch,
};
use nix::{
    sys::signal::Signal,
    unistd::{Uid, User},
};

const PROGRAMS: [&str; 2] = ["/usr/sbin/pgbouncer", "/usr/local/bin/pgbouncer"];
const PATIENCE: Duration = Duration::from_secs(60);

/// A pooler that ends when dropped.
pub(crate) struct PgBouncer {
    port: u16,
    // Before the directory, in which it lives.
    _process: Child,
    _directory: Scratch,
}

impl PgBouncer {
    /// One in front of `server`; `settings` are lines of its configuration, `database` more of its database line.
    pub(crate) fn start(server: &Postgres, database: &str, settings: &[&str]) -> Self {
        let program = PROGRAMS
            .into_iter()
            .find(|path| fs::exists(path).unwrap())
            .expect("pgbouncer is not installed: run .ci/deps");
        let directory = Scratch::new("everstep-pgbouncer-", None).unwrap();
        let port = free_port();
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres password={} {database}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n{}\n",
            server.port(),
            server.password(),
            settings.join("\n")
        );
        let file = directory.path().join("pgbouncer.ini");
        fs::write(&file, config).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let mut command = child::command(program, Signal::SIGKILL);
        command
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let drop_to = unprivileged();
        if let Some(user) = &drop_to {
            for path in [directory.path(), &file] {
                chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
            }
        }
        become_user(&mut command, drop_to.as_ref());
        let mut pooler = Self {
            port,
            _process: Child::spawn(command).unwrap(),
            _directory: directory,
        };
        pooler.wait_until_ready();
        pooler
    }

    /// The address of `url`'s database behind the pooler.
    pub(crate) fn before(&self, url: &str) -> String {
        let mut url = url::Url::parse(url).unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.into()
    }

    fn wait_until_ready(&mut self) {
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = || fs::read_to_string(self._directory.path().join("log")).unwrap_or_default();
            assert!(self._process.exit_status().unwrap().is_none(), "{}", log());
            assert!(Instant::now() < until, "pgbouncer is not ready: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// It refuses to be root, as PostgreSQL does.
fn unprivileged() -> Option<User> {
    if !Uid::effective().is_root() {
        return None;
    }
    let user = ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| User::from_name(name).unwrap());
    Some(user.expect("a user postgres or nobody"))
}

fn become_user(command: &mut Command, user: Option<&User>) {
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
