/** How many checks of a layer came out which way. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** A group of checks that `tests/run.ts` runs and reports together. */
export interface Layer {
  readonly name: string;
  /** Tools that set-up brings for it. */
  readonly needs: readonly string[];
  /** It is ended, and fails, when it takes longer. */
  readonly minutes: number;
  /** Prints what it does and what failed; throws only when it could not run at all. */
  run(limits: Limits): Promise<Counts>;
}

/** What a layer must keep to. */
export interface Limits {
  readonly repository: string;
  /** Fires when the layer's time is over. */
  readonly signal: AbortSignal;
}

/** Adds up. */
export function sum(counts: readonly Counts[]): Counts {
  return {
    passed: counts.reduce((total, each) => total + each.passed, 0),
    failed: counts.reduce((total, each) => total + each.failed, 0),
    skipped: counts.reduce((total, each) => total + each.skipped, 0),
  };
}

/** Whether a layer is good: something passed, nothing failed and nothing was left out. */
export function isGood(counts: Counts): boolean {
  return counts.passed > 0 && counts.failed === 0 && counts.skipped === 0;
}
