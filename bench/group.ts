import type { Note } from "./measure.ts";

/** Figures that belong together: `npm run bench -- NAME`. */
export interface Group {
  readonly name: string;
  /** What it measures, for people. */
  readonly what: string;
  /** About how long it takes on 2 cores with the default counts, and after how long it is given up; more for each unit of a larger count. */
  readonly minutes: number;
  readonly limitMinutes: (count: number | undefined) => number;
  /** Whether `npm run bench` without names runs it. */
  readonly quick: boolean;
  readonly run: (bench: Bench) => Promise<void>;
}

/** What a group gets. */
export interface Bench {
  /** The number after the group's name on the command line. */
  readonly count: number | undefined;
  readonly note: Note;
  /** Something about the figures that the reader of the table must know. */
  readonly remark: (text: string) => void;
  /** What is to be undone at the end, however it comes; last first. */
  readonly atEnd: (undo: () => unknown) => void;
}
