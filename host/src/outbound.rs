//! The ways out of this host that operators allow: who may be reached, looked up once, judged and connected to.
//!
//! Guests and webhooks go the same way, so that there is one decision about addresses. A name is looked up here and nowhere
//! else; what was judged is what is connected to. Who is allowed what, and what is said over a connection, is the affair
//! of whoever asks.

mod connect;
mod host;
mod names;
mod place;

pub(crate) use self::connect::{Connection, Resolved, Unreachable, connect, resolve};
pub use self::host::{HostName, is_public};
pub use self::place::{Place, Scheme};
