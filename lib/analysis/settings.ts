import { closest } from "../names.ts";

/** What is looked at in a release. */
export const kinds = ["packages", "secrets", "nginx"] as const;
export type Kind = (typeof kinds)[number];

/** What becomes of a finding: told, told and nothing is deployed, or not even looked for. */
const answers = ["warn", "fail", "off"] as const;
export type Answer = (typeof answers)[number];

/** A finding that somebody has looked at and lives with. */
export interface Ignored {
  /** As the finding says it in brackets, such as `PYSEC-2014-8`. */
  readonly id: string;
  readonly reason: string;
  /** Slug of the one site that it is ignored for; default: all. */
  readonly site?: string;
}

/** Config's `analysis`. */
export type AnalysisSettings = Readonly<Record<Kind, Answer>> & {
  readonly ignore: readonly Ignored[];
  /** Base URL of PyPI's JSON API, or of a mirror that has it. */
  readonly advisories: string;
};

const keys = [...kinds, "ignore", "advisories"];

/** What holds without config. */
export const defaultAnalysis: AnalysisSettings = {
  packages: "warn",
  secrets: "warn",
  nginx: "warn",
  ignore: [],
  advisories: "https://pypi.org/pypi",
};

/**
 * Reads config's `analysis`.
 * @param complain told each problem: the key, what is wrong, what it should be
 * @returns what could be read, defaults for the rest
 */
export function readAnalysis(
  value: unknown,
  complain: (key: string, problem: string, what: string) => void,
): AnalysisSettings {
  if (value === undefined || value === null) return defaultAnalysis;
  if (!isObject(value)) {
    complain("", "is no object", `an object with ${keys.join(", ")}`);
    return defaultAnalysis;
  }
  for (const key of Object.keys(value).filter((key) => !keys.includes(key))) {
    const suggestion = closest(key, keys);
    complain(`.${key}`, "is not known", suggestion ? `"${suggestion}"` : `one of ${keys.join(", ")}`);
  }
  const answer = (kind: Kind): Answer => {
    const given = value[kind] ?? defaultAnalysis[kind];
    if (answers.includes(given as Answer)) return given as Answer;
    complain(`.${kind}`, `is ${JSON.stringify(given)}`, `one of ${answers.join(", ")}`);
    return defaultAnalysis[kind];
  };
  const { advisories = defaultAnalysis.advisories } = value;
  const isUrl = typeof advisories === "string" && /^https?:\/\/[^\s@?#]+$/.test(advisories);
  if (!isUrl) complain(".advisories", `is ${JSON.stringify(advisories)}`, "the URL of PyPI's JSON API or of a mirror");
  return {
    packages: answer("packages"),
    secrets: answer("secrets"),
    nginx: answer("nginx"),
    ignore: readIgnored(value.ignore ?? [], complain),
    advisories: isUrl ? advisories.replace(/\/+$/, "") : defaultAnalysis.advisories,
  };
}

function readIgnored(list: unknown, complain: (key: string, problem: string, what: string) => void): Ignored[] {
  const all = Array.isArray(list) ? list : [undefined];
  const good = all.filter(isIgnored);
  if (good.length < all.length) {
    complain(
      ".ignore",
      "has something else",
      'a list of {"id": ID, "reason": WHY} and, for one site alone, "site": SLUG',
    );
  }
  return good;
}

function isIgnored(entry: unknown): entry is Ignored {
  if (!isObject(entry)) return false;
  const { id, reason, site, ...rest } = entry;
  const isText = (text: unknown) => typeof text === "string" && text.trim() !== "";
  return isText(id) && isText(reason) && (site === undefined || isText(site)) && Object.keys(rest).length === 0;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
