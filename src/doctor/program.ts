import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FORWARDER_ROOT, installation, makeForwarderRoot } from '../state/installation.js';
import type { Check } from './facts.js';
import type { Finding } from './finding.js';

/** The files beside the running program without which links do not work. */
const FILES = ['forwarder.cjs', 'wormholed.cjs', 'koffi.node'];

/** Whether everything is there that the units of links start. */
export const programCheck: Check = {
  name: 'program',
  async find({ links, tunnels }) {
    if (links.length === 0 && tunnels.tunnels.length === 0) return [];
    const { node, cli } = installation();
    const paths = [node, ...FILES.map((name) => join(dirname(cli), name))];
    return [...missingFiles(paths.filter((path) => !existsSync(path))), ...missingRoot()];
  },
};

function missingFiles(missing: string[]): Omit<Finding, 'check'>[] {
  return missing.map((path) => ({
    subject: path,
    problem: 'the file is missing, and forwarders need it',
    advice: 'run install.sh of this version again',
  }));
}

function missingRoot(): Omit<Finding, 'check'>[] {
  if (existsSync(`${FORWARDER_ROOT}/proc`)) return [];
  return [
    {
      subject: FORWARDER_ROOT,
      problem: 'the root directory of forwarders is missing',
      advice: 'wormhole upgrade makes it',
      async repair() {
        makeForwarderRoot();
        return `made ${FORWARDER_ROOT}`;
      },
    },
  ];
}
