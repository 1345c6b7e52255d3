// Uses a running chain as wallets and developers do, with viem and with cast, both unchanged:
// balance, transfer, deploy, call, revert, logs, fee history, receipts, pool answers, batches, WebSocket.
//
//   node wallets.mjs <rpc-url> <private key of an account with at least 0.01>
//
// Exits 0 when all of it works, 1 with the first difference otherwise.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";

import { cast, load } from "./setup.mjs";

const [url, key] = process.argv.slice(2);
if (!url || !key) {
  console.error("usage: node wallets.mjs <rpc-url> <private key>");
  process.exit(2);
}
const { createPublicClient, createWalletClient, defineChain, http, parseEther, webSocket } = await load("viem");
const { privateKeyToAccount } = await load("viem/accounts");

const { abi, bytecode } = JSON.parse(readFileSync(new URL("probe.json", import.meta.url), "utf8"));
const BRIDGE = "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB";
const account = privateKeyToAccount(key);
const probe = createPublicClient({ transport: http(url) });
const id = await probe.getChainId();
const chain = defineChain({ id, name: "alys", nativeCurrency: { name: "Bitcoin", symbol: "BTC", decimals: 18 }, rpcUrls: { default: { http: [url] } } });
const reader = createPublicClient({ chain, transport: http(url), pollingInterval: 200 });
const wallet = createWalletClient({ chain, account, transport: http(url) });
const stranger = () => privateKeyToAccount(`0x${randomBytes(32).toString("hex")}`).address;
const mined = (hash) => reader.waitForTransactionReceipt({ hash, timeout: 60_000 });

async function step(name, work) {
  const begin = performance.now();
  await work();
  console.log(`ok  ${name} (${Math.round(performance.now() - begin)} ms)`);
}

async function rpc(body) {
  const answer = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  return answer.json();
}
const call = (method, params = []) => rpc({ jsonrpc: "2.0", id: 1, method, params });

await step("viem: balance, transfer, receipt", async () => {
  const to = stranger();
  const before = await reader.getBalance({ address: account.address });
  const value = parseEther("0.0001");
  const receipt = await mined(await wallet.sendTransaction({ to, value }));
  assert.equal(receipt.status, "success");
  assert.equal(receipt.gasUsed, 21_000n);
  assert.equal(await reader.getBalance({ address: to }), value);
  const after = await reader.getBalance({ address: account.address });
  assert.equal(before - after, value + receipt.gasUsed * receipt.effectiveGasPrice);
  const transaction = await reader.getTransaction({ hash: receipt.transactionHash });
  assert.equal(transaction.blockHash, receipt.blockHash);
  assert.equal(transaction.from.toLowerCase(), account.address.toLowerCase());
});

let contract;
await step("viem: deploy, call, write, logs, revert", async () => {
  const deployed = await mined(await wallet.deployContract({ abi, bytecode, args: [41n] }));
  contract = deployed.contractAddress;
  assert.equal(await reader.readContract({ address: contract, abi, functionName: "value" }), 41n);
  const { request } = await reader.simulateContract({ account, address: contract, abi, functionName: "store", args: [42n, "viem"] });
  const receipt = await mined(await wallet.writeContract(request));
  assert.equal(receipt.logs.length, 1);
  const logs = await reader.getContractEvents({ address: contract, abi, eventName: "Stored", fromBlock: deployed.blockNumber });
  assert.deepEqual(logs.map(({ args }) => [args.by, args.value, args.note]), [[account.address, 42n, "viem"]]);
  assert.equal(logs[0].transactionHash, receipt.transactionHash);
  const none = await reader.getContractEvents({ address: contract, abi, eventName: "Stored", args: { value: 7n }, fromBlock: 0n });
  assert.equal(none.length, 0);
  const half = (number) => reader.readContract({ address: contract, abi, functionName: "half", args: [number] });
  assert.equal(await half(8n), 4n);
  await assert.rejects(half(3n), /Odd\(uint256 value\)[^]*\(3\)/);
  await assert.rejects(half(0n), /nothing to halve/);
  assert.equal(await reader.getStorageAt({ address: contract, slot: "0x0" }), `0x${(42).toString(16).padStart(64, "0")}`);
});

