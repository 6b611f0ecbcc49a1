#!/usr/bin/env node
// Runs a TypeScript file of this project: `node toolchain/start.mjs SCRIPT ARGUMENTS...`
//
// It is plain JavaScript that any Node since 20 understands. Before SCRIPT starts it sees to two things and says so when they take time:
//   1. a Node that runs TypeScript as it is (>= 22.18): the running one, one on PATH, else the npm package pinned in toolchain/node/;
//   2. the npm packages of package-lock.json.
// When both are there it only imports SCRIPT.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import module from "node:module";
import { constants, homedir } from "node:os";
import { delimiter, dirname, isAbsolute, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const toolchain = dirname(fileURLToPath(import.meta.url));
const repository = dirname(toolchain);
/** First version that strips types by itself. */
const OLDEST_NODE = [22, 18];
/** Set by the outer run for the inner one, so that a Node that is still too old can't start itself for ever. */
const STARTED = "CHILLBOX_STARTED";
/** Argument by which this file calls itself to install packages under a lock. */
const INSTALL = "--install-packages";

/** A failure that is told without a stack trace. */
class StartError extends Error {}

/**
 * Runs a TypeScript file with the Node and the packages that it needs.
 * Resolves when the file has been imported (in this process) or ends the process as the other Node's ended.
 * @param {string} script path of the file, relative to the repository
 * @param {string[]} args what it finds in `process.argv` from index 2 on
 */
export async function start(script, args) {
  try {
    if (script === INSTALL) return installPackages();
    const path = isAbsolute(script) ? script : resolve(repository, script);
    const node = runsTypeScript(process.versions.node) ? process.execPath : findNode();
    delete process.env[STARTED];
    if (!packagesReady()) installPackagesAlone(node);
    if (node === process.execPath) {
      process.argv = [node, path, ...args];
      // What was compiled once loads in half the time. Node before 22 has no such cache; a folder that cannot be written is no error.
      module.enableCompileCache?.(join(repository, "node_modules/.cache/compiled"));
      await import("./stripped-types.mjs");
      await import(pathToFileURL(path).href);
    } else {
      runWith(node, path, args);
    }
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    process.stderr.write(`chillbox: ${error.message}\n`);
    process.exitCode = 1;
  }
}

/** @param {string} version such as `22.18.0` */
export function runsTypeScript(version) {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1]);
}

/** `${XDG_CACHE_HOME:-~/.cache}/chillbox`; the specification says that a relative path there is to be ignored. */
export function cacheFolder(environment = process.env) {
  const configured = environment.XDG_CACHE_HOME;
  return join(configured && isAbsolute(configured) ? configured : join(homedir(), ".cache"), "chillbox");
}

/** Path of a Node that is new enough, installed if there is none. */
function findNode() {
  if (process.env[STARTED] === String(process.ppid))
    throw new StartError(`Node ${process.versions.node} is too old: 22.18 or newer is needed.`);
  return findNodeOnPath() ?? installNode();
}

function findNodeOnPath() {
  const seen = new Set([process.execPath]);
  for (const folder of (process.env.PATH ?? "").split(delimiter).filter(Boolean)) {
    const candidate = join(folder, "node");
    if (!existsSync(candidate)) continue;
    const real = realpathSync(candidate);
    if (seen.has(real)) continue;
    seen.add(real);
    const answer = spawnSync(candidate, ["-p", "process.versions.node"], { encoding: "utf8", timeout: 5000 });
    if (answer.status === 0 && runsTypeScript(answer.stdout.trim())) return candidate;
  }
  return undefined;
}

