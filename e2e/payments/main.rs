//! The payments server of the demo: `payments ADDRESS [DELAY_MILLISECONDS]`; prints its address, serves until it is killed.

mod server;

use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or_else(|| "127.0.0.1:8099".to_owned());
    let delay = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let listener = tokio::net::TcpListener::bind(&address).await?;
    #[expect(clippy::print_stdout, reason = "the caller reads the address")]
    {
        println!("{}", listener.local_addr()?);
    }
    server::serve(listener, server::Ledger::with_delay(Duration::from_millis(delay))).await
}
