// Makes a component of plugin.js and the engine that runs it.
import { readFile, writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const source = await readFile("plugin.js", "utf8");
const { component } = await componentize(source, {
  sourceName: "plugin.js",
  witPath: "wit",
  worldName: "plugin",
  // Plugins of Dropforge that need the network ask for it in their settings; the engine's own `fetch` is not used here.
  disableFeatures: ["http", "fetch-event"],
});
await writeFile(process.argv[2], component);
