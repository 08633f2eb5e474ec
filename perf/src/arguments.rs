//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use framewire_perf::compare::Effort;
use framewire_perf::device::{Bench, Product};
use framewire_perf::endpoint::Address;
use framewire_perf::error::{Error, Result};
use framewire_perf::frame::{SIZE_MAX, Shape};
use lexopt::prelude::{Long, Short, Value, ValueExt as _};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
framewire-perf: figures of Framewire, beside QEMU's on the same work

  framewire-perf compare [CASE...]   measure cases (all of them if none is named), as root
      CASE is KIND, KIND:SIZE, KIND:SIZE:gso, KIND:rtt, KIND:wake, KIND:add, KIND:commands, KIND:reconfigure, KIND:kill,
      tap:tcp, tap:tcp:free, multiqueue, idle, vde[:64|:1500|:64:rtt] or af-xdp[:receive|:transmit|:forward|:redirect];
      KIND is tap, dgram-inet, dgram-unix, stream, socket or l2tpv3
      --check              end with 1 if a floor is missed
      --lines FILE         write JSON lines to FILE
      --starts N           process starts of each device (5)
      --seconds S          how long each is measured (2)
      --only DEVICE        qemu, testpmd, vde_switch, kernel or framewire
      --qemu PATH          (qemu-system-x86_64)
      --framewire PATH     (beside this program)
      --device-cpus LIST   processors of the device (0)
      --generator-cpu N    processor of the generator (1)

  framewire-perf one-way|round-trip|source|sink|reflect   drive a device that runs already
      --a ENDPOINT         where frames are sent
      --b ENDPOINT         where they are received (or reflected)
      --size N             bytes a frame (64)
      --flows N            send UDP frames, of N flows in turn (bare Ethernet frames)
      --window N           frames on their way at most (256)
      --batch N            frames a call at most (32)
      --pace N             frames a second to offer
      --pause MS           before each round trip (0)
      --seconds S          (2)
      --cpu N              run there, in a session of its own
      --watch PID,...      processes of the device
      ENDPOINT is udp:IP:PORT:PEERIP:PEERPORT, udpgso:... (many frames a call), unixd:PATH:PEERPATH, stream:PATH, vde:FOLDER (a plug in a switch), vhost:SOCKET (a guest), vhostpacked:SOCKET,
      tcp:IP:PORT, packet:INTERFACE, packetgso:INTERFACE (UDP frames, many a call), or, to receive only, ifrx:INTERFACE (its counter)
";

/// What the user wants.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Run(Box<Options>),
}

/// What is to be run.
#[derive(Debug)]
pub(crate) enum Options {
    Compare(CompareOptions),
    Drive(DriveOptions),
}

/// Options of `compare`.
#[derive(Debug)]
pub(crate) struct CompareOptions {
    pub(crate) cases: Vec<String>,
    pub(crate) check: bool,
    pub(crate) lines: Option<PathBuf>,
    pub(crate) effort: Effort,
    pub(crate) bench: Bench,
}

/// What the generator does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    OneWay,
    RoundTrip,
    Source,
    Sink,
    Reflect,
}

/// Options of the other words.
#[derive(Debug)]
pub(crate) struct DriveOptions {
    pub(crate) mode: Mode,
    pub(crate) a: Option<Address>,
    pub(crate) b: Option<Address>,
    pub(crate) shape: Shape,
    pub(crate) window: u64,
    pub(crate) batch: usize,
    pub(crate) pace: Option<f64>,
    pub(crate) pause: Duration,
    pub(crate) duration: Duration,
    pub(crate) cpu: Option<usize>,
    pub(crate) watched: Vec<u32>,
}

/// Reads the command line, without the program's name.
pub(crate) fn parse(args: &[OsString]) -> Result<Command> {
    let mut parser = lexopt::Parser::from_args(args.iter().cloned());
    let parsed = match parser.next()? {
        None | Some(Short('h') | Long("help")) => return Ok(Command::Help),
        Some(Value(word)) => match &*word.to_string_lossy() {
            "help" => return Ok(Command::Help),
            "compare" => parse_compare(parser),
            "one-way" => parse_drive(parser, Mode::OneWay),
            "round-trip" => parse_drive(parser, Mode::RoundTrip),
            "source" => parse_drive(parser, Mode::Source),
            "sink" => parse_drive(parser, Mode::Sink),
            "reflect" => parse_drive(parser, Mode::Reflect),
            other => return Err(Error::Usage(format!("'{other}' is no command"))),
        },
        Some(other) => return Err(other.unexpected().into()),
    };
    parsed.map(|options| options.map_or(Command::Help, |options| Command::Run(Box::new(options))))
}

