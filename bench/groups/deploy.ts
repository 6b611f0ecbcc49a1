import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type ClientRequest, request } from "node:http";
import { request as requestTls } from "node:https";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { wheelsFolder } from "../../lib/wheels.ts";
import type { ProjectCopy } from "../../tests/end-to-end/project-copy.ts";
import { shellQuote } from "../../toolchain/environment.ts";
import { setUp } from "../../toolchain/setup.ts";
import { toRun } from "../../toolchain/tools/index.ts";
import type { Bench, Group } from "../group.ts";
import { type Note, ratios } from "../measure.ts";
import { benchProject, dropletAddress, succeed } from "../project.ts";

/**
 * One changed line of the site `hello`, from the laptop to visitors: chillbox beside Ansible and Capistrano, on one server; then back again by
 * a rollback, and by `up`.
 */
export const deployGroup: Group = {
  name: "deploy",
  what: "a small change of a site, laptop to served, beside Ansible and Capistrano (count: rounds, default 5)",
  minutes: 5,
  limitMinutes: (count = 5) => 10 + count * 3,
  quick: true,
  run: measureDeploys,
};

const rivals = join(import.meta.dirname, "../rivals");

/** A way to bring a version of the site to the server. */
interface Way {
  readonly name: string;
  /** Where its page is. */
  readonly port: number;
  readonly deploy: (version: string) => Promise<unknown>;
}

interface Took {
  /** Seconds until visitors got the new version. */
  readonly served: number;
  /** Seconds until the command ended. */
  readonly ended: number;
}

async function measureDeploys(bench: Bench): Promise<void> {
  const rounds = bench.count ?? 5;
  if (!hasCapistrano()) throw new Error("Capistrano is needed: apt-get install capistrano");
  const copy = await benchProject(bench);
  openPorts(copy);
  await succeed(copy, ["up", "--yes"]);
  await compare(bench, copy, rounds);
}

/** On a copy that is up, with the other tools' ports open. */
export async function compare(bench: Bench, copy: ProjectCopy, rounds: number): Promise<void> {
  const address = await dropletAddress(copy);
  const rival = await prepareRivals(bench, copy, address);
  const parts = new Map<string, number[]>();
  const deploy = {
    name: "chillbox: `npx chillbox deploy`",
    port: 80,
    deploy: () => watch(copy, ["deploy", "hello"], deployEnds, parts),
  };
  const ansible = { name: "Ansible", port: 8081, deploy: rival.ansible };
  const capistrano = { name: "Capistrano", port: 8082, deploy: rival.capistrano };
  // What is made once (users, a virtual environment, a connection, what is kept of the stack's outputs) is there before it counts.
  for (const way of [deploy, ansible, capistrano]) await time(way, address, setVersion(copy, "1.0.0-9"));
  parts.clear();
  const [own = [], byAnsible = [], byCapistrano = []] = await takeTurns(
    [deploy, ansible, capistrano],
    rounds,
    "1.0",
    (way, version) => time(way, address, setVersion(copy, version)),
  );
  const back = {
    name: "chillbox: `npx chillbox rollback`",
    port: 80,
    deploy: () => succeed(copy, ["rollback", "hello"]),
  };
  const forth = { ...deploy, deploy: () => once(copy) };
  const [there, backAgain] = await goThereAndBack(copy, address, forth, back, rounds);
  const up = { name: "chillbox: `npm run up`", port: 80, deploy: () => watch(copy, ["up"], upEnds, parts) };
  const cold = { ...deploy, name: "chillbox: the first `npx chillbox deploy` after an `up`", deploy: () => once(copy) };
  const [byUp = [], first = []] = await takeTurns([up, cold], rounds, "1.1", (way, version) =>
    time(way, address, setVersion(copy, version)),
  );
  const { note } = bench;
  noteTook(note, deploy, own);
  for (const [name, values] of parts) if (name.startsWith("`deploy`")) note({ name, unit: "s", values });
  noteTook(note, ansible, byAnsible);
  noteTook(note, capistrano, byCapistrano);
  const beside = (others: readonly Took[]) => ratios(served(others), served(own));
  note({ name: "until served: Ansible / deploy", unit: "x", values: beside(byAnsible), limit: 10, goal: "least" });
  note({ name: "until served: Capistrano / deploy", unit: "x", values: beside(byCapistrano), limit: 2, goal: "least" });
  noteTook(note, back, backAgain);
  const quick = ratios(served(backAgain), served(there));
  note({ name: "until served: rollback / the deploy before it", unit: "x", values: quick, limit: 0.3 });
  const whole = ratios(served(backAgain), served(byUp));
  note({ name: "until served: rollback / `npm run up`", unit: "x", values: whole, limit: 0.3 });
  noteTook(note, up, byUp);
  for (const [name, values] of parts) if (name.startsWith("`up`")) note({ name, unit: "s", values });
  noteTook(note, cold, first);
  bench.remark(
    `Ansible and Capistrano do so with root's ssh on ${rounds} turns each; bench/rivals/README.md says what they do`,
  );
}

