import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { type ProjectCopy, repository } from "./project-copy.ts";

/** What an account holds: names, and the keys in each bucket. */
export interface Account {
  readonly Droplets: readonly string[];
  readonly Images: readonly string[];
  readonly Firewalls: readonly string[];
  readonly Vpcs: readonly string[];
  readonly Domains: readonly string[];
  readonly Objects: Readonly<Record<string, readonly string[]>>;
}

/** Lists a copy's cloud with DigitalOcean's Go client and AWS's. */
export function listAccount(copy: ProjectCopy): Account {
  const credentials = JSON.parse(copy.read(".chillbox/cloud/credentials.json")) as Record<string, string>;
  const output = execFileSync("go", ["run", "./list"], {
    cwd: join(repository, "tests/local-cloud/clients"),
    env: {
      ...process.env,
      CHILLBOX_API_URL: copy.settings.apiEndpoint,
      CHILLBOX_API_TOKEN: credentials.token,
      SPACES_ENDPOINT: "http://nyc3.spaces.test",
      SPACES_ACCESS_KEY_ID: credentials.spacesAccessKey,
      SPACES_SECRET_ACCESS_KEY: credentials.spacesSecretKey,
      HTTP_PROXY: copy.settings.spacesProxy,
    },
    encoding: "utf8",
  });
  return JSON.parse(output) as Account;
}
