import { ip } from './apply.js';

/*
 * What a tunnel needs of the kernel, tried in a network namespace of its own, which goes with the process. The key is of zeros: it
 * encrypts nothing.
 */
const PROBE = [
  'link add wh-probe type xfrm if_id 1',
  `xfrm state add src 127.0.0.1 dst 127.0.0.2 proto esp spi 0x100 mode tunnel if_id 1 aead rfc4106(gcm(aes)) 0x${'00'.repeat(36)} 128`,
];

/** Makes sure that the kernel of this machine can carry tunnels. Changes nothing. @throws IpError that says what it lacks */
export async function requireIpsec(): Promise<void> {
  for (const line of PROBE) await ip(['-batch', '-'], line, { inNewNamespace: true });
}