await step("viem: blocks, fee history, block receipts", async () => {
  const block = await reader.getBlock({ includeTransactions: true });
  for (const blockTag of ["safe", "finalized", "earliest", "pending"]) assert.ok((await reader.getBlock({ blockTag })).hash);
  assert.equal((await reader.getBlock({ blockHash: block.hash })).number, block.number);
  const history = await reader.getFeeHistory({ blockCount: 2, rewardPercentiles: [10, 90] });
  assert.deepEqual([history.baseFeePerGas.length, history.reward.length, history.reward[0].length], [3, 2, 2]);
  assert.ok((await reader.getGasPrice()) > 0n && (await reader.estimateMaxPriorityFeePerGas()) > 0n);
  const { result } = await call("eth_getBlockReceipts", [`0x${block.number.toString(16)}`]);
  assert.equal(result.length, block.transactions.length);
});

/** Resolves with the first thing that `watch` reports; `act` makes it happen once the watch is in place. */
async function first(watch, act) {
  let stop;
  const seen = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("nothing was reported within 60 s")), 60_000);
    stop = watch((value) => (clearTimeout(timer), resolve(value)), (error) => (clearTimeout(timer), reject(error)));
  });
  await act?.();
  return seen.finally(() => stop());
}

const events = (client, note) =>
  first(
    (onLogs, onError) => client.watchContractEvent({ address: contract, abi, eventName: "Stored", onLogs, onError }),
    async () => {
      // The watch is installed by a request of its own: give it the time of one block before the event.
      await first((onBlockNumber, onError) => client.watchBlockNumber({ onBlockNumber, onError, emitOnBegin: false }));
      await mined(await wallet.writeContract({ address: contract, abi, functionName: "store", args: [1n, note] }));
    },
  );

await step("viem: filters over HTTP", async () => {
  const [log] = await events(reader, "by filter");
  assert.equal(log.args.note, "by filter");
});

await step("viem: WebSocket, subscriptions to blocks and logs", async () => {
  const socket = createPublicClient({ chain, transport: webSocket(url.replace(/^http/, "ws")) });
  assert.equal(await socket.getChainId(), id);
  const [log] = await events(socket, "by subscription");
  assert.equal(log.args.note, "by subscription");
  (await socket.transport.getRpcClient()).close();
});

await step("bridge: contract of genesis and what it refuses", async () => {
  assert.ok((await reader.getCode({ address: BRIDGE })).length > 100);
  const data = cast("calldata", "requestPegOut(bytes)", "0x6263727431");
  const tooSmall = await call("eth_call", [{ from: account.address, to: BRIDGE, value: "0x1", data }, "latest"]);
  assert.equal(tooSmall.error.code, 3);
  assert.ok(tooSmall.error.data.startsWith(cast("sig", "AmountBelowMinimum(uint256,uint256)")));
});

await step("pool: refusals in the words that tools look for", async () => {
  const signed = async (change) => {
    const base = { to: account.address, value: 0n, gas: 21_000n, type: "eip1559", maxFeePerGas: 10n ** 11n, maxPriorityFeePerGas: 10n ** 6n };
    const nonce = await reader.getTransactionCount({ address: account.address, blockTag: "pending" });
    return account.signTransaction({ chainId: id, nonce, ...base, ...change });
  };
  const send = async (change) => (await call("eth_sendRawTransaction", [await signed(change)])).error;
  const words = [
    [{ nonce: 0 }, /^nonce too low/],
    [{ value: 10n ** 30n }, /^insufficient funds for gas \* price \+ value/],
    [{ gas: 20_000n }, /^intrinsic gas too low/],
    [{ chainId: id + 1 }, /invalid chain id/],
  ];
  for (const [change, expected] of words) {
    const error = await send(change);
    assert.equal(error.code, -32000);
    assert.match(error.message, expected);
  }
  // Two nonces ahead it waits, so that answers about it do not race with the next block.
  const nonce = (await reader.getTransactionCount({ address: account.address, blockTag: "pending" })) + 2;
  const waiting = await signed({ nonce });
  const { result: hash } = await call("eth_sendRawTransaction", [waiting]);
  assert.match((await call("eth_sendRawTransaction", [waiting])).error.message, /^already known/);
  assert.match((await send({ nonce, maxFeePerGas: 10n ** 11n + 1n })).message, /^replacement transaction underpriced/);
  assert.equal((await reader.getTransaction({ hash })).blockHash, null);
  assert.ok(Number((await call("txpool_status")).result.queued) >= 1);
  for (let missing = nonce - 2; missing < nonce; missing++) await call("eth_sendRawTransaction", [await signed({ nonce: missing })]);
  assert.equal((await mined(hash)).status, "success");
});

