/** Runs background work: one piece at a time for each key, different keys side by side. */
export class Jobs {
  readonly #queues = new Map<string, Promise<void>>();
  readonly #abort = new AbortController();
  readonly #onError: (error: unknown, key: string) => void;

  constructor(onError: (error: unknown, key: string) => void) {
    this.#onError = onError;
  }

  /** Aborted when the server stops. Work that fails after that must leave its object as it is: the next start takes it up again. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Starts `work` after all earlier work of the same key. */
  start(key: string, work: () => Promise<void>): void {
    const before = this.#queues.get(key) ?? Promise.resolve();
    const after = before
      .then(() => (this.signal.aborted ? undefined : work()))
      .catch((error: unknown) => this.#onError(error, key))
      .finally(() => {
        if (this.#queues.get(key) === after) this.#queues.delete(key);
      });
    this.#queues.set(key, after);
  }

  /** Resolves when the key has no work left. */
  async idle(key: string): Promise<void> {
    await this.#queues.get(key);
  }

  /** Starts nothing more, tells running work to end and waits for it, at most `milliseconds`. */
  async stop(milliseconds: number): Promise<void> {
    this.#abort.abort();
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, milliseconds);
    });
    await Promise.race([Promise.all(this.#queues.values()), limit]);
    clearTimeout(timer);
  }
}
