import { connect } from "node:net";
import type { ProjectCopy } from "../../tests/end-to-end/project-copy.ts";
import { cloudMemory } from "../cloud-memory.ts";
import type { Bench, Group } from "../group.ts";
import { repeat, seconds } from "../measure.ts";
import { programStart } from "../program-start.ts";
import { askApi, benchProject, cloudPid, dropletAddress, succeed } from "../project.ts";

/** The first page and small changes, as a person waits for them. Tools and image must be cached, as after one `npm run up`. */
export const upGroup: Group = {
  name: "up",
  what: "`npm run up` from an empty copy to a page, unchanged, and with a new release; power-on of a droplet",
  minutes: 2,
  limitMinutes: () => 15,
  quick: true,
  run: measureUp,
};

async function measureUp(bench: Bench): Promise<void> {
  const { note } = bench;
  const copy = await benchProject(bench);
  let output = "";
  const first = await seconds(async () => {
    output = await succeed(copy, ["up", "--yes"]);
  });
  note({ name: "first `npm run up`, tools and image cached", unit: "s", values: [first], limit: 60 });
  note({ name: "bootstrap: enrol and configure", unit: "s", values: [bootstrapSeconds(output)], limit: 10 });
  note({
    name: "first install of a site on the server",
    unit: "s",
    values: [(await lastInstall(copy)).seconds],
    limit: 3,
  });
  await new Promise((resolve) => setTimeout(resolve, 5000));
  note({ name: "local cloud, idle", unit: "MB", values: [cloudMemory(await cloudPid(copy))], limit: 200 });
  const unchanged = await repeat(5, () => succeed(copy, ["up", "--yes"]));
  note({ name: "`npm run up`, nothing to do", unit: "s", values: unchanged, limit: 5 });
  const check = await repeat(5, () => succeed(copy, ["doctor"]));
  note({ name: "`npm run doctor`: start and set-up check", unit: "s", values: check, limit: 1 });
  note({ name: "the program: start of node to its first resource", unit: "s", values: await starts(copy), limit: 0.7 });
  const installs: Install[] = [];
  for (let release = 1; release <= 3; release += 1) {
    copy.write("sites/hello/VERSION", `1.0.${release}\n`);
    await succeed(copy, ["up", "--yes"]);
    installs.push(await lastInstall(copy));
  }
  const until = installs.map(({ untilServed }) => untilServed);
  note({ name: "new release: until visitors get it", unit: "s", values: until, limit: 3 });
  const whole = installs.map(({ seconds }) => seconds);
  note({ name: "new release: in all, with the 5 s that it is watched", unit: "s", values: whole, limit: 8 });
  const boots = await repeat(3, () => powerCycleToSsh(copy));
  note({ name: "droplet: power-on to ssh", unit: "s", values: boots, limit: 5 });
}

async function starts(copy: ProjectCopy): Promise<number[]> {
  const config = {
    apiToken: "none",
    spacesAccessKeyId: "none",
    spacesSecretAccessKey: "none",
    serverName: "box.chillbox.test",
    techEmail: "technical@chillbox.test",
  };
  const values: number[] = [];
  for (let run = 0; run < 5; run += 1) values.push(await programStart(copy.folder, config));
  return values;
}

/** Pulumi says of each resource how long it took: `server-1-enrol created (7s)`. */
function bootstrapSeconds(output: string): number {
  return ["enrol", "configure"]
    .map((step) => Number(new RegExp(`server-1-${step} created \\(([\\d.]+)s\\)`).exec(output)?.[1]))
    .reduce((sum, one) => sum + one, 0);
}

interface Install {
  /** In all. */
  readonly seconds: number;
  readonly untilServed: number;
}

/** `chillbox-site install` says how long it took; what it printed is in the state. */
async function lastInstall(copy: ProjectCopy): Promise<Install> {
  const { output } = await copy.shell("pulumi stack export --stack local --show-secrets");
  const found = /site-hello-install[\s\S]*?\\?"milliseconds\\*":\s*(\d+),\\*"switchMilliseconds\\*":\s*(\d+)/.exec(
    output,
  );
  return { seconds: Number(found?.[1]) / 1000, untilServed: Number(found?.[2]) / 1000 };
}
async function powerCycleToSsh(copy: ProjectCopy): Promise<void> {
  const { droplets } = (await askApi(copy, "GET", "/v2/droplets")) as { droplets: { id: number }[] };
  const address = await dropletAddress(copy);
  await askApi(copy, "POST", `/v2/droplets/${droplets[0]?.id}/actions`, { type: "power_cycle" });
  await untilSshGreets(address);
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
