/**
 * A mistake that the user can mend. The message says which file or key, what is wrong and what to do; it is shown without a stack trace.
 * What it quotes may be anybody's text: characters that a terminal would not show, or would obey, become `\u{...}`.
 */
export class UserError extends Error {
  override name = "UserError";

  constructor(message: string, options?: ErrorOptions) {
    super(visible(message, "\n\t"), options);
  }
}

/**
 * Text with every character that a terminal would not show, or would obey, as `\u{...}`.
 * @param kept those that stay as they are
 */
export function visible(text: string, kept = ""): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (sign) =>
    kept.includes(sign) ? sign : `\\u{${sign.codePointAt(0)?.toString(16)}}`,
  );
}
