import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { type Address, addressText } from './address.js';
import { readKeys } from './key.js';
import { clientTls, provedKey } from './tls.js';

/** A machine whose daemon is to be asked, and the file of the key that it shares with this one (not for a unix socket). */
export interface Machine {
  address: Address;
  keyFile: string;
}

/**
 * The daemon of a machine cannot be asked, or has fallen silent; the message says which, and what to look at. `asked` is
 * true when it may have got what it was asked, and may even have done it.
 */
export class Unreachable extends Error {
  constructor(
    message: string,
    readonly asked = false,
  ) {
    super(message);
  }
}

/** How long a connection may take, ms. */
const CONNECT_MS = 5_000;

/** How long its handshake may take, ms: systemd has accepted, and on a slow machine the daemon takes its time to start. */
const GREETING_MS = 15_000;

/** How long one of several addresses of a machine is tried before the next, ms. */
const ATTEMPT_MS = 2_000;

/**
 * Connects to a machine's daemon, and makes sure that it has our key.
 *
 * @throws Unreachable; KeyUnusable when there is no key to prove ourselves with
 */
export function connectMachine({ address, keyFile }: Machine): Promise<Socket> {
  const key = address.kind === 'tcp' ? readKeys(keyFile)[0] : undefined;
  return new Promise((resolve, reject) => {
    const settle = (failure?: string) => {
      clearTimeout(timer);
      socket.off('error', failed);
      socket.off('close', closed);
      if (failure === undefined) return resolve(socket);
      socket.on('error', () => {});
      socket.destroy();
      reject(new Unreachable(failure));
    };
    const failed = (error: NodeJS.ErrnoException) => settle(explain(error, address, keyFile));
    const closed = () => settle(`${addressText(address)} ${CLOSED}`);
    const patience = (ms: number) =>
      setTimeout(() => settle(`${addressText(address)} does not answer (waited ${ms / 1000} s)`), ms);
    let timer = patience(CONNECT_MS);
    let socket: Socket;
    if (address.kind === 'unix' || key === undefined) {
      socket = connectPlain(address.kind === 'unix' ? address.path : '', () => settle());
    } else {
      const { host, port } = address;
      // net.connect's options are tls.connect's too (node's documentation of it), though its types lack this one.
      const attempt = { autoSelectFamilyAttemptTimeout: ATTEMPT_MS };
      const tls = connectTls({ ...clientTls(key), ...attempt, host, port });
      tls.once('connect', () => {
        clearTimeout(timer);
        timer = patience(GREETING_MS);
      });
      tls.once('secureConnect', () => settle(provedKey(tls) ? undefined : strangers(address, keyFile)));
      socket = tls;
    }
    socket.setNoDelay(true);
    socket.on('error', failed);
    socket.on('close', closed);
  });
}

const CLOSED =
  'closes the connection at once: it is no wormholed, or refuses callers; journalctl -u wormholed there says why';

function strangers(address: Address, keyFile: string): string {
  return `${addressText(address)} does not accept our key, or we not its: both need the same line in ${keyFile}`;
}

function explain(error: NodeJS.ErrnoException, address: Address, keyFile: string): string {
  const text = addressText(address);
  // Of several addresses that were tried, the last one's error; they are much the same.
  const last = error instanceof AggregateError ? (error.errors.at(-1) as NodeJS.ErrnoException) : error;
  const code = last.code ?? '';
  if (address.kind === 'unix') {
    if (code === 'EACCES' || code === 'EPERM') return `${text} is for root only: use sudo`;
    if (code === 'ENOENT' || code === 'ECONNREFUSED')
      return `no daemon at ${text}: systemctl start wormholed.socket`;
    return `${text} cannot be reached: ${last.message}`;
  }
  switch (code) {
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `there is no machine "${address.host}" to be found: neither DNS nor /etc/hosts has its address`;
    case 'ECONNREFUSED':
      return `no daemon at ${text}, the connection is refused: systemctl start wormholed-tcp.socket there`;
    case 'ECONNRESET':
    case 'EPIPE':
      return `${text} ${CLOSED}`;
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_UNKNOWN_PROTOCOL':
      return `${text} does not speak TLS: it is no wormholed`;
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'ETIMEDOUT':
    case 'EACCES':
      return `${text} cannot be reached (${code}): no route, or a firewall between`;
    default:
      // Every way for two sides to find that they have not the same key is an alert of TLS.
      return code.startsWith('ERR_SSL_') || !provesNothing(last)
        ? strangers(address, keyFile)
        : `${text} cannot be reached: ${last.message}`;
  }
}

/** A certificate that is not trusted, which is none of a system call's errors. */
function provesNothing({ syscall }: NodeJS.ErrnoException): boolean {
  return syscall !== undefined;
}
