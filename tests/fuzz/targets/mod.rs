//! The properties that the fuzzers and `make test` hold against bytes from outside: each target takes any bytes, and panics
//! where a property fails. Only the public API is driven.

mod answer;
mod base_url;
mod challenge;
mod response;
mod retry_after;
mod script;
mod secret;

pub use base_url::base_url;
pub use challenge::challenge;
pub use response::response;
pub use retry_after::retry_after;
pub use secret::secret;