fn parse_compare(mut parser: lexopt::Parser) -> Result<Option<Options>> {
    let mut options = CompareOptions {
        cases: Vec::new(),
        check: false,
        lines: None,
        effort: Effort {
            starts: 5,
            duration: Duration::from_secs(2),
            products: vec![
                Product::Qemu,
                Product::Testpmd,
                Product::VdeSwitch,
                Product::Kernel,
                Product::Framewire,
            ],
        },
        bench: Bench {
            qemu: "qemu-system-x86_64".into(),
            framewire: beside_this_program(),
            device_cpus: vec![0],
            generator_cpu: 1,
            folder: PathBuf::new(),
        },
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Value(case) => options.cases.push(case.to_string_lossy().into_owned()),
            Long("check") => options.check = true,
            Long("lines") => options.lines = Some(absolute(parser.value()?)),
            Long("starts") => options.effort.starts = number(&mut parser)?,
            Long("seconds") => options.effort.duration = seconds(&mut parser)?,
            Long("only") => options.effort.products = vec![product(&mut parser)?],
            Long("qemu") => options.bench.qemu = parser.value()?.into(),
            Long("framewire") => options.bench.framewire = absolute(parser.value()?),
            Long("device-cpus") => options.bench.device_cpus = list(&mut parser)?,
            Long("generator-cpu") => options.bench.generator_cpu = number(&mut parser)?,
            Short('h') | Long("help") => return Ok(None),
            other @ (Short(_) | Long(_)) => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(Options::Compare(options)))
}

fn parse_drive(mut parser: lexopt::Parser, mode: Mode) -> Result<Option<Options>> {
    let mut options = DriveOptions {
        mode,
        a: None,
        b: None,
        shape: Shape::bare(64),
        window: 256,
        batch: 32,
        pace: None,
        pause: Duration::ZERO,
        duration: Duration::from_secs(2),
        cpu: None,
        watched: Vec::new(),
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("a") => options.a = Some(address(&mut parser)?),
            Long("b") => options.b = Some(address(&mut parser)?),
            Long("size") => options.shape.size = number(&mut parser)?,
            Long("flows") => options.shape = Shape::udp(options.shape.size, number(&mut parser)?),
            Long("window") => options.window = number(&mut parser)?,
            Long("batch") => options.batch = number(&mut parser)?,
            Long("pace") => options.pace = Some(number(&mut parser)?),
            Long("pause") => options.pause = Duration::from_millis(number(&mut parser)?),
            Long("seconds") => options.duration = seconds(&mut parser)?,
            Long("cpu") => options.cpu = Some(number(&mut parser)?),
            Long("watch") => options.watched = list(&mut parser)?,
            Short('h') | Long("help") => return Ok(None),
            other @ (Short(_) | Long(_) | Value(_)) => return Err(other.unexpected().into()),
        }
    }
    let sizes = options.shape.size_min()..=SIZE_MAX;
    if !sizes.contains(&options.shape.size) {
        let (least, most) = (sizes.start(), sizes.end());
        return Err(Error::Usage(format!("these frames have from {least} to {most} bytes")));
    }
    Ok(Some(Options::Drive(options)))
}

fn beside_this_program() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.with_file_name("framewire")
}

/// The device runs in a folder of its own.
fn absolute(path: OsString) -> PathBuf {
    let path = PathBuf::from(path);
    std::path::absolute(&path).unwrap_or(path)
}

fn address(parser: &mut lexopt::Parser) -> Result<Address> {
    Address::parse(&parser.value()?.to_string_lossy())
}

fn product(parser: &mut lexopt::Parser) -> Result<Product> {
    match &*parser.value()?.to_string_lossy() {
        "qemu" => Ok(Product::Qemu),
        "testpmd" => Ok(Product::Testpmd),
        "vde_switch" => Ok(Product::VdeSwitch),
        "kernel" => Ok(Product::Kernel),
        "framewire" => Ok(Product::Framewire),
        other => Err(Error::Usage(format!("'{other}' is no device"))),
    }
}

fn number<T: std::str::FromStr<Err: Into<Box<dyn std::error::Error + Send + Sync>>>>(
    parser: &mut lexopt::Parser,
) -> Result<T> {
    Ok(parser.value()?.parse()?)
}

fn seconds(parser: &mut lexopt::Parser) -> Result<Duration> {
    let seconds: f64 = number(parser)?;
    Duration::try_from_secs_f64(seconds).map_err(|error| Error::Usage(error.to_string()))
}

fn list<T: std::str::FromStr>(parser: &mut lexopt::Parser) -> Result<Vec<T>> {
    let text = parser.value()?;
    let items: Option<Vec<T>> = text.to_string_lossy().split(',').map(|item| item.parse().ok()).collect();
    items.ok_or_else(|| Error::Usage(format!("{text:?} is no list of numbers")))
}

#[cfg(test)]
mod test {
    use super::*;

    fn parsed(words: &str) -> Result<Command> {
        let args: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        parse(&args)
    }

    #[test]
    fn compare_takes_cases_and_options_in_any_order() {
        let words = "compare tap:64 --check --starts 3 idle --only qemu --device-cpus 0,2";
        let Ok(Command::Run(options)) = parsed(words) else { panic!("not understood") };
        let Options::Compare(options) = *options else { panic!("taken for something else") };
        assert_eq!(options.cases, ["tap:64", "idle"]);
        assert!(options.check && options.effort.starts == 3);
        assert_eq!(options.effort.products, [Product::Qemu]);
        assert_eq!(options.bench.device_cpus, [0, 2]);
    }

    #[test]
    fn nothing_and_help_show_the_help() {
        for words in ["", "help", "--help", "compare --help", "sink -h"] {
            assert!(matches!(parsed(words), Ok(Command::Help)), "{words}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for words in
            ["fly", "compare --fast", "one-way --size 4", "one-way --a nowhere", "compare --only vde"]
        {
            assert!(matches!(parsed(words), Err(Error::Usage(_))), "{words}");
        }
    }
}
