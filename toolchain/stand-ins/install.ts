import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Which of the three parts are to be stood in for. */
export interface StandIns {
  readonly language: boolean;
  readonly digitalocean: boolean;
  readonly command: boolean;
}

const here = dirname(fileURLToPath(import.meta.url));
const strippedTypes = import.meta.resolve("../stripped-types.mjs");
const pulumiPackage = join(here, "../../node_modules/@pulumi/pulumi");
/** What each part is called in a plugin folder, which version it says it is, and the script that it runs. */
const parts = [
  {
    part: "language",
    kind: "language",
    name: "nodejs",
    version: "3.259.0",
    script: join(here, "language-host/main.ts"),
  },
  // Pulumi's own plugin for dynamic providers, which comes with the language host.
  {
    part: "language",
    kind: "resource",
    name: "pulumi-nodejs",
    version: "3.259.0",
    script: join(pulumiPackage, "cmd/dynamic-provider/index.js"),
  },
  {
    part: "digitalocean",
    kind: "resource",
    name: "digitalocean",
    version: "4.80.1",
    script: join(here, "digitalocean/main.ts"),
  },
  { part: "command", kind: "resource", name: "command", version: "1.2.1", script: join(here, "command/main.ts") },
] as const;

const notice = `STAND-INS: what lies here is NOT the official Pulumi language host or provider plugins.

They are small programs of chillbox (${here}),
made for stack 'local' alone, where the official downloads cannot be had. They talk to the local cloud on this
machine and to nothing else, and refuse every other stack. Delete this folder to be rid of them.
`;

/**
 * Installs stand-ins under `pulumiHome`/plugins, where the engine looks for what does not lie beside its own program. What is there
 * already and right stays untouched; a stand-in that is not asked for is removed, so that an official one is found instead. Every
 * file is written whole or not at all. A file `STAND-INS` says what they are.
 * @param pulumiHome folder of a Pulumi home of chillbox' own, absolute.
 * @param nodePath absolute path of a node that runs TypeScript (22.18 or later).
 */
export function installStandIns(pulumiHome: string, nodePath: string, which: StandIns): void {
  for (const { part, kind, name, version, script } of parts) {
    const folder = join(pulumiHome, "plugins", `${kind}-${name}-v${version}`);
    const program = join(folder, `pulumi-${kind}-${name}`);
    if (which[part]) {
      writeWhole(program, launcher(nodePath, script), 0o755);
    } else if (isStandIn(program)) {
      rmSync(folder, { recursive: true });
    }
  }
  const sign = join(pulumiHome, "STAND-INS");
  if (which.language || which.digitalocean || which.command) {
    writeWhole(sign, notice, 0o644);
  } else {
    rmSync(sign, { force: true });
  }
}

/** Whether a stand-in's launcher is one that this version writes for this node. */
export function isCurrentLauncher(text: string, nodePath: string): boolean {
  return text.includes(quoted(nodePath)) && text.includes(quoted(`--import=${strippedTypes}`));
}

const launcherMark = "# chillbox stand-in";

function launcher(nodePath: string, script: string): string {
  const words = [nodePath, "--disable-warning=ExperimentalWarning", `--import=${strippedTypes}`, script].map(quoted);
  return `#!/bin/sh\n${launcherMark}\nexec ${words.join(" ")} "$@"\n`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A launcher is small; an official plugin, of a hundred megabytes, is not read. */
function isStandIn(program: string): boolean {
  return existsSync(program) && statSync(program).size < 10_000 && readFileSync(program, "utf8").includes(launcherMark);
}

function writeWhole(path: string, text: string, mode: number): void {
  if (existsSync(path) && readFileSync(path, "utf8") === text) {
    return;
  }
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.new`;
  writeFileSync(temporary, text);
  chmodSync(temporary, mode);
  renameSync(temporary, path);
}
