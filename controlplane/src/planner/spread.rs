//! Which worker carries which lane.

use super::Lane;

/// What a worker has been given so far. Connected lanes weigh first: the others carry nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    connected: usize,
    lanes: usize,
}

impl Load {
    fn add(&mut self, lane: &Lane<'_>) {
        self.connected += usize::from(lane.is_connected());
        self.lanes += 1;
    }
}

/// How many of a lane's queues each worker carries now.
struct Votes(Vec<usize>);

impl Votes {
    fn of(lane: &Lane<'_>, workers: usize) -> Self {
        let mut votes = vec![0; workers];
        for planned in &lane.ends {
            // A worker that is no more (there were more of them before a restart) has no say.
            if let Some(votes) = planned.worker().and_then(|worker| votes.get_mut(worker)) {
                *votes += 1;
            }
        }
        Votes(votes)
    }

    /// The one worker that has all of them.
    fn agreed(&self) -> Option<usize> {
        let mut voted = (0..self.0.len()).filter(|worker| self.0[*worker] > 0);
        voted.next().filter(|_first| voted.next().is_none())
    }

    fn best(&self, loads: &[Load]) -> usize {
        let preference = |worker: &usize| (usize::MAX - self.0[*worker], loads[*worker], *worker);
        (0..loads.len()).min_by_key(preference).expect("there is at least one worker")
    }
}

/// The worker of each lane. Lanes that can stay are placed first, so that the others see the true load.
pub(super) fn spread(lanes: &[Lane<'_>], workers: usize) -> Vec<usize> {
    let votes: Vec<Votes> = lanes.iter().map(|lane| Votes::of(lane, workers)).collect();
    let mut loads = vec![Load::default(); workers];
    let mut placed: Vec<Option<usize>> = votes.iter().map(Votes::agreed).collect();
    for (lane, worker) in lanes.iter().zip(&placed) {
        if let Some(worker) = worker {
            loads[*worker].add(lane);
        }
    }
    for has_votes in [true, false] {
        for (at, lane) in lanes.iter().enumerate() {
            let voted = votes[at].0.iter().any(|votes| *votes > 0);
            if placed[at].is_none() && voted == has_votes {
                let worker = votes[at].best(&loads);
                loads[worker].add(lane);
                placed[at] = Some(worker);
            }
        }
    }
    placed.into_iter().map(|worker| worker.expect("both rounds together placed all")).collect()
}

impl super::PlannedEnd<'_> {
    fn worker(&self) -> Option<usize> {
        self.port.queues[self.index].worker.map(|worker| worker as usize)
    }
}
