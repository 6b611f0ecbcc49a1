/**
 * Measures chillbox on this machine: `npm run bench`. Prints a table for `docs/performance.md`. Everything happens in a copy of the project
 * with ports and addresses of its own; tools and image must be cached, as after one `npm run up`.
 *
 * `npm run bench -- cold` measures a first `npm run up` with an empty cache instead: it takes minutes.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ProjectCopy } from "../tests/end-to-end/project-copy.ts";
import { cloudMemory } from "./cloud-memory.ts";
import { type Figure, repeat, seconds, table } from "./measure.ts";
import { programStart } from "./program-start.ts";

const figures: Figure[] = [];
const copy = await ProjectCopy.make();
try {
  await (process.argv.includes("cold") ? measureCold() : measureWarm());
} finally {
  await copy.chillbox(["down"]);
  copy.remove();
}
console.log(`\n${table(figures)}`);

async function measureCold(): Promise<void> {
  const cache = mkdtempSync(join(tmpdir(), "chillbox-bench-cache-"));
  try {
    const cold = await seconds(() => succeed(["up", "--yes"], { XDG_CACHE_HOME: cache }));
    note({ name: "first `npm run up`, empty caches", unit: "s", values: [cold], limit: 600 });
  } finally {
    rmSync(cache, { recursive: true });
  }
}

async function measureWarm(): Promise<void> {
  let output = "";
  const first = await seconds(async () => {
    output = await succeed(["up", "--yes"]);
  });
  note({ name: "first `npm run up`, tools and image cached", unit: "s", values: [first], limit: 60 });
  note({ name: "bootstrap: enrol and configure", unit: "s", values: [bootstrapSeconds(output)], limit: 10 });
  note({ name: "first install of a site on the server", unit: "s", values: [(await lastInstall()).seconds], limit: 3 });
  await new Promise((resolve) => setTimeout(resolve, 5000));
  note({ name: "local cloud, idle", unit: "MB", values: [cloudMemory(await cloudPid())], limit: 200 });
  const unchanged = await repeat(5, () => succeed(["up", "--yes"]));
  note({ name: "`npm run up`, nothing to do", unit: "s", values: unchanged, limit: 5 });
  const check = await repeat(5, () => succeed(["doctor"]));
  note({ name: "`npm run doctor`: start and set-up check", unit: "s", values: check, limit: 1 });
  const config = {
    apiToken: "none",
    spacesAccessKeyId: "none",
    spacesSecretAccessKey: "none",
    serverName: "box.chillbox.test",
    techEmail: "technical@chillbox.test",
  };
  const starts: number[] = [];
  for (let run = 0; run < 5; run += 1) starts.push(await programStart(copy.folder, config));
  note({ name: "the program: start of node to its first resource", unit: "s", values: starts, limit: 0.7 });
  const installs: Install[] = [];
  for (let release = 1; release <= 3; release += 1) {
    copy.write("sites/hello/VERSION", `1.0.${release}\n`);
    await succeed(["up", "--yes"]);
    installs.push(await lastInstall());
  }
  const until = installs.map(({ untilServed }) => untilServed);
  note({ name: "new release: until visitors get it", unit: "s", values: until, limit: 3 });
  const watched = installs.map(({ seconds }) => seconds - 5);
  note({ name: "new release: in all, without the 5 s that it is watched", unit: "s", values: watched, limit: 3 });
  const boots = await repeat(3, powerCycleToSsh);
  note({ name: "droplet: power-on to ssh", unit: "s", values: boots, limit: 5 });
}

function note(figure: Figure): void {
  figures.push(figure);
  console.log(`${figure.name}: ${figure.values.map((value) => value.toFixed(2)).join(", ")} ${figure.unit}`);
}

async function succeed(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<string> {
  const { exitCode, output } = await copy.chillbox(args, environment);
  if (exitCode !== 0) throw new Error(`chillbox ${args.join(" ")} failed:\n${output}`);
  return output;
}

/** Pulumi says of each resource how long it took: `server-1-enrol created (7s)`. */
function bootstrapSeconds(output: string): number {
  return ["enrol", "configure"]
    .map((step) => Number(new RegExp(`server-1-${step} created \\(([\\d.]+)s\\)`).exec(output)?.[1]))
    .reduce((sum, one) => sum + one, 0);
}

async function cloudPid(): Promise<number> {
  const { output } = await copy.chillbox(["cloud", "status"]);
  return Number(/process (\d+)/.exec(output)?.[1]);
}

interface Install {
  /** In all. */
  readonly seconds: number;
  readonly untilServed: number;
}

/** `chillbox-site install` says how long it took; what it printed is in the state. */
async function lastInstall(): Promise<Install> {
  const { output } = await copy.shell("pulumi stack export --stack local --show-secrets");
  const found = /site-hello-install[\s\S]*?\\?"milliseconds\\*":\s*(\d+),\\*"switchMilliseconds\\*":\s*(\d+)/.exec(
    output,
  );
  return { seconds: Number(found?.[1]) / 1000, untilServed: Number(found?.[2]) / 1000 };
}

async function powerCycleToSsh(): Promise<void> {
  const { droplets } = (await api("GET", "/v2/droplets")) as { droplets: { id: number; networks: Networks }[] };
  const [droplet] = droplets;
  const address = droplet?.networks.v4.find(({ type }) => type === "public")?.ip_address;
  if (droplet === undefined || address === undefined) throw new Error("there is no droplet");
  await api("POST", `/v2/droplets/${droplet.id}/actions`, { type: "power_cycle" });
  await untilSshGreets(address);
}

interface Networks {
  readonly v4: readonly { readonly type: string; readonly ip_address: string }[];
}

async function api(method: string, path: string, body?: unknown): Promise<unknown> {
  const { token } = JSON.parse(copy.read(".chillbox/cloud/credentials.json")) as { token: string };
  const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
  const init = body === undefined ? { method, headers } : { method, headers, body: JSON.stringify(body) };
  const answer = await fetch(copy.settings.apiEndpoint + path, init);
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

async function untilSshGreets(address: string): Promise<void> {
  const end = Date.now() + 60_000;
  // The old one may still greet for a moment.
  while (await greets(address)) await pause();
  while (!(await greets(address))) {
    if (Date.now() > end) throw new Error(`${address} does not answer by ssh`);
    await pause();
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20));
}

function greets(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port: 22, timeout: 500 });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.on("data", (text) => end(text.toString().startsWith("SSH-2.0")));
    socket
      .on("error", () => end(false))
      .on("timeout", () => end(false))
      .on("close", () => end(false));
  });
}
