import type { FoundTool } from "../../toolchain/tool.ts";
import type { TestServer } from "../server-scripts/server.ts";

/** What an audit may use. */
export interface Surroundings {
  /** A server as `up` makes it, with a site. */
  readonly server: TestServer;
  /** What other programs said in full is put here. */
  readonly folder: string;
  readonly tools: Readonly<Record<string, FoundTool>>;
}

/** What an audit found. */
export interface Verdict {
  /** Whether it is what was promised. */
  readonly good: boolean;
  /** Lines for a person. */
  readonly lines: readonly string[];
}

/** One look at a server from outside or inside, by a program that others wrote where there is one. */
export interface Audit {
  readonly name: string;
  /** Before chillbox has configured the server, to compare with; root logs in by ssh then. */
  readonly before?: (surroundings: Surroundings) => Promise<void>;
  readonly run: (surroundings: Surroundings) => Promise<Verdict>;
}
