// Finds the packages of package-lock.json in .tools/foreign-peer of the repository, installing them when they are not as
// the lock file has them.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { install } from "../locked.mjs";

const folder = install(dirname(fileURLToPath(import.meta.url)), "foreign-peer", "js-libp2p");

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
