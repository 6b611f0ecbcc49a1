/** One figure: what was measured, each run's value, and what it should be. */
export interface Figure {
  readonly name: string;
  /** "x" is a ratio. */
  readonly unit: "s" | "ms" | "MB" | "x" | "sites" | "requests";
  readonly values: readonly number[];
  /** The figure to reach, in the same unit; without it the figure only explains others. */
  readonly limit?: number;
  /** Whether the figure to reach is the least or the most. Default: the most. */
  readonly goal?: "least" | "most";
}

/** Takes a figure as soon as it is there. */
export type Note = (figure: Figure) => void;

/** Seconds that a piece of work takes. */
export async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

/** The same work, several times one after the other: seconds of each run. */
export async function repeat(times: number, work: () => Promise<unknown>): Promise<number[]> {
  const values: number[] = [];
  for (let run = 0; run < times; run += 1) values.push(await seconds(work));
  return values;
}

/** The middle value: the mean of the two middle ones where there is no single one. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}

/** How many times one is the other, run by run: for two that took turns, so that a slow moment of the machine hits both. */
export function ratios(ones: readonly number[], others: readonly number[]): number[] {
  return ones.map((one, run) => one / (others[run] ?? Number.NaN));
}

/** A Markdown table of figures, as `docs/performance.md` shows it. */
export function table(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => {
    const { name, values, limit, goal = "most" } = figure;
    const middle = median(values);
    const range =
      values.length === 1 ? "" : `${show(Math.min(...values), figure)} - ${show(Math.max(...values), figure)}`;
    const toReach = limit === undefined ? "" : `at ${goal} ${show(limit, figure)}`;
    const reached = limit === undefined ? "" : (goal === "most" ? middle <= limit : middle >= limit) ? "yes" : "no";
    return `| ${name} | ${show(middle, figure)} | ${range} | ${values.length} | ${toReach} | ${reached} |`;
  });
  return [
    "| what | median | range | runs | to reach | reached |",
    "| --- | --- | --- | --- | --- | --- |",
    ...rows,
  ].join("\n");
}

/** A value with its unit: decimals where they tell something. */
export function show(value: number, { unit }: Pick<Figure, "unit">): string {
  const decimals = { s: 2, ms: value < 20 ? 1 : 0, MB: value < 100 ? 1 : 0, x: 2, sites: 0, requests: 0 }[unit];
  return `${value.toFixed(decimals)} ${unit}`;
}
