import type { SpacesGrant } from "../types.ts";
import { type Address, checkId, checkKey, checkPrefix } from "./address.ts";
import { S3Error } from "./s3-error.ts";

/** What a key must be allowed to do; `full` is for account-wide keys only. */
export type Need = "read" | "write" | "full";

/** How an operation is carried out. */
export interface Operation {
  readonly name: OperationName;
  readonly need: Need;
  /** Query parameters that go on to the object store; all others are dropped. */
  readonly query: readonly string[];
}

export type OperationName = (typeof table)[number][2];

/** Query parameters that choose an operation, those included that only real S3 has. */
const subresources = new Set(
  (
    "accelerate acl analytics append attributes cors delete encryption intelligent-tiering inventory legal-hold lifecycle location logging metadataConfiguration " +
    "metadataTable metrics notification object-lock ownershipControls policy policyStatus position publicAccessBlock renameObject replication requestPayment " +
    "restore retention select session tagging torrent uploadId uploads versioning versions website"
  ).split(" "),
);

const listing = "prefix delimiter encoding-type max-keys";
const response =
  "response-cache-control response-content-disposition response-content-encoding response-content-language response-content-type response-expires";

/** Kind of address, method and sub-resource, name, need, query parameters passed on. */
const table = [
  ["service", "GET", "ListBuckets", "full", ""],
  ["bucket", "PUT", "CreateBucket", "full", ""],
  ["bucket", "HEAD", "HeadBucket", "read", ""],
  ["bucket", "DELETE", "DeleteBucket", "full", ""],
  ["bucket", "GET", "ListObjects", "read", `list-type continuation-token start-after fetch-owner marker ${listing}`],
  ["bucket", "GET versions", "ListObjectVersions", "read", `versions key-marker version-id-marker ${listing}`],
  [
    "bucket",
    "GET uploads",
    "ListMultipartUploads",
    "write",
    `uploads key-marker upload-id-marker max-uploads ${listing}`,
  ],
  ["bucket", "POST delete", "DeleteObjects", "write", "delete"],
  ["bucket", "GET location", "GetBucketLocation", "read", ""],
  ["bucket", "GET acl", "GetBucketAcl", "full", ""],
  ["bucket", "PUT acl", "PutBucketAcl", "full", ""],
  ["bucket", "GET lifecycle", "GetBucketLifecycle", "full", ""],
  ["bucket", "PUT lifecycle", "PutBucketLifecycle", "full", ""],
  ["bucket", "DELETE lifecycle", "DeleteBucketLifecycle", "full", ""],
  ["bucket", "GET logging", "GetBucketLogging", "full", ""],
  ["bucket", "PUT logging", "PutBucketLogging", "full", ""],
  ["bucket", "GET cors", "GetBucketCors", "full", "cors"],
  ["bucket", "PUT cors", "PutBucketCors", "full", "cors"],
  ["bucket", "DELETE cors", "DeleteBucketCors", "full", "cors"],
  ["bucket", "GET versioning", "GetBucketVersioning", "full", "versioning"],
  ["bucket", "PUT versioning", "PutBucketVersioning", "full", "versioning"],
  ["bucket", "GET policy", "GetBucketPolicy", "full", "policy"],
  ["bucket", "PUT policy", "PutBucketPolicy", "full", "policy"],
  ["bucket", "DELETE policy", "DeleteBucketPolicy", "full", "policy"],
  ["object", "GET", "GetObject", "read", `versionId partNumber ${response}`],
  ["object", "HEAD", "HeadObject", "read", `versionId partNumber ${response}`],
  ["object", "PUT", "PutObject", "write", ""],
  ["object", "DELETE", "DeleteObject", "write", "versionId"],
  ["object", "GET acl", "GetObjectAcl", "full", "versionId"],
  ["object", "PUT acl", "PutObjectAcl", "full", "versionId"],
  ["object", "POST uploads", "CreateMultipartUpload", "write", "uploads"],
  ["object", "PUT uploadId", "UploadPart", "write", "uploadId partNumber"],
  ["object", "POST uploadId", "CompleteMultipartUpload", "write", "uploadId"],
  ["object", "DELETE uploadId", "AbortMultipartUpload", "write", "uploadId"],
  ["object", "GET uploadId", "ListParts", "write", "uploadId max-parts part-number-marker encoding-type"],
] as const;

const operations = new Map<string, Operation>(
  table.map(([kind, on, name, need, query]) => [
    `${kind} ${on}`,
    { name, need, query: query.split(" ").filter(Boolean) },
  ]),
);

/**
 * Which operation a request is.
 * @throws S3Error NotImplemented for everything that is not in the table above.
 */
export function findOperation(
  method: string,
  address: Address,
  query: readonly (readonly [string, string])[],
): Operation {
  const kind = address.bucket === undefined ? "service" : address.key === undefined ? "bucket" : "object";
  const chosen = [...new Set(query.map(([name]) => name).filter((name) => subresources.has(name)))];
  if (chosen.length > 1) throw new S3Error("InvalidArgument", `Conflicting query parameters: ${chosen.join(", ")}.`);
  const operation = operations.get(`${kind} ${[method, ...chosen].join(" ")}`);
  if (operation !== undefined) return operation;
  if (chosen.length === 0) throw new S3Error("MethodNotAllowed");
  throw new S3Error("NotImplemented");
}

/**
 * The query parameters that go on to the object store, checked.
 * @throws S3Error InvalidArgument
 */
export function passedQuery(
  operation: Operation,
  query: readonly (readonly [string, string])[],
): (readonly [string, string])[] {
  const passed = query.filter(([name]) => operation.query.includes(name));
  if (new Set(passed.map(([name]) => name)).size !== passed.length) {
    throw new S3Error("InvalidArgument", "A query parameter is given twice.");
  }
  for (const [name, value] of passed) checkParameter(name, value);
  return passed;
}

function checkParameter(name: string, value: string): void {
  if (["prefix", "marker", "key-marker", "start-after"].includes(name) && value !== "") checkPrefix(value);
  if (name === "continuation-token") checkPrefix(value);
  if (["versionId", "uploadId"].includes(name)) checkId(value, name);
  if (["version-id-marker", "upload-id-marker"].includes(name) && value !== "") checkId(value, name);
  const digits = ["max-keys", "max-uploads", "max-parts", "partNumber", "part-number-marker"].includes(name);
  if (digits && !/^\d{1,10}$/.test(value)) throw new S3Error("InvalidArgument", `Invalid ${name}.`);
}

/** Checks a key as it comes in a list (`POST ?delete`). @throws S3Error */
export function checkListedKey(key: string, versionId: string | undefined): void {
  checkKey(key);
  if (versionId !== undefined && versionId !== "") checkId(versionId, "versionId");
}

/** Whether one of `grants` gives `need` on `bucket`. */
export function isGranted(grants: readonly SpacesGrant[], need: Need, bucket: string | undefined): boolean {
  return grants.some((grant) => {
    if (grant.permission === "fullaccess") return true;
    if (bucket === undefined || grant.bucket !== bucket || need === "full") return false;
    return need === "read" || grant.permission === "readwrite";
  });
}
