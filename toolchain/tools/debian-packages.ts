import { createInterface } from "node:readline/promises";
import { UserError } from "../../lib/user-error.ts";
import { findCommand } from "../commands.ts";
import { type DebianPackage, packagesToRun, packagesToTest } from "../debian-packages.ts";
import { exists } from "../files.ts";
import { run } from "../run.ts";
import type { Context, Report, Tool } from "../tool.ts";
import { findPython } from "./python.ts";

/** Debian's programs that `npm run up` needs. */
export const debianPackages = packageTool("debian-packages", packagesToRun, "programs of the distribution");
/** Debian's programs that only the tests need. */
export const debianPackagesToTest = packageTool(
  "debian-packages-to-test",
  packagesToTest,
  "more of them, for the tests",
);

/** The tool that is there when each of these packages is. */
export function packageTool(name: string, packages: readonly DebianPackage[], what: string): Tool {
  return {
    name,
    version: `${packages.length} packages`,
    what: `${what}: ${packages.map((each) => each.name).join(", ")}`,
    remember: true,
    first: true,
    async find() {
      const paths = await Promise.all(packages.map(locate));
      if (paths.includes(undefined)) return undefined;
      const files = paths.filter((path) => path !== undefined);
      return { path: "/usr", version: `${packages.length} packages`, source: "path", files };
    },
    confirm: (context) => confirm(packages, context),
    make: (_, report) => install(packages, report),
  };
}

/** Packages of the list that are not there. */
export async function missingPackages(packages: readonly DebianPackage[]): Promise<DebianPackage[]> {
  const paths = await Promise.all(packages.map(locate));
  return packages.filter((_, index) => paths[index] === undefined);
}

async function locate(each: DebianPackage): Promise<string | undefined> {
  if (each.name === "python3-venv") {
    return findPython().then(
      (python) => python.path,
      () => undefined,
    );
  }
  if (each.brings.startsWith("/")) return (await exists(each.brings)) ? each.brings : undefined;
  return findCommand(each.brings);
}

/** `sudo` where it is needed. */
const prefix = process.getuid?.() === 0 ? [] : ["sudo"];

function installCommand(packages: readonly DebianPackage[]): string[] {
  return ["apt-get", "install", "-y", "--no-install-recommends", ...packages.map((each) => each.name)];
}

async function confirm(packages: readonly DebianPackage[], context: Context): Promise<void> {
  const missing = await missingPackages(packages);
  if (!(await findCommand("apt-get"))) {
    const programs = missing.map((each) => `${each.brings} (${each.why})`);
    throw new UserError(
      `These programs are missing: ${programs.join(", ")}. Install them with your distribution's package manager.`,
    );
  }
  const command = [...prefix, ...installCommand(missing)].join(" ");
  if (context.yes || (await isAllowed(missing, command))) return;
  throw new UserError(`Debian packages are missing. Install them, then run the same command again:\n  ${command}`);
}

async function isAllowed(missing: readonly DebianPackage[], command: string): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return false;
  const lines = missing.map((each) => `  ${each.name.padEnd(16)} ${each.why}`);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const question = `chillbox needs these Debian packages:\n${lines.join("\n")}\nInstall them with \`${command}\`? [Y/n] `;
    return /^(y(es)?)?$/i.test((await terminal.question(question)).trim());
  } finally {
    terminal.close();
  }
}

async function install(packages: readonly DebianPackage[], report: Report): Promise<void> {
  const [, ...install] = installCommand(await missingPackages(packages));
  const wayOut = `Run it yourself to see more: ${[...prefix, "apt-get", ...install].join(" ")}`;
  // Another apt-get may be at work, for example the machine's own updates.
  const apt = [...prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"];
  const [command = "env", ...options] = apt;
  await run(command, [...options, "update"], { report, timeoutMinutes: 10, wayOut });
  await run(command, [...options, ...install], { report, timeoutMinutes: 20, wayOut });
}
