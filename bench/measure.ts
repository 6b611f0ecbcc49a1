/** One figure: what was measured, each run's value, and the most that it should be. */
export interface Figure {
  readonly name: string;
  readonly unit: "s" | "MB";
  readonly values: readonly number[];
  /** The figure to reach, in the same unit. */
  readonly limit: number;
}

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

/** A Markdown table of figures, as `docs/performance.md` shows it. */
export function table(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => {
    const [low, high] = [Math.min(...figure.values), Math.max(...figure.values)];
    const middle = median(figure.values);
    const share = (middle / figure.limit).toFixed(2);
    return `| ${figure.name} | ${show(middle, figure)} | ${show(low, figure)} - ${show(high, figure)} | ${figure.values.length} | ${figure.limit} ${figure.unit} | ${share} |`;
  });
  return ["| what | median | range | runs | to reach | of it |", "| --- | --- | --- | --- | --- | --- |", ...rows].join(
    "\n",
  );
}

function show(value: number, { unit }: Figure): string {
  return `${unit === "MB" ? value.toFixed(0) : value.toFixed(2)} ${unit}`;
}
