/** HTTP status and default text of the S3 errors that the front answers itself. */
const errors = {
  AccessDenied: [403, "Access Denied."],
  AuthorizationHeaderMalformed: [400, "The authorization header is malformed."],
  AuthorizationQueryParametersError: [400, "The query parameters of the presigned URL are malformed."],
  BadDigest: [400, "The Content-MD5 you specified did not match what we received."],
  BucketAlreadyExists: [409, "The requested bucket name is not available. Select a different name."],
  EntityTooLarge: [400, "Your proposed upload exceeds the maximum allowed size."],
  IllegalLocationConstraintException: [400, "The location constraint does not match the region of the endpoint."],
  IncompleteBody: [400, "You did not provide the number of bytes given by Content-Length."],
  InternalError: [500, "We encountered an internal error. Please try again."],
  InvalidAccessKeyId: [403, "The access key that you provided does not exist."],
  InvalidArgument: [400, "Invalid argument."],
  InvalidBucketName: [400, "The specified bucket name is not valid: 3 to 63 of a-z, 0-9, '-' and '.'."],
  InvalidDigest: [400, "The Content-MD5 you specified is not valid."],
  InvalidRequest: [400, "Invalid request."],
  InvalidURI: [400, "The path of the request cannot be decoded."],
  KeyTooLongError: [400, "Your key is too long: 1024 bytes at most."],
  MalformedXML: [400, "The XML you provided was not well-formed or has not the expected structure."],
  MethodNotAllowed: [405, "The specified method is not allowed against this resource."],
  MissingContentLength: [411, "You must provide the Content-Length HTTP header."],
  NoSuchBucket: [404, "The specified bucket does not exist."],
  NoSuchKey: [404, "The specified key does not exist."],
  NoSuchLifecycleConfiguration: [404, "The lifecycle configuration does not exist."],
  NotImplemented: [501, "Spaces does not have this operation, or the local one has it not yet."],
  RequestTimeTooSkewed: [
    403,
    "The difference between the request time and the current time is too large (15 minutes).",
  ],
  SignatureDoesNotMatch: [403, "The request signature we calculated does not match the signature you provided."],
  SlowDown: [503, "The object store is starting. Please try again."],
  TooManyBuckets: [400, "You have reached the limit of 100 buckets."],
  XAmzContentSHA256Mismatch: [400, "The provided x-amz-content-sha256 does not match what was computed."],
} as const satisfies Record<string, readonly [status: number, text: string]>;

export type S3ErrorCode = keyof typeof errors;

/** A refusal, answered as `<Error><Code/><Message/>...</Error>`. */
export class S3Error extends Error {
  override readonly name = "S3Error";
  readonly code: S3ErrorCode;
  readonly status: number;

  constructor(code: S3ErrorCode, message?: string) {
    super(message ?? errors[code][1]);
    this.code = code;
    this.status = errors[code][0];
  }
}
