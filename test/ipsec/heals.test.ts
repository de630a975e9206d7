import * as assert from 'uvu/assert';
import type { Vm } from './rig/vm.ts';
import { vmSuite } from './suite.ts';
import { create, MARKER, PATIENCE, pair, traces, transfer, warm, wormhole } from './tunnels.ts';

interface Listed {
  id: string;
  peer: string;
  state: string;
  local: string;
  remote: string;
}

const pause = (seconds: number) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

const listed = async (vm: Vm): Promise<Listed[]> => JSON.parse(await wormhole(vm, 'tunnel-list --json'));

/**
 * What a machine has of tunnels that `wormhole tunnel-list` does not tell, or the other way round; empty when the kernel,
 * the units and the list agree. What the machine was asked for less than a minute ago and nobody has said yes to is
 * left out.
 */
async function disagreements(vm: Vm, tunnels: Listed[]): Promise<string[]> {
  if (tunnels.some(({ state }) => state === 'leaving')) return [`${vm.name} has something to tell yet`];
  if ((await vm.run('ls /run/wormhole/tunnels')).stdout.includes('answered-'))
    return [`${vm.name} waits for a yes`];
  if (tunnels.length === 0) return (await traces(vm)).split('\n').filter((line) => line !== '');
  const wrong: string[] = [];
  const same = (what: string, found: string, wanted: string) => {
    if (found !== wanted) wrong.push(`${vm.name}: ${what}: ${found}, not ${wanted}`);
  };
  const [{ id, peer, state, local, remote }, ...more] = tunnels as [Listed, ...Listed[]];
  same('more tunnels', JSON.stringify(more), '[]');
  same('state', state, 'up');
  const name = `wh-${id.slice(0, 6)}`;
  const ask = async (command: string) => (await vm.run(command, { check: false })).stdout.trim();
  same('interfaces', await ask('ip -br link show type xfrm | cut -d@ -f1'), name);
  same(
    'addresses',
    await ask(`ip -4 -o address show dev ${name} | awk '{ print $4, $6 }'`),
    `${local} ${remote}/32`,
  );
  same('routes', await ask(`ip -4 -o route show dev ${name} | awk '{ print $1 }'`), remote);
  const number = (0x57000000 + Number.parseInt(id.slice(0, 6), 16)).toString();
  same(
    'numbers of security associations',
    await ask('ip xfrm state list nokeys | grep -o "reqid [0-9]*" | sort -u'),
    `reqid ${number}`,
  );
  const policies = (await ask('ip xfrm policy list')).split(/^(?=src )/m);
  same('policies', `${policies.length}`, '6');
  for (const policy of policies)
    if (!policy.includes(local) && !policy.includes(remote)) wrong.push(`${vm.name}: ${policy}`);
  const units = await ask('ls /etc/systemd/system | grep wormhole-tunnel@');
  same('unit files', units, `wormhole-tunnel@${peer}.service`);
  return wrong;
}

/** Waits until there is a tunnel on both machines that works, or none on either, and nothing else. */
function settle(when: string, alpha: Vm, beta: Vm): Promise<'a tunnel' | 'no tunnel'> {
  const look = async (vm: Vm) => {
    const tunnels = await listed(vm);
    return { tunnel: tunnels[0], wrong: await disagreements(vm, tunnels) };
  };
  const settled = async () => {
    const [here, there] = await Promise.all([look(alpha), look(beta)]);
    const wrong = [...here.wrong, ...there.wrong];
    if (wrong.length > 0) {
      // Emulated machines are slowed down by every question.
      await pause(10);
      throw new Error(wrong.join('; '));
    }
    if (!here.tunnel && !there.tunnel) return 'no tunnel';
    if (here.tunnel?.local !== there.tunnel?.remote || here.tunnel?.remote !== there.tunnel?.local)
      throw new Error(`alpha has ${JSON.stringify(here.tunnel)}, beta ${JSON.stringify(there.tunnel)}`);
    await alpha.run(`ping -c 2 -W 2 ${here.tunnel?.remote}`);
    return 'a tunnel';
  };
  return alpha.waitFor(settled, { timeout: 150, what: `agreement after ${when}` });
}

