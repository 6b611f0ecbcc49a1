import { Project as CloudProject } from "@pulumi/digitalocean/project.js";
import { ProjectResources } from "@pulumi/digitalocean/projectResources.js";
import * as pulumi from "@pulumi/pulumi";

export interface ProjectArgs {
  readonly resourceName: string;
  /** URNs (`do:droplet:1`) of what belongs to it. Reserved IPs have two kinds of URN and stay out. */
  readonly resources: pulumi.Input<string>[];
}

/** A project in DigitalOcean's control panel, so that the stack's resources stand together there. */
export class Project extends pulumi.ComponentResource {
  constructor(name: string, args: ProjectArgs, opts?: pulumi.ComponentResourceOptions) {
    super("chillbox:index:Project", name, {}, opts);
    const child = { parent: this };
    const project = new CloudProject(
      name,
      { name: args.resourceName, description: "Made by chillbox", purpose: "Website or blog", isDefault: false },
      child,
    );
    new ProjectResources(`${name}-resources`, { project: project.id, resources: args.resources }, child);
    this.registerOutputs({});
  }
}
