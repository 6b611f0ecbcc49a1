/** Makes an ed25519 key pair, once. Input `{"comment": "..."}`, output `{"privateKey": "<OpenSSH PEM>", "publicKey": "ssh-ed25519 ..."}`. */
import { makeSshKeyPair } from "../lib/ssh-keys.ts";
import { runCommand } from "./command.ts";

await runCommand(async ({ comment }: { comment: string }) => makeSshKeyPair(comment));
