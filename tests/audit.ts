/**
 * Looks at a server as `up` makes it with programs that others wrote: `npm run audit [NAME...]`. The server is a real one in namespaces of
 * this machine. What they say in full lies in `.chillbox/audit/`; `docs/security.md` has what came out and why the rest is left.
 */
import { mkdirSync, rmSync } from "node:fs";
import { delimiter, join } from "node:path";
import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { UserError } from "../lib/user-error.ts";
import { binFolder, toolFolders } from "../toolchain/environment.ts";
import { setUp } from "../toolchain/setup.ts";
import { toAudit } from "../toolchain/tools/index.ts";
import type { Audit, Surroundings } from "./audit/audit.ts";
import { lynis } from "./audit/lynis.ts";
import { portScan } from "./audit/port-scan.ts";
import { sshAudit } from "./audit/ssh-audit.ts";
import { testssl } from "./audit/testssl.ts";
import { TestServer } from "./server-scripts/server.ts";
import { makeTree, siteParts } from "./server-scripts/test-site.ts";

// The scan of ports last: sshd does not listen for a while to who connects without a word.
const audits: readonly Audit[] = [lynis, sshAudit, testssl, portScan];

async function main(names: readonly string[]): Promise<void> {
  const unknown = names.find((name) => !audits.some((audit) => audit.name === name));
  if (unknown)
    throw new UserError(`There is no audit "${unknown}". Audits: ${audits.map(({ name }) => name).join(", ")}.`);
  const chosen = audits.filter(({ name }) => names.length === 0 || names.includes(name));
  const settings = localCloudSettings();
  process.chdir(settings.repository);
  const tools = await setUp({ needs: toAudit, settings });
  const folders = toolFolders(settings, tools).filter((folder) => folder !== binFolder(settings));
  process.env.PATH = [...folders, process.env.PATH].join(delimiter);
  const folder = join(settings.home, "audit");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const server = new TestServer({ memoryMiB: 512 });
  try {
    await server.boot();
    const surroundings: Surroundings = { server, folder, tools };
    await server.host.waitForSsh();
    for (const audit of chosen) await audit.before?.(surroundings);
    await configure(surroundings);
    for (const audit of chosen) await report(audit, surroundings);
  } finally {
    await server.close();
  }
}

async function configure({ server, folder }: Surroundings): Promise<void> {
  for (const name of ["enrol", "configure"] as const) {
    const said = await server.playbook(name);
    if (said.code !== 0) throw new Error(said.errors);
  }
  const site = { slug: "page", port: 8101 };
  const manifest = await server.manifest(
    "page",
    makeTree(join(folder, "sites"), "page", "page"),
    siteParts(site, "page"),
  );
  const said = await server.ssh("doas chillbox-site install", manifest);
  if (said.code !== 0) throw new Error(said.errors);
}

async function report(audit: Audit, surroundings: Surroundings): Promise<void> {
  process.stdout.write(`\n${audit.name}\n`);
  const { good, lines } = await audit.run(surroundings);
  for (const line of lines) process.stdout.write(`  ${line}\n`);
  process.stdout.write(`  ${good ? "good" : "NOT as it should be"}\n`);
  if (!good) process.exitCode = 1;
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  process.stderr.write(`chillbox: ${error.message}\n`);
  process.exitCode = 1;
}
