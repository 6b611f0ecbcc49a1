import assert from "node:assert/strict";
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, it, test } from "node:test";
import {
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketAclCommand,
  GetObjectAclCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutBucketAclCommand,
  PutBucketCorsCommand,
  PutBucketPolicyCommand,
  PutObjectAclCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { readCredentials } from "../../local-cloud/credentials.ts";
import { openSpaces } from "../../local-commands/spaces.ts";
import { RunningCloud } from "../local-cloud/running-cloud.ts";
import { tinyProject } from "../local-cloud/tiny-project.ts";

const repository = join(import.meta.dirname, "../..");
const region = "nyc3";
const endpoint = `http://${region}.spaces.test`;

/** The program's own Storage, and nothing else. */
const program = `
import { Provider } from "@pulumi/digitalocean/provider.js";
import * as pulumi from "@pulumi/pulumi";
import { keepEverythingSecret } from ${JSON.stringify(join(repository, "components/secrecy.ts"))};
import { Storage } from ${JSON.stringify(join(repository, "components/storage.ts"))};
keepEverythingSecret();
const provider = new Provider("digitalocean", {
  apiEndpoint: process.env.TEST_API,
  token: pulumi.secret(process.env.TEST_TOKEN),
  spacesEndpoint: "http://{{.Region}}.spaces.test",
  spacesAccessId: process.env.TEST_SPACES_ID,
  spacesSecretKey: pulumi.secret(process.env.TEST_SPACES_SECRET),
});
const storage = new Storage(
  "storage",
  { resourceName: "tiny", region: "${region}", endpoint: "${endpoint}", forceDestroy: true, protect: false },
  { providers: { digitalocean: provider } },
);
export const artifacts = storage.artifactBucket.name;
export const immutables = storage.immutableBucket.name;
export const server = storage.downloads;
export const upload = storage.uploads(storage.artifactBucket.name);
`;

interface Key {
  readonly accessKey: string;
  readonly secretKey: string;
}

interface Outputs {
  readonly artifacts: string;
  readonly immutables: string;
  readonly server: Key;
  readonly upload: Key;
}

/** Names of buckets for a try: one of ours, and what else there is. */
interface Buckets {
  readonly artifacts: string;
  readonly immutables: string;
  readonly other: string;
}

type Try = readonly [
  what: string,
  send: (client: S3Client, buckets: Buckets) => Promise<unknown>,
  server: boolean,
  upload: boolean,
];

const Key = "private";
const copyOf = (from: string, to: string) =>
  new CopyObjectCommand({ Bucket: to, Key: "copy", CopySource: `${from}/${Key}` });
const policyFor = (bucket: string) =>
  JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Principal: "*", Action: "s3:GetObject", Resource: `arn:aws:s3:::${bucket}/none/*` }],
  });
const CORSConfiguration = { CORSRules: [{ AllowedMethods: ["GET"], AllowedOrigins: ["*"] }] };

/** What is tried with each key, and who may do it. The account's own key may do all of it: no try fails for another reason than its key. */
const tries: readonly Try[] = [
  ["read an artifact", (s3, { artifacts: Bucket }) => s3.send(new GetObjectCommand({ Bucket, Key })), true, true],
  ["ask for an artifact", (s3, { artifacts: Bucket }) => s3.send(new HeadObjectCommand({ Bucket, Key })), true, true],
  ["list artifacts", (s3, { artifacts: Bucket }) => s3.send(new ListObjectsV2Command({ Bucket })), true, true],
  [
    "write an artifact",
    (s3, { artifacts: Bucket }) => s3.send(new PutObjectCommand({ Bucket, Key, Body: "x" })),
    false,
    true,
  ],
  ["copy an artifact", (s3, { artifacts }) => s3.send(copyOf(artifacts, artifacts)), false, true],
  [
    "begin a large artifact",
    (s3, { artifacts: Bucket }) => s3.send(new CreateMultipartUploadCommand({ Bucket, Key: "big" })),
    false,
    true,
  ],
  ["list uploads", (s3, { artifacts: Bucket }) => s3.send(new ListMultipartUploadsCommand({ Bucket })), false, true],
  [
    "delete an artifact",
    (s3, { artifacts: Bucket }) => s3.send(new DeleteObjectCommand({ Bucket, Key: "gone" })),
    false,
    true,
  ],
  [
    "delete many artifacts",
    (s3, { artifacts: Bucket }) =>
      s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: "gone" }] } })),
    false,
    true,
  ],
  [
    "read a private immutable",
    (s3, { immutables: Bucket }) => s3.send(new GetObjectCommand({ Bucket, Key })),
    false,
    true,
  ],
  ["list immutables", (s3, { immutables: Bucket }) => s3.send(new ListObjectsV2Command({ Bucket })), false, true],
  [
    "write an immutable",
    (s3, { immutables: Bucket }) => s3.send(new PutObjectCommand({ Bucket, Key, Body: "x" })),
    false,
    true,
  ],
  [
    "publish an immutable",
    (s3, { immutables: Bucket }) =>
      s3.send(new PutObjectCommand({ Bucket, Key: "open", Body: "x", ACL: "public-read" })),
    false,
    true,
  ],
  [
    "delete an immutable",
    (s3, { immutables: Bucket }) => s3.send(new DeleteObjectCommand({ Bucket, Key: "gone" })),
    false,
    true,
  ],
  ["copy an artifact out", (s3, { artifacts, immutables }) => s3.send(copyOf(artifacts, immutables)), false, true],
  ["read another bucket", (s3, { other: Bucket }) => s3.send(new GetObjectCommand({ Bucket, Key })), false, false],
  ["list another bucket", (s3, { other: Bucket }) => s3.send(new ListObjectsV2Command({ Bucket })), false, false],
  [
    "write to another bucket",
    (s3, { other: Bucket }) => s3.send(new PutObjectCommand({ Bucket, Key, Body: "x" })),
    false,
    false,
  ],
  ["copy from another bucket", (s3, { other, artifacts }) => s3.send(copyOf(other, artifacts)), false, false],
  ["list all buckets", (s3) => s3.send(new ListBucketsCommand({})), false, false],
  [
    "make a bucket",
    (s3) => s3.send(new CreateBucketCommand({ Bucket: `made-${Math.random().toString(36).slice(2)}` })),
    false,
    false,
  ],
  ["remove a bucket", (s3, { other: Bucket }) => s3.send(new DeleteBucketCommand({ Bucket })), false, false],
  [
    "read an artifact's ACL",
    (s3, { artifacts: Bucket }) => s3.send(new GetObjectAclCommand({ Bucket, Key })),
    false,
    false,
  ],
  [
    "open an artifact to all",
    (s3, { artifacts: Bucket }) => s3.send(new PutObjectAclCommand({ Bucket, Key: "copy", ACL: "public-read" })),
    false,
    false,
  ],
  ["read the bucket's ACL", (s3, { artifacts: Bucket }) => s3.send(new GetBucketAclCommand({ Bucket })), false, false],
  [
    "open the bucket to all",
    (s3, { artifacts: Bucket }) => s3.send(new PutBucketAclCommand({ Bucket, ACL: "private" })),
    false,
    false,
  ],
  [
    "set the bucket's policy",
    (s3, { artifacts: Bucket }) => s3.send(new PutBucketPolicyCommand({ Bucket, Policy: policyFor(Bucket) })),
    false,
    false,
  ],
  [
    "set the bucket's CORS",
    (s3, { artifacts: Bucket }) => s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration })),
    false,
    false,
  ],
];

