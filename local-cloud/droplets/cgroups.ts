import { chown, mkdir, readdir, readFile, rmdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../../lib/user-error.ts";

/** Where the laptop's control groups are: one folder (version 2), or one a controller (version 1). */
export interface CgroupHost {
  readonly version: 1 | 2;
  /** Mount points of the hierarchies that droplets are in; the one with `pids` (or the only one) comes first. */
  readonly hierarchies: readonly { readonly path: string; readonly controllers: readonly string[] }[];
}

const wanted = ["pids", "memory", "cpu"];

/** Most processes of one droplet. */
const pidsLimit = 4096;

/**
 * Finds the laptop's control groups with a memory controller.
 * @throws UserError when there is none.
 */
export async function findCgroups(mountInfo?: string): Promise<CgroupHost> {
  const mounts = parseMounts(mountInfo ?? (await readFile("/proc/self/mountinfo", "utf8")));
  const first = mounts.filter((mount) => mount.kind === "cgroup" && mount.options.some((one) => wanted.includes(one)));
  if (first.some((mount) => mount.options.includes("memory"))) {
    const hierarchies = first.map(({ path, options }) => ({
      path,
      controllers: options.filter((one) => wanted.includes(one)),
    }));
    return { version: 1, hierarchies: hierarchies.sort((a, b) => rank(a.controllers) - rank(b.controllers)) };
  }
  const second = mounts.find((mount) => mount.kind === "cgroup2");
  if (second) {
    const controllers = (await readFile(join(second.path, "cgroup.controllers"), "utf8")).trim().split(" ");
    if (controllers.includes("memory")) {
      return {
        version: 2,
        hierarchies: [{ path: second.path, controllers: wanted.filter((one) => controllers.includes(one)) }],
      };
    }
  }
  throw new UserError(
    "This machine has no memory control group, so that a droplet could not be held to its plan's memory. Mount cgroup2 on /sys/fs/cgroup (kernel parameter cgroup_enable=memory where it is switched off).",
  );
}

function rank(controllers: readonly string[]): number {
  return controllers.includes("pids") ? 0 : 1;
}

function parseMounts(text: string): { path: string; kind: string; options: string[] }[] {
  return text
    .split("\n")
    .filter((line) => line.includes(" - "))
    .map((line) => {
      const [before = "", after = ""] = line.split(" - ");
      const [kind = "", , options = ""] = after.split(" ");
      return { path: before.split(" ")[4] ?? "", kind, options: options.split(",") };
    })
    .filter((mount, index, all) => all.findIndex((other) => other.path === mount.path) === index);
}

/** Makes the group `<top>/<name>` in every hierarchy; answers its folders. */
async function makeGroup(host: CgroupHost, top: string, name: string): Promise<string[]> {
  const folders = [];
  for (const { path, controllers } of host.hierarchies) {
    const folder = join(path, top, name);
    await mkdir(folder, { recursive: true });
    if (host.version === 2) {
      await shareControllers(path, controllers);
      await shareControllers(join(path, top), controllers);
    }
    folders.push(folder);
  }
  return folders;
}

async function shareControllers(folder: string, controllers: readonly string[]): Promise<void> {
  const shared = (await readFile(join(folder, "cgroup.subtree_control"), "utf8")).trim().split(" ");
  const missing = controllers.filter((one) => !shared.includes(one));
  if (missing.length > 0) {
    const text = missing.map((one) => `+${one}`).join(" ");
    await writeFile(join(folder, "cgroup.subtree_control"), text).catch((error: NodeJS.ErrnoException) => {
      throw new UserError(
        `The control groups at ${folder} cannot be divided further (${error.code}): this looks like a container. Run the local cloud on the machine itself.`,
      );
    });
  }
}

/**
 * Makes a droplet's control groups: an outer one with the limits, which stays the laptop's, and in it `machine`, which the droplet may
 * divide further and which is all that it sees.
 * @param owner user and group of the laptop that the droplet's root is.
 * @returns the `machine` folders, one a hierarchy.
 */
export async function makeDropletGroups(
  host: CgroupHost,
  top: string,
  droplet: { readonly id: number; readonly memoryMiB: number },
  owner: number,
): Promise<string[]> {
  const outer = await makeGroup(host, top, `droplet-${droplet.id}`);
  const machines = [];
  for (const [index, folder] of outer.entries()) {
    const controllers = host.hierarchies[index]?.controllers ?? [];
    for (const [file, value] of limits(host.version, controllers, droplet.memoryMiB)) {
      await writeIfThere(join(folder, file), value);
    }
    if (host.version === 2) {
      await shareControllers(folder, controllers);
    }
    const machine = join(folder, "machine");
    await mkdir(machine, { recursive: true });
    for (const file of ["", "cgroup.procs", "tasks", "cgroup.threads", "cgroup.subtree_control"]) {
      await chown(join(machine, file), owner, owner).catch(ignoreMissing);
    }
    machines.push(machine);
  }
  return machines;
}

/** No swap beside the memory: a droplet has none. The order matters to version 1, where memory+swap cannot be below memory. */
function limits(version: 1 | 2, controllers: readonly string[], memoryMiB: number): [string, string][] {
  const bytes = String(memoryMiB * 1024 * 1024);
  const memory: [string, string][] =
    version === 2
      ? [
          ["memory.max", bytes],
          ["memory.swap.max", "0"],
          ["memory.oom.group", "0"],
        ]
      : [
          ["memory.use_hierarchy", "1"],
          ["memory.limit_in_bytes", bytes],
          ["memory.memsw.limit_in_bytes", bytes],
        ];
  return [
    ...(controllers.includes("memory") ? memory : []),
    ...(controllers.includes("pids") ? ([["pids.max", String(pidsLimit)]] as [string, string][]) : []),
  ];
}

async function writeIfThere(path: string, value: string): Promise<void> {
  await writeFile(path, value, { flag: "r+" }).catch(ignoreMissing);
}

/** Puts this process, and with it every child that it starts from now on, into `<top>/services`, by which `stop` finds them all. */
export async function joinServices(host: CgroupHost, top: string): Promise<void> {
  const [first] = await makeGroup({ ...host, hierarchies: host.hierarchies.slice(0, 1) }, top, "services");
  await writeFile(join(first ?? "", "cgroup.procs"), String(process.pid));
}

/** Whether the group `top` is there. */
export async function groupExists(top: string): Promise<boolean> {
  const host = await findCgroups();
  const found = await Promise.all(host.hierarchies.map(({ path }) => groupsBelow(join(path, top))));
  return found.flat().length > 0;
}

/** Processes in the group `top` and below. */
export async function processesIn(host: CgroupHost, top: string): Promise<number[]> {
  const groups = (await Promise.all(host.hierarchies.map(({ path }) => groupsBelow(join(path, top))))).flat();
  const lists = await Promise.all(groups.map((group) => readFile(join(group, "cgroup.procs"), "utf8").catch(() => "")));
  const pids = lists.flatMap((text) => text.split("\n")).map(Number);
  return [...new Set(pids)].filter((pid) => pid > 0);
}

/** A group and all below it, the deepest first. */
async function groupsBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const below = await Promise.all(
    entries.filter((entry) => entry.isDirectory()).map((entry) => groupsBelow(join(folder, entry.name))),
  );
  const exists = await stat(folder).then(
    () => true,
    () => false,
  );
  return exists ? [...below.flat(), folder] : [];
}

/** Ends every process in the group `top`, but for this one, and removes the group. A process takes a moment to be gone. */
export async function removeGroups(host: CgroupHost, top: string, milliseconds = 5000): Promise<void> {
  const deadline = Date.now() + milliseconds;
  for (;;) {
    for (const pid of await processesIn(host, top)) {
      if (pid !== process.pid) {
        killQuietly(pid);
      }
    }
    if (await tryRemove(host, top)) {
      return;
    }
    if (Date.now() > deadline) {
      throw new Error(
        `the control group ${top} is still in use by processes ${(await processesIn(host, top)).join(", ")}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function tryRemove(host: CgroupHost, top: string): Promise<boolean> {
  let gone = true;
  for (const { path } of host.hierarchies) {
    for (const group of await groupsBelow(join(path, top))) {
      gone = (await rmdir(group).then(() => true, isMissing)) && gone;
    }
  }
  return gone;
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // it has ended by itself
  }
}

function isMissing(error: NodeJS.ErrnoException): boolean {
  return error.code === "ENOENT";
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") {
    throw error;
  }
}
