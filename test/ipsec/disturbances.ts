/** What may happen to the wire and the clocks of two machines while a tunnel between them is used. */
export interface Disturbance {
  name: string;
  /** On which of them it happens, at the same time. */
  on: ('alpha' | 'beta')[];
  /** What bash runs there. */
  script: string;
  /** Whether it leaves clocks that are wrong. Default false. */
  setsClock?: boolean;
}

/** The kernel's netem, tc-netem(8), on all that a device sends, which must be something. */
const netem = (device: string, options: string): string =>
  `tc qdisc add dev ${device} root netem ${options} && sleep 6 &&
   tc -s qdisc show dev ${device} root | grep -q 'Sent [1-9]' && tc qdisc del dev ${device} root`;

/** Sets the clock, as somebody does who finds it wrong, or NTP at its first answer. It stays so. */
const jump = (hours: number): string => `date -s "@$(($(date +%s) + ${3600 * hours}))" >/dev/null`;

const BOTH: Disturbance['on'] = ['alpha', 'beta'];

/** Four hours are longer than the keys of a tunnel are used, and than the kernel keeps them. */
export const disturbances: Disturbance[] = [
  {
    name: 'the wire delays packets by 20 to 140 ms, and so reorders them',
    on: BOTH,
    script: netem('eth0', 'delay 80ms 60ms'),
  },
  {
    name: 'the wire loses, doubles and corrupts packets, and takes 2 Mbit a second',
    on: BOTH,
    script: netem('eth0', 'delay 5ms loss 3% duplicate 5% corrupt 2% rate 2mbit'),
  },
  { name: 'the loopback of a machine reorders packets', on: ['alpha'], script: netem('lo', 'delay 4ms 3ms') },
  {
    name: 'the clock of one machine goes forward four hours',
    on: ['alpha'],
    script: jump(4),
    setsClock: true,
  },
  {
    name: 'the clock of the other machine goes back four hours',
    on: ['beta'],
    script: jump(-4),
    setsClock: true,
  },
  {
    name: 'a clock goes back four hours, and the keys are renewed twice',
    on: ['alpha'],
    script: `${jump(-4)}; wormhole tunnel-rekey --now beta && wormhole tunnel-rekey --now beta`,
    setsClock: true,
  },
];