vmSuite('tunnels that are hurt', pair, (test, at) => {
  let remote = '';

  const hears = async (alpha: Vm, when: string) => {
    const before = alpha.frames().length;
    const answered = async () => {
      const { stdout } = await alpha.run('nc -w 60 127.0.0.1 7000 </dev/null', { check: false, timeout: 90 });
      return stdout.includes(MARKER);
    };
    await alpha.waitFor(answered, { what: `an answer after ${when}`, timeout: 150 });
    const crossed = alpha.frames().slice(before);
    assert.not.ok(
      crossed.some(({ bytes }) => bytes.includes(MARKER)),
      when,
    );
  };

  test('a link through a tunnel, for what follows', async () => {
    const { alpha, beta } = at();
    await beta.run(`
      printf '[Service]\\nExecStart=socat TCP-LISTEN:7000,bind=127.0.0.1,reuseaddr,fork EXEC:"echo ${MARKER}"\\n[Install]\\nWantedBy=multi-user.target\\n' >/etc/systemd/system/serves.service
      systemctl enable --now serves`);
    await wormhole(alpha, 'create url :7000 tunnel beta tail');
    await hears(alpha, 'create');
    [, remote] = await create(alpha, 'beta');
  });

  test('the wire is cut for a minute: what was under way goes on, and no byte is lost', async () => {
    const { alpha, beta } = at();
    const receiver = beta.spawn(`socat -u TCP-LISTEN:9002,bind=${remote} OPEN:/root/got,creat,trunc`);
    await beta.waitFor(() => beta.run('ss -Hltn sport = 9002 | grep .'), { what: 'the receiver' });
    const sender = alpha.spawn(
      `rm -f sent stop; until [ -e stop ]; do head -c 20000 /dev/urandom | tee -a sent; sleep 0.5; done | socat -u - TCP:${remote}:9002`,
    );
    const size = async () => Number((await beta.run('stat -c %s got')).stdout);
    await beta.waitFor(async () => (await size()) > 0, { what: 'the first bytes' });
    await beta.setCable('down');
    await pause(2);
    const before = await size();
    await pause(58);
    assert.is(await size(), before);
    await beta.setCable('up');
    await beta.waitFor(async () => (await size()) > before, { what: 'the transfer to go on', timeout: 150 });
    await alpha.run('touch stop');
    assert.is((await sender.exited).status, 0);
    assert.is((await receiver.exited).status, 0);
    const sum = async (vm: Vm, file: string) => (await vm.run(`sha256sum < ${file}`)).stdout;
    assert.is(await sum(alpha, 'sent'), await sum(beta, 'got'));
    await hears(alpha, 'the cut');
    assert.is(await settle('the cut', alpha, beta), 'a tunnel');
  });

  for (const which of ['the other machine', 'this machine', 'both at once'] as const) {
    test(`${which} reboots: tunnel and link work again with nothing typed, with other keys and the same addresses`, async () => {
      const { alpha, beta } = at();
      const spis = async () =>
        (await alpha.run('ip xfrm state list nokeys | grep -o "spi 0x[0-9a-f]*"')).stdout.trim().split('\n');
      const old = await spis();
      const booting = { 'the other machine': [beta], 'this machine': [alpha], 'both at once': [alpha, beta] };
      await Promise.all(booting[which].map((vm) => vm.reboot({ allowFailed: true })));
      assert.is(await settle('the reboot', alpha, beta), 'a tunnel');
      await hears(alpha, `${which} rebooted`);
      // What has been replaced is received for ten seconds more.
      const fresh = async () => !(await spis()).some((spi) => old.includes(spi));
      await alpha.waitFor(fresh, { timeout: 30, what: 'the old keys to end' });
      await transfer(alpha, beta, remote);
    });
  }

  test('deleted while the other machine is away: it goes there as soon as that is back', async () => {
    const { alpha, beta } = at();
    await wormhole(alpha, 'delete 7000');
    await beta.setCable('down');
    const { stderr } = await alpha.run('wormhole tunnel-delete beta', { timeout: PATIENCE });
    assert.match(
      stderr,
      /^wormhole: the tunnel is deleted here; its side on machine beta is deleted as soon as that machine can be told: .+\n$/,
    );
    assert.match(await wormhole(alpha, 'tunnel-list'), /^beta .* leaving /m);
    await beta.setCable('up');
    await beta.waitFor(async () => (await traces(beta)) === '', { what: 'the end there', timeout: PATIENCE });
    await alpha.waitFor(async () => (await listed(alpha)).length === 0, { what: 'the end here' });
    assert.is(await traces(alpha), '');
  });

  test('killed when one machine has the tunnel for good, and the other one not yet: the next command has it mended', async () => {
    const { alpha, beta } = at();
    await warm(alpha, beta);
    const unit = '/etc/systemd/system/wormhole-tunnel@beta.service';
    await alpha.run(
      `wormhole tunnel-create beta & until [ -e ${unit} ]; do sleep 0.02; done; kill -9 $!; test -e ${unit}`,
      { timeout: PATIENCE },
    );
    assert.is(await settle('the kill', alpha, beta), 'a tunnel');
    await alpha.waitFor(() => alpha.run('systemctl is-active wormhole-tunnel@beta'), { what: 'its unit' });
    await wormhole(alpha, 'tunnel-delete beta');
    assert.is(await settle('the delete', alpha, beta), 'no tunnel');
  });

  test('twenty times killed at any moment, on either side: a tunnel that works or none, as tunnel-list says', async () => {
    const { alpha, beta } = at();
    await warm(alpha, beta);
    const commands = ['rekey --now beta', 'delete beta'];
    const unit = '/etc/systemd/system/wormhole-tunnel@beta.service';
    const victims: [() => Vm, string][] = [
      [() => alpha, 'pkill -9 -f "[m]ain.js tunnel"'],
      [() => beta, 'systemctl kill -s KILL wormholed'],
      [() => beta, 'pkill -9 -f "[m]ain.js"'],
    ];
    for (let round = 0; round < 20; round++) {
      const there = (await alpha.run(`test -e ${unit}`, { check: false })).status === 0;
      const command = there ? commands[Math.floor(round / victims.length) % 2] : 'create beta';
      const running = alpha.spawn(`wormhole tunnel-${command}`);
      const seconds = 0.5 + Math.random() * 7;
      await pause(seconds);
      const [on, kill] = victims[round % victims.length] as [() => Vm, string];
      const killed = await on().run(kill, { check: false });
      // The command may wait for what is dead: then it is killed as well.
      const patience = setTimeout(
        () => alpha.run('pkill -9 -f "[m]ain.js tunnel"', { check: false }),
        20_000,
      );
      const { status } = await running.exited;
      clearTimeout(patience);
      const what = `round ${round}: ${command}, after ${seconds.toFixed(1)} s ${kill} on ${on().name} (${killed.status}), ended with ${status}`;
      console.log(what);
      // What a killed side has begun is found by the next command, or ends after a minute: looked at after ten rounds.
      if (round % 10 === 9) await settle(what, alpha, beta);
    }
    await warm(alpha, beta);
    const [, far] = await create(alpha, 'beta');
    await transfer(alpha, beta, far);
    await wormhole(alpha, 'tunnel-delete beta');
    assert.is(await settle('the delete', alpha, beta), 'no tunnel');
  });
});
