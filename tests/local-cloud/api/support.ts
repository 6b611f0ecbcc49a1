import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { FastifyBaseLogger } from "fastify";
import { type ApiDependencies, createApi, openStore, type Store } from "../../../local-cloud/api/index.ts";
import { checkAnswer } from "./openapi-check.ts";
import { RecordingDriver, RecordingNetwork } from "./recording-parts.ts";

// biome-ignore lint/suspicious/noExplicitAny: bodies are checked against the OpenAPI file and by the assertions
export type Json = any;

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Json;
}

export const token = `dop_v1_${"7".repeat(64)}`;

/** A valid key, made for these tests; its private half was thrown away. */
export const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDk1N6bTPf2Zf1IqBEYI2o8J7mIzPcJ0zcBZuRl0m7dU test";

/** The API in a folder of its own, on a free port of 127.0.0.1, with parts that only record. Ends with the test. */
export class TestApi {
  readonly driver = new RecordingDriver();
  readonly network = new RecordingNetwork();
  readonly logged: string[] = [];
  readonly folder: string;
  store: Store;
  url = "";
  #close: () => Promise<void> = async () => {};
  readonly #options: Partial<ApiDependencies>;

  static async start(test: TestContext, options: Partial<ApiDependencies> = {}): Promise<TestApi> {
    const api = new TestApi(await mkdtemp(join(tmpdir(), "chillbox-api-")), options);
    test.after(async () => {
      await api.stop();
      await rm(api.folder, { recursive: true, force: true });
    });
    await api.#listen();
    return api;
  }

  private constructor(folder: string, options: Partial<ApiDependencies>) {
    this.folder = folder;
    this.#options = options;
    this.store = openStore(join(folder, "api.sqlite"));
  }

  get images(): string {
    return join(this.folder, "images");
  }

  /** Stops the server as `npx chillbox cloud stop` does; with `driver` left as it is. */
  async stop(): Promise<void> {
    await this.#close();
    this.#close = async () => {};
  }

  /** A stop and a start; droplets do not run in between. */
  async restart(): Promise<void> {
    await this.stop();
    this.driver.running.clear();
    this.store = openStore(join(this.folder, "api.sqlite"));
    await this.#listen();
  }

  async #listen(): Promise<void> {
    const { store } = this;
    const api = await createApi({
      store,
      driver: this.driver,
      network: this.network,
      imagesFolder: this.images,
      token,
      spacesProxy: "http://127.0.0.1:9",
      log: recordingLog(this.logged),
      ...this.#options,
    });
    this.#close = async () => {
      await api.close();
      store.close();
    };
    this.url = await api.listen({ host: "127.0.0.1", port: 0 });
  }

  /** One call; the answer is checked against DigitalOcean's OpenAPI file. */
  async call(method: string, path: string, body?: unknown): Promise<Answer> {
    const response = await fetch(this.url + path, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const answer = {
      status: response.status,
      headers: response.headers,
      body: text === "" ? undefined : JSON.parse(text),
    };
    checkAnswer(method, path, answer.status, answer.body);
    return answer;
  }

  /** A call that must succeed. @returns its body */
  async ok(method: string, path: string, body?: unknown): Promise<Json> {
    const answer = await this.call(method, path, body);
    assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  /** A call that must be refused with this status and a message that fits. */
  async refused(status: number, message: RegExp, method: string, path: string, body?: unknown): Promise<void> {
    const answer = await this.call(method, path, body);
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    assert.match(answer.body.message, message);
    assert.equal(typeof answer.body.id, "string");
    assert.equal(answer.body.request_id, answer.headers.get("x-request-id"));
  }

  /** An image that has been imported, without the import. */
  async addImage(minDiskSize = 2): Promise<number> {
    const image = await this.store.change(() =>
      this.store.images.put({
        ...{ id: this.store.next("image", 20001), name: "alpine", url: "http://images.test/a.img", description: "" },
        ...{ distribution: "Unknown", regions: ["nyc3"], tags: [], createdAt: "2026-01-01T00:00:00Z" },
        ...{ status: "available", errorMessage: "", minDiskSize, sizeGigabytes: minDiskSize },
      }),
    );
    return image.id;
  }

  async addKey(): Promise<number> {
    return (await this.ok("POST", "/v2/account/keys", { name: "key", public_key: publicKey })).ssh_key.id;
  }

  /** A body that makes a droplet; image and key are added. */
  async dropletBody(): Promise<Json> {
    const [key] = (await this.ok("GET", "/v2/account/keys")).ssh_keys;
    const [image] = (await this.ok("GET", "/v2/images")).images;
    return {
      ...{ name: "web-1", region: "nyc3", size: "s-1vcpu-512mb-10gb", image: image?.id ?? (await this.addImage()) },
      ...{ ssh_keys: [key?.id ?? (await this.addKey())], backups: false, ipv6: false, private_networking: false },
      ...{ monitoring: false, tags: [] },
    };
  }

  /** A droplet that runs. */
  async addDroplet(changes: Json = {}): Promise<Json> {
    const { droplet } = await this.ok("POST", "/v2/droplets", { ...(await this.dropletBody()), ...changes });
    return this.dropletWith(droplet.id, "active");
  }

  /** Waits until the droplet has the status, then gives it. */
  async dropletWith(id: number, status: string): Promise<Json> {
    return eventually(async () => {
      const { droplet } = await this.ok("GET", `/v2/droplets/${id}`);
      assert.equal(droplet.status, status);
      return droplet;
    });
  }
}

/** Tries until `check` no longer throws, at most 5 seconds. */
export async function eventually<T>(check: () => T | Promise<T>): Promise<T> {
  const until = Date.now() + 5000;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

function recordingLog(lines: string[]): FastifyBaseLogger {
  const write = (...items: unknown[]) => void lines.push(items.map(String).join(" "));
  const log = { level: "info", fatal: write, error: write, warn: write, info: write };
  const nothing = () => {};
  return { ...log, debug: nothing, trace: nothing, silent: nothing, child: () => log } as unknown as FastifyBaseLogger;
}
