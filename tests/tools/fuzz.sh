#!/usr/bin/env bash
# Searches for bytes that break a decoder: every target of tests/fuzz (or those named), so many seconds each. What widens the
# corpus is kept in tests/fuzz/corpus, smallest set first; what breaks a promise is left in tests/fuzz/artifacts.
# usage: fuzz.sh SECONDS [TARGET…]
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-600}
shift || true
export PATH="$PWD/.tools/bin:$PATH"

if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "== installing cargo-fuzz into .tools (once, a minute or two)"
  cargo install --locked --quiet --root "$PWD/.tools" cargo-fuzz
fi

# Without a sanitizer the stable compiler serves; the code is safe Rust, whose checks are what a search can trip.
options=(--fuzz-dir tests/fuzz --sanitizer none --features libfuzzer --target-dir target/fuzz)
echo "== building the targets for the search (the first time: about 15 minutes on 2 cores)"
cargo fuzz build "${options[@]}"
cargo test --locked --quiet -p alys-fuzz --test corpus -- --ignored

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list --fuzz-dir tests/fuzz)
for target in "${targets[@]}"; do
  echo "== $target: $seconds s"
  cargo fuzz run "${options[@]}" "$target" -- -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1
  cargo fuzz cmin "${options[@]}" "$target" -- -max_len=16384
done
echo "== nothing found"
