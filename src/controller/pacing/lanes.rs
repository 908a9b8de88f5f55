//! Who waits, the urgent before the others, equals in the order of arrival, and nobody for ever.

use std::collections::BTreeMap;

use super::super::queue::{FAIR_TURN, Urgency};

const URGENCIES: [Urgency; 3] = [Urgency::Change, Urgency::Backlog, Urgency::Routine];

/// A place in the row. No two have the same arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) urgency: Urgency,
    pub(super) arrival: u64,
}

/// The row.
pub(super) struct Lanes<T> {
    lanes: [BTreeMap<u64, T>; 3],
    turns: u64,
}

/// Whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next<'a, T> {
    /// How urgent the row is as a whole. On a fair turn that may be more than the one whose turn it is.
    pub(super) rank: Urgency,
    pub(super) place: Place,
    pub(super) item: &'a T,
}

impl<T> Lanes<T> {
    pub(super) fn new() -> Self {
        Self { lanes: [BTreeMap::new(), BTreeMap::new(), BTreeMap::new()], turns: 0 }
    }

    pub(super) fn insert(&mut self, place: Place, item: T) {
        self.lane(place.urgency).insert(place.arrival, item);
    }

    /// Takes out one that does not wait any longer.
    pub(super) fn remove(&mut self, place: Place) {
        self.lane(place.urgency).remove(&place.arrival);
    }

    /// Whose turn it is: the first of the most urgent, and every so many turns the one that has waited longest.
    pub(super) fn next(&self) -> Option<Next<'_, T>> {
        let mut heads = URGENCIES.iter().zip(&self.lanes).filter_map(|(urgency, lane)| {
            let (arrival, item) = lane.first_key_value()?;
            Some((Place { urgency: *urgency, arrival: *arrival }, item))
        });
        let first = heads.next()?;
        let rank = first.0.urgency;
        let fair = (self.turns + 1).is_multiple_of(FAIR_TURN);
        let (place, item) = if fair {
            heads.fold(first, |a, b| if b.0.arrival < a.0.arrival { b } else { a })
        } else {
            first
        };
        Some(Next { rank, place, item })
    }

    /// The one that has waited longest, however urgent the others are.
    pub(super) fn oldest(&self) -> Option<Place> {
        let heads = URGENCIES.iter().zip(&self.lanes).filter_map(|(urgency, lane)| {
            lane.first_key_value().map(|(arrival, _)| Place { urgency: *urgency, arrival: *arrival })
        });
        heads.min_by_key(|place| place.arrival)
    }

    /// Takes out the one whose turn it is.
    pub(super) fn take(&mut self, place: Place) -> Option<T> {
        self.turns = self.turns.wrapping_add(1);
        self.lane(place.urgency).remove(&place.arrival)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(BTreeMap::is_empty)
    }

    pub(super) fn len(&self) -> usize {
        self.lanes.iter().map(BTreeMap::len).sum()
    }

    fn lane(&mut self, urgency: Urgency) -> &mut BTreeMap<u64, T> {
        let [change, backlog, routine] = &mut self.lanes;
        match urgency {
            Urgency::Change => change,
            Urgency::Backlog => backlog,
            Urgency::Routine => routine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take<T: Clone>(lanes: &mut Lanes<T>) -> Option<T> {
        let place = lanes.next()?.place;
        lanes.take(place)
    }

    #[test]
    fn the_urgent_go_first_and_equals_in_the_order_of_arrival() {
        let mut lanes = Lanes::new();
        let places = [Urgency::Routine, Urgency::Change, Urgency::Backlog, Urgency::Change];
        for (arrival, urgency) in (1..).zip(places) {
            lanes.insert(Place { urgency, arrival }, arrival);
        }
        assert_eq!(lanes.len(), 4);
        let order: Vec<_> = std::iter::from_fn(|| take(&mut lanes)).collect();
        assert_eq!(order, [2, 4, 3, 1]);
        assert!(lanes.is_empty());
    }

    #[test]
    fn the_one_that_has_waited_longest_gets_a_turn_with_the_rank_of_the_row() {
        let mut lanes = Lanes::new();
        lanes.insert(Place { urgency: Urgency::Routine, arrival: 0 }, "old");
        for arrival in 1..20 {
            lanes.insert(Place { urgency: Urgency::Change, arrival }, "new");
        }
        for _ in 1..FAIR_TURN {
            assert_eq!(take(&mut lanes), Some("new"));
        }
        let next = lanes.next().unwrap();
        assert_eq!((next.rank, *next.item), (Urgency::Change, "old"));
    }

    #[test]
    fn who_left_is_not_called() {
        let mut lanes = Lanes::new();
        let places = [1, 2].map(|arrival| Place { urgency: Urgency::Change, arrival });
        for place in places {
            lanes.insert(place, place.arrival);
        }
        lanes.remove(places[0]);
        assert_eq!(lanes.next().unwrap().place, places[1]);
    }
}
