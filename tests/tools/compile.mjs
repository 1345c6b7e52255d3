// Compiles Probe.sol to probe.json; with --check compares. Same pinned compiler as the bridge contract.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { compile, publish } from "../../actors/engine/contracts/compile.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const { abi, creation } = compile(join(here, "Probe.sol"));
publish(here, { "probe.json": `${JSON.stringify({ abi, bytecode: `0x${creation}` }, null, 2)}\n` });