/** Each way in turn, round by round, so that a slow moment of the machine hits all. */
async function takeTurns(
  ways: readonly Way[],
  rounds: number,
  series: string,
  run: (way: Way, version: string) => Promise<Took>,
): Promise<Took[][]> {
  const took = ways.map(() => [] as Took[]);
  for (let round = 1; round <= rounds; round += 1) {
    for (const [index, way] of ways.entries()) took[index]?.push(await run(way, `${series}.${round}-${index}`));
  }
  return took;
}

/** A new version, and back to the one that was there; round by round. */
async function goThereAndBack(
  copy: ProjectCopy,
  address: string,
  deploy: Way,
  back: Way,
  rounds: number,
): Promise<[there: Took[], back: Took[]]> {
  const before = copy.read("sites/hello/VERSION").trim();
  await deploy.deploy(before);
  const took: [Took[], Took[]] = [[], []];
  for (let round = 1; round <= rounds; round += 1) {
    took[0].push(await time(deploy, address, setVersion(copy, `1.0.${round}-back`)));
    took[1].push(await time(back, address, before));
  }
  return took;
}

function served(runs: readonly Took[]): number[] {
  return runs.map((run) => run.served);
}

function noteTook(note: Note, { name }: Way, runs: readonly Took[]): void {
  note({ name: `${name}: until served`, unit: "s", values: served(runs) });
  note({ name: `${name}: until the command ended`, unit: "s", values: runs.map(({ ended }) => ended) });
}

async function once(copy: ProjectCopy): Promise<void> {
  await succeed(copy, ["deploy", "hello"]);
}

/** What a command says when a part of it is over. */
type PartEnds = readonly (readonly [part: string, end: RegExp])[];

