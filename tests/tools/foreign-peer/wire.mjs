// What our nodes write, read again from their documents alone: protobuf of proto/alys/network.proto, the SSZ form of a block's
// header, and the hash that identifies it.
import { createHash } from "node:crypto";

export const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest();

export function varint(value) {
  const bytes = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 0x80n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 0x7fn) | 0x80);
  }
}

const number = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);
const bytes = (field, value) => Buffer.concat([varint((field << 3) | 2), varint(value.length), value]);

/** The fields of a protobuf message: number → values, a bigint or bytes each. */
function fields(message) {
  let at = 0;
  const readVarint = () => {
    for (let value = 0n, shift = 0n; ; shift += 7n) {
      if (at >= message.length || shift > 63n) throw new Error("cut off within a number");
      const byte = message[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const found = new Map();
  while (at < message.length) {
    const tag = Number(readVarint());
    let value = readVarint();
    if ((tag & 7) === 2) {
      const end = at + Number(value);
      if (end > message.length) throw new Error("cut off within bytes");
      value = message.subarray(at, end);
      at = end;
    } else if ((tag & 7) !== 0) throw new Error(`wire type ${tag & 7}`);
    found.set(tag >> 3, [...(found.get(tag >> 3) ?? []), value]);
  }
  return found;
}

export function handshakeRequest({ protocol = 1, chainId, genesis, height = 0n, hash = Buffer.alloc(0) }) {
  return bytes(1, handshake({ protocol, chainId, genesis, height, hash }));
}

export function handshakeResponse(ours) {
  return handshakeRequest(ours);
}

function handshake({ protocol, chainId, genesis, height, hash }) {
  const head = height > 0n ? [number(4, height), bytes(5, hash)] : [];
  return Buffer.concat([number(1, protocol), number(2, chainId), bytes(3, genesis), ...head]);
}

export function blocksRequest(from, limit) {
  return bytes(2, Buffer.concat([number(1, from), number(2, limit)]));
}

/** One frame of gossipsub: an RPC with one message. */
export const frame = (rpc) => Buffer.concat([varint(rpc.length), rpc]);

/** A message of gossipsub whose signature is of nobody. */
export function message(topic, data, from) {
  return bytes(2, Buffer.concat([bytes(1, from), bytes(2, data), bytes(3, Buffer.alloc(8, 1)), bytes(4, Buffer.from(topic)), bytes(5, Buffer.alloc(64, 1))]));
}

/** { handshake } or { blocks } or { refused }. */
export function response(message) {
  const parts = fields(message);
  if (parts.has(1)) {
    const of = fields(parts.get(1)[0]);
    return {
      handshake: { protocol: of.get(1)[0], chainId: of.get(2)[0], genesis: of.get(3)[0], height: of.get(4)?.[0] ?? 0n, hash: of.get(5)?.[0] },
    };
  }
  if (parts.has(2)) return { blocks: (fields(parts.get(2)[0]).get(1) ?? []).map(block) };
  return { refused: parts.get(3)?.[0].toString() ?? "" };
}

/** The block of a gossiped `BlockPropagation`. */
export const gossiped = (message) => block(fields(message).get(1)[0]);

function block(message) {
  const of = fields(message);
  return { height: of.get(1)[0], hash: of.get(2)[0], header: header(of.get(3)[0]), certificate: of.get(4)[0], burns: of.get(5) ?? [] };
}

// In the order of `alys_blocks::Header`, with the bytes that each has in SSZ.
const HEADER = [
  ["version", 8], ["chainId", 8], ["height", 8], ["slot", 8], ["time", 8],
  ["proposer", 32], ["parent", 32], ["bitcoinHash", 32], ["bitcoinHeight", 4], ["bodyRoot", 32],
];

function header(ssz) {
  const parts = {};
  let at = 0;
  for (const [name, size] of HEADER) {
    parts[name] = ssz.subarray(at, at + size);
    at += size;
  }
  // The body is the only part of variable size: here is where it begins.
  if (ssz.length < at + 4 || ssz.readUInt32LE(at) !== at + 4) throw new Error("not the SSZ form of a block");
  return parts;
}

/** The hash that identifies a block: domain, genesis, tree hash of the header. */
export function blockHash(parts, genesis) {
  const leaf = (name) => Buffer.concat([parts[name], Buffer.alloc(32 - parts[name].length)]);
  const view = sha256(leaf("bitcoinHash"), leaf("bitcoinHeight"));
  const leaves = ["version", "chainId", "height", "slot", "time", "proposer", "parent"].map(leaf);
  return sha256(sha256("alys/block/1"), genesis, root([...leaves, view, leaf("bodyRoot")]));
}

function root(leaves) {
  let level = [...leaves];
  while (level.length & (level.length - 1)) level.push(Buffer.alloc(32));
  while (level.length > 1) {
    level = level.flatMap((left, at) => (at % 2 === 0 ? [sha256(left, level[at + 1])] : []));
  }
  return level[0];
}
