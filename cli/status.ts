import { plainText, renderTable } from "./table.ts";

/** A line of a site's deploy log. */
export interface Deploy {
  /** UTC, ISO 8601. */
  readonly when: string;
  readonly by: string;
  /** A release, or "-". */
  readonly from: string;
  readonly to: string;
  readonly why: string;
  /** installed, refused, went back, rolled back, removed. */
  readonly result: string | null;
}

/** One supervised service of a site. */
export interface ServiceStatus {
  readonly name: string;
  readonly up: boolean;
  readonly ready: boolean;
  /** Since it went up or down. */
  readonly seconds: number;
  readonly pid: number;
  /** Whether it is meant to be up; not after it died too often. */
  readonly wanted: boolean;
  /** Of its last end; -1: none. */
  readonly exitCode: number;
  /** Name of the signal that ended it, or "NA". */
  readonly signal: string;
  /** Whether it waits for a secrets file that was never put on the server. */
  readonly lacksSecrets: boolean;
  /** Whether it waits for one that is there, encrypted, since the server was started. */
  readonly locked: boolean;
  /** What it said last, when it is not ready. */
  readonly lastLine: string | null;
}

export interface SiteStatus {
  readonly slug: string;
  readonly version: string;
  readonly release: string;
  readonly since: string;
  readonly serverName: string;
  readonly domains: readonly string[];
  readonly releases: readonly string[];
  /** null: the site is served on port 80 alone. expires: UTC, ISO 8601, or null when the file cannot be read. */
  readonly certificate: { readonly file: string; readonly expires: string | null } | null;
  readonly pin: {
    readonly from: readonly string[];
    readonly since: string;
    readonly by: string;
    readonly reason: string;
  } | null;
  readonly lastDeploy: Deploy | null;
  readonly services: readonly ServiceStatus[];
  /** Of a site that was ended, because its data takes too much of a disk that is nearly full. Servers of older versions never say so. */
  readonly overDisk?: { readonly takenMiB: number; readonly shareMiB: number } | null;
}

/** The certificate of a site, or of the server's own name (slug "_server"), as the server gets and renews it. */
export interface CertificateStatus {
  readonly slug: string;
  /** What it should be for. */
  readonly names: readonly string[];
  /** Whether it is ordered by `npx chillbox certs`, because it has a wildcard. Older servers tell nothing. */
  readonly byLaptop?: boolean;
  /** Times are UTC, ISO 8601. */
  readonly certificate?: { readonly issued: string; readonly expires: string } | null;
  /** Names that cannot be had at the moment. */
  readonly failing: readonly {
    readonly name: string;
    /** Who found the fault: the server itself before it asked the CA, or the CA. */
    readonly by: "check" | "ca";
    readonly attempts: number;
    readonly since: string;
    /** When it is tried again. UTC, ISO 8601. */
    readonly next: string;
    readonly reason: string;
  }[];
}

/** A package of Alpine's that another version took the place of. null: it was not there, or is not there any more. */
export interface PackageChange {
  readonly package: string;
  readonly from: string | null;
  readonly to: string | null;
}

/** What `chillbox-update status` prints on the server. */
export interface UpdateStatus {
  readonly automatic: boolean;
  /** `HH:MM-HH:MM`, UTC. */
  readonly window: string | null;
  readonly reboots: boolean;
  /** When it does it by itself. UTC, ISO 8601. */
  readonly next: string | null;
  /** The last run. problem: null when all went well. */
  readonly last: { readonly when: string; readonly problem: string | null } | null;
  /** The newest last. */
  readonly log: readonly (PackageChange & { readonly when: string })[];
  /** What stays, because a site does not start with it, `_nginx`, or the `_server` itself. */
  readonly held: readonly {
    readonly package: string;
    readonly from: string;
    readonly to: string;
    readonly because: string;
    readonly reason: string;
  }[];
  /** Sites that go on with files from before an update. */
  readonly old: readonly string[];
  /** Why the server should be restarted. */
  readonly reboot: readonly string[];
}

interface Amount {
  readonly totalBytes: number;
  readonly availableBytes: number;
}

/** What `chillbox-status` prints on the server. */
export interface Status {
  readonly server: {
    readonly host: string;
    readonly serverName: string | null;
    readonly system: string;
    readonly kernel: string;
    readonly uptimeSeconds: number;
    readonly load: readonly number[];
    readonly memory: Amount;
    readonly disk: Amount;
    readonly scripts: string;
    readonly nginx: { readonly up: boolean; readonly seconds: number };
    /** Whether secrets on it are not open since it was started. */
    readonly locked: boolean;
  };
  readonly sites: readonly SiteStatus[];
  /** Servers that were configured by older versions tell none. */
  readonly certificates?: readonly CertificateStatus[];
  /** So do they. */
  readonly updates?: UpdateStatus;
}

