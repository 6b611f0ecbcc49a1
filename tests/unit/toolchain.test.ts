import assert from "node:assert/strict";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { localCloudSettings } from "../../lib/local-cloud-settings.ts";
import { UserError } from "../../lib/user-error.ts";
import { carriedSets, requirementsFile, wheelsFolder } from "../../lib/wheels.ts";
import { packagesToRun, packagesToTest } from "../../toolchain/debian-packages.ts";
import { pathWithTools, shellQuote } from "../../toolchain/environment.ts";
import { fillFolder, writeIfChanged } from "../../toolchain/files.ts";
import { withLock } from "../../toolchain/lock.ts";
import { readMemory, recall, remember } from "../../toolchain/memory.ts";
import { runSteps } from "../../toolchain/progress.ts";
import { run } from "../../toolchain/run.ts";
import type { Context, FoundTool, Tool } from "../../toolchain/tool.ts";
import { missingPackages, packageTool } from "../../toolchain/tools/debian-packages.ts";
import { allTools, toAudit, toRun, toTest } from "../../toolchain/tools/index.ts";
import { pythonOf } from "../../toolchain/tools/server-wheels.ts";
import { isWrapper, makePassphrase, writeWrapper } from "../../toolchain/wrapper.ts";

const folder = mkdtempSync(join(tmpdir(), "chillbox-toolchain-"));
after(() => rmSync(folder, { recursive: true }));

const { repository } = localCloudSettings();
const quiet = () => {};

function contextIn(name: string): Context {
  const home = join(folder, name);
  return { settings: localCloudSettings({ CHILLBOX_HOME: home }), cache: join(home, "cache"), yes: false };
}

describe("run", () => {
  it("tells the command, the end of its output and the way out", async () => {
    const script = "for i in $(seq 30); do echo line $i; done; echo because >&2; exit 4";
    await assert.rejects(run("sh", ["-c", script], { wayOut: "Do this." }), (error) => {
      assert.ok(error instanceof UserError);
      assert.match(error.message, /`sh -c .*exit 4` failed: exit code 4/);
      assert.match(error.message, /line 30\n {2}because\nDo this\.$/);
      assert.doesNotMatch(error.message, /line 5\n/);
      return true;
    });
  });

  it("tells when there is no such command", async () => {
    const missing = run("chillbox-no-such-command", [], { wayOut: "Install it." });
    await assert.rejects(missing, /there is no command `chillbox-no-such-command`\nInstall it\.$/);
  });

  it("ends a command that takes too long", async () => {
    const started = Date.now();
    await assert.rejects(run("sleep", ["30"], { timeoutMinutes: 0.005, wayOut: "" }), /longer than/);
    assert.ok(Date.now() - started < 10_000);
  });
});

describe("runSteps", () => {
  it("lets every step come to its end and tells of each that failed", async () => {
    const ended: string[] = [];
    const step = (name: string, milliseconds: number, failure?: string) => ({
      name,
      title: `${name} 1.0`,
      async action() {
        await sleep(milliseconds);
        ended.push(name);
        if (failure) throw new UserError(failure);
      },
    });
    const steps = [step("quick", 5, "Quick broke."), step("slow", 50), step("last", 60, "Last broke.")];
    await assert.rejects(runSteps(steps, true), (error) => {
      assert.ok(error instanceof UserError);
      assert.equal(error.message, "quick 1.0:\nQuick broke.\n\nlast 1.0:\nLast broke.");
      return true;
    });
    assert.deepEqual(ended, ["quick", "slow", "last"]);
  });

  it("does not hide a mistake of ours behind a message", async () => {
    const steps = [{ name: "a", title: "a", action: () => Promise.reject(new TypeError("ours")) }];
    await assert.rejects(runSteps(steps, true), TypeError);
  });
});

describe("withLock", () => {
  it("lets one in at a time", async () => {
    const file = join(folder, "one-at-a-time.lock");
    let inside = 0;
    let most = 0;
    const enter = () =>
      withLock(file, quiet, async () => {
        most = Math.max(most, ++inside);
        await sleep(20);
        inside -= 1;
      });
    await Promise.all([enter(), enter(), enter()]);
    assert.equal(most, 1);
  });

  it("is free again after a failure", async () => {
    const file = join(folder, "failure.lock");
    await assert.rejects(
      withLock(file, quiet, () => Promise.reject(new Error("broken"))),
      /broken/,
    );
    assert.equal(await withLock(file, quiet, async () => "free"), "free");
  });

  it("is free again when its holder was killed", async () => {
    const file = join(folder, "killed.lock");
    const module = join(import.meta.dirname, "../../toolchain/lock.ts");
    const script = `import { withLock } from ${JSON.stringify(module)};
      await withLock(${JSON.stringify(file)}, () => {}, () => { console.log("held"); return new Promise(() => setInterval(() => {}, 1000)); });`;
    const holder = execa(process.execPath, ["--input-type=module", "--eval", script], { reject: false, buffer: false });
    await new Promise((resolve) => holder.stdout.once("data", resolve));
    holder.kill("SIGKILL");
    await holder;
    assert.equal(await withLock(file, quiet, async () => "free"), "free");
  });
});

