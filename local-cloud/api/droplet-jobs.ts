import { endAction } from "./actions.ts";
import type { ApiContext } from "./context.ts";
import { sweepImages } from "./image-files.ts";
import type { ActionRecord, DropletRecord } from "./records.ts";
import { dropletSpec } from "./render-droplet.ts";

const destroyAttempts = 5;

/**
 * Carries out a droplet's action in the background and records its end. Each step is safe to repeat, so that an action which a stop of
 * the server cut short is simply started again.
 */
export function startAction(context: ApiContext, action: ActionRecord): void {
  const { jobs, log } = context;
  jobs.start(`droplet ${action.resourceId}`, async () => {
    let status: "completed" | "errored" = "completed";
    try {
      await carryOut(context, action);
    } catch (error) {
      // Left in progress: the next start takes it up again.
      if (jobs.signal.aborted) return;
      log.error(error, `droplet ${action.resourceId}: ${action.type} failed`);
      status = "errored";
    }
    await recordEnd(context, action, status);
  });
}

/** Boots a droplet that was running when the host went down. */
export function startAgain(context: ApiContext, id: number): void {
  context.jobs.start(`droplet ${id}`, async () => {
    const droplet = context.store.droplets.get(id);
    if (droplet === undefined || droplet.deleted) return;
    try {
      await context.driver.powerOn(dropletSpec(context, droplet));
    } catch (error) {
      context.log.error(error, `droplet ${id} does not start`);
    }
    await recordPower(context, id);
  });
}

/** Takes a deleted droplet down, then frees its addresses. */
export function startDestroy(context: ApiContext, id: number, attempt = 1): void {
  const { jobs, driver, store, log } = context;
  jobs.start(`droplet ${id}`, async () => {
    try {
      await driver.destroy(id);
    } catch (error) {
      log.error(error, `droplet ${id} cannot be taken down (attempt ${attempt} of ${destroyAttempts})`);
      // After the last attempt the next start of the server tries again.
      if (attempt < destroyAttempts) retryDestroy(context, id, attempt + 1);
      return;
    }
    await store.change(() => forget(context, id));
    await sweepImages(context);
  });
}

function retryDestroy(context: ApiContext, id: number, attempt: number): void {
  setTimeout(() => startDestroy(context, id, attempt), 1000 * attempt).unref();
}

async function carryOut({ store, driver, imagesFolder }: ApiContext, action: ActionRecord): Promise<void> {
  const droplet = store.droplets.get(action.resourceId ?? 0);
  if (droplet === undefined || droplet.deleted) throw new Error("the droplet has been deleted");
  const spec = dropletSpec({ imagesFolder }, droplet);
  switch (action.type) {
    case "create":
      await driver.create(spec);
      return driver.powerOn(spec);
    case "power_on":
      return driver.powerOn(spec);
    case "power_off":
      return driver.powerOff(droplet.id);
    case "shutdown":
      return driver.shutdown(droplet.id);
    case "reboot":
      return driver.reboot(spec);
    case "power_cycle":
      await driver.powerOff(droplet.id);
      return driver.powerOn(spec);
    default:
      throw new Error(`there is no work for ${action.type}`);
  }
}

async function recordEnd(context: ApiContext, action: ActionRecord, status: "completed" | "errored"): Promise<void> {
  const { store } = context;
  await store.change(() => {
    endAction(store, action.id, status);
    const droplet = store.droplets.get(action.resourceId ?? 0);
    if (droplet !== undefined) putPower(context, droplet);
  });
  if (action.type === "create") await sweepImages(context);
}

/** Records whether the droplet runs, unless an action on it is under way, which does so when it ends. */
export async function recordPower(context: ApiContext, id: number): Promise<void> {
  const { store } = context;
  await store.change(() => {
    const droplet = store.droplets.get(id);
    if (droplet === undefined || droplet.status === "new" || isBusy(context, id)) return;
    putPower(context, droplet);
  });
}

/** Whether an action on the droplet is under way. */
export function isBusy({ store }: ApiContext, id: number): boolean {
  return store.actions
    .all()
    .some((action) => action.status === "in-progress" && action.resourceType === "droplet" && action.resourceId === id);
}

function putPower({ store, driver }: ApiContext, droplet: DropletRecord): void {
  const status = driver.isRunning(droplet.id) ? "active" : "off";
  if (status !== droplet.status) store.droplets.put({ ...droplet, status });
}

function forget({ store }: ApiContext, id: number): void {
  for (const action of store.actions.all()) {
    if (action.resourceType === "droplet" && action.resourceId === id) endAction(store, action.id, "errored");
  }
  for (const firewall of store.firewalls.all().filter((one) => one.dropletIds.includes(id))) {
    store.firewalls.put({ ...firewall, dropletIds: firewall.dropletIds.filter((other) => other !== id) });
  }
  store.droplets.delete(id);
}
