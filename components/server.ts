import type { types } from "@pulumi/command";
import { Droplet } from "@pulumi/digitalocean/droplet.js";
import { ReservedIpAssignment } from "@pulumi/digitalocean/reservedIpAssignment.js";
import * as pulumi from "@pulumi/pulumi";
import type { TlsSettings } from "../lib/acme.ts";
import type { Outbound } from "../lib/outbound.ts";
import type { ServerPython } from "../lib/pip.ts";
import type { ServerScripts } from "../lib/server-scripts.ts";
import type { AdminKey } from "./admin-key.ts";
import { type LocalScript, localScript } from "./local-script.ts";
import type { Network } from "./network.ts";
import type { UserData } from "./user-data.ts";

export interface ServerArgs {
  /** Name of the droplet, and so its host name. It has the server's generation in it. */
  readonly hostName: string;
  /** chillbox's own domain. */
  readonly serverName: string;
  readonly region: string;
  readonly size: string;
  readonly imageId: pulumi.Input<string>;
  readonly network: Network;
  readonly adminKey: AdminKey;
  readonly userData: UserData;
  /** The archive of `server-scripts/`. */
  readonly scripts: ServerScripts;
  /** Digest of the lists of Python packages that chillbox carries. */
  readonly wheelsDigest: string;
  /** People who may log in as the admin user, besides the stack. */
  readonly adminPublicKeys: readonly string[];
  readonly keepReleases: number;
  readonly tls: TlsSettings;
  /** From where ssh is let in. */
  readonly sshAllowedAddresses: readonly string[];
  /** What the server may connect to, besides what every server needs. */
  readonly outbound: readonly Outbound[];
  /** Of each service of a site; 0 stands for a share of the server. */
  readonly limits: { readonly memoryMiB: number; readonly processes: number; readonly diskMiB: number };
  /** When it brings Alpine's packages up to date by itself. window: `HH:MM-HH:MM`, UTC. */
  readonly updates: { readonly automatic: boolean; readonly window: string; readonly reboot: boolean };
  /** Whether Pulumi refuses to remove the droplet. */
  readonly protect: boolean;
}

/** What the server told of itself when it was enrolled. */
interface Enrolled extends ServerPython {
  /** Its own host key, made on it: one line. */
  readonly hostKey: string;
  readonly openssl: string;
}

/**
 * The droplet and its bootstrap, in two runs over ssh.
 *
 * 1. `enrol`, as root, knows the host by its provisional key, opens the envelope, runs the first-boot script; the server makes its own host key.
 * 2. `configure`, as the admin user, retires the provisional key and root's login, then installs the server scripts. It alone is repeated,
 *    whenever the scripts or its settings change.
 *
 * A new image, other user-data or another key never replace a droplet: its disk has the sites' data.
 */
export class Server extends pulumi.ComponentResource {
  readonly droplet: Droplet;
  readonly enrolled: pulumi.Output<Enrolled>;
  /** The last step of the bootstrap: who installs sites depends on it. */
  readonly configured: pulumi.Resource;
  /** How the admin user reaches the server, pinned to the server's own key. */
  readonly connection: types.input.remote.ConnectionArgs;

  constructor(name: string, args: ServerArgs, opts?: pulumi.ComponentResourceOptions) {
    super("chillbox:index:Server", name, {}, opts);

    this.droplet = this.#createDroplet(name, args);
    new ReservedIpAssignment(
      `${name}-ip`,
      { dropletId: this.droplet.id.apply(Number), ipAddress: args.network.reservedIp.ipAddress },
      { parent: this },
    );
    const enrol = this.#enrol(name, args);
    this.enrolled = enrol.result;
    this.configured = this.#configure(name, args, enrol).command;
    this.connection = {
      host: this.droplet.ipv4Address,
      user: "chillbox",
      privateKey: args.adminKey.privateKey,
      hostKey: this.enrolled.hostKey,
    };
    this.registerOutputs({ hostKey: pulumi.secret(this.enrolled.hostKey) });
  }

  #createDroplet(name: string, args: ServerArgs): Droplet {
    return new Droplet(
      `${name}-droplet`,
      {
        name: args.hostName,
        region: args.region,
        size: args.size,
        image: args.imageId,
        vpcUuid: args.network.vpc.id,
        sshKeys: [args.adminKey.sshKeyId],
        userData: args.userData.userData,
        tags: [args.network.tag.name],
        // What the provider would add by itself it adds readable.
        backups: false,
        gracefulShutdown: false,
        monitoring: false,
        resizeDisk: true,
      },
      {
        parent: this,
        ignoreChanges: ["image", "userData", "sshKeys"],
        protect: args.protect,
        // The firewall first: a droplet in none is open to everybody.
        dependsOn: [args.network],
      },
    );
  }

  #enrol(name: string, args: ServerArgs): LocalScript<Enrolled> {
    const { envelope, purpose, hostKey } = args.userData;
    return localScript<Enrolled>(
      `${name}-enrol`,
      {
        create: ["ansible/run.ts", "enrol"],
        input: {
          host: this.droplet.ipv4Address,
          port: 22,
          user: "root",
          privateKey: args.adminKey.privateKey,
          hostKeys: [hostKey],
          input: { envelopeKey: envelope.privateKey, envelopeSha256: envelope.sha256, purpose },
        },
        showsProgress: true,
        // After the first time root cannot log in any more: only another droplet is enrolled again.
        once: true,
        triggers: [this.droplet.id],
      },
      { parent: this },
    );
  }

  #configure(name: string, args: ServerArgs, enrol: LocalScript<Enrolled>): LocalScript<{ changed: boolean }> {
    return localScript<{ changed: boolean }>(
      `${name}-configure`,
      {
        create: ["ansible/run.ts", "configure"],
        input: {
          host: this.droplet.ipv4Address,
          port: 22,
          user: "chillbox",
          privateKey: args.adminKey.privateKey,
          hostKeys: [args.userData.hostKey, enrol.result.hostKey],
          input: {
            hostKey: enrol.result.hostKey,
            scripts: args.scripts,
            python: serverPython(enrol.result),
            wheels: args.wheelsDigest,
            serverName: args.serverName,
            adminPublicKeys: args.adminPublicKeys,
            sitesKeep: args.keepReleases,
            tls: args.tls,
            firewall: { sshAllowedAddresses: args.sshAllowedAddresses, outbound: args.outbound },
            limits: args.limits,
            updates: args.updates,
          },
        },
        showsProgress: true,
      },
      { parent: this, dependsOn: [enrol.command] },
    );
  }
}

/** What decides which wheels a server takes. */
export function serverPython(enrolled: pulumi.Output<ServerPython>): pulumi.Output<ServerPython> {
  return enrolled.apply(({ python, platforms }) => ({ python, platforms }));
}
