import { checkAnswer } from '../../src/api/check.ts';
import { Failure } from '../../src/api/failure.ts';
import { linkDetails, listing, trafficReport } from '../../src/api/listing-schema.ts';
import {
  checkCreateBody,
  checkDeleteBody,
  checkLinkId,
  checkPartBody,
  checkPartId,
  createdLink,
  createdPart,
  deletedLink,
  errorBody,
  pong,
  preview,
} from '../../src/api/schema.ts';
import {
  checkAcceptance,
  checkPeerStatus,
  checkProposal,
  checkSettlement,
  tunnelListing,
} from '../../src/api/tunnel-schema.ts';
import { logLines } from '../../src/docker/container-log.ts';
import { formatProxyInfo, parseProxyInfo } from '../../src/forwarder/hand-off/proxy-info.ts';
import { LONGEST_SENT_HEADER } from '../../src/forwarder/proxy-protocol/format.ts';
import { LONGEST_HEADER, parseHeader } from '../../src/forwarder/proxy-protocol/parse.ts';
import { provesHello, readHello, writeHello } from '../../src/ipsec/hello.ts';
import { candidates, parseResolvConf } from '../../src/names/resolv-conf.ts';
import { RecipeError } from '../../src/recipe/error.ts';
import { formatRecipe } from '../../src/recipe/format.ts';
import { KEYWORDS } from '../../src/recipe/keywords.ts';
import { parseFarRecipe, parseRecipe } from '../../src/recipe/parse.ts';
import { parseRun } from '../../src/recipe/run.ts';
import { recipeFromText, recipeText } from '../../src/recipe/text.ts';
import { parseUrl } from '../../src/recipe/url.ts';
import { addressesInHosts } from '../../src/text/hosts.ts';
import { FaultyFile, parseDeclaration } from '../../src/units/declaration.ts';
import { readLink, UnreadableLink } from '../../src/units/read.ts';
import { readTunnel, UnreadableTunnel } from '../../src/units/tunnel.ts';
import { labelTargets } from './labels.ts';
import { registryTargets } from './registries.ts';
import { orRefused, requireSame, type Target } from './target.ts';

const isRecipeError = (error: Error) => error instanceof RecipeError;
const isFailure = (error: Error) => error instanceof Failure;

const RUN_OPTIONS =
  '-e --env --env-file -v --volume --mount type=bind,source= --tmpfs -p --publish 8080:80/tcp --name --network --memory 512m --cpus 1.5 -u --user --entrypoint --cap-add --read-only --init --restart --pull --rm -d -it --label --hostname --dns --shm-size --ulimit nofile=1:2 --device --gpus --platform linux/amd64'.split(
    ' ',
  );

const ANSWERS = [
  ...[listing, createdLink, createdPart, deletedLink, preview, pong, errorBody],
  ...[linkDetails, trafficReport, tunnelListing],
];

