/*
 * The part of the control API, version 1, by which two machines negotiate a tunnel. Only machines may ask for it, except for
 * the list. Bodies hold keys: nothing of them goes to the journal.
 *
 *     GET    /v1/tunnels                 TunnelListing
 *     GET    /v1/tunnels/shared          PeerStatus: what the asked machine has with the one that asks
 *     PUT    /v1/tunnels/ID              Proposal -> Acceptance, whether the tunnel exists already or not
 *     POST   /v1/tunnels/ID/settle       Settlement -> 204: the initiator's side is up
 *     DELETE /v1/tunnels/ID              204
 */
import { isIP } from 'node:net';
import * as v from 'valibot';
import { isTunnelId } from '../ipsec/names.js';
import type { Association } from '../ipsec/plan.js';
import { canonicalAddress } from '../text/ip-address.js';
import type { TunnelMode } from '../units/tunnel.js';
import { check, checkAnswer, invalid, strictObject } from './check.js';
import { Failure } from './failure.js';
import { figure } from './figure.js';

/** At most this many pairs of addresses may be offered. */
const MAX_CANDIDATES = 64;

const TUNNEL_ID = 'must be the id of a tunnel, 16 hexadecimal digits';
/** The id of a tunnel. */
export const tunnelId = v.pipe(v.string(TUNNEL_ID), v.check(isTunnelId, TUNNEL_ID));

const ADDRESS = 'must be an IP address';
/** An IP address, in canonical form afterwards. */
export const address = v.pipe(
  v.string(ADDRESS),
  v.transform((text) => canonicalAddress(text) ?? ''),
  v.check((text) => isIP(text) !== 0, ADDRESS),
);

const INNER = 'must be an IPv4 address';
const innerAddress = v.pipe(v.string(INNER), v.ipv4(INNER));
const innerPair = strictObject({ local: innerAddress, remote: innerAddress });

const SPI = 'must be an SPI, a whole number from 256 to 4294967295';
const spi = v.pipe(v.number(SPI), v.integer(SPI), v.minValue(256, SPI), v.maxValue(2 ** 32 - 1, SPI));

// It goes to ip(8) on a line of its own, so it must be nothing but digits.
const KEY = 'must be 36 bytes in hexadecimal';
const association = strictObject({
  spi,
  key: v.pipe(
    v.string(KEY),
    v.regex(/^[0-9a-f]{72}$/, KEY),
    v.transform((text): Buffer => Buffer.from(text, 'hex')),
  ),
});

const PORT = 'must be a port';
const port = v.pipe(v.number(PORT), v.integer(PORT), v.minValue(1, PORT), v.maxValue(65_535, PORT));

const PORT_RULE = '"udpPort" must be there in UDP, and must be missing otherwise';

const mode = v.picklist(['esp', 'udp'], 'must be esp or udp');
const flag = v.boolean('must be true or false');
const CANDIDATES = `must be an array of 1 to ${MAX_CANDIDATES} pairs of addresses`;

const peerStatus = strictObject({
  external: v.exactOptional(address),
  tunnel: v.exactOptional(
    strictObject({
      id: tunnelId,
      mode,
      outer: strictObject({ local: address, remote: address }),
      inner: innerPair,
      in: v.array(spi, SPI),
      out: v.array(spi, SPI),
    }),
  ),
});

/**
 * The address by which a machine can be reached if not by that of the connection, and the tunnel that it has with the asker: the
 * addresses as that machine has them, and the SPIs of both directions; none when it is not up there.
 */
export type PeerStatus = v.InferOutput<typeof peerStatus>;

const proposal = strictObject({
  external: v.exactOptional(address),
  mode,
  asked: flag,
  keep: flag,
  candidates: v.pipe(
    v.array(innerPair, CANDIDATES),
    v.minLength(1, CANDIDATES),
    v.maxLength(MAX_CANDIDATES, CANDIDATES),
  ),
  incoming: association,
  udpPort: v.exactOptional(port),
});

