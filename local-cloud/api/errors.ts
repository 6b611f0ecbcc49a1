/** An answer of the API that is not a success: HTTP status, DigitalOcean's short id for it and a message for people. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly id: string;

  constructor(status: number, id: string, message: string) {
    super(message);
    this.status = status;
    this.id = id;
  }
}

/** 404 with DigitalOcean's text. */
export function notFound(): ApiError {
  return new ApiError(404, "not_found", "The resource you requested could not be found.");
}

/** 422: the request is understood but cannot be done; the message says why. */
export function unprocessable(message: string): ApiError {
  return new ApiError(422, "unprocessable_entity", message);
}

/** 400: the request makes no sense. */
export function badRequest(message: string): ApiError {
  return new ApiError(400, "bad_request", message);
}

/** 501: DigitalOcean can, the local cloud cannot. Clients give up at once instead of repeating the call. */
export function notImplemented(what: string): ApiError {
  return new ApiError(501, "not_implemented", `The local DigitalOcean does not have this: ${what}.`);
}
