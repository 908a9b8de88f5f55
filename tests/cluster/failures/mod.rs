//! The failure table of the design on real sockets: each class to its reason, and back again once its cause is mended.

mod answers;
mod case;
mod digest;
mod lost;
mod passing;
mod refusals;
mod tls;
mod unreachable;

use case::Case;
