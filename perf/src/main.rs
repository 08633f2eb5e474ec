//! `framewire-perf`: reads the command line, goes into its sandbox, runs what was asked for.

mod arguments;
mod drive;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use arguments::{Command, CompareOptions, Options};
use drive::drive;
use framewire_perf::compare::{StartResult, catalogue, compare};
use framewire_perf::device::{Bench, Device, Product};
use framewire_perf::error::{Doing as _, Error, Result};
use framewire_perf::host::{launch, sandbox, schedule};
use framewire_perf::report::{lines, table};
use serde_json::Value;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "framewire-perf: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &[OsString]) -> Result<ExitCode> {
    let first = args.first().map(|arg| arg.to_string_lossy()).unwrap_or_default();
    match &*first {
        launch::LAUNCH => Err(launch::become_program(&args[1..])),
        sandbox::INSIDE => inside(&args[1..]),
        _ => match arguments::parse(args)? {
            Command::Help => say(arguments::HELP).map(|()| ExitCode::SUCCESS),
            Command::Run(options) => match *options {
                Options::Drive(options) => say(&drive(&options)?).map(|()| ExitCode::SUCCESS),
                // It makes interfaces and fills ports: not in a network that others use.
                Options::Compare(_) => sandbox::run_inside(args),
            },
        },
    }
}

/// What the inner process does: the first word is its folder, the rest is the user's command line.
fn inside(args: &[OsString]) -> Result<ExitCode> {
    let Some((folder, args)) = args.split_first() else {
        return Err(Error::Usage("a folder is missing".into()));
    };
    let folder = sandbox::settle(Path::new(folder))?;
    if let Command::Run(options) = arguments::parse(args)?
        && let Options::Compare(options) = *options
    {
        return compare_all(&options, &folder);
    }
    Err(Error::Usage("only 'compare' runs inside".into()))
}

fn compare_all(options: &CompareOptions, folder: &Path) -> Result<ExitCode> {
    let bench = Bench { folder: folder.to_owned(), ..options.bench.clone() };
    let cases = catalogue::cases(&options.cases)?;
    schedule::own_group();
    schedule::pin(&[bench.generator_cpu])?;
    let mut file = options.lines.as_ref().map(|path| File::create(path).doing(format!("making {path:?}")));
    let mut file = file.take().transpose()?;
    let mut write = |line: &Value| {
        if let Some(file) = &mut file {
            let _ = writeln!(file, "{line}");
        }
    };
    write(&lines::machine(&versions(&bench, &options.effort.products)?));
    let mut comparisons = Vec::new();
    for case in &cases {
        let comparison = compare(&**case, &bench, &options.effort, &mut |name, product, result| {
            write(&lines::start(name, product, result));
            show_progress(name, product, result);
        });
        write(&lines::comparison(&comparison));
        comparisons.push(comparison);
    }
    say(&table::table(&comparisons))?;
    let missed = options.check && !comparisons.iter().all(|comparison| comparison.passes() == Some(true));
    Ok(if missed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// What each device says it is.
fn versions(bench: &Bench, products: &[Product]) -> Result<Vec<(Product, Value)>> {
    let mut versions = Vec::new();
    for product in products.iter().filter(|product| product.has_monitor()) {
        let mut device = Device::start(bench, *product, &bench.fresh_folder()?, &[], &[])?;
        versions.push((*product, device.qmp().version().clone()));
    }
    Ok(versions)
}

fn show_progress(name: &str, product: Product, result: &StartResult) {
    let text = match result {
        Ok(figure) => format!("{:.3} (median {:.3})", figure.best, figure.median),
        Err(failure) => format!("failed: {failure}"),
    };
    let _ = writeln!(std::io::stderr(), "{name:24} {:10} {text}", product.name());
}

fn say(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).doing("writing the answer")
}