/** The readers that are fuzzed, by name. */
export const targets: Record<string, Target> = {
  /** The words of a recipe, one a line. What is read is written and read again as the same. */
  recipe: {
    run(input) {
      const words = input.toString('utf8').split('\n');
      const recipe = orRefused(() => parseRecipe(words), isRecipeError);
      if (recipe !== undefined) {
        requireSame(recipe, parseRecipe(formatRecipe(recipe)), 'its words');
        requireSame(recipe, recipeFromText(recipeText(recipe)), 'its text');
      }
      orRefused(() => parseFarRecipe(words), isRecipeError);
      return recipe !== undefined;
    },
    words: [
      ...KEYWORDS,
      ':3306',
      '10.0.0.1:80',
      'udp://',
      'unix:///run/x',
      'unixgram://',
      '[::1]:1',
      'blue@:80',
      '30s',
      'nginx',
      '\n',
    ],
    examples: [
      'url\n:3306\ntail\ndocker-ns\ndb',
      'url\n:80\ntrigger\ndocker-run\n-e A=1 nginx\nchild\nurl\n:3306\ntrigger\ndocker-run\nmysql',
      'id\nx\nidle\n5m\nurl\nudp://:53\nurl\ntcp://\ntail\nurl\nblue@10.0.0.1:53',
      'url\n:80\ntrigger\nunit\na@b.service\nurl\n:81',
      'url\nunix:///run/x.sock\nremote\nhost\ntail\nurl\nunix:///run/y.sock',
    ],
    refused: 'url\n:80',
  },

  /** One argument of `url`, without the characters that no word of a recipe may have. */
  url: {
    run(input) {
      const text = input.toString('utf8').replaceAll(/[\p{Cc}\p{Cs}]/gu, '');
      return orRefused(() => parseUrl({ text, position: 1 }), isRecipeError) !== undefined;
    },
    words: [
      'tcp://',
      'udp://',
      'unix://',
      'unixgram://',
      'unixpacket://',
      '@',
      '::',
      '[',
      ']',
      ':',
      '127.0.0.1',
      'localhost',
      '65535',
      '/run/',
      '..',
      '%',
    ],
    examples: ['tcp://blue@[fe80::1]:80', 'unix:///run/x.sock', 'unix://@name', ':1', 'localhost:65535'],
    refused: 'tcp://[::1',
  },

  /** The arguments of `docker-run`. No message tells what they are. */
  'docker-run': {
    longest: 1000,
    run(input) {
      const text = input.toString('utf8');
      return orRefused(() => parseRun({ text, position: 1 }), isRecipeError) !== undefined;
    },
    words: RUN_OPTIONS,
    examples: [
      '-e A=b -v /x:/y:ro --mount type=volume,source=data,target=/b -p 127.0.0.1:80:80/udp nginx nginx -g "daemon off;"',
      `--memory 1g --cpus 0.5 --tmpfs /run:size=1m --add-host a:10.0.0.1 --name x 'a/b:1@sha256:${'0'.repeat(64)}'`,
    ],
    refused: '--nonsense nginx',
  },

  /** Unit files. */
  unit: {
    longest: 1000,
    run(input) {
      const text = input.toString('utf8');
      const link = orRefused(
        () => readLink(text),
        (error) => error instanceof UnreadableLink,
      );
      const tunnel = orRefused(
        () => readTunnel(text),
        (error) => error instanceof UnreadableTunnel,
      );
      return (link ?? tunnel) !== undefined;
    },
    words: [
      '[X-Wormhole]\n',
      'Tunnel=0011223344556677\n',
      'Peer=',
      'PeerMachine=',
      'PeerAddress=',
      'Mode=esp',
      'Id=',
      'Recipe=',
      'Parent=',
      'Link=',
      'StartTimeout=',
      'Pull=missing',
      'UdpTimeout=',
      'SocketMode=',
      'Far=',
      'KeyFile=',
      'Owned=',
      'OwnerId=',
      'Owner=',
      'Allow=',
      'Creator=',
      'MaxConnections=',
      '\\\n',
      '#',
    ],
    examples: [
      '[X-Wormhole]\nId=3306\nRecipe=id 3306 url tcp://127.0.0.1:3306 tail url tcp://127.0.0.1:3306 docker-ns db\nStartTimeout=60\nPull=missing\n',
      '[X-Wormhole]\nId=a-b\nParent=a\n',
    ],
    refused: '[X-Wormhole]\nId=a\n',
  },

  /** Bodies and ids that strangers send to wormholed. */
  api: {
    run(input) {
      const text = input.toString('utf8');
      const ids = [checkPartId, checkLinkId].map((check) => orRefused(() => check(text), isFailure));
      let body: unknown;
      try {
        body = JSON.parse(text);
      } catch {
        return ids.some((id) => id !== undefined);
      }
      const bodies = [checkCreateBody, checkDeleteBody, checkPartBody, checkProposal, checkSettlement].map(
        (check) => orRefused<unknown>(() => check(body), isFailure),
      );
      return [...ids, ...bodies].some((read) => read !== undefined);
    },
    words: [
      '"recipe":',
      '"options":',
      '"startTimeout":',
      '"owner":',
      '"id":',
      '"machine":',
      '"connection":',
      '"local":',
      '"remote":',
      '"tunnel":',
      '"__proto__":',
      '{',
      '}',
      '[',
      ']',
      'null',
      '1e999',
      '"volumes":true',
      '"keep":true',
      '"dryRun":',
      '"pairs":',
      '"incoming":',
      '"spi":',
    ],
    examples: [
      '{"recipe":["url",":1","tail"],"options":{"startTimeout":5,"pull":"missing","dryRun":true}}',
      '{"recipe":["tail"],"connection":{"local":"10.0.0.1","remote":"10.0.0.2"},"owner":{"id":"a","machine":"b"}}',
      '{"volumes":true,"keep":false}',
    ],
    refused: '{"recipe":1}',
  },

  /** What the daemon of another machine answers. */
  'api-answer': {
    run(input) {
      let answer: unknown;
      try {
        answer = JSON.parse(input.toString('utf8'));
      } catch {
        return false;
      }
      const answers = ANSWERS.map((schema) =>
        orRefused<unknown>(() => checkAnswer(schema, answer), isFailure),
      );
      const tunnels = [
        () => checkAcceptance(answer, 'esp'),
        () => checkAcceptance(answer, 'udp'),
        () => checkPeerStatus(answer),
      ].map((check) => orRefused<unknown>(check, isFailure));
      return [...answers, ...tunnels].some((read) => read !== undefined);
    },
    words: [
      ...['"links":', '"tunnels":', '"error":', '"code":', '"message":', '"files":', '"text":', '"left":'],
      ...[
        '"machine":',
        '"time":',
        '"days":',
        '"id":',
        '"head":',
        '"tail":',
        '"state":',
        '"kind":',
        '"port":',
      ],
      ...['"incoming":', '"spi":', '"mode":', '"inner":', '"outer":', '"__proto__":', 'null', '1e999'],
    ],
    examples: [
      '{"machine":"a","time":1}',
      '{"left":["volume x"]}',
      '{"error":{"code":"failed","message":"x"}}',
      '{"files":[{"name":"a.socket","text":"[Socket]"}]}',
    ],
    refused: '{"left":[1]}',
  },

  /** Datagrams that anyone may send to the port of a tunnel in UDP. */
  hello: {
    run(input) {
      const secret = Buffer.alloc(32, 7);
      const hello = readHello(input);
      if (hello === undefined) return false;
      if (provesHello(input, 'a', secret)) throw new Error('a forged hello');
      if (Number.isSafeInteger(hello.time))
        requireSame(hello, readHello(writeHello(hello, 'a', secret)), 'its text');
      return true;
    },
    words: ['\0\0\0\0'],
    examples: [writeHello({ id: '0011223344556677', time: 1 }, 'b', Buffer.alloc(32)).toString('latin1')],
    refused: 'hello',
  },

  /** Files of /etc/wormhole/links.d. Each fault has a line of the file. */
  declaration: {
    longest: 600,
    run(input) {
      const text = input.toString('utf8');
      try {
        parseDeclaration([{ path: 'a.wormhole', text }], { name: 'a', hostname: 'host' });
        return true;
      } catch (error) {
        if (!(error instanceof FaultyFile)) throw error;
        const lines = text.split('\n').length;
        for (const { line, message } of error.faults) {
          if (!(line >= 1 && line <= lines)) throw new Error(`line ${line} of ${lines}: ${message}`);
          if (/[\n\r]/.test(message)) throw new Error(`a message of several lines: ${message}`);
        }
        return false;
      }
    },
    words: [
      '[Link]\n',
      '[Tunnel]\n',
      '[Socket]\n',
      '[Service]\n',
      'Recipe=',
      'Idle=',
      'Mode=',
      'Host=',
      'Udp=yes',
      'Rate=',
      'AcceptProxyProtocol=',
      '\\\n',
      '"',
      "'",
      '%H',
      '%%',
      '# ',
      '\\x41',
    ],
    examples: [
      '[Link]\nIdle=30s\nRecipe=url :80 trigger docker-run nginx \\\n  child url :1 tail url :2\n[Socket]\nBacklog=1\n',
      '[Tunnel]\nHost=%H\nUdp=yes\n[Service]\nNice=1\n',
    ],
    refused: '[Link]\nRecipe=url\n',
  },

  /** What a proxy, or someone who says so, sends first. It is read in pieces, and ends where it ends whatever follows. */
  'proxy-header': {
    run(input) {
      const parsed = parseHeader(input);
      if (parsed.kind === 'malformed' && /\p{Cc}/u.test(parsed.reason))
        throw new Error('a reason that cannot be printed');
      if (parsed.kind === 'incomplete' && input.length >= LONGEST_HEADER)
        throw new Error('a header without end');
      if (parsed.kind !== 'complete') return false;
      if (parsed.size > input.length) throw new Error('a header that is longer than what was sent');
      for (const end of [parsed.size - 1, parsed.size >> 1])
        if (parseHeader(input.subarray(0, end)).kind !== 'incomplete')
          throw new Error(`a header of ${end} bytes`);
      const alone = parseHeader(input.subarray(0, parsed.size));
      if (alone.kind !== 'complete' || alone.size !== parsed.size)
        throw new Error('a header that depends on what follows');
      return true;
    },
    words: [
      'PROXY TCP4 ',
      'PROXY TCP6 ',
      'PROXY UNKNOWN',
      '\r\n',
      '\r\n\r\n\0\r\nQUIT\n',
      '\x21\x11\0\x0c',
      '\x21\x21\0\x24',
      '\x20\0\0\0',
      '\x03\0\x04',
      '127.0.0.1 ',
      '::1 ',
    ],
    examples: [
      'PROXY TCP4 10.0.0.1 10.0.0.2 1000 80\r\nGET /',
      '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\x03\xe8\0\x50rest',
    ],
    refused: 'PROXY TCP4 10.0.0.1\r\n',
  },

  /** What the forwarder of a tail is told about PROXY headers. What is read is written and read again as the same. */
  'hand-off': {
    run(input) {
      const proxyInfo = parseProxyInfo(input.toString('utf8'));
      if (proxyInfo === undefined) return false;
      if ((proxyInfo.header?.length ?? 1) === 0 || (proxyInfo.header?.length ?? 0) > LONGEST_SENT_HEADER)
        throw new Error('a header that no pipe takes as a whole');
      requireSame(proxyInfo, parseProxyInfo(formatProxyInfo(proxyInfo)), 'its text');
      return true;
    },
    words: ['0 ', '28 ', '- ', 'UFJPWFk=', '=', ' ', '192.0.2.1:40000 behind 10.0.0.1:50000'],
    examples: ['0 UFJPWFkgVU5LTk9XTg0K ', '47 - 192.0.2.1:40000 behind 10.0.0.1:50000', '9 UFJPWFk= x'],
    refused: '9',
  },

  /** The resolv.conf and the hosts of a container. */
  'resolver-files': {
    longest: 1000,
    run(input) {
      const text = input.toString('utf8');
      const config = parseResolvConf(text);
      if (candidates('db', config).length > 20) throw new Error('a name in very many domains');
      return config.servers.length + addressesInHosts(text, 'db').length > 0;
    },
    words: ['nameserver ', 'search ', 'domain ', 'options ndots:', '10.0.0.1', 'fe80::1%eth0', '# ', '\tdb'],
    examples: [
      'nameserver 127.0.0.11\nsearch a.example b\noptions ndots:0\n',
      '10.0.0.1\tdb db.example\n::1 localhost',
    ],
    refused: 'nameserver\n',
  },

  /** What a container has logged, in the frames of the engine. */
  'container-log': {
    run(input) {
      const lines = logLines(input);
      for (const line of lines) if (line.includes('\n')) throw new Error('a line of several lines');
      return lines.length > 0;
    },
    words: ['\x01\0\0\0\0\0\0\x05', '\x02\0\0\0\0\0\0\x05', '\n'],
    examples: ['\x01\0\0\0\0\0\0\x06hello\n', 'plain\nlines\n'],
  },

  ...registryTargets,
  ...labelTargets,
};