/** Installs the pinned npm package of Node's own binary into the cache; its folder appears there complete or not at all. */
function installNode() {
  const { optionalDependencies } = JSON.parse(readFileSync(join(toolchain, "node/package.json"), "utf8"));
  const name = `node-${process.platform}-${process.arch}`;
  const version = optionalDependencies[name];
  if (!version) {
    throw new StartError(
      `Node ${process.versions.node} is too old and there is no package of a newer one for ${process.platform} ${process.arch}: install Node 22.18 or newer.`,
    );
  }
  const folder = join(cacheFolder(), "node", version, `${process.platform}-${process.arch}`);
  const node = join(folder, "node_modules", name, "bin/node");
  if (existsSync(node)) return node;
  say(
    `Node ${process.versions.node} cannot run TypeScript: installing Node ${version} into ${folder} (about 40 MB) ...`,
  );
  mkdirSync(dirname(folder), { recursive: true });
  const temporary = mkdtempSync(`${folder}.`);
  try {
    for (const file of ["package.json", "package-lock.json"])
      cpSync(join(toolchain, "node", file), join(temporary, file));
    npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund"], temporary);
    // Another run may have been quicker: then its folder is as good as ours.
    if (!existsSync(node)) renameSync(temporary, folder);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  if (!existsSync(node)) throw new StartError(`npm installed ${name} without ${node}: remove ${folder} and try again.`);
  return node;
}

const packageLock = join(repository, "package-lock.json");
const marker = join(repository, "node_modules/.chillbox-lock");

/** Whether node_modules holds what package-lock.json asks for. A marker with the digest of the lock file makes the answer quick. */
function packagesReady() {
  const lock = readFileSync(packageLock);
  if (readIfThere(marker) === digestOf(lock)) return true;
  if (!packagesMatch(JSON.parse(lock.toString()))) return false;
  markInstalled(lock);
  return true;
}

/** Writes the marker, and lets `npx chillbox` find the command at once; npm makes such links for dependencies only. */
function markInstalled(lock) {
  const commands = join(repository, "node_modules/.bin");
  mkdirSync(commands, { recursive: true });
  rmSync(join(commands, "chillbox"), { force: true });
  symlinkSync("../../cli/chillbox.mjs", join(commands, "chillbox"));
  writeFileSync(`${marker}.${process.pid}`, digestOf(lock));
  renameSync(`${marker}.${process.pid}`, marker);
}

function digestOf(content) {
  return createHash("sha256").update(content).digest("hex");
}

/** Installs the packages while holding a lock: of two runs at once the second waits, and finds the work done. */
function installPackagesAlone(node) {
  const result = spawnSync("flock", [packageLock, node, fileURLToPath(import.meta.url), INSTALL], {
    stdio: "inherit",
    env: { ...process.env, PATH: pathWith(node) },
  });
  if (result.error) throw new StartError(`\`flock\` of util-linux is needed: ${result.error.message}`);
  if (result.status !== 0) process.exit(1);
}

function installPackages() {
  if (packagesReady()) return;
  say("installing the npm packages of package-lock.json ...");
  npm(["ci", "--no-audit", "--no-fund"], repository);
  markInstalled(readFileSync(packageLock));
}

/** Whether what npm says it installed is what the lock file asks for: true after a person's own `npm install`. */
function packagesMatch(lock) {
  const text = readIfThere(join(repository, "node_modules/.package-lock.json"));
  if (text === undefined) return false;
  const installed = JSON.parse(text).packages;
  return Object.entries(lock.packages).every(([path, wanted]) => {
    if (path === "") return true;
    const found = installed[path];
    return found === undefined ? wanted.optional === true : found.integrity === wanted.integrity;
  });
}

/** Runs npm quietly in a folder and tells its own words when it fails. */
function npm(args, cwd) {
  const result = spawnSync("npm", args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  if (result.status === 0) return;
  const output = `${result.stdout ?? ""}\n${result.stderr ?? ""}`.trim().split("\n").slice(-15).join("\n");
  throw new StartError(
    `\`npm ${args.join(" ")}\` failed in ${cwd}:\n${result.error?.message ?? output}\nCheck the network and the disk, then run the same command again.`,
  );
}

/** Runs SCRIPT with another Node and ends as it ended. */
function runWith(node, script, args) {
  const env = { ...process.env, PATH: pathWith(node), [STARTED]: String(process.pid) };
  const child = spawn(node, [script, ...args], { stdio: "inherit", env });
  // A terminal sends SIGINT to the child as well; without one it is for us to pass on.
  const terminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => {
      if (signal !== "SIGINT" || !terminal) child.kill(signal);
    });
  }
  child.on("error", (error) => {
    say(`${node} does not start: ${error.message}`);
    process.exitCode = 1;
  });
  child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}

function pathWith(node) {
  return [dirname(node), process.env.PATH].filter(Boolean).join(delimiter);
}

function readIfThere(path) {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

function say(text) {
  process.stderr.write(`chillbox: ${text}\n`);
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [script, ...args] = process.argv.slice(2);
  if (script) {
    // Not awaited: SCRIPT may import this file, which must have been evaluated by then.
    start(script, args);
  } else {
    say("usage: node toolchain/start.mjs SCRIPT ARGUMENTS...");
    process.exitCode = 1;
  }
}
