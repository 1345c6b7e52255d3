// Finds the pinned tools of package.json in .tools/npm of the repository, installing what is missing.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const folder = join(here, "../../.tools/npm");
const { dependencies } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));

function installed(name, version) {
  const manifest = join(folder, "node_modules", name, "package.json");
  return existsSync(manifest) && JSON.parse(readFileSync(manifest, "utf8")).version === version;
}

const missing = Object.entries(dependencies).filter(([name, version]) => !installed(name, version));
if (missing.length > 0) {
  mkdirSync(folder, { recursive: true });
  const packages = missing.map(([name, version]) => `${name}@${version}`);
  console.error(`installing ${packages.join(", ")}`);
  execFileSync("npm", ["install", "--prefix", folder, "--no-audit", "--no-fund", ...packages], { stdio: ["ignore", 2, 2] });
}

const require = createRequire(join(folder, "index.js"));

/** Imports a module from .tools/npm. */
export function load(name) {
  return import(pathToFileURL(require.resolve(name)).href);
}

// The package's own wrapper script loses cast's exit status, so the binary is run directly.
const system = `${process.platform}-${process.arch === "x64" ? "amd64" : process.arch}`;
const binary = join(folder, "node_modules/@foundry-rs", `cast-${system}`, "bin", "cast");

/** Runs cast and returns its output, trimmed; throws with what it said when it fails. */
export function cast(...args) {
  const environment = { ...process.env, NO_COLOR: "1", FOUNDRY_DISABLE_NIGHTLY_WARNING: "1" };
  const options = { encoding: "utf8", env: environment, stdio: ["ignore", "pipe", "pipe"], timeout: 60_000 };
  return execFileSync(binary, args, options).trim();
}
