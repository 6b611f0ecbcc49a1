/**
 * An error that the person at the keyboard can mend: a wrong config key, a site file with a mistake, a port that is taken.
 * Its message is all that is shown, without a stack trace: it names the file or key, what is wrong and what to do.
 */
export class UserError extends Error {
  override readonly name = "UserError";
}
