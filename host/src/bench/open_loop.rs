//! Requests that come when they come, at a fixed rate, as from the world outside: nobody waits for the last answer before the next.
//!
//! Each is timed from the moment it was due, whether or not a connection was free to send it then. A host that stops for a tenth of a
//! second makes everything late that was due meanwhile, and a load that waits for answers would not notice but once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::{Mutex, mpsc};

use super::client::Connection;
use super::load::{Request, body};
use super::table::{Sample, milliseconds};

/// How many, how often, and to whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    pub(super) address: SocketAddr,
    /// That send what is due: far more than are needed unless the host is late.
    pub(super) connections: usize,
    pub(super) per_second: u32,
    pub(super) duration: Duration,
}

impl Schedule {
    /// Keeps the schedule on threads of its own, and answers how late everything was.
    pub(super) async fn run(self, request: Request) -> anyhow::Result<Sample> {
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.drive(request))
        })
        .await?
    }

    async fn drive(self, request: Request) -> anyhow::Result<Sample> {
        let mut connections = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            connections.push(Connection::open(self.address).await?);
        }
        // Room for all of them: the clock never waits.
        let requests = (f64::from(self.per_second) * self.duration.as_secs_f64()).max(1.0) as usize;
        let (due, arrivals) = mpsc::channel(requests);
        let arrivals = Arc::new(Mutex::new(arrivals));
        let began = Instant::now();
        // The runtime's own timers are a millisecond coarse, which is a good part of what is measured.
        let clock = thread::Builder::new().name("schedule".into()).spawn(move || self.tick(&due, requests))?;
        let senders = connections.into_iter().map(|connection| {
            let arrivals = Arc::clone(&arrivals);
            tokio::spawn(send(connection, request, arrivals))
        });
        let mut latencies = Vec::new();
        for sender in senders.collect::<Vec<_>>() {
            latencies.append(&mut sender.await??);
        }
        let taken = began.elapsed();
        clock.join().ok().context("the clock of the schedule stopped")?;
        Ok(Sample::new(latencies, taken))
    }

    /// Says of each request when it is due, at that moment.
    fn tick(self, due: &mpsc::Sender<Instant>, requests: usize) {
        let (began, every) = (Instant::now(), 1.0 / f64::from(self.per_second));
        for number in 0..requests {
            let at = began + Duration::from_secs_f64(number as f64 * every);
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if due.try_send(at).is_err() {
                // Nobody sends any more; why not, the senders say.
                return;
            }
        }
    }
}

/// Sends what is due, one after the other, until nothing more comes.
async fn send(
    mut connection: Connection,
    request: Request,
    arrivals: Arc<Mutex<mpsc::Receiver<Instant>>>,
) -> anyhow::Result<Vec<f64>> {
    let (body, mut latencies) = (body(), Vec::new());
    loop {
        let next = arrivals.lock().await.recv().await;
        let Some(due) = next else { return Ok(latencies) };
        request.send(&mut connection, &body).await?;
        latencies.push(milliseconds(due.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::Router;
    use axum::routing::post;
    use tokio::net::TcpListener;

    use super::*;

    const STALL: Duration = Duration::from_millis(300);

    /// Fault: a stall is one slow request among hundreds, because what was due meanwhile is timed from when it was sent at last.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_is_due_during_a_stall_is_late() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let served = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&served);
        let answer = move || async move {
            if counted.fetch_add(1, Ordering::Relaxed) == 20 {
                tokio::time::sleep(STALL).await;
            }
        };
        let server = tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(answer))).await });
        let schedule = Schedule { address, connections: 1, per_second: 200, duration: Duration::from_secs(1) };
        let sample = schedule.run(Request::Echo).await.expect("all are answered");
        server.abort();
        assert_eq!((sample.operations(), served.load(Ordering::Relaxed)), (200, 200));
        // Sixty were due during the stall, the last of them just before its end.
        let late = sample.quantile(0.8).expect("there are latencies");
        assert!(late > 40.0, "{late} ms");
    }
}