/** Part of its life that is left when a certificate needs a person: the server renews at a third, and a person has to at that time. */
const LEFT_TO_SERVER = 1 / 6;
const LEFT_TO_PERSON = 1 / 3;
/** What is taken for its life where a server does not tell: of its days, a certificate's that is there today. */
const USUAL_LIFE = 90 * 86_400_000;
/** In percent of the disk: server-scripts/chillbox-disk measures sites when less is left. */
const NEARLY_FULL = 13;

/**
 * The status as tables for a person.
 * @param now milliseconds since 1970
 */
export function renderStatus({ server, sites, certificates, updates }: Status, now: number = Date.now()): string {
  const facts = [
    [
      "server",
      `${server.host}${server.serverName ? ` (${server.serverName})` : ""}, ${server.system}, Linux ${server.kernel}`,
    ],
    ["up", `${duration(server.uptimeSeconds)}, load ${server.load.join(" ")}`],
    ["memory", free(server.memory)],
    ["disk", free(server.disk)],
    ["nginx", server.nginx.up ? `up ${duration(server.nginx.seconds)}` : "down"],
    ...(updates ? [["updates", lastUpdate(updates)]] : []),
  ];
  const list =
    sites.length > 0
      ? renderTable([["SITE", "RELEASE", "SINCE", "CERTIFICATE", "SERVICES", "LAST DEPLOY"], ...sites.map(siteRow)])
      : "No sites.\n";
  const { totalBytes, availableBytes } = server.disk;
  const full =
    availableBytes * 100 < totalBytes * NEARLY_FULL
      ? ["The disk is nearly full: sites that take more than their share of it are ended."]
      : [];
  const locked = server.locked ? ["The server is locked since it was started: npx chillbox unlock"] : [];
  const unnamed = (certificates ?? []).flatMap(failingNames);
  const ofSites = sites.flatMap((site) => notesOf(site, now, certificates ?? []));
  const ofUpdates = updates ? updateNotes(updates) : [];
  const notes = [...full, ...locked, ...ofSites, ...unnamed, ...ofUpdates].map((note) => `${note}\n`);
  return plainText(`${renderTable(facts)}\n${list}${notes.length > 0 ? `\n${notes.join("")}` : ""}`);
}

/** The newest update, and when there will be others. */
function lastUpdate({ next, log }: UpdateStatus): string {
  const when = log.at(-1)?.when;
  const packages = log.filter((change) => change.when === when);
  const newest = when
    ? `${packages.map(({ package: name, from, to }) => `${name} ${from ?? "(new)"} -> ${to ?? "(gone)"}`).join(", ")} at ${time(when)}`
    : "none yet";
  return `${newest}; ${next ? `next at ${time(next)}` : "never by itself"}`;
}

function updateNotes({ last, held, old, reboot }: UpdateStatus): string[] {
  return [
    ...(last?.problem ? [`The update at ${time(last.when)} failed: ${last.problem}`] : []),
    ...heldNotes(held),
    ...old.map((slug) => `${slug} goes on with files from before an update: it does not start with the new ones.`),
    ...(reboot.length > 0 ? [`A restart is wanted: ${reboot.join("; ")}. npx chillbox update --reboot`] : []),
  ];
}

/** Which packages stay as they are, and why, a line each. */
export function heldNotes(held: UpdateStatus["held"]): string[] {
  return held.map(({ package: name, from, to, because, reason }) => {
    const who = { _nginx: "nginx", _server: "the server" }[because] ?? because;
    return `${name} stays at ${from}: with ${to} ${who} does not start (${reason}).`;
  });
}

/** A site's deploys as a table for a person. */
export function renderDeploys(deploys: readonly Deploy[]): string {
  const rows = deploys.map(({ when, by, from, to, result, why }) => [time(when), by, from, to, result ?? "", why]);
  return plainText(renderTable([["WHEN (UTC)", "WHO", "FROM", "TO", "RESULT", "WHY"], ...rows]));
}

function siteRow(site: SiteStatus): string[] {
  const last = site.lastDeploy;
  return [
    site.slug,
    `${site.release}${site.pin ? " (pinned)" : ""}`,
    time(site.since),
    site.certificate ? `until ${site.certificate.expires?.slice(0, 10) ?? "?"}` : "none",
    site.services.map((service) => `${shownName(service)} ${stateOf(service)}`).join(", ") || "-",
    last ? `${last.result ?? ""} ${last.to === "-" ? last.from : last.to} by ${last.by}` : "-",
  ];
}

