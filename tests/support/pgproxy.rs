//! A TCP proxy that understands as much of PostgreSQL's protocol as it takes to lose an answer, or to hold it: a statement
//! is forwarded and executed, and the connection is cut before its answer gets through, or the answer waits.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

/// A proxy in front of one server; it ends when dropped.
pub(crate) struct PgProxy {
    port: u16,
    cuts: Arc<Cuts>,
    task: JoinHandle<()>,
}

struct Cuts {
    /// The text of the statements whose answers are lost.
    of: &'static str,
    /// How many more are to be lost.
    planned: AtomicUsize,
    done: AtomicUsize,
    /// Answers wait while this is so.
    holding: watch::Sender<bool>,
    held: AtomicUsize,
}

/// What becomes of the answer that is awaited on a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passed,
    Held,
    Lost,
}

impl PgProxy {
    /// Listens on a port of its own for connections to `server`, a port of this machine. Answers to statements that
    /// contain `of` are lost as often as [`lose`](Self::lose) says.
    pub(crate) async fn start(server: u16, of: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(Cuts {
            of,
            planned: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            holding: watch::Sender::new(false),
            held: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&cuts);
        let task = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
                    continue;
                };
                sessions.spawn(session(client, server, Arc::clone(&shared)));
            }
        });
        Self { port, cuts, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The next `times` answers are lost.
    pub(crate) fn lose(&self, times: usize) {
        self.cuts.planned.fetch_add(times, Ordering::SeqCst);
    }

    /// From now on answers are held back, until [`release`](Self::release).
    pub(crate) fn hold(&self) {
        self.cuts.holding.send_replace(true);
    }

    /// Lets the held answers through, and holds no more.
    pub(crate) fn release(&self) {
        self.cuts.holding.send_replace(false);
    }

    /// How many answers were held so far; each was given by the server before it is counted.
    pub(crate) fn held(&self) -> usize {
        self.cuts.held.load(Ordering::SeqCst)
    }

    /// How many answers were lost.
    pub(crate) fn lost(&self) -> usize {
        self.cuts.done.load(Ordering::SeqCst)
    }
}

impl Drop for PgProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cuts {
    fn fate(&self) -> Fate {
        if self.claim() {
            Fate::Lost
        } else if *self.holding.borrow() {
            Fate::Held
        } else {
            Fate::Passed
        }
    }

    fn claim(&self) -> bool {
        let one_less = |planned: usize| planned.checked_sub(1);
        self.planned
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
            .is_ok()
    }
}

/// Copies both ways until one side ends, or until an answer is to be lost.
async fn session(client: TcpStream, server: TcpStream, cuts: Arc<Cuts>) {
    // A message goes out as it comes in: put together with the next one it would wait 40 ms for an acknowledgement.
    for side in [&client, &server] {
        side.set_nodelay(true).expect("a connected socket takes the option");
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let Some(startup) = startup(&mut from_client, &mut to_client).await else {
        return;
    };
    if to_server.write_all(&startup).await.is_err() {
        return;
    }
    let (arm, armed) = watch::channel(Fate::Passed);
    tokio::select! {
        () = forward(from_client, to_server, &cuts, &arm) => {}
        () = answer(from_server, to_client, &cuts, armed) => {}
    }
}

/// Client to server, message by message. Prepared statements are named in `Parse` and executed by `Bind`.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cuts: &Cuts, arm: &watch::Sender<Fate>) {
    let mut marked: Vec<Vec<u8>> = Vec::new();
    loop {
        let Some((kind, message)) = message(&mut from).await else {
            return;
        };
        let body = &message[5..];
        let executes = match kind {
            b'P' => {
                let name = text(body);
                if contains(body, cuts.of.as_bytes()) {
                    marked.push(name.to_vec());
                }
                false
            }
            // A portal's name, then the statement's.
            b'B' => {
                let statement = text(&body[text(body).len() + 1..]);
                marked.iter().any(|name| name == statement)
            }
            _ => false,
        };
        if executes {
            arm.send_replace(cuts.fate());
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
}

/// Server to client. What is to be lost is held back until the server says that it is done; of what is to be held, that
/// last word is.
async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cuts: &Cuts, armed: watch::Receiver<Fate>) {
    let mut holding = cuts.holding.subscribe();
    loop {
        let Some((kind, message)) = message(&mut from).await else {
            return;
        };
        let fate = *armed.borrow();
        match fate {
            Fate::Passed => {}
            Fate::Held => {
                // The end of the answer comes after the commit.
                if kind == b'Z' && *holding.borrow() {
                    cuts.held.fetch_add(1, Ordering::SeqCst);
                    let _ = holding.wait_for(|holding| !holding).await;
                }
            }
            Fate::Lost => {
                if kind == b'Z' {
                    cuts.done.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                continue;
            }
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
}

/// The startup packet. Encryption that is asked for before it is declined: the proxy has to read along.
async fn startup(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> Option<Vec<u8>> {
    loop {
        let mut message = vec![0; 8];
        from.read_exact(&mut message).await.ok()?;
        let length = u32::from_be_bytes(message[..4].try_into().unwrap()) as usize;
        let code = u32::from_be_bytes(message[4..].try_into().unwrap());
        if code == SSL_REQUEST || code == GSS_REQUEST {
            to.write_all(b"N").await.ok()?;
            continue;
        }
        message.resize(length, 0);
        from.read_exact(&mut message[8..]).await.ok()?;
        return Some(message);
    }
}

async fn message(from: &mut OwnedReadHalf) -> Option<(u8, Vec<u8>)> {
    let mut message = vec![0; 5];
    from.read_exact(&mut message).await.ok()?;
    let length = u32::from_be_bytes(message[1..5].try_into().unwrap()) as usize;
    message.resize(length + 1, 0);
    from.read_exact(&mut message[5..]).await.ok()?;
    Some((message[0], message))
}

/// Up to the next zero byte.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
