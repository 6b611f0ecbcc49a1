/** What a person is told when a host answers with another key than its pin: one line, because Ansible's runner tells its last one. */
export function otherHostKey(host: string): string {
  return `${host} answers with another host key than the stack knows: it is not the server that was made, or somebody stands in between. Nothing was sent. What to do: docs/security.md, "When another host answers".`;
}
