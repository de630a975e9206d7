/*
 * How what belongs to tunnels is told from everything else in the kernel: by numbers and names that come from the
 * tunnel's id, so that what a killed command has left can be found without any notes.
 */

/** The numbers of tunnels, as `if_id` and `reqid`, are FIRST and the 2^24 - 1 above it: "W" in the highest byte. */
const FIRST = 0x57_00_00_00;

/** The priority of the policies that let nothing through in the clear, "WH"; no key daemon uses such a small one. */
export const BLOCK_PRIORITY = 0x57_48;

/** The priority of the policy that lets packets reach the tunnel's interface: before those that block. */
export const PASS_PRIORITY = BLOCK_PRIORITY - 1;

/** Whether a text is the id of a tunnel: 16 lower-case hexadecimal digits. */
export function isTunnelId(text: string): boolean {
  return /^[0-9a-f]{16}$/.test(text);
}

/** The `if_id` and `reqid` of a tunnel: of its id, the first 6 digits count. */
export function tunnelNumber(id: string): number {
  return FIRST + Number.parseInt(id.slice(0, 6), 16);
}

/** Whether an `if_id` or `reqid` is a tunnel's. */
export function isTunnelNumber(number: number): boolean {
  return number >>> 24 === FIRST >>> 24;
}

/** The name of a tunnel's interface, such as `wh-1a2b3c`: 15 characters are the most (IFNAMSIZ, linux/if.h). */
export function interfaceOf(number: number): string {
  return `wh-${(number & 0xff_ff_ff).toString(16).padStart(6, '0')}`;
}

/** The number of the tunnel whose interface has that name; undefined when it is no tunnel's. */
export function numberOfInterface(name: string): number | undefined {
  const digits = /^wh-([0-9a-f]{6})$/.exec(name)?.[1];
  return digits === undefined ? undefined : FIRST + Number.parseInt(digits, 16);
}
