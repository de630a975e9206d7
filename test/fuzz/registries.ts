import { formatService, parseService, type ServiceMachine } from '../../src/recipe/services.ts';
import { MOST_WEIGHT } from '../../src/recipe/tails.ts';
import { EtcdFault, NoAnswer, readResponse } from '../../src/registry/etcd/client.ts';
import { machinesOfRange } from '../../src/registry/etcd/machines.ts';
import { MachinesFault, parseMachinesFile } from '../../src/registry/machines-file.ts';
import { machinesOfRecords, SrvFault } from '../../src/registry/srv.ts';
import { orRefused, requireSame, type Target } from './target.ts';

/** Machines go into a unit as words, and come back the same; each is there once. */
function requireUsable(machines: ServiceMachine[]): void {
  const hosts = machines.map(({ host }) => host);
  if (new Set(hosts).size < hosts.length) throw new Error(`a machine is there twice: ${hosts.join(' ')}`);
  for (const { weight = 2 } of machines)
    if (!Number.isInteger(weight) || weight < 2 || weight > MOST_WEIGHT) throw new Error(`weight ${weight}`);
  if (machines.length === 0) return;
  const service = { name: 'db', machines };
  requireSame(service, parseService({ text: formatService(service), position: 1 }), 'the machines of a unit');
}

/** The records of an answer, one a line: priority, weight, port, target. */
function recordsOf(text: string) {
  return text.split('\n').map((line) => {
    const [priority, weight, port, ...target] = line.split(' ');
    const number = (word = '') => (Number.parseInt(word, 10) || 0) & 0xffff;
    return {
      priority: number(priority),
      weight: number(weight),
      port: number(port),
      name: target.join(' '),
    };
  });
}

/** What registries say of services. */
export const registryTargets: Record<string, Target> = {
  /** Records of DNS, which come in any order. */
  srv: {
    run(input) {
      const records = recordsOf(input.toString('utf8'));
      const read = (all: typeof records) =>
        orRefused(
          () => machinesOfRecords(all, '_pg._tcp.x'),
          (error) => error instanceof SrvFault,
        );
      const machines = read(records);
      requireSame(machines, read(records.toReversed()), 'the answer in another order');
      if (machines === undefined) return false;
      requireUsable(machines);
      return machines.length > 0;
    },
    words: ['0 0 1 a', '1 65535 1 ', '\n', 'b.example.', '10.0.0.1', '::ffff:1.2.3.4', 'xn--', '.', '-'],
    examples: ['0 1 80 a.example\n0 5 81 b.example.\n1 0 80 c', '0 0 0 10.0.0.1\n0 0 0 fd00::1'],
    refused: '0 0 0 a_b',
  },

  /** A response of etcd's gateway: its status, a line feed and the body. */
  etcd: {
    run(input) {
      const [, status = '0', text = ''] = /^(\d{0,3})\n?(.*)$/s.exec(input.toString('utf8')) ?? [];
      const machines = orRefused(
        () => machinesOfRange(readResponse(Number(status), text), { prefix: '/w/', name: 'db' }),
        (error) => error instanceof EtcdFault || error instanceof NoAnswer,
      );
      if (machines === undefined) return false;
      requireUsable(machines);
      return true;
    },
    words: [
      ...[
        '200\n',
        '503\n',
        '"kvs":',
        '"key":',
        '"value":',
        '"error":',
        '"code":',
        '"__proto__":',
        'null',
        '[]',
      ],
      // /w/a, /w/10.0.0.1 and {"services":["db"]}
      ...['"L3cvYQ=="', '"L3cvMTAuMC4wLjE="', '"eyJzZXJ2aWNlcyI6WyJkYiJdfQ=="'],
    ],
    examples: [
      '200\n{"kvs":[{"key":"L3cvYQ==","value":"eyJzZXJ2aWNlcyI6WyJkYiJdfQ=="},{"key":"L3cvMTAuMC4wLjE="}],"count":"2"}',
      '200\n{"header":{}}',
    ],
    refused: '400\n{"error":"etcdserver: permission denied","code":7}',
  },

  /** A file of /etc/wormhole/services.d. What is read is written and read again as the same. */
  'services.d': {
    run(input) {
      const read = (text: string) =>
        orRefused(
          () => parseMachinesFile(text, '/x'),
          (error) => error instanceof MachinesFault && /^\/x:\d+: /.test(error.message),
        );
      const machines = read(input.toString('utf8'));
      if (machines === undefined) return false;
      requireUsable(machines);
      const lines = machines.map(({ host, weight = 1 }) => `${host}\t weight ${weight} # ${host}`);
      requireSame(machines, read(lines.join('\r\n')), 'its lines');
      return true;
    },
    words: [
      '\n',
      ' weight ',
      '256',
      '# ',
      'a.example',
      '10.0.0.1',
      '[fd00::1]',
      '::ffff:1.2.3.4',
      '\t',
      '\r\n',
    ],
    examples: ['# databases\n\n one\ntwo   weight 3 # new\n [fd00::1]\t weight 1\r\n'],
    refused: 'one two',
  },
};
