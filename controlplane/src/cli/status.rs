//! `framewire status`: what a running Framewire carries, as a table or as JSON.
//!
//! Rates are differences of two looks at the counters; JSON has the counters themselves, so that whoever reads
//! it chooses the time between two looks.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lexopt::prelude::{Long, Short, ValueExt};
use serde_json::{Value, json};

use super::client::Client;
use super::table::{columns, short_number};
use super::{Failure, print};
use crate::host::runtime_dir;

/// The text of `framewire status --help`.
pub const HELP: &str = "\
framewire status: what a running Framewire carries

Options:
  -o json              counters as JSON instead of a table with rates
  --watch              a new table every second, until interrupted
  --socket PATH        the monitor's socket (default: RUNTIME_DIR/qmp.sock)
  --runtime-dir DIR    where `framewire run` runs (default: /run/framewire, or under $XDG_RUNTIME_DIR)

Columns: CONNECTED is whether a NIC has its front end, or a stream its peer. RX is into Framewire from the port's outside, TX is out of it; rates are a second's. DROPS are all since
the port was made, by reason. SPIN and SLEEP are shares of a worker's time: spent looking for frames where there
were none, and asleep.
";

#[derive(Debug, Default)]
struct Options {
    socket: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    as_json: bool,
    watch: bool,
}

/// One look at the counters.
struct Look {
    at: Instant,
    report: Value,
}

/// Runs the subcommand with the words that follow it.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn run(words: Vec<OsString>) -> Result<(), Failure> {
    let Some(options) = parse(words)? else { return print(HELP) };
    let socket = options.socket.unwrap_or_else(|| {
        runtime_dir::monitor_path(&options.runtime_dir.unwrap_or_else(runtime_dir::default_path))
    });
    let mut client = Client::connect(&socket)?;
    let mut before = look(&mut client)?;
    if options.as_json {
        return print(&format!("{:#}\n", before.report));
    }
    let mut pause = Duration::from_millis(500);
    loop {
        std::thread::sleep(pause);
        let after = look(&mut client)?;
        let clear = if options.watch { "\x1b[2J\x1b[H" } else { "" };
        print(&format!("{clear}{}", show(&before, &after)))?;
        if !options.watch {
            return Ok(());
        }
        (before, pause) = (after, Duration::from_secs(1));
    }
}

fn parse(words: Vec<OsString>) -> Result<Option<Options>, Failure> {
    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(word) = parser.next()? {
        match word {
            Long("socket") => options.socket = Some(parser.value()?.into()),
            Long("runtime-dir") => options.runtime_dir = Some(parser.value()?.into()),
            Long("watch") => options.watch = true,
            Short('o') | Long("output") => options.as_json = is_json(&parser.value()?.string()?)?,
            Short('h') | Long("help") => return Ok(None),
            Short(_) | Long(_) | lexopt::Arg::Value(_) => return Err(word.unexpected().into()),
        }
    }
    Ok(Some(options))
}

fn is_json(format: &str) -> Result<bool, Failure> {
    match format {
        "json" => Ok(true),
        "table" => Ok(false),
        other => Err(Failure::new(format!("-o takes json or table, not '{other}'"))),
    }
}

/// All pages of the report as one.
fn look(client: &mut Client) -> Result<Look, Failure> {
    let at = Instant::now();
    let mut report = client.call("x-query-status", &json!({}))?;
    while let Some(next) = report["next"].as_u64() {
        let mut page = client.call("x-query-status", &json!({"first": next}))?;
        report["next"] = page["next"].take();
        if let (Some(ports), Some(more)) = (report["ports"].as_array_mut(), page["ports"].as_array_mut()) {
            ports.append(more);
        }
    }
    if let Some(report) = report.as_object_mut() {
        report.shift_remove("next");
    }
    Ok(Look { at, report })
}

fn show(before: &Look, after: &Look) -> String {
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    [
        heading(&after.report),
        columns(&workers(&before.report, &after.report, seconds)),
        columns(&ports(&before.report, &after.report, seconds)),
        warnings(&after.report),
    ]
    .join("\n")
}

