//! The machine that clients believe they talk to: whether it runs, what it is called, what it is.

use crate::qmp::qapi::define::{enumeration, object};

enumeration! {
    /// States of a virtual machine. Here a machine is `prelaunch`, `running`, `paused` or `shutdown`; the others are
    /// what clients expect to find in the schema.
    pub enum RunState {
        /// Stopped by a debugger.
        Debug = "debug",
        /// Waiting for an incoming migration.
        Inmigrate = "inmigrate",
        /// Stopped by an error inside.
        InternalError = "internal-error",
        /// Stopped by an error of a disk.
        IoError = "io-error",
        /// Stopped by `stop`.
        Paused = "paused",
        /// Has migrated away.
        Postmigrate = "postmigrate",
        /// Not started yet (`-S`).
        Prelaunch = "prelaunch",
        /// At the end of a migration.
        FinishMigrate = "finish-migrate",
        /// Being restored.
        RestoreVm = "restore-vm",
        /// Runs.
        Running = "running",
        /// Being saved.
        SaveVm = "save-vm",
        /// Shut down.
        Shutdown = "shutdown",
        /// Asleep.
        Suspended = "suspended",
        /// Stopped by its watchdog.
        Watchdog = "watchdog",
        /// The guest crashed.
        GuestPanicked = "guest-panicked",
        /// In the middle of fault tolerance.
        Colo = "colo",
    }
}

object! {
    /// What `query-status` returns.
    pub struct StatusInfo {
        /// Whether the machine runs.
        running: bool,
        /// Whether it runs step by step.
        singlestep: bool,
        /// Its state.
        status: RunState,
    }
}

object! {
    /// What `query-name` returns.
    #[derive(Default)]
    pub struct NameInfo {
        /// The name, if it has one.
        name: Option<String>,
    }
}

enumeration! {
    /// Processors, as QEMU 7.2 knows them.
    #[expect(missing_docs, reason = "the names are all there is to say")]
    pub enum SysEmuTarget {
        Aarch64 = "aarch64", Alpha = "alpha", Arm = "arm", Avr = "avr", Cris = "cris", Hppa = "hppa",
        I386 = "i386", Loongarch64 = "loongarch64", M68k = "m68k", Microblaze = "microblaze",
        Microblazeel = "microblazeel", Mips = "mips", Mips64 = "mips64", Mips64el = "mips64el", Mipsel = "mipsel",
        Nios2 = "nios2", Or1k = "or1k", Ppc = "ppc", Ppc64 = "ppc64", Riscv32 = "riscv32", Riscv64 = "riscv64",
        Rx = "rx", S390x = "s390x", Sh4 = "sh4", Sh4eb = "sh4eb", Sparc = "sparc", Sparc64 = "sparc64",
        Tricore = "tricore", X8664 = "x86_64", Xtensa = "xtensa", Xtensaeb = "xtensaeb",
    }
}

object! {
    /// What `query-target` returns.
    pub struct TargetInfo {
        /// The processor.
        arch: SysEmuTarget,
    }
}

enumeration! {
    /// Why a machine stopped or was reset.
    pub enum ShutdownCause {
        /// Did not.
        None = "none",
        /// An error of the host.
        HostError = "host-error",
        /// `quit`.
        HostQmpQuit = "host-qmp-quit",
        /// `system_reset`.
        HostQmpSystemReset = "host-qmp-system-reset",
        /// A signal.
        HostSignal = "host-signal",
        /// A closed window.
        HostUi = "host-ui",
        /// The guest shut down.
        GuestShutdown = "guest-shutdown",
        /// The guest reset itself.
        GuestReset = "guest-reset",
        /// The guest crashed.
        GuestPanic = "guest-panic",
        /// A part of the machine asked for it.
        SubsystemReset = "subsystem-reset",
        /// A snapshot was loaded.
        SnapshotLoad = "snapshot-load",
    }
}
