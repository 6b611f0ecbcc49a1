import { open } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { projectFiles } from "./files.ts";
import { type Counts, type Layer, type Limits, sum } from "./layer.ts";

/** Shell scripts by shellcheck and by a shell's own parser, playbooks by ansible-lint; a pass is a file without a finding. */
export const shell: Layer = {
  name: "shell",
  needs: ["debian-packages", "debian-packages-to-test", "ansible-lint"],
  minutes: 10,
  run,
};

type Dialect = "sh" | "openrc" | "bash" | "bats";

/** How shellcheck is to read a script, and the shell whose parser must accept it. */
const dialects: Readonly<Record<Dialect, { readonly options: readonly string[]; readonly parser?: string }>> = {
  sh: { options: ["--shell=sh"], parser: "sh" },
  // OpenRC reads and sets variables of its own, and its shells know `local`.
  openrc: { options: ["--shell=sh", "--exclude=SC2034,SC2154,SC3043"], parser: "sh" },
  bash: { options: ["--shell=bash"], parser: "bash" },
  // Its tests have a syntax of their own, words in quotes for another shell, and variables from loaded helpers.
  bats: { options: ["--shell=bats", "--severity=warning", "--exclude=SC2154"] },
};

interface Script {
  readonly file: string;
  readonly dialect: Dialect;
}

async function run(limits: Limits): Promise<Counts> {
  const files = await projectFiles(limits.repository);
  const scripts = (await Promise.all(files.map((file) => recognize(limits.repository, file)))).filter(
    (script) => script !== undefined,
  );
  const results: Counts[] = [];
  for (const script of scripts) results.push(await checkScript(script, limits));
  results.push(await checkPlaybooks(files, limits));
  return sum(results);
}

/** By its first line, because scripts for the server have no extension. */
async function recognize(repository: string, file: string): Promise<Script | undefined> {
  const line = await firstLine(join(repository, file));
  if (/^#!.*\bbats\b/.test(line) || /\.(bats|bash)$/.test(file)) return { file, dialect: "bats" };
  if (/^#!.*\bbash\b/.test(line)) return { file, dialect: "bash" };
  if (/^#!.*\bopenrc-run\b/.test(line)) return { file, dialect: "openrc" };
  const isShell = /^#!\s*\S*\/(env\s+)?(sh|ash|dash)\b/.test(line) || file.endsWith(".sh");
  return isShell ? { file, dialect: "sh" } : undefined;
}

async function firstLine(path: string): Promise<string> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(128), 0, 128, 0);
    return buffer.subarray(0, bytesRead).toString("latin1").split("\n")[0] ?? "";
  } finally {
    await file.close();
  }
}

async function checkScript({ file, dialect }: Script, { repository, signal }: Limits): Promise<Counts> {
  const options = { cwd: repository, cancelSignal: signal, reject: false, all: true } as const;
  const { options: own, parser } = dialects[dialect];
  const found = [await execa("shellcheck", ["--color=never", "--external-sources", ...own, file], options)];
  if (parser) found.push(await execa(parser, ["-n", file], options));
  const failed = found.filter((result) => result.failed);
  for (const result of failed) process.stdout.write(`${result.all || result.shortMessage}\n`);
  return failed.length > 0 ? { passed: 0, failed: 1, skipped: 0 } : { passed: 1, failed: 0, skipped: 0 };
}

async function checkPlaybooks(files: readonly string[], { repository, signal }: Limits): Promise<Counts> {
  const playbooks = files.filter((file) => /^ansible\/[^/]+\.ya?ml$/.test(file));
  if (playbooks.length === 0) return { passed: 0, failed: 0, skipped: 0 };
  const result = await execa("ansible-lint", ["--offline", "--nocolor", "--format=codeclimate", ...playbooks], {
    cwd: repository,
    cancelSignal: signal,
    reject: false,
  });
  const findings = readFindings(result.stdout);
  if (findings === undefined) throw new Error(`ansible-lint did not run: ${result.stderr || result.shortMessage}`);
  for (const { location, description } of findings) process.stdout.write(`${location.path}: ${description}\n`);
  const bad = new Set(findings.map((finding) => finding.location.path));
  return { passed: playbooks.length - bad.size, failed: bad.size, skipped: 0 };
}

interface Finding {
  readonly description: string;
  readonly location: { readonly path: string };
}

function readFindings(text: string): Finding[] | undefined {
  try {
    return JSON.parse(text) as Finding[];
  } catch {
    return undefined;
  }
}
