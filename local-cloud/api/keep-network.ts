import type { DropletFirewall, ReservedAddress } from "../types.ts";
import type { ApiContext } from "./context.ts";
import { resolveFirewalls } from "./resolve-firewalls.ts";

/**
 * Makes the network follow the API's data: before a change is committed, and so before it is answered, the firewalls and reserved
 * addresses that it leads to hold in the router. If that fails the change fails, and what held before holds again.
 */
export async function keepNetwork(context: ApiContext): Promise<void> {
  const { store, network, log } = context;
  let firewalls = "";
  let reserved = "";

  async function apply(): Promise<void> {
    const wantedFirewalls = resolveFirewalls(store.firewalls.all(), store.droplets.all());
    const wantedReserved = reservedAddresses(context);
    await applyWhenNew(wantedFirewalls, wantedReserved);
  }
  async function applyWhenNew(newFirewalls: DropletFirewall[], newReserved: ReservedAddress[]): Promise<void> {
    const firewallsText = JSON.stringify(newFirewalls);
    if (firewallsText !== firewalls) {
      // Forgotten first: after a failure nobody knows what holds.
      firewalls = "";
      await network.applyFirewalls(newFirewalls);
      firewalls = firewallsText;
    }
    const reservedText = JSON.stringify(newReserved);
    if (reservedText !== reserved) {
      reserved = "";
      await network.applyReservedAddresses(newReserved);
      reserved = reservedText;
    }
  }

  await apply();
  store.beforeCommit(apply);
  store.afterRollback(() => apply().catch((error) => log.error(error, "cannot bring the firewalls back")));
}

function reservedAddresses({ store }: ApiContext): ReservedAddress[] {
  return store.reservedIps.all().flatMap((reserved) => {
    const droplet = reserved.dropletId === null ? undefined : store.droplets.get(reserved.dropletId);
    return droplet === undefined ? [] : [{ address: reserved.id, dropletAddress: droplet.publicNic.address }];
  });
}
