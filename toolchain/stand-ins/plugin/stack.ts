/** The only stack that may run on stand-ins. */
const allowedStack = "local";

/** Says why a stack may not run on stand-ins, or `undefined` when it may. `organization/project/stack` counts by its last part. */
export function refusal(stack: string): string | undefined {
  if (stack.split("/").at(-1) === allowedStack) {
    return undefined;
  }
  return (
    `stack ${stack}: refuses to run on stand-ins, which are for stack '${allowedStack}' alone; ` +
    "install the official Pulumi (https://www.pulumi.com/docs/install/) and run its 'pulumi' without 'npx chillbox env'"
  );
}
