/**
 * Prints {"tcp": [...], "udp": [...]}: ports of an address that take a connection, and that answer a datagram. Who says nothing to a datagram
 * may listen all the same: `listening.sh` asks the server itself.
 *
 *   node tests/audit/scan-ports.ts ADDRESS
 */
import { createSocket } from "node:dgram";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const address = process.argv[2] ?? "";
const ports = Array.from({ length: 65_535 }, (_, index) => index + 1);
const AT_ONCE = 3000;
const TIMEOUT_MS = 1500;

function takesConnection(port: number): Promise<boolean> {
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

async function scanTcp(): Promise<number[]> {
  const open: number[] = [];
  const left = ports.values();
  const scan = async () => {
    for (const port of left) if (await takesConnection(port)) open.push(port);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, scan));
  return open.sort((a, b) => a - b);
}

/** What DNS, NTP and most others answer: a question for the root's name servers, a client's packet, a line. */
const questions = [
  Buffer.from("1234010000010000000000000000020001", "hex"),
  Buffer.from(`23${"00".repeat(47)}`, "hex"),
  Buffer.from("\n"),
];

async function scanUdp(): Promise<number[]> {
  const open = new Set<number>();
  const socket = createSocket("udp4");
  socket.on("message", (_, { port }) => open.add(port));
  socket.on("error", () => undefined);
  for (const port of ports) {
    await Promise.all(
      questions.map((question) => new Promise((done) => socket.send(question, port, address, () => done(undefined)))),
    );
  }
  await sleep(TIMEOUT_MS);
  socket.close();
  return [...open].sort((a, b) => a - b);
}

process.stdout.write(`${JSON.stringify({ tcp: await scanTcp(), udp: await scanUdp() })}\n`);
