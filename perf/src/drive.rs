//! The generator on its own: one load against a device that runs already.

use framewire_perf::endpoint::{Address, Endpoint};
use framewire_perf::error::{Doing as _, Error, Result};
use framewire_perf::frame::Side;
use framewire_perf::host::schedule;
use framewire_perf::load::one_way::{self, Outcome, Work};
use framewire_perf::load::round_trip::{self, Exchange, Trips};
use framewire_perf::load::{Stop, reflect};
use serde_json::{Value, json};

use crate::arguments::{DriveOptions, Mode};

/// Drives a device that somebody else has started; returns what came of it, as a line of JSON.
pub(crate) fn drive(options: &DriveOptions) -> Result<String> {
    if let Some(cpu) = options.cpu {
        schedule::own_group();
        schedule::pin(&[cpu])?;
    }
    let open = |address: &Option<Address>, side: Side| -> Result<Option<Box<dyn Endpoint>>> {
        address.as_ref().map(|address| address.open(options.shape, side)).transpose()
    };
    let needed = |endpoint: Option<Box<dyn Endpoint>>, name: &str| {
        endpoint.ok_or_else(|| Error::Usage(format!("this mode needs {name}")))
    };
    let a = open(&options.a, Side::A)?;
    let b = open(&options.b, Side::B)?;
    let stop = Stop::After(options.duration);
    let work = Work {
        window: options.window,
        batch: options.batch,
        flows: options.shape.flows,
        pace: options.pace,
        stop,
        device: &options.watched,
        ..Work::default()
    };
    let answer = match options.mode {
        Mode::OneWay => {
            let (mut a, mut b) = (needed(a, "--a")?, needed(b, "--b")?);
            described(&one_way::run(Some(&mut *a), Some(&mut *b), &work).doing("driving")?)
        }
        Mode::Source => {
            let mut a = needed(a, "--a")?;
            described(&one_way::run(Some(&mut *a), None, &work).doing("sending")?)
        }
        Mode::Sink => {
            let mut b = needed(b, "--b")?;
            described(&one_way::run(None, Some(&mut *b), &work).doing("receiving")?)
        }
        Mode::RoundTrip => {
            let (mut a, mut b) = (needed(a, "--a")?, needed(b, "--b")?);
            let exchange = Exchange { device: &options.watched, pause: options.pause, stop };
            described_trips(&round_trip::run(&mut *a, &mut *b, &exchange).doing("exchanging")?)
        }
        Mode::Reflect => {
            let mut b = needed(b, "--b")?;
            json!({ "reflected": reflect::run(&mut *b, stop).doing("reflecting")? })
        }
    };
    Ok(format!("{answer}\n"))
}

fn described(outcome: &Outcome) -> Value {
    let rates = outcome.rates();
    let (clean, windows) = outcome.clean();
    json!({
        "mpps": rates.get(rates.len() / 2).map(|rate| rate / 1e6),
        "mpps_min": rates.first().map(|rate| rate / 1e6), "mpps_max": rates.last().map(|rate| rate / 1e6),
        "clean": format!("{clean}/{windows}"), "sent": outcome.sent, "received": outcome.counts.received,
        "lost": outcome.counts.lost, "late": outcome.counts.late, "duplicated": outcome.counts.duplicated,
        "reordered": outcome.counts.reordered, "corrupt": outcome.counts.corrupt,
        "foreign": outcome.counts.foreign, "longest_gap_ms": outcome.longest_gap().as_secs_f64() * 1e3,
        "generator_busy": outcome.generator_busy, "device_cpu": outcome.device_cpu,
    })
}

fn described_trips(trips: &Trips) -> Value {
    let us = |quantile: f64| trips.both.value_at_quantile(quantile) as f64 / 1e3;
    json!({
        "trips": trips.both.len(), "lost": trips.lost, "intact": trips.intact, "min_us": us(0.0), "p50_us": us(0.5),
        "p99_us": us(0.99), "p999_us": us(0.999), "there_p50_us": trips.there.value_at_quantile(0.5) as f64 / 1e3,
    })
}
