import type { Tool } from "../tool.ts";
import { buildGoProgram, findGoProgram, type GoProgram } from "./go-program.ts";

const version = "3.259.0";

const program: GoProgram = {
  name: "pulumi",
  version,
  module: "toolchain/pulumi",
  package: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
  // As upstream builds its releases.
  flags: [
    "-tags=osusergo,grpcnotrace",
    `-ldflags=-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v${version}`,
  ],
  versionArguments: ["version"],
};

/** Pulumi's command line and engine. */
export const pulumi: Tool = {
  name: "pulumi",
  version,
  what: "runs the program; built from its Go module in about 4 minutes",
  remember: true,
  find: (context) => findGoProgram(program, context),
  make: (context, report) => buildGoProgram(program, context, report),
};
