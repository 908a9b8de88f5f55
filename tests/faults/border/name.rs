//! The names of faults, to be printed and read: `post#1/effect/crash`.

use super::{Crossing, Fault, Kind, Phase, Point};

const KINDS: [(Kind, &str); 20] = [
    (Kind::ListLinks, "list-links"),
    (Kind::ListSecrets, "list-secrets"),
    (Kind::ListConfigMaps, "list-configmaps"),
    (Kind::WatchLinks, "watch-links"),
    (Kind::WatchSecrets, "watch-secrets"),
    (Kind::WatchConfigMaps, "watch-configmaps"),
    (Kind::GetSecret, "get-secret"),
    (Kind::GetConfigMap, "get-configmap"),
    (Kind::GetLink, "get-link"),
    (Kind::Status, "patch-status"),
    (Kind::Finalizer, "patch-finalizers"),
    (Kind::Event, "event"),
    (Kind::GetLease, "get-lease"),
    (Kind::CreateLease, "create-lease"),
    (Kind::UpdateLease, "update-lease"),
    (Kind::WatchLease, "watch-lease"),
    (Kind::Challenge, "challenge"),
    (Kind::Post, "post"),
    (Kind::Poll, "poll"),
    (Kind::Delete, "delete"),
];
const PHASES: [(Phase, &str); 3] =
    [(Phase::Before, "before"), (Phase::Effect, "effect"), (Phase::Answer, "answer")];
const FAULTS: [(Fault, &str); 8] = [
    (Fault::Crash, "crash"),
    (Fault::Timeout, "timeout"),
    (Fault::Reset, "reset"),
    (Fault::Cut, "cut"),
    (Fault::Slow, "slow"),
    (Fault::Older, "older"),
    (Fault::Twice, "twice"),
    (Fault::Swapped, "swapped"),
];

/// Every kind there is.
pub const ALL_KINDS: [Kind; KINDS.len()] = {
    let mut all = [Kind::ListLinks; KINDS.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = KINDS[at].0;
        at += 1;
    }
    all
};

pub(super) fn kind(kind: Kind) -> &'static str {
    name(&KINDS, kind).unwrap_or_default()
}

pub(super) fn phase(phase: Phase) -> &'static str {
    name(&PHASES, phase).unwrap_or_default()
}

pub(super) fn fault(fault: Fault) -> String {
    match fault {
        Fault::Status(code) => code.to_string(),
        fault => name(&FAULTS, fault).unwrap_or_default().to_owned(),
    }
}

/// Reads what `Point` prints.
pub fn parse(text: &str) -> Option<Point> {
    let mut parts = text.split('/');
    let (kind, nth) = parts.next()?.split_once('#')?;
    let crossing = Crossing { kind: value(&KINDS, kind)?, nth: nth.parse().ok()? };
    let phase = value(&PHASES, parts.next()?)?;
    let fault = parts.next()?;
    let fault = fault.parse().map(Fault::Status).ok().or_else(|| value(&FAULTS, fault))?;
    Some(Point { crossing, phase, fault })
}

fn name<T: Copy + PartialEq>(names: &[(T, &'static str)], value: T) -> Option<&'static str> {
    names.iter().find(|(known, _)| *known == value).map(|(_, name)| *name)
}

fn value<T: Copy>(names: &[(T, &'static str)], name: &str) -> Option<T> {
    names.iter().find(|(_, known)| *known == name).map(|(value, _)| *value)
}

#[test]
fn every_name_can_be_read() {
    for (kind, _) in KINDS {
        for (phase, fault) in kind.faults() {
            let point = Point { crossing: Crossing { kind, nth: 3 }, phase, fault };
            assert_eq!(parse(&point.to_string()), Some(point));
        }
    }
}
