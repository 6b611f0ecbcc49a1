/**
 * Loaded before a program: keeps Pulumi's SDK from mapping stack traces to the sources of its own code. Those paths
 * (node_modules/@pulumi/resource.ts) have a shape on which Node's `util.inspect` with colours goes round until memory is full, so that
 * each error of a program would cost half a minute. Nothing is lost: Node strips types without moving a line.
 */
import { createRequire } from "node:module";

// The program's own copy of the SDK: what Node was told to run is `cmd/run` in it.
const fromSdk = createRequire(`${process.argv[1]}/index.js`);
fromSdk("source-map-support").install = () => undefined;
