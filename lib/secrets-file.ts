import { extname } from "node:path";

/** A kind of file that keys with secret values are written as. */
interface SecretsFormat {
  /** What is wrong with a key's name and what to do; `undefined`: nothing. */
  nameProblem(name: string): string | undefined;
  /** The same for a value. It never tells the value. */
  valueProblem(value: string): string | undefined;
  render(entries: readonly (readonly [string, string])[]): string;
}

/**
 * The kind of file by the ending of its name, as `secrets_config` has it: .json; .toml; .env as python-dotenv reads it; .sh, to be read
 * with `.`; all others are Python assignments, which Flask's `from_envvar` takes.
 */
export function secretsFormat(file: string): SecretsFormat {
  // A file that is called ".env" has no ending for Node.
  const ending = file.startsWith(".") ? extname(`x${file}`) : extname(file);
  return formats[ending.toLowerCase()] ?? python;
}

/**
 * Writes keys as a file whose own reader gives each value back byte for byte. Keys come in the order of their names.
 * @param file name of the file, which decides what it looks like
 */
export function renderSecretsFile(file: string, keys: Readonly<Record<string, string>>): string {
  return secretsFormat(file).render(Object.entries(keys).sort(([a], [b]) => (a < b ? -1 : 1)));
}

const instead = "Give the whole file instead: npx chillbox secrets set SLUG SERVICE <FILE";

function plainName(name: string): string | undefined {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)
    ? undefined
    : `the name of a key has letters, digits and "_" only, and no digit first. ${instead}`;
}

function pythonName(name: string): string | undefined {
  return /^[A-Z][A-Z0-9_]*$/.test(name)
    ? undefined
    : `the name of a key in a Python file has capital letters, digits and "_" only: Flask takes no other. ${instead}`;
}

/** Half of a pair of UTF-16 has no bytes in UTF-8. */
function textProblem(value: string): string | undefined {
  return value.isWellFormed() ? undefined : `the value is not valid Unicode. ${instead}`;
}

function shellProblem(value: string): string | undefined {
  return value.includes("\0") ? `a shell's value cannot have a zero byte. ${instead}` : textProblem(value);
}

/** python-dotenv puts variables in for \${NAME} inside all quotes, and takes a backslash before a closing quote for part of the value. */
function dotenvProblem(value: string): string | undefined {
  if (value.includes("${")) return `a value in a .env file cannot have "\${", which its readers replace. ${instead}`;
  if (value.endsWith("\\")) return `a value in a .env file cannot end with a backslash. ${instead}`;
  return shellProblem(value);
}

/** A JSON text is the same in Python and, but for the delete character, in TOML. */
const quote = (value: string): string => JSON.stringify(value);

const python: SecretsFormat = {
  nameProblem: pythonName,
  valueProblem: textProblem,
  render: (entries) => lines(entries, (name, value) => `${name} = ${quote(value)}`),
};

const formats: Readonly<Record<string, SecretsFormat>> = {
  ".json": {
    nameProblem: plainName,
    valueProblem: textProblem,
    render: (entries) => `${JSON.stringify(Object.fromEntries(entries), undefined, 2)}\n`,
  },
  ".toml": {
    nameProblem: plainName,
    valueProblem: textProblem,
    render: (entries) => lines(entries, (name, value) => `${name} = ${quote(value).replaceAll("\x7f", "\\u007f")}`),
  },
  ".sh": {
    nameProblem: plainName,
    valueProblem: shellProblem,
    render: (entries) => lines(entries, (name, value) => `${name}='${value.replaceAll("'", `'\\''`)}'`),
  },
  ".env": {
    nameProblem: plainName,
    valueProblem: dotenvProblem,
    render: (entries) => lines(entries, (name, value) => `${name}=${quoteForDotenv(value)}`),
  },
};

function lines(entries: readonly (readonly [string, string])[], line: (name: string, value: string) => string): string {
  return entries.map(([name, value]) => `${line(name, value)}\n`).join("");
}

/** In a way that shells read, too, where there is one: only values with a quote, a backslash or a carriage return have none. */
function quoteForDotenv(value: string): string {
  if (!/['\\\r]/.test(value)) return `'${value}'`;
  return `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\r", "\\r")}"`;
}
