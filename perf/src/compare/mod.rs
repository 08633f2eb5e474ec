//! The same work by two devices, interleaved in one run.
//!
//! A figure taken yesterday on an idle machine says nothing about today's: so every number has its counterpart from
//! minutes ago. Devices take turns start by start, because what a process gets (memory, a quiet neighbour) varies
//! between starts more than within one. Best is compared with best: the machine can only make a device slower.

mod af_xdp;
pub mod case;
pub mod catalogue;
mod commands;
mod idle;
mod kill;
mod multiqueue;
mod netdev_add;
mod nic;
mod rate;
mod reconfigure;
mod round_trip;
mod tcp;
mod vde;

use std::collections::BTreeMap;
use std::time::Duration;

use case::{Better, Case, Figure, Floor, Limit, Unit, median};

use crate::device::{Bench, Product};
use crate::load::live::Seen;
use rate::rounded;

/// How much is done for each number.
#[derive(Debug, Clone)]
pub struct Effort {
    /// Process starts of each device.
    pub starts: usize,
    /// How long each is measured.
    pub duration: Duration,
    /// Which devices.
    pub products: Vec<Product>,
}

/// What one device came to.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// One a start that succeeded.
    pub figures: Vec<Figure>,
    /// What went wrong in the others.
    pub failures: Vec<String>,
}

impl Side {
    /// The best of all starts.
    pub fn best(&self, better: Better) -> Option<f64> {
        self.figures.iter().map(|figure| figure.best).reduce(|left, right| better.of(left, right))
    }

    /// The middle of the starts' medians.
    pub fn median(&self) -> Option<f64> {
        let medians: Vec<f64> = self.figures.iter().map(|figure| figure.median).collect();
        (!medians.is_empty()).then(|| median(&medians))
    }

    /// Who held back the best start.
    pub fn limit(&self, better: Better) -> Limit {
        let best = self.best(better);
        let figure = self.figures.iter().find(|figure| Some(figure.best) == best);
        figure.map_or(Limit::Unknown, |figure| figure.limit)
    }

    /// Everything that was found wrong with the device or the runs.
    pub fn faults(&self) -> impl Iterator<Item = &String> {
        self.failures.iter().chain(self.figures.iter().flat_map(|figure| &figure.faults))
    }
}

/// One case, done by all devices.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The case's name.
    pub name: String,
    /// What its numbers mean.
    pub unit: Unit,
    /// What must be reached.
    pub floor: Floor,
    /// What each device came to.
    pub sides: BTreeMap<Product, Side>,
}

impl Comparison {
    /// Whom Framewire is compared with.
    pub fn peer(&self) -> Option<(Product, &Side)> {
        let mut peers = self.sides.iter().filter(|(product, _side)| **product != Product::Framewire);
        peers.next().map(|(product, side)| (*product, side))
    }

    /// Framewire's best to the peer's best.
    pub fn ratio(&self) -> Option<f64> {
        let best = |side: &Side| side.best(self.unit.better);
        // Nothing is infinitely better than nothing.
        let theirs = best(self.peer()?.1).filter(|theirs| *theirs > 0.0)?;
        Some(best(self.sides.get(&Product::Framewire)?)? / theirs)
    }

    /// The smallest and the largest ratio of starts that followed each other.
    pub fn ratio_spread(&self) -> Option<(f64, f64)> {
        let ours = &self.sides.get(&Product::Framewire)?.figures;
        let theirs = &self.peer()?.1.figures;
        let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours.best / theirs.best);
        ratios.fold(None, |spread, ratio| {
            let (least, most) = spread.unwrap_or((ratio, ratio));
            Some((ratio.min(least), ratio.max(most)))
        })
    }

    /// Whether the floor is reached and nothing is wrong; `None` if that cannot be told.
    pub fn passes(&self) -> Option<bool> {
        let ours = self.sides.get(&Product::Framewire)?;
        if ours.faults().next().is_some() {
            return Some(false);
        }
        let passes = self.floor.passes(ours.best(self.unit.better)?, self.ratio())?;
        // What was seen passes or not; what would have been seen without the limit can only be better.
        (passes || !ours.limit(self.unit.better).hides_the_device()).then_some(passes)
    }
}

/// What one start came to, or what went wrong.
pub type StartResult = Result<Figure, String>;

