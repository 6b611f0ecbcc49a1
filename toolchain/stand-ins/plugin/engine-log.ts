import grpc from "@grpc/grpc-js";
import rpc from "@pulumi/pulumi/proto/engine_grpc_pb.js";
import messages from "@pulumi/pulumi/proto/engine_pb.js";
import { grpcOptions } from "./grpc.ts";

type Severity = "INFO" | "WARNING";

/** Shows lines in the engine's display; an ephemeral one only while its resource is worked on. */
export interface EngineLogger {
  (urn: string, message: string, severity: Severity, ephemeral: boolean): void;
  connect(address: string): void;
}

/** Lines for the engine's display, in order. Without an engine they are dropped. */
export function engineLogger(initialAddress: string): EngineLogger {
  let address = initialAddress;
  let client: InstanceType<typeof rpc.EngineClient> | undefined;
  const log = (urn: string, message: string, severity: Severity, ephemeral: boolean): void => {
    if (!/:\d+$/.test(address)) {
      return;
    }
    client ??= new rpc.EngineClient(address, grpc.credentials.createInsecure(), grpcOptions);
    const request = new messages.LogRequest().setUrn(urn).setMessage(message).setEphemeral(ephemeral);
    request.setSeverity(messages.LogSeverity[severity]);
    // A line that cannot be shown must not fail the step.
    client.log(request, () => undefined);
  };
  return Object.assign(log, {
    connect: (next: string) => {
      address = next || address;
    },
  });
}
