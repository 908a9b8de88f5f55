//! What must hold in every state, and what must be seen at least once for a run to mean anything.

use migrationlink_operator::api::{ConditionType, Conditions, DeletionPolicy, Reason};
use migrationlink_operator::decision::{Call, Link};
use stateright::Property;

use super::model::Operator;
use super::resource::token_of;
use super::world::{Known, World};

pub const TRUE_READY: &str = "Ready and SYNCED only with a token that the API accepted";
pub const ONE_POST: &str = "one POST of the organization is awaited at a time";
pub const NO_TRESPASS: &str = "nothing is written without the claim";
pub const FORWARD: &str = "observedGeneration never goes back";
pub const NOT_DONE: &str = "nothing reads as done before it is";
pub const NOT_LEFT: &str = "a deletion leaves no link behind that we made";
pub const NOT_ANOTHERS: &str = "a deletion removes no link that we did not make";
pub const REMEMBERED: &str = "what was accepted stays recorded";
pub const TRUE_VERDICT: &str = "nothing is said of the keys that the API did not say";
pub const RESTS: &str = "there is an end of steps before time passes";
pub const SETTLES: &str = "without faults it settles as it should";

pub const SEEN_READY: &str = "a link is Ready";
pub const SEEN_DUPLICATE: &str = "a link says that another holds the organization";
pub const SEEN_UNRECORDED: &str = "a token is in force that no resource says";

pub fn all() -> Vec<Property<Operator>> {
    vec![
        Property::always(TRUE_READY, |_, world| {
            links(world).all(|(index, link)| is_true(world, index, link))
        }),
        Property::always(ONE_POST, |_, world: &World| {
            let posts = |known: &&Known| known.calling.is_some_and(|calling| calling.call == Call::Link);
            world.working.known.iter().filter(posts).count() < 2
        }),
        Property::always(NO_TRESPASS, |_, world: &World| !world.truth.trespassed),
        Property::always(FORWARD, |_, world: &World| !world.truth.went_back),
        Property::always(NOT_DONE, |_, world: &World| {
            links(world).all(|(_, link)| {
                let conditions = link.status.conditions.as_ref();
                let said = |kind| conditions.is_some_and(|all| all.of(kind).is_some());
                link.status.observed_generation == Some(-1) || said(ConditionType::Ready)
            })
        }),
        Property::always(NOT_LEFT, |operator, world: &World| {
            let deletes = operator.config.deletion == DeletionPolicy::Delete;
            let left = |index: usize| {
                world.links[index].is_none()
                    && !world.truth.left_behind[index]
                    && world.remote.is_some_and(|remote| remote.by == Some(index))
            };
            !deletes || !(0..operator.config.links).any(left)
        }),
        Property::always(NOT_ANOTHERS, |_, world: &World| !world.truth.removed_anothers),
        Property::always(REMEMBERED, |_, world: &World| {
            links(world).all(|(_, link)| {
                let record = link.status.link.clone().unwrap_or_default();
                record.held_since.is_some() == record.token_fingerprint.is_some()
            })
        }),
        Property::always(TRUE_VERDICT, |_, world: &World| {
            links(world).all(|(_, link)| {
                let ready = link.status.conditions.as_ref().and_then(|all| all.of(ConditionType::Ready));
                ready.is_none_or(|ready| ready.reason != Reason::Unauthorized.as_str())
            })
        }),
        Property::always(RESTS, Operator::comes_to_rest),
        Property::always(SETTLES, Operator::settles),
        Property::sometimes(SEEN_READY, |operator: &Operator, world: &World| {
            operator.config.foreign || links(world).any(|(_, link)| is_ready(link))
        }),
        Property::sometimes(SEEN_DUPLICATE, |operator, world: &World| {
            let duplicate = |link: &Link| {
                let ready = link.status.conditions.as_ref().and_then(|all| all.of(ConditionType::Ready));
                ready.is_some_and(|ready| ready.reason == Reason::DuplicateOrganization.as_str())
            };
            operator.config.links < 2 || links(world).any(|(_, link)| duplicate(link))
        }),
        Property::sometimes(SEEN_UNRECORDED, |_, world: &World| {
            world
                .remote
                .is_some_and(|remote| links(world).all(|(_, link)| accepted(link) != Some(remote.token)))
        }),
    ]
}

fn links(world: &World) -> impl Iterator<Item = (usize, &Link)> {
    world.links.iter().enumerate().filter_map(|(index, link)| Some((index, &**link.as_ref()?)))
}

fn is_ready(link: &Link) -> bool {
    link.status.conditions.as_ref().is_some_and(|all| all.is_true(ConditionType::Ready))
}

fn accepted(link: &Link) -> Option<u8> {
    token_of(link.status.link.as_ref()?.token_fingerprint.as_ref()?)
}

/// Whether what is published of a link in force is so: the API took this token from this link, and no other was read by then.
fn is_true(world: &World, index: usize, link: &Link) -> bool {
    let synced = link.status.state.as_deref() == Some("SYNCED");
    if !synced && !is_ready(link) {
        return true;
    }
    let read = link.status.inputs.iter().flatten().find_map(|record| token_of(record.content.as_ref()?));
    let was_taken = |token: u8| world.truth.accepted[index] & (1 << token) != 0;
    accepted(link).is_some_and(was_taken) && (!is_ready(link) || read == accepted(link))
}
