//! What is going on while things go wrong.

use std::time::Duration;

use migrationlink_operator::decision::decide;
use tokio::time::sleep;

use crate::world::World;
use crate::world::replica::Replica;

/// See above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// A link with the policy `Retain` is created.
    FirstSync,
    /// A link with the policy `Delete` is created.
    FirstSyncDelete,
    /// The Secret gets another token.
    Rotation,
    /// The Secret gets another token, and a while later the first one again.
    RotationBack,
    /// Somebody removes the link at Cloud Manager.
    Drift,
    /// A link with the policy `Delete` is deleted.
    Deletion,
    /// A link is deleted, and another of the same name created at once.
    Recreation,
    /// The Secret is deleted, and another of the same name created, with another token; the ConfigMap gets a label.
    SecretRecreation,
    /// The Secret gets another token at the moment at which the copy that works is told to end; another waits.
    HandOver,
}

pub const STORIES: [(Story, &str); 9] = [
    (Story::FirstSync, "first-sync"),
    (Story::FirstSyncDelete, "first-sync-delete"),
    (Story::Rotation, "rotation"),
    (Story::RotationBack, "rotation-back"),
    (Story::Drift, "drift"),
    (Story::Deletion, "deletion"),
    (Story::Recreation, "recreation"),
    (Story::SecretRecreation, "secret-recreation"),
    (Story::HandOver, "hand-over"),
];

pub const TOKEN: &str = "token-canary-one";
pub const OTHER: &str = "token-canary-two";
/// So long a process has for its lists and the lease before something happens.
const START: Duration = Duration::from_secs(1);

impl Story {
    pub fn name(self) -> &'static str {
        STORIES.iter().find(|(story, _)| *story == self).map(|(_, name)| *name).expect("a name")
    }

    pub fn by_name(name: &str) -> Option<Self> {
        STORIES.iter().find(|(_, known)| *known == name).map(|(story, _)| *story)
    }

    /// What was before.
    pub async fn prepare(self, world: &World) {
        world.create_inputs(TOKEN);
        let policy = match self {
            Self::FirstSync | Self::FirstSyncDelete => return,
            Self::Deletion => "Delete",
            Self::Rotation
            | Self::RotationBack
            | Self::Drift
            | Self::Recreation
            | Self::SecretRecreation
            | Self::HandOver => "Retain",
        };
        world.create_link("link", policy);
        // What was before is not what is looked at.
        let sound = World { decide, ..world.clone() };
        let before = Replica::start(&sound, "before");
        sleep(START).await;
        before.end().await;
        assert_eq!(world.cloud.link_token(crate::world::ORG).as_deref(), Some(TOKEN), "{self:?} is prepared");
    }

    /// What happens. Returns the processes that run from now on.
    pub async fn happen(self, world: &World) -> Vec<Replica> {
        let mut replicas = vec![Replica::start(world, "a")];
        if self == Self::HandOver {
            // Not at the same moment, so that it is always the first that works.
            sleep(Duration::from_millis(100)).await;
            replicas.push(Replica::start(world, "b"));
        }
        sleep(START).await;
        match self {
            Self::FirstSync => world.create_link("link", "Retain"),
            Self::FirstSyncDelete => world.create_link("link", "Delete"),
            Self::Rotation => world.rotate(OTHER),
            Self::RotationBack => {
                world.rotate(OTHER);
                sleep(Duration::from_secs(20)).await;
                world.rotate(TOKEN);
            }
            Self::Drift => assert!(world.cloud.unlink_behind_the_back(crate::world::ORG)),
            Self::Deletion => world.delete_link("link"),
            Self::Recreation => {
                world.delete_link("link");
                world.create_link("link", "Retain");
            }
            Self::SecretRecreation => {
                world.touch_ca();
                world.delete_secret();
                // In the middle of what it does about it.
                sleep(Duration::from_millis(3)).await;
                world.create_secret(OTHER);
            }
            Self::HandOver => {
                world.rotate(OTHER);
                // While the token is sent.
                sleep(Duration::from_millis(11)).await;
                replicas[0].terminate();
            }
        }
        replicas
    }
}
