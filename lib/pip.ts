import { spawn } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { childEnvironment } from "./child-environment.ts";
import { fillOnce, isThere } from "./fill-once.ts";
import { UserError } from "./user-error.ts";

/** A server's Python, as the server itself told when it was enrolled. */
export interface ServerPython {
  /** Such as "3.13". */
  readonly python: string;
  /** Platforms whose wheels it takes, the newest first: `manylinux_2_41_x86_64` or `musllinux_1_2_x86_64`, and older ones. */
  readonly platforms: readonly string[];
}

export interface PipOptions {
  /** Folder that holds the wheel of pip, which is what runs: the machine's own may be of any age. */
  readonly wheels: string;
  readonly server: ServerPython;
  /** Whether the person's package index may be asked. Otherwise pip sees files alone. */
  readonly network: boolean;
  readonly cwd?: string;
  /** Folder of what counts as installed (metadata is enough). Default: nothing does. */
  readonly installed?: string;
  readonly environment?: NodeJS.ProcessEnv;
}

export interface PipResult {
  readonly code: number;
  readonly out: string;
  readonly errors: string;
}

/** What the older names of platforms stand for (PEP 513, 571, 599): enrol reports the newer ones alone. */
const olderNames: Readonly<Record<string, string>> = {
  manylinux_2_17: "manylinux2014",
  manylinux_2_12: "manylinux2010",
  manylinux_2_5: "manylinux1",
};

/** Options that make `pip install` and `pip download` choose wheels for a server. */
export function targetOptions({ python, platforms }: ServerPython): string[] {
  return [
    "--only-binary=:all:",
    "--implementation=cp",
    `--python-version=${python}`,
    `--abi=cp${python.replace(".", "")}`,
    ...allPlatforms(platforms).map((platform) => `--platform=${platform}`),
  ];
}

/** The platforms with their older names, and `linux_...`, which pip on the server takes for what was built for it. */
function allPlatforms(platforms: readonly string[]): string[] {
  const all = platforms.flatMap((platform) => {
    const [, name = "", machine = ""] = /^((?:many|musl)linux_\d+_\d+)_(.+)$/.exec(platform) ?? [];
    const older = olderNames[name];
    return older ? [platform, `${older}_${machine}`] : [platform];
  });
  return [...new Set([...all, `linux_${machineOf(platforms)}`])];
}

function machineOf(platforms: readonly string[]): string {
  return /^[a-z]+_\d+_\d+_(.+)$/.exec(platforms[0] ?? "")?.[1] ?? "x86_64";
}

/** What PEP 508's variables are on a server. Which patch release of Python it has nobody knows: a late one is meant. */
function markerVariables({ python, platforms }: ServerPython): Record<string, string> {
  return {
    implementation_name: "cpython",
    implementation_version: `${python}.99`,
    os_name: "posix",
    platform_machine: machineOf(platforms),
    platform_python_implementation: "CPython",
    platform_system: "Linux",
    python_full_version: `${python}.99`,
    python_version: python,
    sys_platform: "linux",
  };
}

/**
 * Runs pip for a server on the laptop. Nothing of the person's pip configuration counts unless the network is used.
 * @throws UserError when there is no Python or no wheel of pip
 */
export async function runPip(words: readonly string[], options: PipOptions): Promise<PipResult> {
  const pip = await unpackPip(options.wheels);
  const driver = join(import.meta.dirname, "pip-for-server.py");
  const variables = JSON.stringify(markerVariables(options.server));
  const general = ["--no-input", "--disable-pip-version-check", "--no-color"];
  const line = [driver, pip, options.installed ?? "/nonexistent", variables, ...words, ...general];
  const environment = pipEnvironment(options.network, options.environment ?? process.env);
  return runPython(line, options.cwd, environment);
}

/** The folder of pip's packages, beside that of the wheels: out of its wheel pip would take three times as long to start. */
async function unpackPip(wheels: string): Promise<string> {
  const folder = `${wheels}-pip`;
  if (await isThere(folder)) return folder;
  const wheel = (await readdir(wheels).catch(() => [])).find((name) => /^pip-.*\.whl$/.test(name));
  if (wheel === undefined) throw new UserError(`${wheels} has no wheel of pip: run the set-up (npm run up).`);
  const script = `import compileall, sys, zipfile
zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])
compileall.compile_dir(sys.argv[2], quiet=2)`;
  await fillOnce(folder, async (temporary) => {
    const { code, errors } = await runPython(["-c", script, join(wheels, wheel), temporary]);
    if (code !== 0) throw new UserError(`${join(wheels, wheel)} cannot be unpacked: ${errors.trim()}`);
  });
  return folder;
}

/** Runs a Python program of chillbox's own, with the standard library alone. */
export async function runPython(
  words: readonly string[],
  cwd?: string,
  environment: NodeJS.ProcessEnv = childEnvironment(),
): Promise<PipResult> {
  const child = spawn("python3", ["-IS", "-B", ...words], { cwd, env: environment, stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let errors = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    out += part;
  });
  child.stderr.setEncoding("utf8").on("data", (part: string) => {
    errors += part;
  });
  const code = await new Promise<number>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (exit) => resolve(exit ?? 1));
  }).catch((error: Error) => {
    throw new UserError(`python3 cannot be run (${error.message}): install Python 3.11 or newer.`);
  });
  return { code, out, errors };
}

/** With the network, what the person has set for pip; without, nothing, and a proxy that leads nowhere stops a requirement's URL. */
function pipEnvironment(network: boolean, environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const nowhere = "http://127.0.0.1:9";
  const own = childEnvironment(environment);
  if (!network) {
    return {
      ...own,
      PIP_CONFIG_FILE: "/dev/null",
      PIP_NO_INDEX: "1",
      HTTP_PROXY: nowhere,
      HTTPS_PROXY: nowhere,
      no_proxy: "",
    };
  }
  const names = Object.keys(environment).filter((name) => name.startsWith("PIP_") || /^(https|no)_proxy$/i.test(name));
  return { ...own, ...Object.fromEntries(names.map((name) => [name, environment[name]])) };
}
