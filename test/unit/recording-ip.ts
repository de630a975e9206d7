import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A program in the place of ip(8) that records what it is told to change. */
export interface RecordingIp {
  /** The lines so far, in the order in which they came. */
  lines(): string[];
  /** The network namespaces in which it ran for them, as the links in /proc/PID/ns have them. */
  namespaces(): string[];
  /** Its time zone and language for each of them. */
  environments(): string[];
  /**
   * Begins, or begins again. From now on the lines that contain the text `refused` are refused, none by default, and the kernel has the
   * interface of that name, none by default; or ip prints what `answers` says.
   */
  reset(state?: { refused?: string; device?: string; answers?: Partial<Answers> }): void;
  /** Puts ip(8) back. */
  remove(): void;
}

/** What ip prints: of xfrm as text, the rest in JSON. */
export interface Answers {
  states: string;
  policies: string;
  links: unknown;
  routes: unknown;
  route: unknown;
}

/**
 * Makes a program that is in the place of ip(8) for this process, from the first `reset` on. The kernel does not tell afterwards
 * what came before what; that it takes the lines is for the tests in virtual machines.
 */
export function recordIp(): RecordingIp {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-ip-'));
  const log = join(directory, 'lines');
  const linesOf = (name: string) =>
    existsSync(join(directory, name)) ? readFileSync(join(directory, name), 'utf8').trim().split('\n') : [];
  const path = process.env.PATH;
  const program = join(directory, 'ip');
  writeFileSync(
    program,
    `#!/bin/sh
case "$*" in
  '-batch -')
    read -r line
    printf '%s\\n' "$line" >>${log}
    readlink /proc/self/ns/net >>${directory}/namespaces
    printf '%s %s\\n' "$TZ" "$LC_ALL" >>${directory}/environments
    if [ -s ${directory}/refused ] && printf '%s' "$line" | grep -qF -f ${directory}/refused; then
      echo 'RTNETLINK answers: Invalid argument' >&2
      exit 1
    fi ;;
  *'xfrm state list nokeys') cat ${directory}/states ;;
  *'xfrm policy list') cat ${directory}/policies ;;
  *'address show') cat ${directory}/links ;;
  *'route get'*) cat ${directory}/route ;;
  *'route show'*) cat ${directory}/routes ;;
esac
`,
  );
  chmodSync(program, 0o755);
  return {
    lines: () => linesOf('lines'),
    namespaces: () => linesOf('namespaces'),
    environments: () => linesOf('environments'),
    reset({ refused = '', device, answers } = {}) {
      process.env.PATH = `${directory}:${path}`;
      for (const name of ['lines', 'namespaces', 'environments'])
        rmSync(join(directory, name), { force: true });
      writeFileSync(join(directory, 'refused'), refused);
      const none = { bytes: 0, packets: 0 };
      const link = {
        ifname: device,
        mtu: 1346,
        flags: ['UP'],
        addr_info: [],
        stats64: { rx: none, tx: none },
      };
      const nothing = { states: '', policies: '', routes: [], route: [{ dev: 'lo' }] };
      const all: Answers = { ...nothing, links: device === undefined ? [] : [link], ...answers };
      for (const [name, text] of Object.entries(all))
        writeFileSync(join(directory, name), typeof text === 'string' ? text : JSON.stringify(text));
    },
    remove() {
      process.env.PATH = path;
      rmSync(directory, { recursive: true });
    },
  };
}
