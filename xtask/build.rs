//! Tells the linker to make optimised builds small, for Linux on x86-64, where the toolchain brings the
//! linker that can. A stack runs this program many times over, and each agent's start pays for it:
//!
//! - Functions that compiled to the same code are folded. The generic code of serde and of dropping values
//!   is compiled once per crate.
//! - The program has a fixed address: nothing is relocated at a start, and no page is written by it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let toolchains_linker = std::env::var("CARGO_ENCODED_RUSTFLAGS")
        .is_ok_and(|flags| !flags.contains("link"))
        && std::env::var_os("RUSTC_LINKER").is_none();
    if is("PROFILE", "release")
        && is("TARGET", "x86_64-unknown-linux-gnu")
        && is("HOST", "x86_64-unknown-linux-gnu")
        && toolchains_linker
    {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=safe");
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
