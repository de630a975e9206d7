import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A program in the place of ip(8) that records what it is told to change. */
export interface RecordingIp {
  /** The lines so far, in the order in which they came. */
  lines(): string[];
  /**
   * Begins again. From now on the lines that contain the text `refused` are refused, none by default, and the kernel has the
   * interface of that name, none by default.
   */
  reset(state?: { refused?: string; device?: string }): void;
  /** Puts ip(8) back. */
  remove(): void;
}

/**
 * Puts a program in the place of ip(8) for this process. The kernel does not tell afterwards what came before what; that it takes the
 * lines is for the tests in virtual machines.
 */
export function recordIp(): RecordingIp {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-ip-'));
  const [log, refusal, links] = ['lines', 'refused', 'links'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  const path = process.env.PATH;
  const program = join(directory, 'ip');
  writeFileSync(
    program,
    `#!/bin/sh
case "$*" in
  '-batch -')
    read -r line
    printf '%s\\n' "$line" >>${log}
    if [ -s ${refusal} ] && printf '%s' "$line" | grep -qF -f ${refusal}; then
      echo 'RTNETLINK answers: Invalid argument' >&2
      exit 1
    fi ;;
  *'address show') cat ${links} ;;
  *'route get'*) echo '[{"dev":"lo"}]' ;;
esac
`,
  );
  chmodSync(program, 0o755);
  process.env.PATH = `${directory}:${path}`;
  return {
    lines: () => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []),
    reset({ refused = '', device } = {}) {
      rmSync(log, { force: true });
      writeFileSync(refusal, refused);
      const none = { bytes: 0, packets: 0 };
      const link = {
        ifname: device,
        mtu: 1346,
        flags: ['UP'],
        addr_info: [],
        stats64: { rx: none, tx: none },
      };
      writeFileSync(links, JSON.stringify(device === undefined ? [] : [link]));
    },
    remove() {
      process.env.PATH = path;
      rmSync(directory, { recursive: true });
    },
  };
}
