import type { Tool } from "../tool.ts";
import { buildGoProgram, findGoProgram, type GoProgram } from "./go-program.ts";

const version = "2.10.1";

const program: GoProgram = {
  name: "pebble",
  version,
  module: "toolchain/pebble",
  package: "github.com/letsencrypt/pebble/v2/cmd/pebble",
  flags: [`-ldflags=-s -w -X main.version=v${version}`],
  versionArguments: ["-version"],
};

/** The ACME server of the local cloud: what Let's Encrypt is to a real server. */
export const pebble: Tool = {
  name: "pebble",
  version,
  what: "the ACME server of the local cloud; built from its Go module in about 10 seconds",
  remember: true,
  find: (context) => findGoProgram(program, context),
  make: (context, report) => buildGoProgram(program, context, report),
};
