// What nobody should do. Each scenario goes on until the node has ended it, and fails when the node lets it go on.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { connect } from "node:net";

import { GOSSIP, PROTOCOL, Peer, readAll, soon, until } from "./peer.mjs";
import { blocksRequest, frame, handshakeRequest, message, varint } from "./wire.mjs";

const NAMES = ["blocks", "consensus", "transactions"];
const topic = (chain, name) => `alys/${chain.genesis.toString("hex")}/${name}/1`;

/** Does something again and again until the node has closed the connection; how often it could. */
async function untilCut(peer, most, act) {
  let times = 0;
  while (peer.isConnected) {
    assert.ok(times < most, `the node lets it happen ${times} times`);
    times += 1;
    await act(times).catch((error) => {
      console.error(`${times}: ${error.message ?? error.type}`);
      return soon();
    });
  }
  return times;
}

/** Writes bytes to a stream of its own, and waits for what the node does with it: not long, it need not do anything. */
async function write(peer, protocol, bytes) {
  const stream = await peer.open(protocol);
  const answer = readAll(stream);
  stream.send(bytes);
  await Promise.race([Promise.all([answer, stream.close()]), soon(1_000)]);
  if (stream.status === "open") stream.abort(new Error("enough"));
}

async function repeated(chain, most, act, options) {
  const peer = await Peer.create(chain, options);
  await peer.greet();
  const times = await untilCut(peer, most, (time) => act(peer, time));
  return { peer: peer.id, times, comesBack: await comesBack(peer) };
}

/** Whether the node takes a connection of this identity again. */
async function comesBack(peer) {
  const again = await peer.dial().catch(() => undefined);
  if (!again) return false;
  await soon(500);
  return again.status === "open";
}

/** Bytes that are no request. */
export const garbage = (chain) => repeated(chain, 10, (peer) => write(peer, PROTOCOL, Buffer.alloc(200, 0xff)));

/** A request that says nothing. */
export const empty = (chain) => repeated(chain, 10, (peer) => write(peer, PROTOCOL, Buffer.alloc(0)));

/** A good request with a long tail that a lax reader would pass over. */
export const oversize = (chain) =>
  repeated(chain, 10, (peer) => write(peer, PROTOCOL, Buffer.concat([handshakeRequest(chain), Buffer.from([0x7a, 0x80, 0x80, 0x40]), Buffer.alloc(1 << 20)])));

/** Good requests, far more than anybody needs. */
export const flood = (chain) => repeated(chain, 500, (peer) => peer.ask(blocksRequest(1n, 1n)));

/** A range without having said of what chain it is. */
export async function unasked(chain) {
  const peer = await Peer.create(chain, { answers: false });
  await peer.dial();
  const { refused } = await peer.ask(blocksRequest(1n, 1n));
  assert.match(refused, /handshake comes first/);
  const times = await untilCut(peer, 500, () => peer.ask(blocksRequest(1n, 1n)));
  return { peer: peer.id, times, comesBack: await comesBack(peer) };
}

/** The handshake of another chain. It is answered, so that an operator learns why. */
export async function otherChain(chain) {
  const peer = await Peer.create({ ...chain, genesis: Buffer.alloc(32, 7) }, { answers: false });
  await peer.dial();
  await peer.ask(handshakeRequest(peer.chain)).catch(() => {});
  await until("the node to hang up", () => !peer.isConnected, 5);
  return { peer: peer.id, comesBack: await comesBack(peer) };
}

/** Says nothing at all. */
export async function silent(chain) {
  const peer = await Peer.create(chain, { answers: false });
  await peer.dial();
  const begin = Date.now();
  await until("the node to hang up", () => !peer.isConnected, 30);
  return { peer: peer.id, millis: Date.now() - begin };
}

/** Signed gossip that is neither block nor vote nor transaction. */
export async function gossipGarbage(chain) {
  const peer = await Peer.create(chain, { gossips: true });
  const { gossip } = peer.node.services;
  NAMES.forEach((name) => gossip.subscribe(topic(chain, name)));
  await peer.greet();
  await until("the node's subscriptions", () => NAMES.every((name) => gossip.getSubscribers(topic(chain, name)).length > 0));
  const times = await untilCut(peer, 40, async (time) => {
    await gossip.publish(topic(chain, NAMES[time % NAMES.length]), Buffer.concat([Buffer.from([0x80]), randomBytes(300)]));
    await soon(200);
  });
  return { peer: peer.id, times, comesBack: await comesBack(peer) };
}

/** A stream of gossip that is written by hand, opened anew whenever the node has closed it. */
function byHand(chain, most, bytes, pause = 200) {
  let stream;
  return repeated(chain, most, async (peer) => {
    // The node closes its side of what it reads no further.
    const isNew = stream?.status !== "open" || stream.remoteWriteStatus !== "writable";
    if (isNew) stream = await peer.open(GOSSIP);
    stream.send(bytes(peer, isNew));
    // What piles up here is sent as one frame of yamux, and one of more than 1 MiB ends the connection, whatever is in it.
    await until("room", () => stream.writeBufferLength === 0 || stream.remoteWriteStatus !== "writable", 1);
    await soon(pause);
  });
}

