import type { LocalCloudSettings } from "../lib/local-cloud-settings.ts";

/** Tells a person what is going on, in a few words without a line's end; the newest text replaces the one before. */
export type Report = (text: string) => void;

/** Where a tool came from: a program that was there already, one that set-up made, or a stand-in for one that cannot be had. */
export type Source = "path" | "built" | "installed" | "stand-in";

/** A tool that can be used. */
export interface FoundTool {
  /** What to run or read: absolute path of a program or a folder. */
  readonly path: string;
  readonly version: string;
  readonly source: Source;
  /** Files that must still be as they are now for this to stay true (absolute paths); default: `path`. */
  readonly files?: readonly string[];
}

/** What every tool is told. */
export interface Context {
  readonly settings: LocalCloudSettings;
  /** `${XDG_CACHE_HOME:-~/.cache}/chillbox`. */
  readonly cache: string;
  /** Install Debian packages without asking. */
  readonly yes: boolean;
}

/** Something that chillbox needs and set-up can find or make. One file in `tools/` each. */
export interface Tool {
  readonly name: string;
  readonly version: string;
  /** What it is for and, if it takes long, how long making it takes: shown by `doctor` and while it is made. */
  readonly what: string;
  /** Looking for it starts other programs: the answer is kept as long as the files found are what they were. */
  readonly remember?: boolean;
  /** Looks for it without changing anything. */
  find(context: Context): Promise<FoundTool | undefined>;
  /** Makes it, so that `find` finds it afterwards. */
  make(context: Context, report: Report): Promise<void>;
  /** Made before all others and alone, because they rely on it. */
  readonly first?: boolean;
  /** Asks the person at the terminal whether it may be made, and throws a UserError if not. */
  confirm?(context: Context): Promise<void>;
}

/** What set-up found or made, by the tool's name. */
export type Tools = Readonly<Record<string, FoundTool>>;
