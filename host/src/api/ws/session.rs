//! One WebSocket: reads operations, carries them out a few at a time, and tells what happens to the jobs it follows.
//!
//! Nothing here grows with what a client does: while too much is under way nothing more is read; while a message is not taken
//! nothing more is sent; and a client that falls behind the events it asked for is closed with [`TOO_SLOW`], which costs nobody else.

mod following;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::following::Followed;
use super::message::{self, Operation, Request, Submit, Target};
use crate::api::access::Counter;
use crate::api::caller::Caller;
use crate::api::problem::Problem;
use crate::api::{Api, submit};
use crate::events::{Event, Scope, Subscription};
use crate::job::{Job, JobId, Kind};
use crate::tokens::Scope as Right;

/// Operations of one client under way at a time; with as many, nothing more is read.
const UNDER_WAY_MAX: usize = 64;
/// A client that takes nothing for so long is cut off.
const TAKING_MAX: Duration = Duration::from_secs(30);
/// A client that was not heard of for so many pings, sent every `keep_alive`, is taken for gone.
const UNANSWERED_MAX: u32 = 3;
/// How long a client may take to answer a close before its connection is cut.
const CLOSING_MAX: Duration = Duration::from_secs(1);
/// The close code for a client that does not keep up with the events it asked for.
const TOO_SLOW: u16 = 4008;

/// What one client follows.
pub(super) struct Session {
    api: Arc<Api>,
    caller: Caller,
    counter: Counter,
    subscription: Subscription,
    jobs: HashMap<JobId, Followed>,
    kinds: HashSet<Kind>,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
}

/// An operation that was carried out.
struct Done {
    reference: Value,
    operation: &'static str,
    result: Result<Job, Problem>,
}

/// What comes next.
enum Next {
    Frame(Option<Result<Message, axum::Error>>),
    Done(Box<Done>),
    Event(Option<Arc<Event>>),
    Tick,
    Stopping,
    Revoked,
}

/// Messages to send, or how to close.
type Step = ControlFlow<CloseFrame, Vec<Value>>;

impl Session {
    pub(super) fn new(api: Arc<Api>, caller: Caller, counter: Counter, subscription: Subscription) -> Self {
        let (jobs, kinds) = (HashMap::new(), HashSet::new());
        Self { api, caller, counter, subscription, jobs, kinds, under_way: FuturesUnordered::new() }
    }

    /// Goes on until one side closes.
    pub(super) async fn run(mut self, mut socket: WebSocket) {
        let mut stopping = self.api.stopping.clone();
        let mut ticks = interval(self.api.limits.keep_alive);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let mut unanswered = 0;
        let (api, caller) = (Arc::clone(&self.api), self.caller.clone());
        let mut revoked = std::pin::pin!(caller.revoked(&api));
        loop {
            let next = tokio::select! {
                frame = socket.recv(), if self.under_way.len() < UNDER_WAY_MAX => Next::Frame(frame),
                Some(done) = self.under_way.next() => Next::Done(Box::new(done)),
                event = self.subscription.next() => Next::Event(event),
                _ = ticks.tick() => Next::Tick,
                _ = stopping.wait_for(|stopping| *stopping) => Next::Stopping,
                () = revoked.as_mut() => Next::Revoked,
            };
            let step = match next {
                Next::Frame(frame) => {
                    unanswered = 0;
                    match frame {
                        None => return,
                        // It is answered below here, once something is to be read again.
                        Some(Ok(Message::Close(_))) => return closed(&mut socket).await,
                        frame => self.frame(frame),
                    }
                }
                Next::Done(done) => Step::Continue(self.done(*done)),
                Next::Event(Some(event)) => Step::Continue(self.event(&event)),
                Next::Event(None) => {
                    close(TOO_SLOW, "events came faster than they were read; connect and subscribe again")
                }
                Next::Tick if unanswered == UNANSWERED_MAX => return,
                Next::Tick => {
                    unanswered += 1;
                    if !send(&mut socket, Message::Ping(Default::default())).await {
                        return;
                    }
                    continue;
                }
                Next::Stopping => close(close_code::AWAY, "the host is stopping"),
                Next::Revoked => close(close_code::POLICY, "the token was revoked"),
            };
            if !take(&mut socket, step).await {
                return;
            }
        }
    }