fn heading(report: &Value) -> String {
    let plane = &report["data-plane"];
    let wall = |name: &str, text: &str| if plane[name] == true { text.to_owned() } else { String::new() };
    let walls =
        wall("network-namespace", ", empty network") + &wall("mount-namespace", ", empty file system");
    let state = match plane["pid"].as_u64() {
        Some(pid) => format!("pid {pid}, {}{walls}", plane["state"].as_str().unwrap_or("?")),
        None => format!("down: {}", plane["why"].as_str().unwrap_or("?")),
    };
    format!(
        "framewire {}, pid {}; data plane {state}; started again {} times\n",
        report["version"].as_str().unwrap_or("?"),
        report["control-pid"],
        plane["restarts"],
    )
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn list(report: &Value, name: &str) -> Vec<Value> {
    report[name].as_array().cloned().unwrap_or_default()
}

/// The growth of a counter, a second.
fn rate(before: Option<&Value>, after: &Value, counter: &str, seconds: f64) -> f64 {
    let value = |report: &Value| report[counter].as_u64().unwrap_or(0);
    let growth = value(after).saturating_sub(before.map_or(0, value));
    // Counters grow by less than 2^53 between two looks.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let growth = growth as f64;
    growth / seconds
}

fn workers(before: &Value, after: &Value, seconds: f64) -> Vec<Vec<String>> {
    let mut rows = vec![row(["WORKER", "CARRIES", "QUEUES", "AWAKE", "TURNS/S", "SPIN", "SLEEP"])];
    for (index, worker) in list(after, "workers").iter().enumerate() {
        let earlier = before["workers"].get(index);
        let share = |counter| format!("{:.0}%", (rate(earlier, worker, counter, seconds) / 1e7).min(100.0));
        rows.push(vec![
            worker["worker"].to_string(),
            worker["label"].as_str().unwrap_or("").to_owned(),
            worker["queues"].to_string(),
            worker["queues-awake"].to_string(),
            short_number(rate(earlier, worker, "turns", seconds)),
            share("spinning-ns"),
            share("sleeping-ns"),
        ]);
    }
    rows
}

fn ports(before: &Value, after: &Value, seconds: f64) -> Vec<Vec<String>> {
    let heads = [
        "PORT",
        "KIND",
        "PEER",
        "LINK",
        "CONNECTED",
        "QUEUES",
        "RX/S",
        "RX bit/s",
        "TX/S",
        "TX bit/s",
        "DROPS",
    ];
    let mut rows = vec![row(heads)];
    let earlier = list(before, "ports");
    for port in list(after, "ports") {
        let earlier = earlier.iter().find(|other| other["id"] == port["id"]);
        let frames = |counter| short_number(rate(earlier, &port, counter, seconds));
        let bits = |counter| short_number(8.0 * rate(earlier, &port, counter, seconds));
        let text = |name: &str| port[name].as_str().unwrap_or("-").to_owned();
        rows.push(vec![
            text("id"),
            text("kind"),
            text("peer"),
            if port["link"] == true { "up" } else { "down" }.to_owned(),
            port["connected"].as_bool().map_or("-", |yes| if yes { "yes" } else { "no" }).to_owned(),
            port["queues"].to_string(),
            frames("received-frames"),
            bits("received-bytes"),
            frames("sent-frames"),
            bits("sent-bytes"),
            drops(&port["dropped"]),
        ]);
    }
    rows
}

fn warnings(report: &Value) -> String {
    let ports = list(report, "ports");
    let warnings =
        ports.iter().filter_map(|port| Some((port["id"].as_str()?, port["steering"]["warning"].as_str()?)));
    warnings.map(|(id, warning)| format!("{id}: {warning}\n")).collect()
}

fn drops(dropped: &Value) -> String {
    let reasons = dropped.as_object().into_iter().flatten();
    let shown: Vec<_> = reasons.map(|(reason, count)| format!("{reason} {count}")).collect();
    if shown.is_empty() { "-".to_owned() } else { shown.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(received: u64, spinning_ns: u64) -> Value {
        let port = json!({"id": "n0", "kind": "nic", "peer": "n1", "link": true, "connected": false, "queues": 1,
            "received-frames": received, "received-bytes": received * 64, "sent-frames": 0, "sent-bytes": 0,
            "dropped": {"no-peer": 3}, "steering": {"warning": "look there"}});
        let worker = json!({"worker": 0, "label": "fw0:n0", "queues": 1, "queues-awake": 1, "turns": 10,
            "spinning-ns": spinning_ns, "sleeping-ns": 0});
        json!({"version": "0.1.0", "control-pid": 1, "workers": [worker], "ports": [port],
            "data-plane": {"pid": 2, "state": "running", "restarts": 0, "network-namespace": true}})
    }

    #[test]
    fn table_shows_rates_between_two_looks() {
        let at = Instant::now();
        let before = Look { at, report: report(1000, 0) };
        let after = Look { at: at + Duration::from_millis(500), report: report(2000, 250_000_000) };
        let shown = show(&before, &after);
        for piece in [
            "data plane pid 2, running, empty network;",
            "50%",
            "2.00k",
            "1.02M",
            "no-peer 3",
            " no ",
            "n0: look there",
        ] {
            assert!(shown.contains(piece), "{piece} not in\n{shown}");
        }
    }
}
