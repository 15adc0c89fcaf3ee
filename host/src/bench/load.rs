//! Load from many keep-alive connections, each sending its next request when the last is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::body::Bytes;
use axum::http::{Request as HttpRequest, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::table::{CpuTime, Sample, milliseconds};
use super::{NO_OP_INPUT, NO_OP_KIND};

/// Longest a job of this load may take.
const WAIT: &str = "wait=30";
/// How long compiling plugins may take, those of megabytes on slow machines included.
const READY_MAX: Duration = Duration::from_secs(300);
/// Looks at one job before the bench gives up.
const LOOKS_MAX: usize = 100_000;

/// What each connection does, again and again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Request {
    /// `POST` to the echo.
    Echo,
    /// Submit a job.
    Submit,
    /// Submit a job with `Prefer: wait`.
    SubmitAndWait,
    /// Submit a job, then ask for its result once, with `Prefer: wait`.
    SubmitThenWait,
    /// Submit a job, then ask for its result until it is there, without a pause.
    SubmitAndPoll,
}

/// How much load, and on whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) address: SocketAddr,
    pub(super) connections: usize,
    pub(super) duration: Duration,
}

impl Load {
    /// Waits until the host serves.
    pub(super) async fn until_ready(&self) -> anyhow::Result<()> {
        let mut connection = Connection::open(self.address).await?;
        let end = Instant::now() + READY_MAX;
        while connection.send("GET", "/readyz", "", None).await?.0 != StatusCode::OK {
            if Instant::now() > end {
                bail!("the host was not ready after {} s", READY_MAX.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Runs the load on a thread of its own, and answers what came of it.
    pub(super) async fn run(self, request: Request) -> anyhow::Result<Sample> {
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.drive(request))
        })
        .await?
    }

    async fn drive(self, request: Request) -> anyhow::Result<Sample> {
        let end = Instant::now() + self.duration;
        let input: Arc<str> = body().into();
        let workers = (0..self.connections).map(|_| {
            let input = Arc::clone(&input);
            tokio::spawn(async move {
                let mut connection = Connection::open(self.address).await?;
                let mut latencies = Vec::new();
                while Instant::now() < end {
                    let started = Instant::now();
                    connection.once(request, &input).await?;
                    latencies.push(milliseconds(started.elapsed()));
                }
                anyhow::Ok(latencies)
            })
        });
        let cpu_time = CpuTime::now();
        let mut latencies = Vec::new();
        for worker in workers.collect::<Vec<_>>() {
            latencies.append(&mut worker.await??);
        }
        let operations = latencies.len();
        let mut sample = Sample::new(latencies, self.duration);
        cpu_time.until_now(&mut sample, operations);
        Ok(sample)
    }
}

/// What each request of a load has in its body: a job that does nothing.
pub(super) fn body() -> String {
    format!(r#"{{"kind":"{NO_OP_KIND}","input":{NO_OP_INPUT}}}"#)
}

/// One keep-alive connection.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // It ends with its sender; an error on the way shows there.
            let _ = connection.await;
        });
        Ok(Self { sender, host: address.to_string() })
    }

    /// Submits a job and answers where it is.
    pub(super) async fn submit(&mut self, path: &str, body: impl AsRef<[u8]>) -> anyhow::Result<String> {
        let job = self.expect("POST", path, body, None, StatusCode::ACCEPTED).await?;
        let job: serde_json::Value = serde_json::from_slice(&job)?;
        Ok(job["links"]["self"].as_str().context("a job says where it is")?.to_owned())
    }

    /// Submits a job and answers where its result will be.
    async fn submit_for_result(&mut self, body: &str) -> anyhow::Result<String> {
        let job = self.expect("POST", "/v1/jobs", body, None, StatusCode::ACCEPTED).await?;
        let job: serde_json::Value = serde_json::from_slice(&job)?;
        Ok(job["links"]["result"].as_str().context("a job says where its result is")?.to_owned())
    }

    /// The job at this place.
    pub(super) async fn job(&mut self, path: &str) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.expect("GET", path, "", None, StatusCode::OK).await?)?)
    }

    /// Does what a load does, once.
    pub(super) async fn once(&mut self, request: Request, body: &str) -> anyhow::Result<()> {
        match request {
            Request::Echo => self.expect("POST", "/", body, None, StatusCode::OK).await.map(drop),
            Request::Submit => self.expect("POST", "/v1/jobs", body, None, StatusCode::ACCEPTED).await.map(drop),
            Request::SubmitAndWait => self.expect("POST", "/v1/jobs", body, Some(WAIT), StatusCode::OK).await.map(drop),
            Request::SubmitThenWait => {
                let result = self.submit_for_result(body).await?;
                self.expect("GET", &result, "", Some(WAIT), StatusCode::OK).await.map(drop)
            }
            Request::SubmitAndPoll => {
                let result = &self.submit_for_result(body).await?;
                for _ in 0..LOOKS_MAX {
                    match self.send("GET", result, "", None).await? {
                        (StatusCode::OK, _) => return Ok(()),
                        (StatusCode::ACCEPTED, _) => {}
                        (status, _) => bail!("a job did not succeed: {status}"),
                    }
                }
                bail!("a job did not end")
            }
        }
    }

    /// Sends a request and answers the body, if the status is the wanted one.
    pub(super) async fn expect(
        &mut self,
        method: &str,
        path: &str,
        body: impl AsRef<[u8]>,
        prefer: Option<&str>,
        wanted: StatusCode,
    ) -> anyhow::Result<Bytes> {
        let (status, answer) = self.send(method, path, body, prefer).await?;
        if status != wanted {
            bail!("{method} {path} was answered with {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(answer)
    }

    pub(super) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: impl AsRef<[u8]>,
        prefer: Option<&str>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = HttpRequest::builder().method(method).uri(path).header(header::HOST, self.host.as_str());
        if let Some(prefer) = prefer {
            request = request.header("prefer", prefer);
        }
        self.sender.ready().await?;
        let response =
            self.sender.send_request(request.body(Full::from(Bytes::copy_from_slice(body.as_ref())))?).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}
