#!/usr/bin/env bash
# Installs what only the tests need, into .tools: cargo-nextest (each test its own process: process groups are statics)
# the wallet tools (cast, viem), js-libp2p and EthereumJS where npm is there, an OTLP collector (rotel) where python3 is there, Prometheus and faketime
# where apt is there. Says what it does; does nothing a second time.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! cargo nextest --version >/dev/null 2>&1; then
  echo "== installing cargo-nextest into .tools (once, a few minutes)"
  cargo install --locked --quiet --root "$PWD/.tools" cargo-nextest
fi

if command -v npm >/dev/null 2>&1 && command -v node >/dev/null 2>&1; then
  echo "== wallet tools (cast, viem) in .tools/npm"
  node --input-type=module -e 'await import(process.argv[1])' "$PWD/tests/tools/setup.mjs"
  echo "== a foreign peer (js-libp2p) in .tools/foreign-peer"
  node --input-type=module -e 'await import(process.argv[1])' "$PWD/tests/tools/foreign-peer/setup.mjs"
  echo "== an execution client (EthereumJS) in .tools/execution-client"
  node "$PWD/tests/tools/execution-client/setup.mjs" >/dev/null
else
  echo "== node and npm are not installed: tests with cast, viem, solc, js-libp2p and EthereumJS will say that they are skipped"
fi

collector() { find .tools/rotel -type f \( -name rotel-agent -o -path '*/rotel/rotel' \) -perm -u+x 2>/dev/null | head -n 1; }
if ! command -v python3 >/dev/null 2>&1 || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  echo "== python3 with venv is not installed: the test with an OTLP collector will say that it is skipped"
elif [ -x .tools/bin/rotel ] && [ -n "$(collector)" ]; then
  :
else
  echo "== an OTLP collector (rotel) in .tools/rotel"
  python3 -m venv --clear .tools/rotel
  if .tools/rotel/bin/pip install --quiet --disable-pip-version-check rotel && [ -n "$(collector)" ]; then
    mkdir -p .tools/bin
    # The wheel's program is linked with the library of the Python that it was installed for.
    libraries=$(.tools/rotel/bin/python -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR") or "")')
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "%s" "$@"\n' "$libraries" "$PWD/$(collector)" >.tools/bin/rotel
    chmod +x .tools/bin/rotel
  else
    echo "== rotel cannot be installed here: the test with an OTLP collector will say that it is skipped"
  fi
fi

on_path() { PATH="${PATH//$PWD\/.tools\/bin:/}" command -v "$1"; }
if [ -x .tools/bin/prometheus ] && [ -x .tools/bin/promtool ] && .tools/bin/promtool --version >/dev/null 2>&1; then
  :
elif on_path prometheus >/dev/null && on_path promtool >/dev/null; then
  mkdir -p .tools/bin
  ln -sf "$(on_path prometheus)" .tools/bin/prometheus
  ln -sf "$(on_path promtool)" .tools/bin/promtool
elif command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1; then
  echo "== Prometheus (Debian's package, unpacked) in .tools/prometheus"
  rm -rf .tools/prometheus
  mkdir -p .tools/prometheus .tools/bin
  if (cd .tools/prometheus && apt-get -qq download prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb); then
    ln -sf ../prometheus/usr/bin/prometheus .tools/bin/prometheus
    ln -sf ../prometheus/usr/bin/promtool .tools/bin/promtool
  else
    echo "== Debian's prometheus cannot be had here (apt-get update?): the tests with Prometheus will say that they are skipped"
  fi
else
  echo "== neither Prometheus nor apt is here: the tests with Prometheus will say that they are skipped"
fi

if [ -z "$(find .tools/faketime -name libfaketimeMT.so.1 2>/dev/null)" ]; then
  if command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1; then
    echo "== a clock that tests can set (Debian's libfaketime, unpacked) in .tools/faketime"
    rm -rf .tools/faketime
    mkdir -p .tools/faketime
    (cd .tools/faketime && apt-get -qq -o APT::Sandbox::User=root download libfaketime && dpkg-deb -x libfaketime_*.deb . && rm libfaketime_*.deb) ||
      echo "== Debian's libfaketime cannot be had here (apt-get update?): the test of the fault matrix will fail and say so"
  else
    echo "== apt is not here, so neither is libfaketime: the test of the fault matrix will fail and say so"
  fi
fi

if [ ! -x .tools/kubernetes-validate/bin/kubernetes-validate ]; then
  if command -v python3 >/dev/null 2>&1 && python3 -c 'import ensurepip, venv' 2>/dev/null; then
    echo "== the schemas of Kubernetes (kubernetes-validate) in .tools/kubernetes-validate"
    python3 -m venv --clear .tools/kubernetes-validate
    .tools/kubernetes-validate/bin/pip install --quiet --disable-pip-version-check kubernetes-validate
  else
    echo "== python3 with venv is not installed: the tests of deploy/kubernetes will fail and say so"
  fi
fi
command -v kubectl >/dev/null 2>&1 || command -v kustomize >/dev/null 2>&1 ||
  echo "== neither kubectl nor kustomize is installed: the tests of deploy/kubernetes will fail and say so"

tests/tools/install-debian.sh
