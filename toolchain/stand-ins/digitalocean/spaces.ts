import type { S3Client, S3ClientConfig } from "@aws-sdk/client-s3";
import { isTestName } from "./loopback.ts";
import { type ProviderSettings, withRegion } from "./settings.ts";

/** The S3 SDK, loaded when the first bucket needs it. */
export type Sdk = typeof import("@aws-sdk/client-s3");

/** Clients for one region. */
export interface SpacesRegion {
  readonly sdk: Sdk;
  /** Addresses buckets by host name. */
  readonly s3: S3Client;
  /** Addresses buckets by path: the official plugin asks for a bucket's location so. */
  readonly byPath: S3Client;
}

/** Regions that have Spaces. */
export const spacesRegions = "ams3,atl1,blr1,fra1,lon1,nyc3,sfo2,sfo3,sgp1,syd1,tor1".split(",");

/** The region where a bucket is when none is named. */
export const defaultRegion = "nyc3";

/** Spaces, by region. */
export interface Spaces {
  region(slug: unknown): Promise<SpacesRegion>;
}

/** Clients are made once a region. Throws "Spaces credentials not configured" before any call when keys or address are missing. */
export function createSpaces(settings: ProviderSettings): Spaces {
  const regions = new Map<string, Promise<SpacesRegion>>();
  return {
    region(slug) {
      const name = typeof slug === "string" ? slug : defaultRegion;
      const made = regions.get(name) ?? connect(settings, name);
      regions.set(name, made);
      return made;
    },
  };
}

async function connect(settings: ProviderSettings, region: string): Promise<SpacesRegion> {
  const { spacesAccessId, spacesSecretKey, spacesEndpoint } = settings;
  if (!spacesAccessId || !spacesSecretKey) {
    throw new Error("Spaces credentials not configured: set spacesAccessId and spacesSecretKey of the provider");
  }
  if (!spacesEndpoint) {
    throw new Error("the digitalocean stand-in needs spacesEndpoint, as in http://{{.Region}}.spaces.test");
  }
  const sdk = await import("@aws-sdk/client-s3");
  const config: S3ClientConfig = {
    endpoint: withRegion(spacesEndpoint, region),
    // Whatever the bucket's region, the official plugin signs for this one.
    region: "us-east-1",
    credentials: { accessKeyId: spacesAccessId, secretAccessKey: spacesSecretKey },
    maxAttempts: 4,
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
  };
  const client = (forcePathStyle: boolean): S3Client =>
    throughProxy(new sdk.S3Client({ ...config, forcePathStyle }), settings.proxy);
  return { sdk, s3: client(false), byPath: client(true) };
}

/** Sends requests for names under `.test` to the proxy, with the whole address as their target. */
function throughProxy(client: S3Client, proxy: string | undefined): S3Client {
  client.middlewareStack.add(
    (next) => (args) => {
      const request = args.request as { protocol: string; hostname: string; port?: number; path: string };
      if (isTestName(request.hostname)) {
        const { hostname, port } = new URL(proxy ?? "");
        const origin = `${request.protocol}//${request.hostname}${request.port ? `:${request.port}` : ""}`;
        Object.assign(request, { hostname, port: Number(port || 80), path: origin + request.path });
      }
      return next(args);
    },
    // After the signature, which is over the bucket's own address.
    { step: "deserialize", name: "throughProxy", priority: "low" },
  );
  return client;
}

/** The code of an S3 error: `NoSuchBucket`, `NotFound`, `BucketNotEmpty`. */
export function errorCode(error: unknown): string {
  return error instanceof Error ? error.name : "";
}

/** Adds what was attempted to an S3 error, which says little by itself. */
export async function attempt<Result>(what: string, call: Promise<Result>): Promise<Result> {
  try {
    return await call;
  } catch (error) {
    const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
    const reason = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    throw Object.assign(new Error(`cannot ${what}: ${status ? `${status} ` : ""}${reason}`), {
      name: errorCode(error),
    });
  }
}
