// Finds the packages of package-lock.json in .tools/foreign-peer of the repository, installing them when they are not as
// the lock file has them.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const folder = join(here, "../../../.tools/foreign-peer");
const lock = readFileSync(join(here, "package-lock.json"), "utf8");
// Written last, so that an installation that was cut off is done again.
const done = join(folder, "installed.json");

if (!existsSync(done) || readFileSync(done, "utf8") !== lock) {
  mkdirSync(folder, { recursive: true });
  for (const file of ["package.json", "package-lock.json"]) copyFileSync(join(here, file), join(folder, file));
  console.error("installing js-libp2p into .tools/foreign-peer");
  execFileSync("npm", ["ci", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts"], { stdio: ["ignore", 2, 2] });
  writeFileSync(done, lock);
}

// js-libp2p is written for Node 22; this is all that it misses in Node 20.
Promise.withResolvers ??= () => {
  const all = {};
  all.promise = new Promise((resolve, reject) => Object.assign(all, { resolve, reject }));
  return all;
};

/** Imports a package of package.json from .tools/foreign-peer. */
export function load(name) {
  const home = join(folder, "node_modules", name);
  const { exports } = JSON.parse(readFileSync(join(home, "package.json"), "utf8"));
  return import(pathToFileURL(join(home, exports["."].import)).href);
}
