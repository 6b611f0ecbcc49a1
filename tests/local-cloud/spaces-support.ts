import { mkdtemp, rm } from "node:fs/promises";
import { Agent } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { S3Client } from "@aws-sdk/client-s3";
import { cacheFolder } from "../../lib/cache-folder.ts";
import { type Spaces, startSpaces } from "../../local-cloud/spaces/spaces.ts";
import type { SpacesGrant, SpacesKeys } from "../../local-cloud/types.ts";

export interface TestKey {
  readonly accessKey: string;
  readonly secretKey: string;
}

/** A Spaces of its own for one test file, on a free port, with a map of keys. */
export interface TestSpaces {
  readonly folder: string;
  readonly port: number;
  readonly spaces: Spaces;
  /** May do everything. */
  readonly full: TestKey;
  readonly logged: string[];
  key(grants: readonly SpacesGrant[]): TestKey;
  client(key: TestKey, options?: { pathStyle?: boolean; region?: string; signingRegion?: string }): S3Client;
  stop(): Promise<void>;
}

export const versitygwPath = join(cacheFolder(), "versitygw/1.8.0/versitygw");

/** Starts Spaces in a temporary folder, or in `folder`, which is then kept. */
export async function startTestSpaces(folder?: string): Promise<TestSpaces> {
  const home = folder ?? (await mkdtemp(join(tmpdir(), "chillbox-spaces-")));
  const known = new Map<string, { secretKey: string; grants: readonly SpacesGrant[] }>();
  const keys: SpacesKeys = { find: (accessKey) => known.get(accessKey) };
  const logged: string[] = [];
  const spaces = await startSpaces({ folder: home, keys, versitygwPath, log: (line) => logged.push(line) });
  const port = await spaces.listen("127.0.0.1", 0);
  const key = (grants: readonly SpacesGrant[]): TestKey => {
    const made = { accessKey: `DO00TEST${known.size}`, secretKey: `secret-${known.size}/+=` };
    known.set(made.accessKey, { secretKey: made.secretKey, grants });
    return made;
  };
  const agents: Agent[] = [];
  return {
    folder: home,
    port,
    spaces,
    logged,
    key,
    full: key([{ bucket: "", permission: "fullaccess" }]),
    client(by, options = {}) {
      const region = options.region ?? "nyc3";
      const agent = proxyAgent(port);
      agents.push(agent);
      return new S3Client({
        endpoint: `http://${region}.spaces.test`,
        region: options.signingRegion ?? region,
        forcePathStyle: options.pathStyle ?? false,
        credentials: { accessKeyId: by.accessKey, secretAccessKey: by.secretKey },
        requestHandler: { httpAgent: agent },
        maxAttempts: 1,
      });
    },
    async stop() {
      for (const agent of agents) agent.destroy();
      await spaces.stop();
      if (folder === undefined) await rm(home, { recursive: true, force: true });
    },
  };
}

/** Connects to the front whatever the host's name is. */
function proxyAgent(port: number): Agent {
  const agent = new Agent({ keepAlive: true });
  const connect = agent.createConnection.bind(agent);
  agent.createConnection = (options, callback) => connect({ ...options, host: "127.0.0.1", port }, callback);
  return agent;
}
