//! What any store must do: one suite, told in the words of `dropforge::store` alone.
//!
//! No test knows an engine, a file name or a format. A second engine passes the very same suite once [`open`] can open
//! one: it gets a folder of its own for every test and may put there, or elsewhere, whatever it likes. Times are
//! arguments, so nothing here waits for a clock.

#[path = "store/cancel.rs"]
mod cancel;
#[path = "store/checkpoints.rs"]
mod checkpoints;
#[path = "store/child.rs"]
mod child;
#[path = "store/claim.rs"]
mod claim;
#[path = "store/crash/mod.rs"]
mod crash;
#[path = "store/finish.rs"]
mod finish;
#[path = "store/keys.rs"]
mod keys;
#[path = "store/kill.rs"]
mod kill;
#[path = "store/list.rs"]
mod list;
#[path = "store/model/mod.rs"]
mod model;
#[path = "store/parts.rs"]
mod parts;
#[path = "store/payloads.rs"]
mod payloads;
#[path = "store/place.rs"]
mod place;
#[path = "store/property/mod.rs"]
mod property;
#[path = "store/reopening.rs"]
mod reopening;
#[path = "store/retention.rs"]
mod retention;
#[path = "store/submit.rs"]
mod submit;
#[path = "store/uploads.rs"]
mod uploads;
#[path = "store/usage.rs"]
mod usage;
#[path = "store/webhooks.rs"]
mod webhooks;

use std::path::Path;

use dropforge::store::{Settings, Store, StoreError};

/// Opens a store on a place, which need not exist. The one spot that says which engine the suite is about.
fn open(place: &Path, settings: &Settings) -> Result<Store, StoreError> {
    Store::open(place, settings)
}
