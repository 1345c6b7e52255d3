// Packages exactly as a lock file names them, in a folder of .tools.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Installs what `from`/package-lock.json names in .tools/`name` of the repository, when it is not there; the folder. */
export function install(from, name, what) {
  const folder = join(fileURLToPath(new URL("../../.tools", import.meta.url)), name);
  const lock = readFileSync(join(from, "package-lock.json"), "utf8");
  // Written last, so that an installation that was cut off is done again.
  const done = join(folder, "installed.json");
  if (!existsSync(done) || readFileSync(done, "utf8") !== lock) {
    mkdirSync(folder, { recursive: true });
    for (const file of ["package.json", "package-lock.json"]) copyFileSync(join(from, file), join(folder, file));
    console.error(`installing ${what} into .tools/${name}`);
    execFileSync("npm", ["ci", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts"], { stdio: ["ignore", 2, 2] });
    writeFileSync(done, lock);
  }
  return folder;
}