describe("fillFolder", () => {
  it("leaves nothing behind when it fails, and removes what a killed one left", async () => {
    const place = join(folder, "fill/1.0");
    mkdirSync(`${place}.part-killed`, { recursive: true });
    const failing = fillFolder(place, quiet, async (temporary) => {
      writeFileSync(join(temporary, "half"), "");
      throw new Error("broken");
    });
    await assert.rejects(failing, /broken/);
    assert.deepEqual(readdirSync(join(folder, "fill")), ["1.0.lock"]);
  });

  it("fills once when two want it", async () => {
    let times = 0;
    const fill = () =>
      fillFolder(join(folder, "fill/2.0"), quiet, async (temporary) => {
        times += 1;
        await sleep(20);
        writeFileSync(join(temporary, "whole"), "");
      });
    await Promise.all([fill(), fill()]);
    assert.equal(times, 1);
    assert.deepEqual(readdirSync(join(folder, "fill/2.0")), ["whole"]);
  });
});

describe("writeIfChanged", () => {
  it("writes a file with its mode, once", async () => {
    const path = join(folder, "written/secret");
    assert.equal(await writeIfChanged(path, "text", 0o600), true);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(await writeIfChanged(path, "text", 0o600), false);
    chmodSync(path, 0o644);
    assert.equal(await writeIfChanged(path, "text", 0o600), true, "a mode that is too wide is mended");
    assert.deepEqual(readdirSync(join(folder, "written")), ["secret"]);
  });
});

describe("the memory of what was found", () => {
  const tool = { name: "thing", version: "1", what: "", remember: true } as Tool;

  it("holds until the file found changes or goes", async () => {
    const context = contextIn("memory");
    const path = join(folder, "thing");
    writeFileSync(path, "one");
    const found: FoundTool = { path, version: "1", source: "path" };
    await remember(new Map([[tool, found]]), context, {});
    assert.deepEqual(await recall(await readMemory(context), tool, context), found);
    assert.equal(await recall(await readMemory(context), { ...tool, version: "2" }, context), undefined);
    writeFileSync(path, "another");
    assert.equal(await recall(await readMemory(context), tool, context), undefined);
    rmSync(path);
    assert.equal(await recall(await readMemory(context), tool, context), undefined);
  });

  it("is empty when its file is damaged", async () => {
    const context = contextIn("damaged");
    mkdirSync(context.settings.home);
    writeFileSync(join(context.settings.home, "tools.json"), "{");
    assert.deepEqual(await readMemory(context), {});
  });
});

describe("Debian packages", () => {
  const absent = { name: "chillbox-absent", brings: "chillbox-no-such-program", why: "the test" };

  it("names the exact command when nobody can be asked", async () => {
    const tool = packageTool("absent", [absent], "nothing");
    assert.equal(await tool.find(contextIn("debian")), undefined);
    await assert.rejects(
      async () => tool.confirm?.(contextIn("debian")),
      (error) => {
        assert.ok(error instanceof UserError);
        assert.match(error.message, /apt-get install -y --no-install-recommends chillbox-absent$/);
        return true;
      },
    );
  });

  it("says which of several are missing", async () => {
    const shell = { name: "dash", brings: "sh", why: "the test" };
    const file = { name: "base-files", brings: "/no/such/file", why: "the test" };
    assert.deepEqual(await missingPackages([shell, absent, file]), [absent, file]);
  });

  it("are listed once, each with a reason", () => {
    const names = [...packagesToRun, ...packagesToTest].map((each) => each.name);
    assert.equal(new Set(names).size, names.length);
    for (const each of [...packagesToRun, ...packagesToTest]) assert.ok(each.why.length > 5, each.name);
  });
});