const upEnds: PartEnds = [
  ["`up`, of that: check and `make`", /^Updating \(/],
  ["`up`, of that: start of Pulumi's engine, program and plugins", /site-hello-\S+ updating/],
  ["`up`, of that: uploads", /site-hello-install updating/],
  ["`up`, of that: install, drain and watch", /site-hello-install updated/],
];

const deployEnds: PartEnds = [
  ["`deploy`, of that: start and check", /hello \S+: make$/],
  ["`deploy`, of that: `make`, other checks, uploads", /hello \S+: the server installs it/],
  ["`deploy`, of that: install, drain and watch", /visitors got it after/],
];

/** Runs `npx chillbox ARGUMENTS` and adds the seconds of its parts. */
async function watch(copy: ProjectCopy, args: readonly string[], ends: PartEnds, parts: Map<string, number[]>) {
  const options = { cwd: copy.folder, env: copy.environment, extendEnv: false, all: true, reject: false } as const;
  const child = execa("node", ["cli/chillbox.mjs", ...args], { ...options, stdin: "ignore" });
  const said: string[] = [];
  let start = performance.now();
  let part = 0;
  for await (const line of child.iterable({ from: "all" })) {
    said.push(line);
    const [name, end] = ends[part] ?? ["", /^$(?!)/];
    if (!end.test(line)) continue;
    const now = performance.now();
    parts.set(name, [...(parts.get(name) ?? []), (now - start) / 1000]);
    [start, part] = [now, part + 1];
  }
  if ((await child).failed) throw new Error(`chillbox ${args.join(" ")} failed:\n${said.join("\n")}`);
}

function hasCapistrano(): boolean {
  try {
    execFileSync("cap", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** Raises the version and changes a line of the service. */
function setVersion(copy: ProjectCopy, version: string): string {
  copy.write("sites/hello/VERSION", `${version}\n`);
  const path = "sites/hello/api/hello_api/app.py";
  const text = copy.read(path);
  copy.write(path, text.replace(/"message": ".*"/, `"message": "Hello, this is ${version}."`));
  return version;
}

/** Deploys a version and asks for it all the time meanwhile. */
async function time(way: Way, address: string, version: string): Promise<Took> {
  const start = performance.now();
  let served = 0;
  let ended = false;
  const watching = (async () => {
    while (served === 0) {
      if ((await versionAt(address, way.port)) === version) served = performance.now() - start;
      else if (ended && performance.now() - start > 60_000) throw new Error(`${way.name}: ${version} is not served`);
      else await sleep(20);
    }
  })();
  // Its failure is told after that of the deploy.
  watching.catch(() => undefined);
  try {
    await way.deploy(version);
  } finally {
    ended = true;
  }
  const whole = performance.now() - start;
  await watching;
  return { served: served / 1000, ended: whole / 1000 };
}

/** The version of the service that answers now, if one does; by https where the site sends its visitors there. */
async function versionAt(host: string, port: number): Promise<string | undefined> {
  const headers = { Host: "hello.test" };
  const asked = { host, path: "/api/", headers, agent: false, timeout: 2000 };
  const plain = await answerTo(request({ ...asked, port }));
  // The local cloud's authority is known to nobody; it is the time that counts here.
  const secure = () => requestTls({ ...asked, port: 443, servername: headers.Host, rejectUnauthorized: false });
  const { status, text } = plain?.status === 301 ? ((await answerTo(secure())) ?? {}) : (plain ?? {});
  return status === 200 ? (JSON.parse(text ?? "") as { version: string }).version : undefined;
}

/** `undefined` when there is none. */
function answerTo(asked: ClientRequest): Promise<{ status: number | undefined; text: string } | undefined> {
  return new Promise((resolve) => {
    asked.on("response", (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      answer.on("error", () => resolve(undefined));
      answer.on("end", () => resolve({ status: answer.statusCode, text }));
    });
    asked.on("timeout", () => asked.destroy());
    asked.on("error", () => resolve(undefined));
    asked.end();
  });
}

/** The other tools reach the server by an ssh of their own, and their pages have ports of their own. */
export function openPorts(copy: ProjectCopy): void {
  const rule = '{ protocol: "tcp", portRange: "80", sourceAddresses: everywhere },';
  const more = ["2222", "8081-8082"].map((ports) => rule.replace("80", ports));
  copy.edit("components/network.ts", rule, [rule, ...more].join("\n"));
  const onServer = "tcp dport { 80, 443 } accept";
  copy.edit("server-scripts/chillbox-firewall", onServer, onServer.replace("443", "443, 2222, 8081-8082"));
}

/** Lets the other tools in; they begin with the same server and the same files. */
async function prepareRivals({ atEnd }: Bench, copy: ProjectCopy, address: string) {
  const folder = mkdtempSync(join(tmpdir(), "rivals-"));
  atEnd(() => rmSync(folder, { recursive: true, force: true }));
  const inFolder = (name: string) => join(folder, name);
  execFileSync("ssh-keygen", ["-q", "-t", "rsa", "-m", "PEM", "-N", "", "-C", "", "-f", inFolder("key")]);
  const script = readFileSync(join(rivals, "server.sh"), "utf8");
  const words = [
    "doas",
    "sh",
    "-c",
    shellQuote(script),
    "server.sh",
    shellQuote(readFileSync(inFolder("key.pub"), "utf8").trim()),
  ];
  const hostKey = (await succeed(copy, ["ssh", "--", ...words])).split("\n").find((line) => line.startsWith("ecdsa-"));
  writeFileSync(inFolder("known_hosts"), `[${address}]:2222 ${hostKey}\n`);
  const source = join(copy.folder, "sites/hello");
  const wheels = inFolder("wheels");
  await collectWheels(wheels);
  const shared = { source, wheels, packed: inFolder("packed.tar.gz") };

  const tools = await setUp({ needs: toRun });
  const playbook = join(dirname(tools.ansible?.path ?? ""), "ansible-playbook");
  const ssh = [
    "-F none",
    `-o UserKnownHostsFile=${inFolder("known_hosts")}`,
    "-o ControlMaster=auto",
    "-o ControlPersist=60s",
  ];
  const inventory = `server ansible_host=${address} ansible_port=2222 ansible_user=root ansible_ssh_private_key_file=${inFolder("key")}`;
  writeFileSync(inFolder("inventory"), `${inventory} ansible_ssh_common_args='${ssh.join(" ")}'\n`);
  const ansible = async (version: string) => {
    const variables = JSON.stringify({ ...shared, version });
    await runTool(
      playbook,
      ["--inventory", inFolder("inventory"), "--extra-vars", variables, join(rivals, "ansible/deploy.yml")],
      {
        env: { HOME: folder, ANSIBLE_CONFIG: join(rivals, "ansible/ansible.cfg"), ANSIBLE_LOCAL_TEMP: inFolder("tmp") },
      },
    );
  };

  const environment = {
    SOURCE: source,
    WHEELS: wheels,
    PACKED: shared.packed,
    ADDRESS: address,
    KEY: inFolder("key"),
    KNOWN_HOSTS: inFolder("known_hosts"),
    HOME: folder,
  };
  const cap = async (task: string, version: string) => {
    const env = { ...environment, VERSION: version };
    await runTool("cap", ["production", task], { cwd: join(rivals, "capistrano"), env });
  };
  await cap("app:set_up", "0");
  return { ansible, capistrano: (version: string) => cap("deploy", version) };
}

/** Runs one of the tools; throws with the end of what it said when it fails. */
async function runTool(command: string, words: readonly string[], options: { cwd?: string; env: NodeJS.ProcessEnv }) {
  const result = await execa(command, words, { ...options, all: true, reject: false, stdin: "ignore" });
  if (!result.failed) return;
  throw new Error(`${result.shortMessage}\n${(result.all ?? "").split("\n").slice(-40).join("\n")}`);
}

/** What the service needs besides itself; chillbox brings it to every server. */
async function collectWheels(folder: string): Promise<void> {
  const own = await wheelsFolder(join(import.meta.dirname, "../../server-scripts/python/requirements.txt"));
  execFileSync("mkdir", [folder]);
  execFileSync("sh", ["-c", 'cp "$1"/gunicorn-*.whl "$1"/packaging-*.whl "$2"', "sh", own, folder]);
  writeFileSync(join(folder, "requirements.txt"), "gunicorn\n");
}
