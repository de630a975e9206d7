import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { installedHost } from '../lab/installed.ts';
import { sessionName } from '../lab/rig/session.ts';

/*
 * The forwarder as systemd runs it: links that the installed product has created on a host of the lab, with the sandbox of
 * their units and without it. The benchmark runs in the network namespace of that host, so all is on one loopback.
 */

/** The benchmark's targets and the ports of the links that lead to them. */
export type Ports = Record<'iperf3' | 'http' | 'scripts', number>;

export interface UnitRelay {
  readonly name: string;
  readonly link: string;
  readonly ports: Ports;
}

/** The relays that startUnits() starts. */
export const unitRelays: readonly UnitRelay[] = [
  { name: 'wormhole in its unit', link: 'sandboxed', ports: { iperf3: 17880, http: 17881, scripts: 17882 } },
  {
    name: 'the unit without its sandbox',
    link: 'bare',
    ports: { iperf3: 17890, http: 17891, scripts: 17892 },
  },
];

/** The name of the environment variable that tells the benchmark that it runs beside such units. */
export const BESIDE_UNITS = 'WORMHOLE_BENCH_BESIDE_UNITS';

/** Boots a host with links to `targets`, runs this program with `args` in its network namespace, and ends the host. */
export async function runBesideUnits(targets: Ports, args: readonly string[]): Promise<number> {
  const host = await installedHost({ name: 'bench', docker: false });
  try {
    for (const { link, ports } of unitRelays) {
      for (const load of ['iperf3', 'http', 'scripts'] as const) {
        const id = `${link}-${load}`;
        await host.run(`wormhole create id ${id} idle 1h url :${ports[load]} tail url :${targets[load]}`);
        if (link === 'bare') {
          const unit = `/etc/systemd/system/wormhole-${id}.service`;
          await host.run(`sed -i '/^# The forwarder owns nothing/,$d' ${unit} && ! grep Protect ${unit}`);
        }
      }
    }
    await host.run('systemctl daemon-reload');
    const inner = spawn(
      'nsenter',
      [
        `--net=/run/netns/${sessionName}-bench`,
        process.execPath,
        '--import',
        'tsx',
        ...process.argv.slice(1, 2),
        ...args,
      ],
      { stdio: 'inherit', env: { ...process.env, [BESIDE_UNITS]: '1' } },
    );
    const [status] = await once(inner, 'exit');
    return status ?? 1;
  } finally {
    await host.powerOff();
  }
}

/** The process that serves a link, or undefined while none does. */
export function processOf(link: string): number | undefined {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      if (args[args.indexOf('--link') + 1] === link) return Number(pid);
    } catch {
      // It has ended since the directory was read.
    }
  }
  return undefined;
}
