// One peer of js-libp2p with an identity of its own, and what it does in all scenarios.
import { load } from "./setup.mjs";
import { handshakeRequest, handshakeResponse, response, sha256 } from "./wire.mjs";

const { createLibp2p } = await load("libp2p");
const { tcp } = await load("@libp2p/tcp");
const { noise } = await load("@libp2p/noise");
const { yamux } = await load("@libp2p/yamux");
const { identify } = await load("@libp2p/identify");
const { ping } = await load("@libp2p/ping");
const { gossipsub } = await load("@libp2p/gossipsub");
const { multiaddr } = await load("@multiformats/multiaddr");

export const PROTOCOL = "/alys/peer/1";
export const GOSSIP = "/meshsub/1.1.0";

/** Resolves when `condition` gives something; fails when it does not in time. */
export async function until(what, condition, seconds = 60) {
  for (const end = Date.now() + seconds * 1_000; Date.now() < end; await soon()) {
    const value = await condition();
    if (value) return value;
  }
  throw new Error(`waited ${seconds} s in vain for ${what}`);
}

export const soon = (millis = 50) => new Promise((resolve) => setTimeout(resolve, millis));

export class Peer {
  /** A peer that is not connected. `gossips`: with js-libp2p's own gossipsub; else a scenario writes its streams by hand. */
  static async create(chain, { gossips = false, answers = true } = {}) {
    const services = { identify: identify(), ping: ping() };
    if (gossips) services.gossip = gossipsub({ msgIdFn: (message) => sha256(message.topic, Buffer.from([0]), message.data) });
    const node = await createLibp2p({
      addresses: { listen: [] },
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux({ maxOutboundStreams: 4_096, enableKeepAlive: false })],
      connectionManager: { reconnectRetries: 0 },
      connectionMonitor: { enabled: false },
      services,
    });
    const peer = new Peer(node, chain);
    // Whom a node cannot gossip to, it does not listen to either.
    if (!gossips) await node.handle(GOSSIP, readAll);
    if (answers) await node.handle(PROTOCOL, (stream) => peer.#answer(stream));
    return peer;
  }

  constructor(node, chain) {
    Object.assign(this, { node, chain, asked: 0 });
  }

  get id() {
    return this.node.peerId.toString();
  }

  /** The node under test asks: with what chain we are of. */
  async #answer(stream) {
    const request = await readAll(stream);
    this.asked += 1;
    if (request.length > 0) stream.send(handshakeResponse(this.chain));
    await stream.close().catch(() => {});
  }

  async dial(options = {}) {
    this.connection = await this.node.dial(multiaddr(this.chain.address), { signal: AbortSignal.timeout(15_000), ...options });
    return this.connection;
  }

  get isConnected() {
    return this.connection?.status === "open";
  }

  /** A stream over the connection. */
  open(protocol) {
    return this.connection.newStream(protocol, { maxOutboundStreams: 4_096, signal: AbortSignal.timeout(15_000) });
  }

  /** Sends one request and reads the whole answer. */
  async ask(request) {
    const stream = await this.open(PROTOCOL);
    const answer = readAll(stream);
    stream.send(request);
    const [message] = await Promise.all([answer, stream.close()]);
    return response(message);
  }

  /** Dials and shows to be of the chain. */
  async greet() {
    await this.dial();
    const answer = await this.ask(handshakeRequest(this.chain));
    if (!answer.handshake) throw new Error(`no handshake: ${JSON.stringify(answer)}`);
    return answer.handshake;
  }

  async end() {
    await this.node.stop();
  }
}

/** Everything until the stream's end. */
export async function readAll(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk.subarray()));
  return Buffer.concat(chunks);
}
