// A peer that is not ours: js-libp2p, and one scenario of how it behaves towards a node of ours.
//
//   node main.mjs <scenario> <multiaddr of the node> <chain id> <genesis hash, hex>
//
// Prints what it has seen as one line of JSON and exits 0 when the scenario went as it should on this side; else 1, with the
// reason. What the node made of it is for whoever started this to ask the node.
import * as good from "./good.mjs";
import * as bad from "./bad.mjs";

const scenarios = { ...good, ...bad };
const [name, address, chainId, genesis] = process.argv.slice(2);
if (!genesis || !(name in scenarios)) {
  console.error(`usage: node main.mjs <${Object.keys(scenarios).join("|")}> <multiaddr> <chain id> <genesis hash>`);
  process.exit(2);
}
const chain = { address, chainId: BigInt(chainId), genesis: Buffer.from(genesis, "hex") };
// A stream or connection that the node cuts may fail anywhere inside js-libp2p: a scenario sees it by what it waits for.
process.on("unhandledRejection", (reason) => console.error(`cut: ${reason}`));
try {
  const seen = await scenarios[name](chain);
  console.log(JSON.stringify({ scenario: name, ...seen }, (_, value) => (typeof value === "bigint" ? Number(value) : value)));
  process.exit(0);
} catch (error) {
  console.error(error);
  process.exit(1);
}
