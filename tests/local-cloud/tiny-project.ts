import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { TestContext } from "node:test";
import { cacheFolder } from "../../lib/cache-folder.ts";
import { installStandIns } from "../../toolchain/stand-ins/install.ts";

const repository = join(import.meta.dirname, "../..");
const cached = join(cacheFolder(), "pulumi/3.259.0/pulumi");
const pulumi = existsSync(cached) ? cached : "pulumi";

/** What a run of `pulumi` did. */
export interface Ran {
  readonly code: number;
  /** stdout and stderr. */
  readonly output: string;
}

/** A resource of a stack's state. */
export interface StateResource {
  readonly type: string;
  readonly urn: string;
  readonly id?: string;
  readonly inputs: Record<string, unknown>;
  readonly outputs: Record<string, unknown>;
}

/** A Pulumi project of a test's own, run by the real engine on stand-ins. */
export interface TinyProject {
  readonly folder: string;
  /** Runs `pulumi`, whatever comes of it. */
  run(...args: string[]): Promise<Ran>;
  /** Runs `pulumi` and gives its output; fails the test when that fails. */
  ok(...args: string[]): Promise<string>;
  /** `up` without a preview before it: what it did, as in `{create: 2, same: 1}`. */
  up(): Promise<Record<string, number>>;
  set(key: string, value: string): Promise<void>;
  /** The state as it lies on disk. */
  stateText(): string;
  resources(): Promise<StateResource[]>;
}

/**
 * Makes a project with a stack and a Pulumi home of its own in a temporary folder.
 * @param program text of `index.ts`.
 * @param environment added to what Pulumi gets.
 */
export async function tinyProject(
  t: TestContext,
  program: string,
  options: { stack?: string; environment?: Record<string, string> } = {},
): Promise<TinyProject> {
  const { stack = "local" } = options;
  const root = mkdtempSync(join(tmpdir(), "chillbox-tiny-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const folder = join(root, "project");
  mkdirSync(folder);
  symlinkSync(join(repository, "node_modules"), join(folder, "node_modules"));
  const files = {
    "index.ts": program,
    "package.json": JSON.stringify({ name: "tiny", type: "module", main: "index.ts" }),
    "Pulumi.yaml": `name: tiny
runtime: { name: nodejs, options: { typescript: false } }
main: index.ts
backend: { url: "file://./state?create_dir=true" }
`,
    "../passphrase": "only for this test",
  };
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(folder, name), text);
  }
  installStandIns(join(root, "home"), process.execPath, { language: true, digitalocean: true, command: true });
  const env = {
    PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
    HOME: root,
    PULUMI_HOME: join(root, "home"),
    PULUMI_CONFIG_PASSPHRASE_FILE: join(root, "passphrase"),
    PULUMI_IGNORE_AMBIENT_PLUGINS: "true",
    PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
    PULUMI_SKIP_UPDATE_CHECK: "true",
    ...options.environment,
  };
  const run = (...args: string[]): Promise<Ran> =>
    new Promise((resolve) => {
      const settings = { cwd: folder, env, maxBuffer: 1e8 };
      execFile(pulumi, ["--non-interactive", "--color=never", ...args], settings, (error, stdout, stderr) => {
        const code = typeof error?.code === "number" ? error.code : error === null ? 0 : 1;
        resolve({ code, output: stdout + stderr + (error !== null && stdout + stderr === "" ? error.message : "") });
      });
    });
  const ok = async (...args: string[]): Promise<string> => {
    const { code, output } = await run(...args);
    if (code !== 0) {
      throw new Error(`pulumi ${args.join(" ")} ended with ${code}:\n${output}`);
    }
    return output;
  };
  await ok("stack", "init", stack);
  return {
    folder,
    run,
    ok,
    async up() {
      const output = await ok("up", "--yes", "--skip-preview", "--json");
      const events = output.split("\n").filter((line) => line.startsWith("{"));
      const summary = events.map((line) => JSON.parse(line)).findLast((event) => event.summaryEvent !== undefined);
      return summary.summaryEvent.resourceChanges;
    },
    set: async (key, value) => {
      await ok("config", "set", key, value);
    },
    stateText: () => readFileSync(join(folder, `state/.pulumi/stacks/tiny/${stack}.json`), "utf8"),
    async resources() {
      return JSON.parse(await ok("stack", "export")).deployment.resources ?? [];
    },
  };
}