describe("the Spaces keys that the program makes", async () => {
  const cloud = await RunningCloud.start();
  const credentials = await readCredentials(cloud.settings);
  assert.ok(credentials);
  const account = { accessKey: credentials.spacesAccessKey, secretKey: credentials.spacesSecretKey };
  let keys: Outputs;
  let buckets: Buckets;
  const client = ({ accessKey, secretKey }: Key) =>
    openSpaces({ endpoint, region, accessKey, secretKey }, { HTTP_PROXY: cloud.settings.spacesProxy });

  test.after(() => cloud.close());

  it("are made by a real deployment", async (t) => {
    const environment = {
      TEST_API: cloud.settings.apiEndpoint,
      TEST_TOKEN: credentials.token,
      TEST_SPACES_ID: account.accessKey,
      TEST_SPACES_SECRET: account.secretKey,
      HTTP_PROXY: cloud.settings.spacesProxy,
      NO_PROXY: "127.0.0.1,localhost",
    };
    const project = await tinyProject(t, program, { environment });
    for (const name of ["components", "lib", "local-commands", "toolchain"]) {
      symlinkSync(join(repository, name), join(project.folder, name));
    }
    await project.up();
    keys = JSON.parse(await project.ok("stack", "output", "--json", "--show-secrets")) as Outputs;
    buckets = { artifacts: keys.artifacts, immutables: keys.immutables, other: "somebody-elses" };
    const full = client(account);
    await full.send(new CreateBucketCommand({ Bucket: buckets.other }));
    for (const Bucket of Object.values(buckets)) {
      await full.send(new PutObjectCommand({ Bucket, Key, Body: "secret", ACL: "private" }));
    }
  });

  for (const [what, send, server, upload] of tries) {
    it(`${what}: the server ${mayText(server)}, the laptop's uploads ${mayText(upload)}`, async () => {
      assert.equal(await refusal(send(client(keys.server), buckets)), server ? undefined : "AccessDenied");
      assert.equal(await refusal(send(client(keys.upload), buckets)), upload ? undefined : "AccessDenied");
      assert.equal(
        await refusal(send(client(account), buckets)),
        what === "remove a bucket" ? "BucketNotEmpty" : undefined,
      );
    });
  }

  it("open no other door: not the API, not Spaces with each other's secret", async () => {
    for (const { accessKey, secretKey } of [keys.server, keys.upload]) {
      for (const word of [accessKey, secretKey]) {
        const answer = await fetch(`${cloud.settings.apiEndpoint}/v2/spaces/keys`, {
          headers: { authorization: `Bearer ${word}` },
        });
        assert.equal(answer.status, 401);
      }
    }
    const mixed = client({ accessKey: keys.upload.accessKey, secretKey: keys.server.secretKey });
    assert.equal(
      await refusal(mixed.send(new ListObjectsV2Command({ Bucket: buckets.artifacts }))),
      "SignatureDoesNotMatch",
    );
  });
});

function mayText(may: boolean): string {
  return may ? "may" : "may not";
}

/** The code that Spaces refuses with; `undefined` when it does not. */
async function refusal(answer: Promise<unknown>): Promise<string | undefined> {
  try {
    await answer;
    return undefined;
  } catch (error) {
    return (error as Error).name;
  }
}
