#!/usr/bin/env bash
# Installs what only the tests need, into .tools: cargo-nextest (each test its own process: process groups are statics)
# and the wallet tools (cast, viem) where npm is there. Says what it does; does nothing a second time.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! cargo nextest --version >/dev/null 2>&1; then
  echo "== installing cargo-nextest into .tools (once, a few minutes)"
  cargo install --locked --quiet --root "$PWD/.tools" cargo-nextest
fi

if command -v npm >/dev/null 2>&1 && command -v node >/dev/null 2>&1; then
  echo "== wallet tools (cast, viem) in .tools/npm"
  node --input-type=module -e 'await import(process.argv[1])' "$PWD/tests/tools/setup.mjs"
else
  echo "== node and npm are not installed: tests with cast, viem and solc will say that they are skipped"
fi
