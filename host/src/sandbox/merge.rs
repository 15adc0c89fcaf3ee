//! Makes one module of those that a component links to each other at every instantiation.
//!
//! An interpreter comes as a dozen modules that share a memory and a table, as a program shares them with its libraries. To instantiate
//! such a component is to link it: for each job thousands of functions are looked up and written to the table. What is linked does not
//! change from one job to the next, so it is done once, before the component is compiled. Calls from one module to another become plain
//! calls, constants that one imports from another become constants, and since it is then known what the table begins with, the engine
//! leaves each of its elements to whoever uses it first. `wasm-merge` of Binaryen does this to modules; here the component around them
//! stays what it was to everybody outside.
//!
//! The first instances of a component are taken, up to one that cannot be, or to the first use of what they export, and later ones where
//! nobody can tell. What is anything but plain is left as it is: nothing depends on this but speed.

mod later;
mod module;
mod part;
mod plan;
mod read;
mod rewrite;

use wasm_encoder::reencode;

/// Why a component stays as it is.
pub(super) type Error = reencode::Error<&'static str>;
type Result<T> = std::result::Result<T, Error>;

/// The same component with fewer modules in it. `None` if there are none to be made one.
///
/// # Errors
///
/// If the component is not valid, or has something that cannot be followed. Bodies of functions are not validated, and what one module
/// lacked may be another's: what comes out is for the engine to validate, like any other file.
pub(super) fn merged(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    let whole = read::component(bytes)?;
    match plan::Plan::of(&whole)? {
        Some(plan) => rewrite::component(whole, &plan).map(Some),
        None => Ok(None),
    }
}

fn unclear<T>(why: &'static str) -> Result<T> {
    Err(reencode::Error::UserError(why))
}

#[cfg(test)]
mod tests;
