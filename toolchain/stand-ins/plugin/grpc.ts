import grpc from "@grpc/grpc-js";
import { saveCompileCache } from "./compile-cache.ts";
import { partlyMadeDetails } from "./messages.ts";
import { PartlyMade } from "./plugin.ts";

/** Options of every gRPC connection: user-data and command outputs may be large. */
export const grpcOptions = { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 };

/** Binds a server to a free loopback port, prints the port, and ends the process with its parent. */
export function listen(server: grpc.Server): void {
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error !== null) {
      throw error;
    }
    process.stdout.write(`${port}\n`);
    saveCompileCache();
  });
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) {
      process.kill(process.pid, "SIGTERM");
    }
  }, 1000).unref();
}

/** A unary call's handler, from an async function; errors become gRPC errors without a stack. */
export function unary<Request, Response>(
  answer: (request: Request) => Promise<Response> | Response,
): grpc.handleUnaryCall<Request, Response> {
  return (call, callback) => {
    Promise.resolve(call.request)
      .then(answer)
      .then(
        (response) => callback(null, response),
        (error: unknown) => callback(asServiceError(error)),
      );
  };
}

function asServiceError(error: unknown): Partial<grpc.StatusObject> {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof TypeError || error instanceof ReferenceError) {
    process.stderr.write(`${error.stack}\n`);
  }
  const metadata = new grpc.Metadata();
  if (error instanceof PartlyMade) {
    metadata.add("grpc-status-details-bin", partlyMadeDetails(error));
  }
  return { code: grpc.status.UNKNOWN, details: message, metadata };
}
