// Installs a whole execution client (EthereumJS) as the lock file names it; prints where its program is.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { install } from "../locked.mjs";

const folder = install(dirname(fileURLToPath(import.meta.url)), "execution-client", "EthereumJS");
const home = join(folder, "node_modules/@ethereumjs/client");
const { bin } = JSON.parse(readFileSync(join(home, "package.json"), "utf8"));
console.log(join(home, bin.ethereumjs));
