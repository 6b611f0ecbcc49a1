#!/usr/bin/env node
import { start } from "../toolchain/start.mjs";

await start("cli/chillbox.ts", process.argv.slice(2));
