// Compiles Bridge.sol to the bytes that genesis carries. Same input, same bytes, on every machine:
// the compiler and its settings are pinned below and no metadata hash is appended.
//
//   node compile.mjs            write bridge.bin-runtime and bridge.abi.json
//   node compile.mjs --check    compile and compare; exit 1 when the committed files differ
//
// The compiler (npm `solc`, plain WebAssembly, works offline) is installed once into .tools/ of the repository.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const SOLC = "0.8.30";
const SETTINGS = {
  evmVersion: "cancun",
  optimizer: { enabled: true, runs: 1000000 },
  metadata: { bytecodeHash: "none", appendCBOR: false },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
};

const here = dirname(fileURLToPath(import.meta.url));
const tools = join(here, "../../../.tools", `solc-${SOLC}`);

function compiler() {
  const module = join(tools, "node_modules", "solc", "index.js");
  if (!existsSync(module)) {
    mkdirSync(tools, { recursive: true });
    const npm = ["install", "--prefix", tools, "--no-audit", "--no-fund", "--ignore-scripts", `solc@${SOLC}`];
    execFileSync("npm", npm, { stdio: ["ignore", 2, 2] });
  }
  const solc = createRequire(import.meta.url)(module);
  if (!solc.version().startsWith(`${SOLC}+`)) throw new Error(`expected solc ${SOLC}, found ${solc.version()}`);
  return solc;
}

/** Compiles the one contract of a file that has its name: { abi, creation, runtime }, codes in hex. */
export function compile(path) {
  const [file, name] = [basename(path), basename(path, ".sol")];
  const input = { language: "Solidity", sources: { [file]: { content: readFileSync(path, "utf8") } }, settings: SETTINGS };
  const output = JSON.parse(compiler().compile(JSON.stringify(input)));
  const complaints = output.errors ?? [];
  if (complaints.length > 0) throw new Error(complaints.map((one) => one.formattedMessage).join("\n"));
  const { abi, evm } = output.contracts[file][name];
  return { abi, creation: evm.bytecode.object, runtime: evm.deployedBytecode.object };
}

/** Writes files, or with --check compares them and fails when they differ. */
export function publish(folder, files) {
  const check = process.argv.includes("--check");
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    if (!check) {
      writeFileSync(path, text);
    } else if (!existsSync(path) || readFileSync(path, "utf8") !== text) {
      console.error(`${name} does not come from its source: compile again and commit the result`);
      process.exitCode = 1;
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { abi, runtime } = compile(join(here, "Bridge.sol"));
  publish(here, { "bridge.bin-runtime": `${runtime}\n`, "bridge.abi.json": `${JSON.stringify(abi, null, 2)}\n` });
}
