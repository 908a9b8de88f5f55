//! What becomes of the link when its resource is deleted.

mod away;
mod blocked;
mod grace;
mod policy;
mod removed;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use migrationlink_operator::api::{
    ConditionType, Conditions, DeletionPolicy, MigrationLinkSpec, MigrationLinkStatus,
};

use crate::support::{World, org_id};

/// One write of the finalizers.
const WRITE_FINALIZERS: (&str, usize) = ("patch migrationlinks", 1);

/// The link goes with the resource.
fn delete(spec: &mut MigrationLinkSpec) {
    spec.deletion_policy = DeletionPolicy::Delete;
}

/// Creates links with the policy `Delete`, each of an organization of its own in the order of the names, and waits until they
/// are SYNCED.
async fn synced(world: &World, names: &[&str]) {
    for (n, name) in names.iter().enumerate() {
        world.link_with(name, &org_id(n), delete).await;
    }
    for name in names {
        world.diary.has_been(name, &["Synced"]).await;
    }
}

/// `Ready` of a deletion that is held up, and the condition beside it, which says by what.
fn blocked(status: &MigrationLinkStatus) -> (&Condition, &Condition) {
    let conditions = status.conditions.as_ref().expect("conditions");
    let ready = conditions.of(ConditionType::Ready).expect("Ready");
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", "DeletionBlocked"),
        "{conditions:?}"
    );
    let others: Vec<_> = conditions.iter().filter(|condition| condition.type_ != "Ready").collect();
    let [beside] = others[..] else { panic!("{conditions:?}") };
    assert_eq!((beside.status.as_str(), &beside.message), ("True", &ready.message), "{conditions:?}");
    (ready, beside)
}

/// Runs the command that a message of a deletion that is held up ends with: the link shall stay.
fn run_the_way_out(world: &World, message: &str) {
    let (_, command) = message.split_once("kubectl patch ").expect("a command");
    let (command, _) = command.split_once("}}'").expect("its end");
    let ran = world.tenant.control_plane.shell(&format!("kubectl patch {command}}}}}'"));
    assert!(ran.success, "{ran:?}");
}
