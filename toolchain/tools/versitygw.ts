import type { Tool } from "../tool.ts";
import { buildGoProgram, findGoProgram, type GoProgram } from "./go-program.ts";

const version = "1.8.0";

const program: GoProgram = {
  name: "versitygw",
  version,
  module: "toolchain/versitygw",
  package: "github.com/versity/versitygw/cmd/versitygw",
  flags: [`-ldflags=-s -w -X main.Version=v${version}`],
  versionArguments: ["--version"],
};

/** The S3 server behind the local Spaces. */
export const versitygw: Tool = {
  name: "versitygw",
  version,
  what: "the S3 server of the local cloud; built from its Go module in about 2 minutes",
  remember: true,
  find: (context) => findGoProgram(program, context),
  make: (context, report) => buildGoProgram(program, context, report),
};
