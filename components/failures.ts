/**
 * Makes what follows from a resource that failed short. Its own error is shown by the engine, with what it said; then each thing that
 * needed it fails in turn, and Pulumi would show those as crashes of the program, stack and all.
 */
export function shortenFollowUpErrors(): void {
  // Before Pulumi's own listeners, which print: a RunError, or an error without a stack, as its message alone.
  process.prependListener("unhandledRejection", (reason) => {
    const resource = reason instanceof Error ? failedResource(reason.message) : undefined;
    if (resource === undefined) return;
    Object.assign(reason as Error, {
      __pulumiRunError: true,
      stack: "",
      message: `${resource} failed, so what needs it was left as it is.`,
    });
  });
}

/** The name in `error serializing property "stdin": resource NAME [TYPE] failed to register`. */
export function failedResource(message: string): string | undefined {
  return /(?:^|: )resource (\S+) \[\S+\] failed to register$/.exec(message)?.[1];
}
