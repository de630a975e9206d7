import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import type { Vm } from './rig/vm.ts';
import { MARKER, traces, wormhole } from './tunnels.ts';

/** A tunnel as `wormhole tunnel-list --json` tells it. */
export interface Listed {
  id: string;
  peer: string;
  state: string;
  local: string;
  remote: string;
}

/** The tunnels of a machine, as `wormhole tunnel-list` tells them. */
export async function listed(vm: Vm): Promise<Listed[]> {
  return JSON.parse(await wormhole(vm, 'tunnel-list --json'));
}

/**
 * What a machine has of tunnels that `wormhole tunnel-list` does not tell, or the other way round; empty when the kernel,
 * the units and the list agree. What the machine was asked for less than a minute ago and nobody has said yes to is
 * left out.
 */
async function disagreements(vm: Vm, tunnels: Listed[]): Promise<string[]> {
  if (tunnels.some(({ state }) => state === 'leaving')) return [`${vm.name} has something to tell yet`];
  const [tunnel, ...more] = tunnels;
  const name = `wh-${tunnel?.id.slice(0, 6)}`;
  const [pending = '', interfaces, addresses, routes, states, policies = '', units] = await answers(vm, [
    'ls /run/wormhole/tunnels',
    'ip -br link show type xfrm | cut -d@ -f1',
    `ip -4 -o address show dev ${name} | awk '{ print $4, $6 }'`,
    `ip -4 -o route show dev ${name} | awk '{ print $1 }'`,
    'ip xfrm state list nokeys | grep -o "reqid [0-9]*" | sort -u',
    'ip xfrm policy list',
    'ls /etc/systemd/system | grep wormhole-tunnel@',
  ]);
  if (pending.includes('answered-')) return [`${vm.name} waits for a yes`];
  if (!tunnel) return (await traces(vm)).split('\n').filter((line) => line !== '');
  const { id, peer, state, local, remote } = tunnel;
  const wrong: string[] = [];
  const same = (what: string, found: string | undefined, wanted: string) => {
    if (found !== wanted) wrong.push(`${vm.name}: ${what}: ${found}, not ${wanted}`);
  };
  same('more tunnels', JSON.stringify(more), '[]');
  same('state', state, 'up');
  same('interfaces', interfaces, name);
  same('addresses', addresses, `${local} ${remote}/32`);
  same('routes', routes, remote);
  const number = (0x57000000 + Number.parseInt(id.slice(0, 6), 16)).toString();
  same('numbers of security associations', states, `reqid ${number}`);
  const each = policies.split(/^(?=src )/m);
  same('policies', `${each.length}`, '6');
  for (const policy of each)
    if (!policy.includes(local) && !policy.includes(remote)) wrong.push(`${vm.name}: ${policy}`);
  same('unit files', units, `wormhole-tunnel@${peer}.service`);
  return wrong;
}

/** Runs command lines one after the other, and returns what each has printed, trimmed; that some fail is no error. */
async function answers(vm: Vm, commands: string[]): Promise<string[]> {
  const end = '--- end of an answer';
  const script = commands.map((command) => `${command}\necho '${end}'`).join('\n');
  return (await vm.run(script, { check: false })).stdout.split(`${end}\n`).map((answer) => answer.trim());
}

/** Waits until there is a tunnel on both machines that works, or none on either, and nothing else. */
export function settle(when: string, alpha: Vm, beta: Vm): Promise<'a tunnel' | 'no tunnel'> {
  const look = async (vm: Vm) => {
    const tunnels = await listed(vm);
    return { tunnel: tunnels[0], wrong: await disagreements(vm, tunnels) };
  };
  const settled = async () => {
    const [here, there] = await Promise.all([look(alpha), look(beta)]);
    const wrong = [...here.wrong, ...there.wrong];
    if (wrong.length > 0) {
      // A question takes time from what is still on its way.
      await sleep(1000);
      throw new Error(wrong.join('; '));
    }
    if (!here.tunnel && !there.tunnel) return 'no tunnel';
    if (here.tunnel?.local !== there.tunnel?.remote || here.tunnel?.remote !== there.tunnel?.local)
      throw new Error(`alpha has ${JSON.stringify(here.tunnel)}, beta ${JSON.stringify(there.tunnel)}`);
    await alpha.run(`ping -c 2 -w 30 ${here.tunnel?.remote}`);
    return 'a tunnel';
  };
  return alpha.waitFor(settled, { timeout: 150, what: `agreement after ${when}` });
}

/** Makes a link from port 7000 of alpha through a tunnel to a server on beta, which is there after each boot. */
export async function linkThroughTunnel(alpha: Vm, beta: Vm): Promise<void> {
  await beta.run(`
    printf '[Service]\\nExecStart=socat TCP-LISTEN:7000,bind=127.0.0.1,reuseaddr,fork EXEC:"echo ${MARKER}"\\n[Install]\\nWantedBy=multi-user.target\\n' >/etc/systemd/system/serves.service
    systemctl enable --now serves`);
  await wormhole(alpha, 'create url :7000 tunnel beta tail');
  await hears(alpha, 'create');
}

/** Waits until port 7000 of alpha answers, of which nothing may be in the clear on the wire. */
export async function hears(alpha: Vm, when: string): Promise<void> {
  const before = alpha.frames().length;
  const answered = async () => {
    const { stdout } = await alpha.run('nc -w 60 127.0.0.1 7000 </dev/null', { check: false, timeout: 90 });
    return stdout.includes(MARKER);
  };
  await alpha.waitFor(answered, { what: `an answer after ${when}`, timeout: 150 });
  const crossed = alpha.frames().slice(before);
  assert.ok(crossed.length > 0, `${when}: frames are seen`);
  assert.not.ok(
    crossed.some(({ bytes }) => bytes.includes(MARKER)),
    when,
  );
}
