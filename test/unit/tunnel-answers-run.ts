import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { register } from 'node:module';
import { tunnelNumber } from '../../src/ipsec/names.ts';
import { acceptPeer } from '../../src/links/remote/accept-peer.ts';
import { withLock } from '../../src/state/lock.ts';
import { pin, pinnedId, refuse } from '../../src/state/peers.ts';
import { UNIT_DIR } from '../../src/systemd/unit-files.ts';
import { sweep } from '../../src/tunnels/kernel.ts';
import { beginInitiating, initiatorLock, recordAnswer } from '../../src/tunnels/negotiation.ts';
import { acceptTunnel, settleTunnel, withdrawAnswer } from '../../src/tunnels/respond.ts';
import type { Tunnel } from '../../src/units/tunnel.ts';
import { recordIp } from './recording-ip.ts';

/*
 * Negotiates in a mount namespace whose unit files are made here, with a program in the place of ip(8), and prints as JSON what came of
 * it. There is no systemd: what is started cannot be.
 */

register('./template-hooks.ts', import.meta.url);
execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/etc']);
execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/run']);
mkdirSync(UNIT_DIR, { recursive: true });
execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', UNIT_DIR]);
mkdirSync(`${UNIT_DIR}/multi-user.target.wants`);
mkdirSync('/etc/wormhole');
writeFileSync('/etc/wormhole/key.secret', `${'5f'.repeat(16)}\n`, { mode: 0o600 });

const tunnel: Tunnel = {
  id: '1a2b3c4d5e6f7081',
  peer: '10.0.0.2',
  machine: 'b'.repeat(32),
  outer: { local: '10.0.0.1', remote: '10.0.0.2' },
  inner: { local: '100.64.0.1', remote: '100.64.0.2' },
  mode: 'esp',
  asked: true,
  keyFile: '/etc/wormhole/key.secret',
};
const number = tunnelNumber(tunnel.id);
const [OLD, NEW, OUT] = [0x1111, 0x2222, 0x3333];

/** A security association as `ip -s xfrm state` prints it, added so many minutes ago. */
function association({
  src,
  dst,
  spi,
  minutes,
}: Record<'src' | 'dst', string> & Record<'spi' | 'minutes', number>): string {
  const added = new Date(Date.now() - minutes * 60_000).toISOString().replace('T', ' ').slice(0, 19);
  return `src ${src} dst ${dst}
	proto esp spi 0x${spi.toString(16)}(${spi}) reqid ${number}(0x0) mode tunnel
	aead rfc4106(gcm(aes)) <<Keys hidden>> 128
	lifetime current:
	  504(bytes), 6(packets)
	  add ${added} use ${added}
	stats:
	  replay-window 0 replay 0 failed 0
`;
}

const { local, remote } = tunnel.outer;
const incoming = (spi: number, minutes: number) => association({ src: remote, dst: local, spi, minutes });
const outgoing = (spi: number) => association({ src: local, dst: remote, spi, minutes: 0 });

const ip = recordIp();

/** What the kernel is told while something is done, what is wrong with that, and the units of tunnels afterwards. */
export interface Watched {
  lines: string[];
  message: string;
  units: string[];
}

async function watch(states: string, work: () => Promise<unknown>): Promise<Watched> {
  ip.reset({ device: 'wh-1a2b3c', answers: { states } });
  const message = await work().then(
    () => '',
    (error: Error) => error.message,
  );
  const units = readdirSync(UNIT_DIR).filter((name) => name.startsWith('wormhole-tunnel@'));
  return { lines: ip.lines(), message, units };
}

const results: Record<string, Watched> = {};

/** What is recorded after some of that. */
export interface Recorded {
  /** Whether there is still an answer of an earlier version. */
  formerAnswer: boolean;
  /** The machine that has the name of another one, after that one was to take its place. */
  named: string | undefined;
}

// A new tunnel has no unit before the other machine has answered.
results.swept = await watch(incoming(OLD, 0), sweep);
results.initiating = await watch(incoming(OLD, 0), () =>
  withLock(initiatorLock(tunnel.machine), async () => {
    beginInitiating(tunnel);
    await sweep();
  }),
);
results.interrupted = await watch(incoming(OLD, 0), sweep);

// An earlier version did not record which key it had answered with.
const formerAnswer = `/run/wormhole/tunnels/answer-${tunnel.machine}`;
writeFileSync(formerAnswer, JSON.stringify({ tunnel, since: 1e9 }));
results.former = await watch('', sweep);
const recorded: Recorded = { formerAnswer: existsSync(formerAnswer), named: undefined };

// The clock has been set back since the former keys were made.
const afterClock = incoming(NEW, 0) + outgoing(OUT) + incoming(OLD, -20);
recordAnswer(tunnel, NEW);
results.settled = await watch(afterClock, () => settleTunnel(tunnel.id, { spi: OUT }, tunnel.machine));

execFileSync('mount', ['-o', 'remount,ro', UNIT_DIR]);
pin(tunnel.peer, tunnel.machine);
results.unwritable = await watch('', () => acceptPeer(tunnel.peer, 'c'.repeat(32)));
recorded.named = pinnedId(tunnel.peer);

const other = { ...tunnel, id: '2a2b3c4d5e6f7081', machine: 'd'.repeat(32), peer: '10.0.0.3' };
recordAnswer(other, NEW);
refuse(other.machine, []);
results.refused = await watch(incoming(NEW, 0) + outgoing(OUT), () =>
  settleTunnel(other.id, { spi: OUT }, other.machine),
);
const proposal = {
  ...{
    mode: 'esp' as const,
    asked: true,
    keep: false,
    candidates: [{ local: '100.64.9.2', remote: '100.64.9.3' }],
  },
  incoming: { spi: 4711, key: Buffer.alloc(36, 7) },
};
const settings = {
  keyFile: tunnel.keyFile,
  overlay: '100.64.0.0/14',
  udpPorts: { first: 4500, last: 4599 },
};
const initiator = { machine: other.machine, local: '10.0.0.1', remote: '10.0.0.3' };
results.proposed = await watch('', () => acceptTunnel(other.id, proposal, initiator, settings));
results.withdrawn = await watch(
  incoming(NEW, 0).replaceAll(String(number), String(tunnelNumber(other.id))),
  () => withdrawAnswer(other.machine),
);
ip.remove();
process.stdout.write(JSON.stringify({ results, recorded }));
