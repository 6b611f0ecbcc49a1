/**
 * Prints the TCP ports of an address that take a connection, in one line.
 *
 *   node tests/audit/scan-ports.ts ADDRESS
 */
import { connect } from "node:net";

const address = process.argv[2] ?? "";
const AT_ONCE = 3000;
const TIMEOUT_MS = 1500;

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, timeout: TIMEOUT_MS });
    const end = (open: boolean) => {
      socket.destroy();
      resolve(open);
    };
    socket.once("connect", () => end(true));
    socket.once("timeout", () => end(false));
    socket.once("error", () => end(false));
  });
}

const open: number[] = [];
let next = 1;
async function scan(): Promise<void> {
  while (next <= 65_535) {
    const port = next++;
    if (await isOpen(port)) open.push(port);
  }
}
await Promise.all(Array.from({ length: AT_ONCE }, scan));
process.stdout.write(`${open.sort((a, b) => a - b).join(" ")}\n`);
