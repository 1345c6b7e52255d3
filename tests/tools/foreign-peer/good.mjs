// What a node of our chain in another language would do.
import assert from "node:assert/strict";

import { Peer, until } from "./peer.mjs";
import { blockHash, blocksRequest, gossiped } from "./wire.mjs";

const BLOCKS = 3;

/** Follows the chain: handshake, blocks as they become final, then the past as a range, every hash computed anew. */
export async function follow(chain) {
  const peer = await Peer.create(chain, { gossips: true });
  const topic = `alys/${chain.genesis.toString("hex")}/blocks/1`;
  const blocks = [];
  peer.node.services.gossip.addEventListener("message", ({ detail }) => {
    if (detail.topic === topic) blocks.push(gossiped(Buffer.from(detail.data)));
  });
  peer.node.services.gossip.subscribe(topic);
  const theirs = await peer.greet();
  assert.equal(theirs.protocol, 1n);
  assert.equal(theirs.chainId, chain.chainId);
  assert.deepEqual(theirs.genesis, chain.genesis);
  await until("the node to ask for our handshake", () => peer.asked > 0);
  const { agentVersion, protocols } = await until("identify", () => identified(peer));
  await until(`${BLOCKS} final blocks by gossip`, () => blocks.length >= BLOCKS);
  blocks.forEach((block, at) => check(block, chain, blocks[at - 1]));

  const last = blocks.at(-1);
  const past = await range(peer, last.height);
  assert.deepEqual(past[0].header.parent, chain.genesis, "the first block builds on the genesis");
  past.forEach((block, at) => check(block, chain, past[at - 1]));
  assert.deepEqual(past.at(-1).hash, last.hash, "the range ends with the block that was gossiped");
  assert.ok(peer.isConnected);
  const id = peer.id;
  await peer.end();
  return { peer: id, agent: agentVersion, protocols, gossiped: blocks.map(({ height }) => height), range: past.length, head: last.hash.toString("hex") };
}

async function identified(peer) {
  const known = await peer.node.peerStore.get(peer.connection.remotePeer);
  const agent = known.metadata.get("AgentVersion");
  return agent && { agentVersion: Buffer.from(agent).toString(), protocols: known.protocols };
}

/** All blocks up to a height, in as many answers as it takes. */
async function range(peer, height) {
  const all = [];
  while (BigInt(all.length) < height) {
    const from = BigInt(all.length) + 1n;
    const { blocks, refused } = await peer.ask(blocksRequest(from, height - from + 1n));
    assert.ok(blocks?.length > 0, `a range is refused: ${refused}`);
    all.push(...blocks);
  }
  return all;
}

function check(block, chain, before) {
  const { header } = block;
  assert.equal(header.height.readBigUInt64LE(), block.height);
  assert.equal(header.chainId.readBigUInt64LE(), chain.chainId);
  assert.deepEqual(blockHash(header, chain.genesis), block.hash, `the hash of block ${block.height}`);
  assert.ok(block.certificate.length > 0 && block.burns.length === 0);
  if (!before) return;
  assert.equal(block.height, before.height + 1n, "heights go up one by one");
  assert.deepEqual(header.parent, before.hash, `block ${block.height} builds on the one before`);
}
