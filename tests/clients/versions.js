// Prints the installed version of each package named: shows that the clients a test names are there.
import { readFile } from "node:fs/promises";

for (const name of process.argv.slice(2)) {
  const file = new URL(`node_modules/${name}/package.json`, import.meta.url);
  console.log(name, JSON.parse(await readFile(file)).version);
}