/// Is told of every start.
pub type Progress<'a> = &'a mut dyn FnMut(&str, Product, &StartResult);

/// Does one case; `progress` is told of every start.
pub fn compare(case: &dyn Case, bench: &Bench, effort: &Effort, progress: Progress<'_>) -> Comparison {
    let unit = case.unit();
    let name = case.name();
    let mut sides: BTreeMap<Product, Side> = BTreeMap::new();
    let products: Vec<Product> =
        case.products().iter().copied().filter(|product| effort.products.contains(product)).collect();
    for _ in 0..effort.starts.min(case.starts_max()) {
        for product in &products {
            let result = case.measure(bench, *product, effort.duration).map_err(|error| error.to_string());
            progress(&name, *product, &result);
            let side = sides.entry(*product).or_default();
            match result {
                Ok(figure) => side.figures.push(figure),
                Err(failure) => side.failures.push(failure),
            }
        }
    }
    Comparison { name, unit, floor: case.floor(), sides }
}

/// Who held it back is not told: the generator offers more than any device forwards, and testpmd never stops looking. So
/// a floor that is missed is missed.
fn seen_figure(seen: &Seen) -> Figure {
    let clean = seen.windows.iter().filter(|window| window.is_clean()).count();
    let used = seen.windows.iter().filter(|window| clean == 0 || window.is_clean());
    let mut rates: Vec<f64> = used.map(|window| window.rate / 1e6).collect();
    rates.sort_by(f64::total_cmp);
    let best = rates.last().copied().unwrap_or_default();
    Figure::new(best, median(&rates))
        .note("clean_windows", clean)
        .note("windows", seen.windows.len())
        .note("frames", seen.frames)
        .note("device_cpu", rounded(seen.device_cpu.as_secs_f64() / seen.elapsed.as_secs_f64()))
        .fault_if(seen.frames == 0, "no frame arrived")
}

#[cfg(test)]
mod test {
    use super::*;

    fn comparison(theirs: &[f64], ours: &[f64], floor: Floor) -> Comparison {
        let side = |bests: &[f64]| Side {
            figures: bests.iter().map(|best| Figure::new(*best, *best)).collect(),
            failures: Vec::new(),
        };
        Comparison {
            name: "x".into(),
            unit: Unit { name: "Mpps", better: Better::More },
            floor,
            sides: [(Product::Qemu, side(theirs)), (Product::Framewire, side(ours))].into(),
        }
    }

    #[test]
    fn best_is_compared_with_best_and_neighbours_give_the_spread() {
        let comparison = comparison(&[1.0, 2.0], &[4.0, 3.0], Floor::RatioAtLeast(2.0));
        assert_eq!(comparison.ratio(), Some(2.0));
        assert_eq!(comparison.ratio_spread(), Some((1.5, 4.0)));
        assert_eq!(comparison.passes(), Some(true));
    }

    #[test]
    fn fault_fails_whatever_the_rate() {
        let mut comparison = comparison(&[1.0], &[9.0], Floor::RatioAtLeast(2.0));
        comparison.sides.get_mut(&Product::Framewire).unwrap().failures.push("it fell over".into());
        assert_eq!(comparison.passes(), Some(false));
    }

    #[test]
    fn generator_that_gives_out_proves_no_miss() {
        let mut comparison = comparison(&[1.0], &[2.0], Floor::RatioAtLeast(3.0));
        let limit = |comparison: &mut Comparison, limit| {
            comparison.sides.get_mut(&Product::Framewire).unwrap().figures[0].limit = limit;
        };
        limit(&mut comparison, Limit::Device);
        assert_eq!(comparison.passes(), Some(false));
        limit(&mut comparison, Limit::Generator);
        assert_eq!(comparison.passes(), None);
        comparison.floor = Floor::RatioAtLeast(2.0);
        assert_eq!(comparison.passes(), Some(true));
    }

    #[test]
    fn without_a_counterpart_a_ratio_cannot_be_told() {
        let mut comparison = comparison(&[], &[9.0], Floor::RatioAtLeast(2.0));
        assert_eq!(comparison.passes(), None);
        comparison.floor = Floor::AtLeast(9.0);
        assert_eq!(comparison.passes(), Some(true));
        comparison.sides.remove(&Product::Framewire);
        assert_eq!(comparison.passes(), None);
    }
}
