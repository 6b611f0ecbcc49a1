import { delimiter, dirname, join } from "node:path";
import type { LocalCloudSettings } from "../lib/local-cloud-settings.ts";
import type { Tools } from "./tool.ts";

/** File with the passphrase of stack `local`. */
export function passphraseFile(settings: LocalCloudSettings): string {
  return join(settings.home, "passphrase");
}

/** Folder of the `pulumi` wrapper and the language host. */
export function binFolder(settings: LocalCloudSettings): string {
  return join(settings.home, "bin");
}

/** PULUMI_HOME of this copy: plugins, official ones by link or stand-ins. */
export function pulumiHome(settings: LocalCloudSettings): string {
  return join(settings.home, "pulumi");
}

/** Folders that go before the person's own PATH: this copy's Pulumi, the Node that runs us, and Ansible. */
export function toolFolders(settings: LocalCloudSettings, tools: Tools): string[] {
  const folders = [binFolder(settings), dirname(process.execPath)];
  return tools.ansible ? [...folders, dirname(tools.ansible.path)] : folders;
}

/** What a person's shell needs for plain `pulumi`, besides PATH. */
export function shellEnvironment(settings: LocalCloudSettings): Record<string, string> {
  return {
    PULUMI_HOME: pulumiHome(settings),
    // One site that fails must not hold up the others.
    PULUMI_CONTINUE_ON_ERROR: "true",
  };
}

/** What Pulumi needs in its environment besides PATH, whoever starts it. */
export function pulumiEnvironment(settings: LocalCloudSettings): Record<string, string> {
  return {
    ...shellEnvironment(settings),
    // The plugins in PULUMI_HOME are the ones that set-up chose; nothing is fetched in the middle of a deployment.
    PULUMI_IGNORE_AMBIENT_PLUGINS: "true",
    PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
    PULUMI_SKIP_UPDATE_CHECK: "true",
    // What has the very inputs of the last time is not compared once more by its plugin, which would say that nothing differs.
    PULUMI_ENABLE_LEGACY_DIFF: "true",
    // Pulumi writes a log of each command into its home, a stack's encrypted, and prunes them as these say.
    PULUMI_LOG_ROTATION_MAX_AGE_DAYS: "7",
    PULUMI_LOG_ROTATION_MAX_TOTAL_MB: "50",
    // Names under .test are reached through the local cloud's proxy. Real endpoints are https, which this does not concern.
    HTTP_PROXY: settings.spacesProxy,
    NO_PROXY: "127.0.0.1,localhost",
  };
}

/** PATH with the tools' folders first. */
export function pathWithTools(settings: LocalCloudSettings, tools: Tools, path = process.env.PATH ?? ""): string {
  const first = toolFolders(settings, tools);
  return [...first, ...path.split(delimiter).filter((folder) => folder !== "" && !first.includes(folder))].join(
    delimiter,
  );
}

/** Quotes a text so that a POSIX shell reads it as one word. */
export function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
