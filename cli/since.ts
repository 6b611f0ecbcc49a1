import { InvalidArgumentError } from "commander";

/**
 * Reads the value of `--since`: how long ago, as `90s`, `10m`, `2h`, `3d`, or a time of this machine's clock and zone, as
 * `2026-11-22T20:00`, unless the text names another zone.
 * @returns what the server takes: how long ago is its own clock's matter, times are UTC to the second
 */
export function readSince(text: string): string {
  if (/^[0-9]{1,9}[smhd]$/.test(text)) return text;
  const [, day = "", clock = "00:00", zone = ""] =
    /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(Z|[+-]\d\d:\d\d)?)?$/.exec(text) ?? [];
  const time = new Date(`${day}T${clock}${zone}`);
  if (!isDay(day) || Number.isNaN(time.getTime())) {
    throw new InvalidArgumentError("give how long ago, such as 10m, 2h or 3d, or a time such as 2026-11-22T20:00");
  }
  return time.toISOString().slice(0, 19);
}

/** The 30th of February would be taken for a day of March. */
function isDay(day: string): boolean {
  const midnight = new Date(`${day}T00:00Z`);
  return !Number.isNaN(midnight.getTime()) && midnight.toISOString().startsWith(day);
}
