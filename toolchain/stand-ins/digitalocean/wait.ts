import { setTimeout as sleep } from "node:timers/promises";
import { type Api, ApiError, type Json } from "./api.ts";

const firstPollMilliseconds = 100;
const longestPollMilliseconds = 1_000;
const minute = 60_000;

/**
 * Asks again and again until there is an answer. The official plugin waits ten seconds and more between polls; the local cloud is
 * near and fast.
 * @param what is waited for, for the error.
 * @param probe answers `undefined` while it is not there yet; what it throws ends the wait.
 * @throws when `minutes` have passed or the engine asks to stop.
 */
export async function waitFor<Result>(
  what: string,
  signal: AbortSignal,
  minutes: number,
  probe: () => Promise<Result | undefined>,
): Promise<Result> {
  const end = Date.now() + minutes * minute;
  for (let pause = firstPollMilliseconds; ; pause = Math.min(pause * 1.4, longestPollMilliseconds)) {
    const result = await probe();
    if (result !== undefined) {
      return result;
    }
    signal.throwIfAborted();
    if (Date.now() > end) {
      throw new Error(`gave up after ${minutes} minutes of waiting for ${what}`);
    }
    await sleep(pause, undefined, { signal });
  }
}

/** Waits until an action is completed: `completed_at` is set. A failed one throws. */
export function waitForAction(api: Api, action: Json, signal: AbortSignal): Promise<Json> {
  return waitFor(`action ${action.id} (${action.type})`, signal, 60, async () => {
    const { action: now } = await api.get(`/v2/actions/${action.id}`);
    if (now.status === "errored") {
      throw new Error(`action ${now.id} (${now.type}) failed`);
    }
    return now.completed_at ? now : undefined;
  });
}

/** The answer, or `undefined` when the API says that there is no such thing. */
export async function unlessMissing<Result>(answer: Promise<Result>): Promise<Result | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) {
      return undefined;
    }
    throw error;
  }
}