/** Gossip in the name of its sender, but not signed by it. */
export const gossipForged = (chain) =>
  byHand(chain, 60, (peer) => frame(message(topic(chain, "blocks"), randomBytes(100), peer.node.peerId.toMultihash().bytes)));

/** A transaction that is longer than any may be. */
export const gossipLong = (chain) =>
  byHand(chain, 60, (peer) => frame(message(topic(chain, "transactions"), randomBytes(200_000), peer.node.peerId.toMultihash().bytes)));

/** Bytes that are no frame of gossip. */
export const gossipNoise = (chain) => byHand(chain, 60, () => Buffer.concat([Buffer.from([20, 0x07]), randomBytes(19)]));

/** A frame that is longer than any may be, as far as the node reads it. */
export const gossipOversize = (chain) =>
  byHand(chain, 400, (_, isNew) => Buffer.concat([isNew ? varint(1 << 28) : Buffer.alloc(0), Buffer.alloc(1 << 18)]), 0);

/** Requests of which a byte comes now and then. */
export async function slowLoris(chain) {
  const peer = await Peer.create(chain);
  await peer.greet();
  const begin = Date.now();
  const streams = await Promise.all(Array.from({ length: 12 }, () => peer.open(PROTOCOL)));
  let firstClosed;
  while (peer.isConnected) {
    assert.ok(Date.now() - begin < 60_000, "the node waits for more than a minute");
    for (const stream of streams) {
      if (stream.status === "open") stream.send(Buffer.from([0x0a]));
      else firstClosed ??= Date.now() - begin;
    }
    await soon(700);
  }
  return { peer: peer.id, firstClosed, millis: Date.now() - begin, comesBack: await comesBack(peer) };
}

/** More streams than anybody needs, all at once, and nothing on them. */
export async function streams(chain) {
  const peer = await Peer.create(chain);
  await peer.greet();
  const opened = [];
  const begin = Date.now();
  while (peer.isConnected) {
    assert.ok(Date.now() - begin < 60_000, `the node lets ${opened.length} streams be opened`);
    const some = await Promise.allSettled(Array.from({ length: 50 }, () => peer.open(PROTOCOL)));
    opened.push(...some.filter(({ status }) => status === "fulfilled"));
    await soon();
  }
  return { peer: peer.id, opened: opened.length, comesBack: await comesBack(peer) };
}

/** Garbage on the protocols that every libp2p node has, and on discovery: libp2p drops it, on as many streams as there are. */
export const library = (chain) => {
  const names = ["/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0", `/alys/${chain.genesis.toString("hex")}/kad/1`, "/ipfs/id/1.0.0"];
  const noise = Buffer.concat([Buffer.from([0xff, 0x01]), Buffer.alloc(255, 0xff)]);
  const some = Array.from({ length: 25 }, () => names).flat();
  return repeated(chain, 20, (peer) => Promise.allSettled(some.map((name) => write(peer, name, noise))));
};

/** More connections of one identity than anybody needs. */
export async function manyOfOne(chain) {
  const peer = await Peer.create(chain);
  await peer.greet();
  for (let time = 0; time < 5; time += 1) await peer.dial({ force: true }).catch(() => {});
  // A connection that the node refuses looks open until it is closed.
  const open = await until("the node to close what is too much", () => fewer(peer.node.getConnections().length, 2), 20);
  await peer.end();
  return { peer: peer.id, open };
}

/** More identities than the node takes, which the chain's operator has set to eight. */
export async function manyIdentities(chain) {
  const peers = await Promise.all(Array.from({ length: 12 }, () => Peer.create(chain)));
  await Promise.allSettled(peers.map((peer) => peer.greet()));
  const open = await until("the node to close what is too much", () => fewer(peers.filter((peer) => peer.isConnected).length, 8), 20);
  await Promise.all(peers.map((peer) => peer.end()));
  return { open };
}

const fewer = (number, most) => (number <= most ? number : undefined);

/** TCP without noise: some say nothing, some say anything. All are closed by the node. */
export async function noTls(chain) {
  const [, , host, , port] = chain.address.split("/");
  const begin = Date.now();
  const ended = Array.from({ length: 60 }, (_, at) => new Promise((resolve) => {
    const socket = connect(Number(port), host, () => at % 2 === 0 && socket.write(randomBytes(500)));
    socket.on("error", () => {}).on("data", () => {}).on("close", resolve);
  }));
  const all = await Promise.race([Promise.all(ended), soon(30_000)]);
  assert.ok(all, "a connection is still open after half a minute");
  return { millis: Date.now() - begin };
}
