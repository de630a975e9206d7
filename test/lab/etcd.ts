import type { Result, RunOptions } from './rig/shell.ts';
import type { WaitOptions } from './rig/wait.ts';

/** A machine of a test: a host or a virtual machine. */
interface Machine {
  address: string;
  run(command: string, options?: RunOptions): Promise<Result>;
  waitFor<T>(condition: () => T | Promise<T>, options: WaitOptions): Promise<T>;
}

/** The Debian packages that {@link startEtcd} needs on a host. */
export const ETCD_PACKAGES = ['etcd-server', 'etcd-client', 'openssl'];

/** The password of the user of etcd that machines are. */
export const MACHINES_PASSWORD = 'correct horse';

/** That user, for {@link Etcd.ctl}. It may write the keys of machines, and nothing else. */
export const MACHINES_USER = `wormhole:'${MACHINES_PASSWORD}'`;

const NODES = [1, 2, 3];

/** Three nodes of etcd. */
export interface Etcd {
  /** Where clients reach them. */
  endpoints: string[];
  /** The machine that runs node 1, 2 or 3, as etcd-N.service. */
  machineOf(node: number): Machine;
  /** Runs etcdctl with node 3, as that user, by default the one that may do everything. That it fails is no error. */
  ctl(command: string, options?: { user?: string; input?: string; timeout?: number }): Promise<Result>;
  /** Has a machine find it: writes /etc/wormhole/etcd.conf and what that names. */
  configure(machine: Machine): Promise<void>;
}

/** How {@link startEtcd} runs the nodes. */
export interface EtcdOptions {
  /** With TLS, and only a user with a password gets in. Default true. */
  isSecure?: boolean;
  /** Further words of each node's command line. */
  flags?: string;
}

/** Starts three nodes of etcd, on one machine or on three. Among each other they speak without TLS. */
export async function startEtcd(machines: Machine[], options: EtcdOptions = {}): Promise<Etcd> {
  const { isSecure = true, flags = '' } = options;
  const [first] = machines;
  if (!first) throw new Error('etcd needs a machine');
  const machineOf = (node: number) => machines[(node - 1) % machines.length] as Machine;
  const endpoints = NODES.map((n) => `${isSecure ? 'https' : 'http'}://${machineOf(n).address}:237${n}`);
  const ctl: Etcd['ctl'] = (command, { user, ...run } = {}) => {
    const trust = isSecure ? '--cacert /root/tls/ca.pem' : '';
    const login = user === undefined ? '' : `--user ${user}`;
    const all = `ETCDCTL_API=3 etcdctl --endpoints ${endpoints[2]} ${trust} ${login} ${command}`;
    return machineOf(3).run(all, { ...run, check: false });
  };
  if (isSecure) await makeCertificates(machines);
  const peer = (n: number) => `http://${machineOf(n).address}:238${n}`;
  const cluster = NODES.map((n) => `n${n}=${peer(n)}`).join();
  for (const n of NODES) {
    const words = [
      `--name n${n} --data-dir /var/lib/etcd-${n} --initial-cluster ${cluster} --initial-cluster-state new`,
      `--listen-peer-urls ${peer(n)} --initial-advertise-peer-urls ${peer(n)}`,
      `--listen-client-urls ${isSecure ? 'https' : 'http'}://0.0.0.0:237${n} --advertise-client-urls ${endpoints[n - 1]}`,
      isSecure ? '--cert-file /root/tls/cert.pem --key-file /root/tls/key.pem' : '',
      flags,
    ];
    const unit = [
      '[Service]',
      'Environment=ETCD_UNSUPPORTED_ARCH=arm64',
      `ExecStart=etcd ${words.join(' ')}`,
    ];
    await machineOf(n).run(
      `cat >/etc/systemd/system/etcd-${n}.service; systemctl daemon-reload; systemctl start etcd-${n}`,
      { input: `${unit.join('\n')}\n` },
    );
  }
  await first.waitFor(async () => (await ctl('put ready yes')).status === 0, { timeout: 90, what: 'etcd' });
  if (isSecure) await addUsers(ctl);
  return {
    ...{ endpoints, machineOf },
    ctl: (command, settings) => ctl(command, { ...(isSecure && { user: 'root:root' }), ...settings }),
    configure: (machine) => configure(machine, endpoints, isSecure ? first : undefined),
  };
}

/** A certificate for the nodes of these machines, the same on each. */
async function makeCertificates([first, ...others]: Machine[]): Promise<void> {
  if (!first) return;
  const names = [first, ...others].map(({ address }) => `IP:${address}`).join();
  await first.run(`
    mkdir -p /root/tls && cd /root/tls
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=lab -keyout ca.key -out ca.pem 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=etcd -keyout key.pem -out req.pem 2>/dev/null
    printf 'subjectAltName=IP:127.0.0.1,${names}' >names
    openssl x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem 2>/dev/null`);
  for (const file of ['ca.pem', 'cert.pem', 'key.pem']) {
    const { stdout } = await first.run(`cat /root/tls/${file}`);
    for (const other of others)
      await other.run(`mkdir -p /root/tls; cat >/root/tls/${file}`, { input: stdout });
  }
}

async function addUsers(ctl: Etcd['ctl']): Promise<void> {
  const commands = [
    'user add root --new-user-password root',
    'user grant-role root root',
    'role add machines',
    'role grant-permission machines readwrite --prefix /wormhole/machines/',
    `user add wormhole --new-user-password '${MACHINES_PASSWORD}'`,
    'user grant-role wormhole machines',
    'auth enable',
  ];
  for (const command of commands) {
    const { status, stderr } = await ctl(command);
    if (status !== 0) throw new Error(`etcdctl ${command}: ${stderr}`);
  }
}

/** @param certifier the machine that has the certificate authority, if there is TLS */
async function configure(
  machine: Machine,
  endpoints: string[],
  certifier: Machine | undefined,
): Promise<void> {
  const secure = [
    'CertificateAuthority=/etc/wormhole/etcd-ca.pem',
    'User=wormhole',
    'PasswordFile=/etc/wormhole/etcd-password',
  ];
  const lines = ['[Etcd]', `Endpoints=${endpoints.join(' ')}`, ...(certifier ? secure : [])];
  await machine.run('cat >/etc/wormhole/etcd.conf', { input: `${lines.join('\n')}\n` });
  if (!certifier) return;
  const { stdout: ca } = await certifier.run('cat /root/tls/ca.pem');
  await machine.run('cat >/etc/wormhole/etcd-ca.pem', { input: ca });
  await machine.run(`(umask 077; echo '${MACHINES_PASSWORD}' >/etc/wormhole/etcd-password)`);
}
