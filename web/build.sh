#!/bin/sh
# Builds the dashboard into web/dist, from where `cargo build` embeds it into the program.
#
# Needs a Rust toolchain that can compile for wasm32-unknown-unknown: rustup's target of that name
# (`rustup target add wasm32-unknown-unknown`), or Debian's `rustc-web cargo-web rust-web-src`, with which the
# standard library is built here too. With neither it says so and ends with status 3; the program builds
# without the dashboard then, and its page says how to get it.
#
#   web/build.sh           builds
#   web/build.sh check     only tells whether it could
set -eu
cd "$(dirname "$0")/.."
target=wasm32-unknown-unknown
out=${CARGO_TARGET_DIR:-$PWD/target}

has_target() { [ -d "$("$1" --print sysroot 2>/dev/null)/lib/rustlib/$target/lib" ]; }
has_source() { [ -e "$("$1" --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/Cargo.lock" ]; }

# A linker for wasm: any rust-lld that a toolchain brought, or the system's.
linker() {
    for compiler in rustc "$HOME/.cargo/bin/rustc" /usr/bin/rustc; do
        sysroot=$("$compiler" --print sysroot 2>/dev/null) || continue
        for lld in "$sysroot"/lib/rustlib/*/bin/rust-lld; do
            [ -x "$lld" ] && echo "$lld" && return
        done
    done
    command -v wasm-ld || command -v rust-lld || command -v wasm-ld-14 || true
}

rustc= cargo= std=
if has_target rustc; then
    rustc=rustc cargo=cargo
else
    for compiler in /usr/bin/rustc rustc; do
        if has_source "$compiler" && [ -n "$(linker)" ]; then
            rustc=$compiler cargo=${compiler%rustc}cargo std=1
            break
        fi
    done
fi
if [ -z "$rustc" ]; then
    echo "the dashboard is not built: no Rust for $target" >&2
    echo "  rustup target add $target" >&2
    echo "  or on Debian: apt-get install rustc-web cargo-web rust-web-src lld" >&2
    exit 3
fi
[ "${1:-build}" = build ] || exit 0

# A target directory of its own: these builds neither wait for nor undo the program's.
# The linker leaves in what leads where: that tells the bundler what the first view can be without.
build() {
    "$cargo" rustc --locked --package mizzen-web --lib --crate-type cdylib --profile web --target $target --target-dir "$out/web" "$@" \
        -- -Clink-args=--emit-relocs
}
if [ -n "$std" ]; then
    PATH=$(dirname "$(command -v "$rustc")"):$PATH
    export PATH RUSTC="$rustc" RUSTC_BOOTSTRAP=1
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$(linker)
    export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER
    # A panic ends the program either way; this leaves out the words that nobody would see.
    (RUSTFLAGS="${RUSTFLAGS:-} -Zunstable-options -Cpanic=immediate-abort" build -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size)
else
    (build)
fi
[ -z "$std" ] || unset RUSTC RUSTC_BOOTSTRAP
cargo=cargo
command -v cargo >/dev/null 2>&1 || cargo=/usr/bin/cargo
"$cargo" run --locked --quiet --package mizzen-web-bundle --target-dir "$out/web" -- \
    "$out/web/$target/web/mizzen_web.wasm" web/static web/dist
