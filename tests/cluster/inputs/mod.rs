//! What a link is made of, and what its owner does to it: Secrets, annotations, suspension, the allow-list.

mod ca;
mod forms;
mod holds;
mod stops;
mod token;
mod wakes;
mod wishes;
