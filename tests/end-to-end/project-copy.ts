import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { localCloudSettings } from "../../lib/local-cloud-settings.ts";
import { ownCopy } from "../local-cloud/own-copy.ts";

/** The clone that is tested. */
export const repository = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

/** What a finished command printed. */
export interface Outcome {
  readonly exitCode: number;
  /** stdout and stderr, interleaved as a person sees them. */
  readonly output: string;
}

/** A copy of the project with its own state, ports and addresses, beside whatever the clone itself is running. */
export class ProjectCopy {
  readonly folder: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly settings;

  /** A copy with ports that are free and addresses that nobody routes. */
  static async make(): Promise<ProjectCopy> {
    const { home, ports, addressRange } = await ownCopy();
    rmSync(home, { recursive: true });
    return new ProjectCopy({ portBase: ports.gateway, addressRange });
  }

  private constructor(options: { portBase: number; addressRange: string }) {
    this.folder = mkdtempSync(join(tmpdir(), "chillbox-end-to-end-"));
    // Also for the ordinary user that a test runs it as.
    chmodSync(this.folder, 0o755);
    copyTrackedFiles(this.folder);
    copyPackages(this.folder);
    this.environment = {
      ...withoutChillboxVariables(process.env),
      CHILLBOX_HOME: join(this.folder, ".chillbox"),
      CHILLBOX_PORT_BASE: String(options.portBase),
      CHILLBOX_ADDRESS_RANGE: options.addressRange,
    };
    this.settings = localCloudSettings(this.environment);
  }

  /** Runs `npx chillbox ARGUMENTS` in the copy; never throws for an exit code. */
  chillbox(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Outcome> {
    return this.run("node", ["cli/chillbox.mjs", ...args], environment);
  }

  /** Runs a shell line in which `pulumi` is the copy's own, as the README says. */
  shell(line: string): Promise<Outcome> {
    return this.run("sh", ["-euc", `eval "$(npx chillbox env)"\n${line}`]);
  }

  async run(command: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Outcome> {
    const result = await execa(command, args, {
      cwd: this.folder,
      env: { ...this.environment, ...environment },
      extendEnv: false,
      all: true,
      reject: false,
      stdin: "ignore",
      timeout: 900_000,
    });
    return { exitCode: result.exitCode ?? 1, output: result.all ?? "" };
  }

  /** Replaces text in one of the copy's files; fails when the text is not there, so that a test can't pass by accident. */
  edit(file: string, from: string, to: string): void {
    const path = join(this.folder, file);
    const text = readFileSync(path, "utf8");
    if (!text.includes(from)) throw new Error(`${file} does not contain ${JSON.stringify(from)}`);
    writeFileSync(path, text.replace(from, to));
  }

  read(file: string): string {
    return readFileSync(join(this.folder, file), "utf8");
  }

  write(file: string, text: string): void {
    mkdirSync(dirname(join(this.folder, file)), { recursive: true });
    writeFileSync(join(this.folder, file), text);
  }

  delete(file: string): void {
    rmSync(join(this.folder, file));
  }

  /** Removes the whole copy. */
  remove(): void {
    if (existsSync(this.folder)) rmSync(this.folder, { recursive: true });
  }
}

function copyTrackedFiles(target: string): void {
  const files = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: repository,
  })
    .toString()
    .split("\0")
    .filter((file) => file !== "" && existsSync(join(repository, file)));
  for (const file of files) cpSync(join(repository, file), join(target, file), { recursive: true });
}

/** Hard links where the file system allows it. Not a link to the folder: `npm ci` in the copy would empty the clone's. */
function copyPackages(target: string): void {
  const [from, to] = [join(repository, "node_modules"), join(target, "node_modules")];
  try {
    execFileSync("cp", ["-al", from, to], { stdio: "ignore" });
  } catch {
    rmSync(to, { recursive: true, force: true });
    execFileSync("cp", ["-a", from, to]);
  }
}

function withoutChillboxVariables(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(environment).filter(([name]) => !/^(CHILLBOX(?!_DROPLET_DRIVER$)|PULUMI|HTTP_PROXY$)/.test(name)),
  );
}
