//! The HTTP server that the steps of these tests call: it remembers every request and answers by its path.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A request, as far as the tests look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) key: String,
}

#[derive(Default)]
struct State {
    seen: Mutex<Vec<Seen>>,
    given_up: Mutex<Vec<Seen>>,
}

/// The server; it ends when dropped.
pub(crate) struct Target {
    port: u16,
    state: Arc<State>,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Target {
    /// `/ok…` is answered with 200, `/fail/N…` with 503 to its first N requests and then with 200, `/hold…` not before
    /// [`release`](Self::release).
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let (open, released) = watch::channel(false);
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                serving.spawn(serve(stream, Arc::clone(&shared), released.clone()));
            }
        });
        Self {
            port,
            state,
            open,
            task,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Requests to this path so far, with the key of each.
    pub(crate) fn seen(&self, path: &str) -> Vec<String> {
        of(&self.state.seen, path)
    }

    /// The paths of all requests so far.
    pub(crate) fn all(&self) -> Vec<String> {
        self.state
            .seen
            .lock()
            .unwrap()
            .iter()
            .map(|seen| seen.path.clone())
            .collect()
    }

    /// Requests to this path whose client closed the connection while it waited.
    pub(crate) fn given_up(&self, path: &str) -> Vec<String> {
        of(&self.state.given_up, path)
    }

    /// Answers what is held, and holds nothing any more.
    pub(crate) fn release(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn of(seen: &Mutex<Vec<Seen>>, path: &str) -> Vec<String> {
    seen.lock()
        .unwrap()
        .iter()
        .filter(|seen| seen.path == path)
        .map(|seen| seen.key.clone())
        .collect()
}

async fn serve(mut stream: TcpStream, state: Arc<State>, mut released: watch::Receiver<bool>) {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    while !read.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(n) => read.extend_from_slice(&piece[..n]),
        }
    }
    let text = String::from_utf8_lossy(&read).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let key = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"))
        .map(|(_, key)| key.to_owned())
        .unwrap_or_default();
    let request = Seen {
        path: path.clone(),
        key,
    };
    let earlier = {
        let mut seen = state.seen.lock().unwrap();
        seen.push(request.clone());
        seen.iter().filter(|seen| seen.path == path).count() - 1
    };
    if path.starts_with("/hold") {
        tokio::select! {
            _ = released.wait_for(|released| *released) => {}
            _ = stream.read(&mut piece) => {
                state.given_up.lock().unwrap().push(request);
                return;
            }
        }
    }
    let failures: usize = path
        .strip_prefix("/fail/")
        .and_then(|rest| rest.split('/').next()?.parse().ok())
        .unwrap_or(0);
    let status = if earlier < failures {
        "503 Service Unavailable"
    } else {
        "200 OK"
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    let _ = stream.write_all(answer.as_bytes()).await;
}
