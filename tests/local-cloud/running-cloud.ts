import { execFileSync } from "node:child_process";
import { createReadStream, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "ssh2";
import { buildImage } from "../../image/build.ts";
import type { LocalCloudSettings } from "../../lib/local-cloud-settings.ts";
import { resetCloud, startCloud } from "../../local-cloud/control.ts";
import { readCredentials } from "../../local-cloud/credentials.ts";
import { ownCopy } from "./own-copy.ts";

/** What a command in a droplet did. */
export interface Ran {
  readonly code: number;
  readonly output: string;
}

interface Pair {
  readonly privateKey: string;
  readonly publicKey: string;
}

/** A local cloud of a test's own, with droplets of the project's image in it, driven through its API and ssh alone. */
export class RunningCloud {
  readonly settings: LocalCloudSettings;
  readonly #admin = keyPair();
  readonly #host = keyPair();

  private constructor(settings: LocalCloudSettings) {
    this.settings = settings;
  }

  static async start(driver: LocalCloudSettings["dropletDriver"] = "namespace"): Promise<RunningCloud> {
    const cloud = new RunningCloud(await ownCopy(driver));
    await startCloud(cloud.settings);
    return cloud;
  }

  /** Stops it and removes its folder. */
  async close(): Promise<void> {
    await resetCloud(this.settings);
    rmSync(this.settings.home, { recursive: true, force: true });
  }

  /** Calls the API; answers the body. */
  async api<T = Record<string, unknown>>(method: string, path: string, body?: unknown): Promise<T> {
    const credentials = await readCredentials(this.settings);
    const response = await fetch(`${this.settings.apiEndpoint}/v2/${path}`, {
      method,
      headers: { authorization: `Bearer ${credentials?.token}`, "content-type": "application/json" },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) {
      throw new Error(`${method} ${path}: ${response.status} ${text}`);
    }
    return (text === "" ? {} : JSON.parse(text)) as T;
  }

  /** Imports the project's image; answers its id. */
  async importImage(): Promise<number> {
    const { path } = await buildImage();
    const server = createServer((request, response) => {
      if (request.method === "HEAD") {
        response.end();
        return;
      }
      createReadStream(path).pipe(response);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/alpine.qcow2.gz`;
      const wanted = { name: "chillbox", url, region: "nyc3", distribution: "Unknown" };
      const { image } = await this.api<{ image: { id: number } }>("POST", "images", wanted);
      await eventually("the image is imported", async () => {
        const answer = await this.api<{ image: { status: string } }>("GET", `images/${image.id}`);
        return answer.image.status === "available";
      });
      return image.id;
    } finally {
      server.closeAllConnections();
      server.close();
    }
  }

  /** Makes a droplet of the smallest plan (512 MiB) and waits until ssh answers. */
  async createDroplet(name: string, image: number, seconds?: number): Promise<number> {
    const keys = await this.api<{ ssh_keys: { id: number }[] }>("GET", "account/keys");
    const key =
      keys.ssh_keys[0] ??
      (
        await this.api<{ ssh_key: { id: number } }>("POST", "account/keys", {
          name: "test",
          public_key: this.#admin.publicKey,
        })
      ).ssh_key;
    const userData = `#!/bin/sh
set -eu
umask 077
mkdir -p /run/chillbox/host-key
cat > /run/chillbox/host-key/ssh_host_ed25519_key <<'KEY'
${this.#host.privateKey}KEY
`;
    const { droplet } = await this.api<{ droplet: { id: number } }>("POST", "droplets", {
      name,
      region: "nyc3",
      size: "s-1vcpu-512mb-10gb",
      image,
      ssh_keys: [key.id],
      user_data: userData,
    });
    await this.waitForSsh(droplet.id, seconds);
    return droplet.id;
  }

  /** `active`, `off` ... */
  async status(id: number): Promise<string> {
    return (await this.api<{ droplet: { status: string } }>("GET", `droplets/${id}`)).droplet.status;
  }

  async waitForStatus(id: number, status: string): Promise<void> {
    await eventually(`droplet ${id} is ${status}`, async () => (await this.status(id)) === status);
  }

  /** Does an action (`reboot`, `power_off` ...) and waits until it has ended well. */
  async act(id: number, type: string, seconds?: number): Promise<void> {
    const { action } = await this.api<{ action: { id: number } }>("POST", `droplets/${id}/actions`, { type });
    const hasEnded = async () => {
      const now = await this.api<{ action: { status: string } }>("GET", `actions/${action.id}`);
      if (now.action.status === "errored") {
        throw new Error(`${type} of droplet ${id} failed`);
      }
      return now.action.status === "completed";
    };
    await eventually(`${type} of droplet ${id} has ended`, hasEnded, seconds);
  }

  /** The droplet's first address of this kind. */
  async address(id: number, kind: "public" | "private" = "public"): Promise<string> {
    const { droplet } = await this.api<{
      droplet: { networks: { v4: { ip_address: string; type: string }[] } };
    }>("GET", `droplets/${id}`);
    return droplet.networks.v4.find((one) => one.type === kind)?.ip_address ?? "";
  }

  async waitForSsh(id: number, seconds?: number): Promise<void> {
    const answers = () =>
      this.ssh(id, "true").then(
        () => true,
        () => false,
      );
    await eventually(`ssh of droplet ${id} answers`, answers, seconds);
  }

  /** Runs a command as root, by ssh with the host key pinned. */
  async ssh(id: number, command: string): Promise<Ran> {
    const host = await this.address(id);
    const expected = this.#host.publicKey.split(" ")[1] ?? "";
    const client = new Client();
    try {
      return await new Promise<Ran>((resolve, reject) => {
        // A droplet that is switched off says no goodbye: hence the keepalive.
        client.on("error", reject).on("close", () => reject(new Error("the connection was cut")));
        client.on("ready", () => execute(client, command).then(resolve, reject));
        client.connect({
          host,
          username: "root",
          privateKey: this.#admin.privateKey,
          readyTimeout: this.settings.dropletDriver === "qemu" ? 30_000 : 3000,
          keepaliveInterval: this.settings.dropletDriver === "qemu" ? 10_000 : 1000,
          hostVerifier: (key: Buffer) => key.toString("base64") === expected,
        });
      });
    } finally {
      // Not `end`, which waits for an answer: a droplet that was switched off meanwhile gives none for a quarter of an hour.
      client.destroy();
    }
  }

  /** As `ssh`, for commands that must succeed; answers what they print. */
  async output(id: number, command: string): Promise<string> {
    const ran = await this.ssh(id, command);
    if (ran.code !== 0) {
      throw new Error(`"${command}" ended with ${ran.code}: ${ran.output}`);
    }
    return ran.output;
  }
}

function execute(client: Client, command: string): Promise<Ran> {
  return new Promise((resolve, reject) => {
    client.exec(command, (error, stream) => {
      if (error) {
        reject(error);
        return;
      }
      let output = "";
      const add = (data: Buffer) => {
        output += data.toString();
      };
      stream.on("data", add);
      stream.stderr.on("data", add);
      stream.on("close", (code: number | null) => resolve({ code: code ?? 128, output: output.trim() }));
    });
  });
}

/** Waits until the condition holds. */
export async function eventually(what: string, holds: () => Promise<boolean>, seconds = 60): Promise<void> {
  const deadline = Date.now() + seconds * 1000;
  while (!(await holds())) {
    if (Date.now() > deadline) {
      throw new Error(`after ${seconds} s it is not so that ${what}`);
    }
    await sleep(100);
  }
}

function keyPair(): Pair {
  const folder = mkdtempSync(join(tmpdir(), "chillbox-key-"));
  try {
    const path = join(folder, "key");
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path]);
    return { privateKey: readFileSync(path, "utf8"), publicKey: readFileSync(`${path}.pub`, "utf8").trim() };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
