//! JSON lines: one for each start of each device, then one for each comparison. Nothing is rounded away that a
//! table leaves out.

use serde_json::{Value, json};

use crate::compare::{Comparison, StartResult};
use crate::device::Product;

/// The machine and the programs, once a file.
pub fn machine(versions: &[(Product, Value)]) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let versions: serde_json::Map<String, Value> =
        versions.iter().map(|(product, version)| (product.name().to_owned(), version.clone())).collect();
    json!({
        "line": "machine",
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "processor": field("model name"),
        "processors": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "load_average": read("/proc/loadavg").trim(),
        "versions": versions,
    })
}

/// One start of one device.
pub fn start(case: &str, product: Product, result: &StartResult) -> Value {
    match result {
        Ok(figure) => json!({
            "line": "start", "case": case, "device": product.name(), "best": figure.best,
            "median": figure.median, "limited_by": figure.limit.name(), "faults": figure.faults,
            "notes": figure.notes,
        }),
        Err(failure) => {
            json!({ "line": "start", "case": case, "device": product.name(), "failure": failure })
        }
    }
}

/// One comparison.
pub fn comparison(comparison: &Comparison) -> Value {
    let sides: serde_json::Map<String, Value> = comparison
        .sides
        .iter()
        .map(|(product, side)| {
            let value = json!({
                "best": side.best(comparison.unit.better), "median": side.median(),
                "starts": side.figures.len(), "limited_by": side.limit(comparison.unit.better).name(),
                "faults": side.faults().collect::<Vec<_>>(),
            });
            (product.name().to_owned(), value)
        })
        .collect();
    json!({
        "line": "comparison", "case": comparison.name, "unit": comparison.unit.name, "devices": sides,
        "ratio": comparison.ratio(), "ratio_spread": comparison.ratio_spread().map(|(least, most)| [least, most]),
        "floor": comparison.floor.to_string(), "passes": comparison.passes(),
    })
}