describe("the pulumi wrapper", () => {
  it("runs Pulumi with this copy's home and tools, from a folder with blanks and quotes", async () => {
    const { settings } = contextIn("it's a home");
    const pulumi = join(folder, "it's a home/real pulumi");
    mkdirSync(settings.home);
    writeFileSync(
      pulumi,
      '#!/bin/sh\nprintf "%s\\n" "$PULUMI_HOME" "$HTTP_PROXY" "$PATH" "$(printenv PULUMI_CONFIG_PASSPHRASE_FILE || echo none)" "$@"\n',
    );
    chmodSync(pulumi, 0o755);
    await writeWrapper(settings, { pulumi: { path: pulumi, version: "1", source: "path" } });
    assert.ok(await isWrapper(join(settings.home, "bin/pulumi")));
    assert.ok(!(await isWrapper(pulumi)));
    const { stdout } = await execa(join(settings.home, "bin/pulumi"), ["up", "a b"]);
    const [home, proxy, path, passphrase, ...words] = stdout.split("\n");
    assert.equal(home, join(settings.home, "pulumi"));
    assert.equal(proxy, settings.spacesProxy);
    assert.ok(path?.startsWith(`${join(settings.home, "bin")}:`));
    assert.equal(passphrase, "none", "the passphrase of stack local is for that stack alone");
    assert.deepEqual(words, ["up", "a b"]);
  });

  it("removes locks of Pulumi's whose process is no more on this host, of every stack", async () => {
    const { settings } = contextIn("wrapper-locks");
    const locks = join(settings.home, "state/.pulumi/locks/organization/chillbox/production");
    mkdirSync(locks, { recursive: true });
    const lock = { pid: process.pid, username: "someone", hostname: hostname(), timestamp: "2026-01-01T00:00:00Z" };
    writeFileSync(join(locks, "dead.json"), JSON.stringify(lock));
    writeFileSync(join(locks, "far.json"), JSON.stringify({ ...lock, hostname: "another-host" }));
    const pulumi = join(folder, "wrapper-locks/real/pulumi");
    mkdirSync(dirname(pulumi));
    copyFileSync("/bin/sleep", pulumi);
    const living = execa(pulumi, ["60"], { reject: false });
    writeFileSync(join(locks, "living.json"), JSON.stringify({ ...lock, pid: living.pid }));
    try {
      const list = { path: "/bin/ls", version: "1", source: "path" } as const;
      await writeWrapper({ ...settings, repository: settings.home }, { pulumi: list });
      const { stdout } = await execa(join(settings.home, "bin/pulumi"), [locks]);
      assert.deepEqual(stdout.split("\n"), ["far.json", "living.json"]);
    } finally {
      living.kill("SIGKILL");
      await living;
    }
  });

  it("has a passphrase that stays and that only its owner reads", async () => {
    const { settings } = contextIn("passphrase");
    await makePassphrase(settings);
    const file = join(settings.home, "passphrase");
    const before = statSync(file);
    assert.equal(before.mode & 0o777, 0o600);
    assert.ok(before.size > 40);
    await makePassphrase(settings);
    assert.equal(statSync(file).mtimeMs, before.mtimeMs);
  });
});

describe("PATH and quoting", () => {
  it("puts the tools first, once", () => {
    const { settings } = contextIn("path");
    const ansible: FoundTool = { path: "/cache/ansible/bin/ansible-playbook", version: "1", source: "installed" };
    const once = pathWithTools(settings, { ansible }, "/usr/bin:/bin");
    assert.equal(pathWithTools(settings, { ansible }, once), once);
    assert.match(once, /\/bin:.*:\/cache\/ansible\/bin:\/usr\/bin:\/bin$/);
  });

  it("quotes whatever a shell could misread", async () => {
    const text = `it's "$HOME" \`id\` \\ *`;
    const { stdout } = await execa("sh", ["-c", `printf %s ${shellQuote(text)}`]);
    assert.equal(stdout, text);
  });
});

describe("the list of tools", () => {
  it("has each once, and all that `up` needs are among those that the tests need", () => {
    assert.equal(new Set([...toTest, ...toAudit]).size, allTools.length);
    assert.equal(new Set(toTest).size, toTest.length);
    assert.ok(toRun.every((name) => toTest.includes(name)));
    assert.ok(!toRun.includes("ansible-lint"));
  });

  it("pins what it builds: go.sum is committed beside each go.mod", () => {
    for (const name of ["pulumi", "versitygw"]) {
      assert.ok(existsSync(join(import.meta.dirname, `../../toolchain/${name}/go.sum`)));
    }
  });
});

describe("packages for servers", () => {
  const target = (...packages: string[]) => {
    const { python, platforms = [] } = pythonOf({ packages }) ?? {};
    return [python, platforms[0], platforms.at(-1)];
  };

  it("are those for the image's Python and C library", () => {
    const glibc = ["glibc-libs-2.41-r0", "musl-1.2.5-r23", "python3-3.13.5-r0"];
    assert.deepEqual(target(...glibc), ["3.13", "manylinux_2_41_x86_64", "manylinux2014_x86_64"]);
    const musl = ["musl-1.2.5-r23", "musl-utils-1.2.5-r23", "python3-3.12.13-r0", "python3-pyc-3.12.13-r0"];
    assert.deepEqual(target(...musl), ["3.12", "musllinux_1_2_x86_64", "musllinux_1_1_x86_64"]);
    assert.equal(pythonOf({ packages: ["musl-1.2.5-r23"] }), undefined);
  });

  it("are of pure Python where set-up fetches them for every server", async () => {
    for (const { name, pure } of carriedSets) {
      if (!pure) continue;
      const names = readdirSync(await wheelsFolder(join(repository, requirementsFile(name))));
      assert.ok(names.length > 0 && names.every((file) => file.endsWith("-none-any.whl")), names.join(" "));
    }
  });
});
