//! Compiles the program with clang, and makes of the object a Rust file that carries it and knows its maps.
//!
//! The kernel's headers are the only thing taken from the system: `asm/types.h` lies in a directory named after the
//! machine, which clang does not look into when it compiles for BPF.

use std::env;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

const SOURCE: &str = "src/steer.bpf.c";

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("steer.skel.rs");
    let machine = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    let headers = format!("-I/usr/include/{machine}-linux-gnu");
    let mut builder = SkeletonBuilder::new();
    let built = builder
        .source(SOURCE)
        .clang_args([headers, "-Wall".into(), "-Werror".into()])
        .build_and_generate(&out);
    assert!(built.is_ok(), "{SOURCE} (clang and linux-libc-dev are needed): {built:?}");
    println!("cargo:rerun-if-changed={SOURCE}");
}