    fn frame(&mut self, frame: Option<Result<Message, axum::Error>>) -> Step {
        match frame {
            Some(Ok(Message::Text(text))) => Step::Continue(self.request(message::parse(&text))),
            Some(Ok(Message::Binary(_))) => close(close_code::UNSUPPORTED, "messages are JSON in text frames"),
            // axum does not export the type of this one.
            Some(Err(error)) if error.to_string().contains("too long") => {
                close(close_code::SIZE, "a message has at most 1 MiB; larger inputs are uploaded as blobs")
            }
            Some(Err(_)) => close(close_code::PROTOCOL, "this is not the WebSocket protocol"),
            // Pings are answered below here.
            _ => Step::Continue(Vec::new()),
        }
    }

    /// Begins what a client wants, or does it at once.
    fn request(&mut self, Request { reference, operation }: Request) -> Vec<Value> {
        let answer = match self.counter.count().and(operation) {
            Err(problem) => Err(problem),
            Ok(Operation::Submit(Submit { body, key, traceparent })) => {
                let (api, caller) = (Arc::clone(&self.api), self.caller.clone());
                let submit = async move {
                    caller.require(Right::Submit)?;
                    let wanted = submit::check(&api, &caller, &body).await?;
                    let mut submission = wanted.into_submission(key)?;
                    submission.options.traceparent = traceparent;
                    submit::accept(&api, submission).await
                };
                return self.begin(reference, "submit", submit);
            }
            Ok(Operation::Cancel(id)) => {
                let (api, caller) = (Arc::clone(&self.api), self.caller.clone());
                let cancel = async move {
                    caller.require(Right::Submit)?;
                    caller.require_job(&api, id)?;
                    Ok(api.queue.cancel(id).await?)
                };
                return self.begin(reference, "cancel", cancel);
            }
            Ok(Operation::Subscribe(Target::Job(id))) => self.follow_asked(&reference, id),
            Ok(Operation::Subscribe(Target::Kind(kind))) => self.may_follow_kind(&kind).map(|()| {
                self.subscription.listen(Scope::Kind(kind.clone()));
                self.kinds.insert(kind);
                vec![message::accepted(&reference, "subscribe", None)]
            }),
            Ok(Operation::Unsubscribe(target)) => {
                self.unfollow(&target);
                Ok(vec![message::accepted(&reference, "unsubscribe", None)])
            }
            Ok(Operation::Ping) => Ok(vec![message::pong(&reference)]),
        };
        answer.unwrap_or_else(|problem| vec![message::refused(&reference, problem)])
    }

    fn begin(
        &self,
        reference: Value,
        operation: &'static str,
        work: impl Future<Output = Result<Job, Problem>> + Send + 'static,
    ) -> Vec<Value> {
        self.under_way.push(Box::pin(async move { Done { reference, operation, result: work.await } }));
        Vec::new()
    }

    fn done(&mut self, Done { reference, operation, result }: Done) -> Vec<Value> {
        match result {
            Ok(job) => {
                let id = job.id;
                let mut messages = vec![message::accepted(&reference, operation, Some(job))];
                if operation == "submit" {
                    // It is accepted whatever becomes of its being followed.
                    match self.room().and_then(|()| self.follow(id)) {
                        Ok(told) => messages.extend(told),
                        Err(problem) => messages.push(message::refused(&reference, problem)),
                    }
                }
                messages
            }
            Err(problem) => vec![message::refused(&reference, problem)],
        }
    }
}

fn close(code: u16, reason: &'static str) -> Step {
    Step::Break(CloseFrame { code, reason: reason.into() })
}

/// Sends what is to be sent, or closes. Whether the connection goes on.
async fn take(socket: &mut WebSocket, step: Step) -> bool {
    match step {
        Step::Continue(messages) => {
            for message in messages {
                if !send(socket, Message::Text(message.to_string().into())).await {
                    return false;
                }
            }
            true
        }
        Step::Break(reason) => {
            if send(socket, Message::Close(Some(reason))).await {
                closed(socket).await;
            }
            false
        }
    }
}

/// Lets the closing handshake come to its end. A connection that is cut before may take the close with it, unread.
async fn closed(socket: &mut WebSocket) {
    let handshake = async { while let Some(Ok(_)) = socket.recv().await {} };
    // Whether the client answers in time or not, that was it.
    let _ = timeout(CLOSING_MAX, handshake).await;
}

/// Whether the client has taken it in time.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(TAKING_MAX, socket.send(message)).await, Ok(Ok(())))
}
