import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { buildImage } from "../../image/build.ts";
import { packFolder, readFolder, sha256 } from "../../lib/archive.ts";
import { type EnvelopePurpose, sealEnvelope } from "../../lib/envelope.ts";
import { renderFirstBoot } from "../../lib/first-boot.ts";
import type { ServerPython } from "../../lib/pip.ts";
import { packServerScripts } from "../../lib/server-scripts.ts";
import { renderUserData } from "../../lib/user-data.ts";
import { carriedDigest, carriedWheels } from "../../lib/wheels.ts";
import { TestHost } from "../image/host.ts";

const repository = resolve(import.meta.dirname, "../..");
const gateway = "198.18.200.1";

/** What the server downloads with. */
export const spaces = {
  endpoint: `http://${gateway}`,
  region: "nyc3",
  accessKey: "key",
  secretKey: "canary-of-spaces",
};

/** What a command said. */
export interface Said {
  readonly code: number;
  readonly out: string;
  readonly errors: string;
}

/** A server that was made as `pulumi up` makes one, but for the cloud around it: real image, real enrol and configure. */
export class TestServer {
  readonly host: TestHost;
  readonly files: string;
  /** How long ssh waits for a connection. */
  connectSeconds = 5;
  #children: ChildProcess[] = [];
  #hostKey = "";
  #python: ServerPython = { python: "", platforms: [] };
  #envelope = { key: "", sha256: "" };

  /** @param options.memoryMiB of its plan; default: as much as there is */
  constructor(options: { memoryMiB?: number } = {}) {
    this.host = new TestHost(options);
    this.files = this.host.path("files");
  }

