const hourMs = 60 * 60 * 1000;
const minuteMs = 60 * 1000;

/** Requests allowed in an hour and in a minute. */
export interface RateLimits {
  readonly hour: number;
  readonly minute: number;
}

/** DigitalOcean's limits for one token. */
export const realLimits: RateLimits = { hour: 5000, minute: 250 };

export interface RateState {
  readonly limit: number;
  readonly remaining: number;
  /** Unix time in seconds at which the oldest request counted stops counting. */
  readonly reset: number;
  /** Seconds to wait, when a limit is used up. */
  readonly retryAfter?: number;
}

/**
 * Counts requests. Without limits of its own it only tells what DigitalOcean's would be: a test or a quick client on the laptop
 * does in a minute what takes an hour over the internet.
 */
export function makeRateCounter(enforced?: RateLimits): (now: number) => RateState {
  const limits = enforced ?? realLimits;
  let times: number[] = [];
  return (now) => {
    times = times.filter((time) => time > now - hourMs);
    const inMinute = times.filter((time) => time > now - minuteMs);
    const reset = Math.ceil(((times[0] ?? now) + hourMs) / 1000);
    const isOver = times.length >= limits.hour || inMinute.length >= limits.minute;
    if (enforced !== undefined && isOver) {
      const until = times.length >= limits.hour ? reset * 1000 : (inMinute[0] ?? now) + minuteMs;
      return { limit: limits.hour, remaining: 0, reset, retryAfter: Math.max(1, Math.ceil((until - now) / 1000)) };
    }
    // Nobody needs more than the newest of them.
    if (times.length < limits.hour) times.push(now);
    return { limit: limits.hour, remaining: Math.max(0, limits.hour - times.length), reset };
  };
}
