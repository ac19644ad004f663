//! Gives optimised builds a fixed address, for Linux on x86-64 and the toolchain's own linker. A stack runs
//! this program many times over: without relocations an agent's start is some milliseconds shorter, and each
//! process writes about a mebibyte less of its own. Elsewhere than on Linux it says what plexlab needs.

/// Said before the compiler meets the first call that only Linux has.
const ELSEWHERE: &str = "plexlab runs on Linux: its embedded cluster is made of namespaces, mounts and loopback \
    addresses that no other system has. On Windows use WSL 2, on macOS a Linux virtual machine (Lima, Colima, Docker \
    Desktop's), and there either the embedded backend or kind (`cargo xtask run --backend kind`)";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system != "linux") {
        println!("cargo::error={ELSEWHERE}");
        return;
    }
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let toolchains_linker = std::env::var("CARGO_ENCODED_RUSTFLAGS")
        .is_ok_and(|flags| !flags.contains("link"))
        && std::env::var_os("RUSTC_LINKER").is_none();
    if is("PROFILE", "release")
        && is("TARGET", "x86_64-unknown-linux-gnu")
        && is("HOST", "x86_64-unknown-linux-gnu")
        && toolchains_linker
    {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