/**
 * What the initiator asks for. `asked` is whether somebody wants the tunnel on that side; if not, one that is unknown here is
 * not created. With `keep`, the outer addresses stay as they are, whatever connection the request comes over. `candidates` are
 * pairs of inner addresses, as the initiator has them. `incoming` is what the initiator receives with from now on, `udpPort`
 * where, if in UDP.
 */
export type Proposal = v.InferOutput<typeof proposal>;

const acceptance = strictObject({ inner: innerPair, incoming: association, udpPort: v.exactOptional(port) });

/** The answer to a proposal: the inner addresses as the initiator has them, and what the responder receives with, and where. */
export type Acceptance = v.InferOutput<typeof acceptance>;

const settlement = strictObject({ spi });

/** The initiator says that its side is up, and what it receives with. */
export type Settlement = v.InferOutput<typeof settlement>;

const traffic = v.object({ bytes: figure, packets: figure });

const listedTunnel = v.object({
  id: v.string(),
  peer: v.string(),
  mode: v.picklist(['esp', 'udp']),
  local: v.string(),
  remote: v.string(),
  address: v.string(),
  peerAddress: v.string(),
  state: v.picklist(['up', 'down', 'leaving']),
  detail: v.string(),
  keyAge: v.nullable(figure),
  lastRekey: v.nullable(v.string()),
  received: traffic,
  sent: traffic,
  // Versions before do not say these.
  associations: v.optional(v.object({ in: figure, out: figure })),
  errors: v.optional(v.object({ replay: figure, window: figure, authentication: figure })),
});

/**
 * A tunnel as `wormhole tunnel-list` shows it. `local` and `remote` are its inner addresses, `address` and `peerAddress` its
 * outer ones. `state` is `up`, `down` when this machine has no keys for it, and lets nothing through, or `leaving` when it is
 * deleted, and the other machine cannot be told yet. `detail` says why the last attempt to bring it up, to check or to rekey it
 * has failed, and is '' if it has not. `keyAge` is in seconds, `lastRekey` a time in ISO 8601, both null
 * without keys. Traffic is that of the packets inside, since the tunnel was brought up. `associations` are the security associations
 * of each direction that the kernel has; `errors` are the packets that the newest incoming one has discarded: since the last rekey.
 */
export type ListedTunnel = v.InferOutput<typeof listedTunnel>;

/** What `wormhole tunnel-list` prints: the tunnels, and the units that cannot be read, with the reason. */
export const tunnelListing = v.object({
  tunnels: v.array(listedTunnel),
  unreadable: v.array(v.object({ unit: v.string(), reason: v.string() })),
});
export type TunnelListing = v.InferOutput<typeof tunnelListing>;

/** A proposal or an acceptance as JSON has it, with keys in hexadecimal. */
export function toWire<T extends { incoming: Association }>(value: T): unknown {
  return { ...value, incoming: { spi: value.incoming.spi, key: value.incoming.key.toString('hex') } };
}

/** Checks the body of `PUT /v1/tunnels/ID`. @throws Failure with code usage, which names the field */
export function checkProposal(body: unknown): Proposal {
  const checked = check(proposal, body, 'the body');
  if (!isPortFitting(checked, checked.mode)) throw invalid(PORT_RULE);
  return checked;
}

/** Checks the body of `POST /v1/tunnels/ID/settle`. @throws Failure with code usage */
export function checkSettlement(body: unknown): Settlement {
  return check(settlement, body, 'the body');
}

/** Checks what a machine has answered to a proposal. @throws Failure */
export function checkAcceptance(body: unknown, wanted: TunnelMode): Acceptance {
  const checked = checkAnswer(acceptance, body);
  if (!isPortFitting(checked, wanted)) throw new Failure('failed', `the answer makes no sense: ${PORT_RULE}`);
  return checked;
}

/** Checks what a machine has answered about itself. @throws Failure */
export function checkPeerStatus(body: unknown): PeerStatus {
  return checkAnswer(peerStatus, body);
}

/** Checks the id of a tunnel. @throws Failure with code usage */
export function checkTunnelId(id: string): string {
  return check(tunnelId, id, 'the id');
}

function isPortFitting({ udpPort }: { udpPort?: number | undefined }, wanted: TunnelMode): boolean {
  return (udpPort !== undefined) === (wanted === 'udp');
}