/** What needs a person: pins, certificates near their end, and services that are not up, with the reason. */
function notesOf(site: SiteStatus, now: number, certificates: readonly CertificateStatus[]): string[] {
  const { pin } = site;
  const pinned = pin
    ? [
        `${site.slug} was rolled back from ${pin.from.join(", ")} by ${pin.by} at ${time(pin.since)}: ${pin.reason}. The next other release ends that.`,
      ]
    : [];
  const failing = site.services
    .filter((service) => !(service.up && service.ready))
    .map(
      (service) =>
        `${site.slug} ${shownName(service)} ${stateOf(service)}${hasReason(service) ? "" : lastWords(service)}`,
    );
  return [...pinned, ...overDiskNotes(site), ...certificateNotes(site, now, certificates), ...failing];
}

function overDiskNotes({ slug, overDisk }: SiteStatus): string[] {
  if (!overDisk) return [];
  const { takenMiB, shareMiB } = overDisk;
  return [
    `${slug} was ended: its data, /var/lib/${slug}, takes ${takenMiB} MiB of a disk that is nearly full, and its share is ${shareMiB} MiB. ` +
      "It starts by itself when it takes less, or when siteDisk in the config is more.",
  ];
}

/** Names without a certificate of their own, with the reason and when the server tries again. */
function failingNames({ failing }: CertificateStatus): string[] {
  return failing.map(({ name, reason, since, next }) => {
    return `${name} gets no certificate since ${time(since)}: ${reason}. Tried again at ${time(next)}.`;
  });
}

/** What waits for a secret has not failed: its last words are of another time. */
function hasReason({ lacksSecrets, locked }: ServiceStatus): boolean {
  return lacksSecrets || locked;
}

function lastWords({ lastLine }: ServiceStatus): string {
  return lastLine ? `; it said last: ${lastLine}` : "";
}

function certificateNotes(
  { slug, certificate }: SiteStatus,
  now: number,
  certificates: readonly CertificateStatus[],
): string[] {
  const more = certificates.find((each) => each.slug === slug);
  const way = more?.byLaptop ? " It has a wildcard: npx chillbox certs orders the next one." : "";
  if (!certificate) return more?.byLaptop ? [`${slug} has no certificate.${way.replace("the next one", "it")}`] : [];
  const { file, expires } = certificate;
  if (expires === null) return [`${slug}'s certificate ${file} cannot be read.`];
  const left = Date.parse(expires) - now;
  if (left < 0) return [`${slug}'s certificate ended at ${time(expires)}.${way}`];
  const { issued } = more?.certificate ?? {};
  const life = issued === undefined ? USUAL_LIFE : Date.parse(expires) - Date.parse(issued);
  if (left > life * (more?.byLaptop ? LEFT_TO_PERSON : LEFT_TO_SERVER)) return [];
  return [`${slug}'s certificate ends in ${duration(Math.floor(left / 1000))}, at ${time(expires)}.${way}`];
}

/** What people call it. No service of a site file has a capital letter. */
function shownName({ name }: ServiceStatus): string {
  return { _redis: "Redis", _cron: "Cron" }[name] ?? name;
}

/** In words: whether a service runs, else why not. */
export function stateOf(service: ServiceStatus): string {
  if (service.locked && !service.ready) return "locked: npx chillbox unlock";
  if (service.lacksSecrets && !service.ready) return "waits for its secrets: npx chillbox secrets";
  if (service.up)
    return service.ready ? `up ${duration(service.seconds)}` : `starting for ${duration(service.seconds)}`;
  const cause =
    service.signal !== "NA"
      ? `killed by ${service.signal}`
      : service.exitCode >= 0
        ? `exit code ${service.exitCode}`
        : "never ran";
  const again = service.wanted ? "starts again" : "is not started again: it ended too often or was stopped";
  return `down ${duration(service.seconds)} (${cause}; ${again})`;
}

/** Seconds in the largest unit that counts at least two, such as "90 s", "3 h". */
export function duration(seconds: number): string {
  const units = [
    [86_400, "d"],
    [3_600, "h"],
    [60, "min"],
  ] as const;
  for (const [size, name] of units) if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${name}`;
  return `${seconds} s`;
}

function free({ totalBytes, availableBytes }: Amount): string {
  return `${megabytes(availableBytes)} of ${megabytes(totalBytes)} free`;
}

function megabytes(bytes: number): string {
  const mebibytes = bytes / 2 ** 20;
  return mebibytes < 10_000 ? `${Math.round(mebibytes)} MiB` : `${(mebibytes / 1024).toFixed(1)} GiB`;
}

function time(iso: string): string {
  return iso.replace("T", " ").replace(/(:\d\d)Z$/, "$1");
}
