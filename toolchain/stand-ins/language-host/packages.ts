import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** An npm package of a program that needs a Pulumi plugin. */
export interface InstalledPackage {
  readonly name: string;
  /** Without a leading `v`. */
  readonly version: string;
  /** Name of the plugin: `digitalocean`. */
  readonly plugin: string;
}

interface Manifest {
  readonly name?: string;
  readonly version?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly pulumi?: { readonly resource?: boolean; readonly name?: string };
}

/** The packages that the `package.json` of a folder names, as far as they are installed: name and version. */
export function findPackages(root: string): { name: string; version: string }[] {
  const manifest = readManifest(root);
  const names = Object.keys({ ...manifest?.dependencies, ...manifest?.devDependencies });
  return names.flatMap((name) => {
    const version = readManifest(join(root, "node_modules", name))?.version;
    return version === undefined ? [] : [{ name, version }];
  });
}

/** Packages under `node_modules` whose `package.json` asks for a resource plugin, in the folder or one above it. */
export function findPluginPackages(root: string): InstalledPackage[] {
  const folder = join(root, "node_modules");
  // Pulumi's SDKs are scoped packages or start with `pulumi-`; reading every manifest would cost a second.
  const scopes = list(folder).filter((name) => name.startsWith("@"));
  const scoped = scopes.flatMap((scope) => list(join(folder, scope)).map((name) => `${scope}/${name}`));
  const plain = list(folder).filter((name) => name.startsWith("pulumi-"));
  return [...scoped.filter((name) => isLikely(name)), ...plain].flatMap((name) => {
    const { version, pulumi } = readManifest(join(folder, name)) ?? {};
    if (version === undefined || pulumi?.resource !== true) {
      return [];
    }
    return [{ name, version: version.replace(/^v/, ""), plugin: pulumi.name ?? name.replace(/^@[^/]*\//, "") }];
  });
}

function isLikely(name: string): boolean {
  return name.startsWith("@pulumi/") || name.includes("pulumi");
}

function list(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

function readManifest(folder: string): Manifest | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest;
  } catch {
    return undefined;
  }
}
