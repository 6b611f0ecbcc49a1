/** Makes random hex digits, once. Input `{"bytes": 4}`, output `{"hex": "..."}`. */
import { randomBytes } from "node:crypto";
import { runCommand } from "./command.ts";

await runCommand(async ({ bytes }: { bytes: number }) => ({ hex: randomBytes(bytes).toString("hex") }));