  get hostKeys(): string[] {
    return [this.host.text("provisional.pub"), ...(this.#hostKey ? [this.#hostKey] : [])];
  }

  /** The server's Python and platforms; known once it is enrolled. */
  get python(): ServerPython {
    return this.#python;
  }

  /** What its envelope was sealed for, and the private key for it, as the stack has them. */
  get envelope(): { readonly key: string; readonly sha256: string; readonly purpose: EnvelopePurpose } {
    return { ...this.#envelope, purpose };
  }

  /** Boots the image and waits for ssh. */
  async boot(): Promise<void> {
    const image = await buildImage();
    await this.host.prepare(image.path, {});
    const pair = generateKeyPairSync("rsa", {
      modulusLength: 3072,
      publicKeyEncoding: { type: "spki", format: "pem" },
      privateKeyEncoding: { type: "pkcs8", format: "pem" },
    });
    const identity = { server: "box", serverName: "box.test", project: "chillbox", stack: "test", generation: 1 };
    const firstBoot = renderFirstBoot({ identity, publicKey: this.host.text("key.pub") });
    const envelope = sealEnvelope(pair.publicKey, purpose, firstBoot);
    this.#envelope = { key: pair.privateKey, sha256: sha256(envelope) };
    this.host.setMetadata({
      hostname: "box",
      "interfaces/private/0/ipv4/address": this.host.vpcAddress,
      "interfaces/private/0/ipv4/netmask": "255.255.255.0",
      "public-keys": this.host.text("key.pub"),
      "user-data": renderUserData({ hostKey: this.host.text("provisional"), envelope }),
    });
    await this.host.boot();
    mkdirSync(this.files);
    await this.#serveFiles();
  }

  /** Boots, enrols and configures: ready for sites. */
  async setUp(): Promise<void> {
    await this.boot();
    for (const name of ["enrol", "configure"] as const) {
      const said = await this.playbook(name);
      assert.equal(said.code, 0, said.errors);
    }
  }

  /** Runs a playbook as the program does. */
  async playbook(
    name: "enrol" | "configure" | "update",
    changes: Record<string, unknown> = {},
    inputChanges: Record<string, unknown> = {},
  ): Promise<Said> {
    const input = await this.#playbookInput(name, inputChanges);
    const said = await this.run(playbookWords(name), { ...input, ...changes });
    if (name === "enrol" && said.code === 0) {
      const { hostKey, python, platforms } = JSON.parse(said.out);
      this.#hostKey = hostKey;
      this.#python = { python, platforms };
      // Here, because the namespace that playbooks run in has no way out.
      await carriedWheels({ repository, server: this.#python });
    }
    return said;
  }

  /** Runs a playbook whose processes on the laptop are all killed while the task of this name is under way. */
  async killPlaybook(name: "configure", task: string, inputChanges: Record<string, unknown> = {}): Promise<void> {
    const words = ["netns", "exec", this.host.namespace, ...playbookWords(name)];
    // A group of its own, so that the kill reaches Ansible and ssh as well.
    const child = spawn("ip", words, { stdio: ["pipe", "ignore", "pipe"], detached: true });
    child.stdin.on("error", () => undefined);
    child.stdin.end(JSON.stringify(await this.#playbookInput(name, inputChanges)));
    const ended = once(child, "close");
    let said = "";
    for await (const part of child.stderr.setEncoding("utf8")) {
      said += part;
      if (said.includes(task)) break;
    }
    await sleep(100);
    process.kill(-(child.pid ?? 0), "SIGKILL");
    const [, signal] = await ended;
    if (signal !== "SIGKILL") throw new Error(`${name} had ended before "${task}" was killed:\n${said}`);
  }

  async #playbookInput(name: "enrol" | "configure" | "update", inputChanges: Record<string, unknown>): Promise<object> {
    return {
      host: this.host.address,
      port: 22,
      user: name === "enrol" ? "root" : "chillbox",
      privateKey: this.host.text("key"),
      hostKeys: this.hostKeys,
      input: { ...(await this.#scriptInput(name)), ...inputChanges },
    };
  }

  /** Runs a command on the server as the admin user. */
  async ssh(command: string, input: unknown = ""): Promise<Said> {
    // Another ssh may be reading it just now.
    writeFileSync(this.host.path("hosts.new"), `${this.host.address} ${this.#hostKey}\n`);
    renameSync(this.host.path("hosts.new"), this.host.path("hosts"));
    const options = [
      `UserKnownHostsFile=${this.host.path("hosts")}`,
      "BatchMode=yes",
      "LogLevel=ERROR",
      `ConnectTimeout=${this.connectSeconds}`,
    ];
    const words = ["-F", "none", "-i", this.host.path("key"), ...options.flatMap((option) => ["-o", option])];
    return this.run(["ssh", ...words, `chillbox@${this.host.address}`, command], input);
  }

  /** Runs a program of the laptop in the host's network. */
  async run(words: readonly string[], input: unknown = ""): Promise<Said> {
    const child = spawn("ip", ["netns", "exec", this.host.namespace, ...words], { stdio: ["pipe", "pipe", "pipe"] });
    // A program that is killed in a test does not read to the end.
    child.stdin.on("error", () => undefined);
    child.stdin.end(typeof input === "string" ? input : JSON.stringify(input));
    const [out, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
    return { code: code as number, out, errors };
  }

  /** A manifest for a folder that holds a site's tree, whose archive is put where the server can fetch it. */
  async manifest(
    slug: string,
    folder: string,
    changes: Record<string, unknown> = {},
  ): Promise<Record<string, unknown>> {
    const file = join(this.files, "artifact.tar.gz");
    const packed = await packFolder(folder, await readFolder(folder), file, slug);
    mkdirSync(join(this.files, "artifacts"), { recursive: true });
    const bytes = readFileSync(file);
    writeFileSync(join(this.files, "artifacts", packed.sha256), bytes);
    const manifest = {
      format: 2,
      server: "1",
      slug,
      version: "1.0.0",
      artifact: { bucket: "artifacts", key: packed.sha256, sha256: packed.sha256, size: bytes.length },
      serverName: `${slug}.test`,
      domains: [`${slug}.test`],
      spaces,
      nginx: `server { include /etc/nginx/conf.d/${slug}.ssl_cert.include; server_name ${slug}.test; root /srv/${slug}/root; }\n`,
      services: [],
      by: "test",
      reason: "test",
      ...changes,
    };
    return { ...manifest, release: `${manifest.version}+${sha256(JSON.stringify(manifest)).slice(0, 12)}` };
  }

  /** Another archive in the place of the manifest's own. */
  offer(manifest: Record<string, unknown>, file: string): Record<string, unknown> {
    const bytes = readFileSync(file);
    const digest = sha256(bytes);
    writeFileSync(join(this.files, "artifacts", digest), bytes);
    return { ...manifest, artifact: { bucket: "artifacts", key: digest, sha256: digest, size: bytes.length } };
  }

  async close(): Promise<void> {
    for (const child of this.#children) child.kill();
    await this.host.close();
  }

  async #scriptInput(name: "enrol" | "configure" | "update"): Promise<Record<string, unknown>> {
    if (name === "update") return {};
    return name === "enrol" ? this.#enrolInput() : this.#configureInput();
  }

  #enrolInput(): Record<string, unknown> {
    return { envelopeKey: this.#envelope.key, envelopeSha256: this.#envelope.sha256, purpose };
  }

  async #configureInput(): Promise<Record<string, unknown>> {
    return {
      hostKey: this.#hostKey,
      scripts: await packServerScripts(join(repository, "server-scripts"), this.host.path("scripts")),
      python: this.#python,
      wheels: await carriedDigest(repository),
      serverName: "box.test",
      adminPublicKeys: [],
      sitesKeep: 3,
      tls: {
        enabled: false,
        directory: "https://acme.test/dir",
        trial: null,
        email: "admin@box.test",
        ca: null,
        hsts: false,
      },
      firewall: { sshAllowedAddresses: ["0.0.0.0/0"], outbound: [] },
      limits: { memoryMiB: 0, processes: 0, diskMiB: 0 },
      updates: { automatic: false, window: "03:00-05:00", reboot: false },
    };
  }

  /** Files over plain HTTP at the gateway's address: what the server downloads from. */
  async #serveFiles(): Promise<void> {
    const words = ["python3", "-m", "http.server", "--bind", gateway, "--directory", this.files, "80"];
    const child = spawn("ip", ["netns", "exec", this.host.namespace, ...words], { stdio: "ignore" });
    this.#children.push(child);
  }
}

const purpose = { purpose: "first-boot", server: "box", number: 1 } as const;

function playbookWords(name: string): string[] {
  return [process.execPath, join(repository, "ansible/run.ts"), name];
}
