/** A Python package in one version. */
export interface LockedPackage {
  /** Normalized as PEP 503 has it. */
  readonly name: string;
  readonly version: string;
  /** Path of the file of the release that says so. */
  readonly path: string;
}

/** PEP 503: `Foo_Bar` and `foo-bar` are one package. */
function normalize(name: string): string {
  return name.toLowerCase().replace(/[-_.]+/g, "-");
}

/** The package of a wheel or source archive (PEP 427, 625) by its file's name; `undefined` for any other file. */
export function packageOfFile(path: string): LockedPackage | undefined {
  const file = path.slice(path.lastIndexOf("/") + 1);
  const [, name, version] =
    /^([A-Za-z0-9._]+)-([0-9][A-Za-z0-9._+!]*)(?:-[^-]+)?-[^-]+-[^-]+-[^-]+\.whl$/.exec(file) ??
    /^([A-Za-z0-9._-]+?)-([0-9][A-Za-z0-9._+!]*?)\.(?:tar\.gz|zip)$/.exec(file) ??
    [];
  return name === undefined || version === undefined ? undefined : { name: normalize(name), version, path };
}

/** The packages that a requirements file holds to one version by "==". */
export function pinnedPackages(text: string, path: string): LockedPackage[] {
  return text.split("\n").flatMap((line) => {
    const [, name, version] =
      /^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*={2,3}\s*([A-Za-z0-9][A-Za-z0-9._+!-]*)\s*(?:[;#\\]|--|$)/.exec(
        line,
      ) ?? [];
    return name === undefined || version === undefined ? [] : [{ name: normalize(name), version, path }];
  });
}

/** Orders versions by the numbers of their releases; what follows those (`rc1`, `.post2`) counts for nothing. */
export function compareVersions(one: string, other: string): number {
  const numbers = (version: string) => (/^(?:\d+!)?([\d.]+)/.exec(version)?.[1] ?? "0").split(".").map(Number);
  const [a, b] = [numbers(one), numbers(other)];
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
