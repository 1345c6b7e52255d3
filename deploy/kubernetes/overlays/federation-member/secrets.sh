#!/bin/sh
# Makes or renews the Secrets of federation-member, and the chain specification, in namespace alys.
# Written by `alys generate kubernetes`. Before: alys generate credentials --topology federation-member.toml --out DIR
#
#   secrets.sh DIR CHAIN.TOML
set -eu
credentials=${1:?the folder that alys generate credentials made}
specification=${2:?the chain specification}

apply() { # kind, name, what of
    kubectl create "$@" --namespace alys --dry-run=client --output=yaml | kubectl apply --namespace alys --filename=-
}

apply secret generic alys-storage \
    --from-file="$credentials/storage/cookie" \
    --from-file="$credentials/storage/ca.pem" \
    --from-file="$credentials/storage/mesh.pem" \
    --from-file="$credentials/storage/mesh.key"
apply secret generic alys-engine \
    --from-file="$credentials/engine/cookie" \
    --from-file="$credentials/engine/ca.pem" \
    --from-file="$credentials/engine/mesh.pem" \
    --from-file="$credentials/engine/mesh.key"
apply secret generic alys-chain \
    --from-file="$credentials/chain/cookie" \
    --from-file="$credentials/chain/ca.pem" \
    --from-file="$credentials/chain/mesh.pem" \
    --from-file="$credentials/chain/mesh.key" \
    --from-file="$credentials/chain/validator.key"
apply secret generic alys-bridge \
    --from-file="$credentials/bridge/cookie" \
    --from-file="$credentials/bridge/ca.pem" \
    --from-file="$credentials/bridge/mesh.pem" \
    --from-file="$credentials/bridge/mesh.key" \
    --from-file="$credentials/bridge/bitcoind.password"
apply secret generic alys-stream \
    --from-file="$credentials/stream/cookie" \
    --from-file="$credentials/stream/ca.pem" \
    --from-file="$credentials/stream/mesh.pem" \
    --from-file="$credentials/stream/mesh.key" \
    --from-file="$credentials/stream/stream.pem" \
    --from-file="$credentials/stream/stream.key"
apply secret generic alys-network \
    --from-file="$credentials/network/cookie" \
    --from-file="$credentials/network/ca.pem" \
    --from-file="$credentials/network/mesh.pem" \
    --from-file="$credentials/network/mesh.key"
apply secret generic alys-sync \
    --from-file="$credentials/sync/cookie" \
    --from-file="$credentials/sync/ca.pem" \
    --from-file="$credentials/sync/mesh.pem" \
    --from-file="$credentials/sync/mesh.key"
apply secret generic alys-debug \
    --from-file="$credentials/debug/cookie" \
    --from-file="$credentials/debug/ca.pem" \
    --from-file="$credentials/debug/mesh.pem" \
    --from-file="$credentials/debug/mesh.key"
apply secret generic alys-supervisor \
    --from-file="$credentials/supervisor/cookie" \
    --from-file="$credentials/supervisor/ca.pem" \
    --from-file="$credentials/supervisor/mesh.pem" \
    --from-file="$credentials/supervisor/mesh.key"
apply secret generic alys-governance-ada \
    --from-file="$credentials/governance-ada/ca.pem" \
    --from-file="$credentials/governance-ada/governance.pem" \
    --from-file="$credentials/governance-ada/governance.key" \
    --from-file="$credentials/governance-ada/member.key" \
    --from-file="$credentials/governance-ada/bitcoind.password"
apply configmap alys-chain --from-file=chain.toml="$specification"