await step("json-rpc: batch, unknown method, bad parameters, malformed body", async () => {
  const batch = await rpc(["eth_chainId", "net_version", "web3_clientVersion"].map((method, index) => ({ jsonrpc: "2.0", id: index, method, params: [] })));
  assert.deepEqual(batch.map((one) => one.id), [0, 1, 2]);
  assert.equal(Number(batch[0].result), id);
  assert.equal((await call("eth_nothing")).error.code, -32601);
  assert.equal((await call("eth_getBalance", ["0x12"])).error.code, -32602);
  assert.equal((await call("eth_getLogs", [{ fromBlock: "0x5", toBlock: "0x1" }])).error.code, -32602);
  const answer = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: "{" });
  assert.equal((await answer.json()).error.code, -32700);
});

await step("cast: chain, balance, send, deploy, call, logs, estimate, receipt", async () => {
  const at = ["--rpc-url", url];
  const signing = [...at, "--private-key", key, "--json"];
  assert.equal(Number(cast("chain-id", ...at)), id);
  assert.ok(cast("client", ...at).startsWith("alys/"));
  assert.ok(Number(cast("block-number", ...at)) > 0);
  const to = stranger();
  const sent = JSON.parse(cast("send", to, "--value", "0.0002ether", ...signing));
  assert.equal(Number(sent.status), 1);
  assert.equal(cast("balance", to, ...at), "200000000000000");
  assert.equal(Number(JSON.parse(cast("receipt", sent.transactionHash, "--json", ...at)).gasUsed), 21_000);
  const argument = cast("abi-encode", "f(uint256)", "7").slice(2);
  const created = JSON.parse(cast("send", ...signing, "--create", bytecode + argument));
  const address = created.contractAddress;
  assert.equal(cast("call", address, "value()(uint256)", ...at), "7");
  cast("send", address, "store(uint256,string)", "9", "cast", ...signing);
  assert.equal(cast("call", address, "value()(uint256)", ...at), "9");
  assert.ok(Number(cast("estimate", address, "store(uint256,string)", "10", "again", ...at)) > 21_000);
  const logs = JSON.parse(cast("logs", "--json", "--from-block", `${Number(created.blockNumber)}`, "--address", address, "Stored(address,uint256,string)", ...at));
  assert.equal(logs.length, 1);
  assert.equal(Number(logs[0].topics[2]), 9);
  assert.throws(() => cast("call", address, "half(uint256)(uint256)", "0", ...at), /nothing to halve/);
  assert.ok(cast("code", BRIDGE, ...at).length > 100);
  assert.equal(Number(cast("nonce", account.address, ...at)), await reader.getTransactionCount({ address: account.address }));
  assert.equal(Number(cast("storage", address, "0", ...at)), 9);
  assert.ok(BigInt(cast("gas-price", ...at)) > 0n && BigInt(cast("base-fee", ...at)) > 0n);
  assert.ok(JSON.parse(cast("block", "latest", "--json", ...at)).hash);
  assert.ok(cast("tx", sent.transactionHash, ...at).includes(sent.transactionHash));
  assert.equal(JSON.parse(cast("rpc", "eth_feeHistory", "0x2", "latest", "[50]", ...at)).reward.length, 2);
});

console.log("all of it works");
