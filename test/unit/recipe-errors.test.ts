import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { RecipeError } from '../../src/recipe/error.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';
import { recipeFromText } from '../../src/recipe/text.ts';

/** Runs `parse`, which must throw a RecipeError, and gives it back. */
function errorOf(parse: () => unknown): RecipeError {
  try {
    parse();
  } catch (error) {
    assert.instance(error, RecipeError);
    return error as RecipeError;
  }
  return assert.unreachable('no error') as never;
}

/** A message about a word begins with its place, and the error carries both. */
function checkMessage(words: string[], message: string): void {
  const error = errorOf(() => parseRecipe(words));
  assert.is(error.message, message);
  const position = Number(/^word (\d+)[,:]|\(word (\d+)\):/.exec(message)?.slice(1).join(''));
  assert.is(error.position, position);
  assert.is(error.word, words[position - 1]);
}

const NO_TAIL = 'the link has no tail; say where it connects to, with tail, trigger, chain, remote…';
const NEITHER = 'is neither an IP address nor a name such as db.example.com';
const NUMBER = 'is neither an IP address nor a name: a name does not end in a number';
const HEAD = 'is a name, and a head listens at an address, such as 127.0.0.1; names are for tails';
const CONTROL = 'control characters, line breaks and broken Unicode cannot stand in a recipe';
const PORT = 'is not a number from 1 to 65535';
const URL_FORM = 'expected {proto://}{netns@}{host}{:port}, such as :3306';
const ID = 'an id is 1 to 100 letters, digits, "_", "." and "-", and begins with a letter or digit';
const MACHINE = 'expected the name or address of a machine';
const TCP = 'tcp leads to tcp or unix';
const TAIL_PORT = 'the tail needs a port, such as url :3306, since the head has none';
const UNIX_FORM = 'expected a path, unix:///run/x.sock, or an abstract name, unix://@x';
const BRACKETS = 'an IPv6 address goes in brackets, such as [::1]:3306';

/** Recipes without spaces in their words, and what is wrong with them. */
const errors: Record<string, string> = {
  // Words
  'url :3306 dokcer-ns': 'word 3, "dokcer-ns": not a word of the recipe; did you mean "docker-ns"?',
  'url :80 URL': 'word 3, "URL": not a word of the recipe; did you mean "url"?',
  'url :80 dock x': 'word 3, "dock": not a word of the recipe; did you mean "docker-ns"?',
  'url :80 tun x': 'word 3, "tun": not a word of the recipe; did you mean "tunnel"?',
  'url :80 urlxyz': 'word 3, "urlxyz": not a word of the recipe',
  'url :80 tail mysql': 'word 4, "mysql": not a word of the recipe',
  'url :80 x': 'word 3, "x": not a word of the recipe',
  ':80 tail': 'word 1, ":80": not a word of the recipe; did you mean "url :80"?',
  'tail docker-ns a b': 'word 4, "b": not a word of the recipe',
  'tail docker-run -e A=b nginx': 'after "docker-run" (word 2): its arguments go in one word, in quotes',
  'tail docker-run nginx chld':
    'word 4: not a word of the recipe; did you mean "child"? If it is for docker-run: its arguments go in one word, in quotes',
  'tail docker-run nginx Xchild': 'after "docker-run" (word 2): its arguments go in one word, in quotes',
  'tail docker-run nginx childX': 'after "docker-run" (word 2): its arguments go in one word, in quotes',
  'url :80 a:80y': 'word 3, "a:80y": not a word of the recipe',
  'url :80 tail url :81 --dry-run': 'word 6, "--dry-run": options go before the recipe',
  'url :80 docker-ns -n': 'word 4, "-n": options go before the recipe',
  'url -n': 'word 2, "-n": options go before the recipe',
  'tail remote -K': 'word 3, "-K": options go before the recipe',

  // Services
  'unit x url :80 tail': 'word 1, "unit": a service is for a tail: say trigger, or tail, before it',
  'url :80 remote m unit x trigger':
    'word 5, "unit": a service is for a tail: say trigger, or tail, before it',
  'url :80 trigger unit': 'after "unit" (word 4): expected a service of systemd, such as postgresql.service',
  'url :80 trigger unit tail':
    'after "unit" (word 4): expected a service of systemd, such as postgresql.service',
  'url :80 trigger unit x unit y':
    'word 6, "unit": the end is already served by x.service; an end has one service, on this host',
  'url :80 trigger unit x docker-ns y':
    'word 6, "docker-ns": the end is already served by x.service; an end has one service, on this host',
  'url :80 trigger docker-ns y unit x':
    'word 6, "unit": the end already lives in container y; an end lives in one place',
  'url :80 trigger url blue@:80 unit x':
    'word 6, "unit": the end already lives in netns blue; an end lives in one place',
  'url :80 trigger unit x.socket':
    'word 5, "x.socket": a connection starts a service, and no unit of another type',
  'url :80 trigger unit x@': 'word 5, "x@": "x@" is a template: say an instance of it, such as x@1.service',
  'url :80 trigger unit a/b': 'word 5, "a/b": "a/b" cannot be the name of a service',
  'url :80 trigger unit a%n': 'word 5, "a%n": "a%n" cannot be the name of a service',
  'url :80 trigger unit .x': 'word 5, ".x": ".x" cannot be the name of a service',
  'url :80 trigger unit @x.service': 'word 5, "@x.service": "@x.service" cannot be the name of a service',
  'url :80 trigger unit --now': 'word 5, "--now": options go before the recipe',
  'url :80 trigger unit wormhole-80': `word 5, "wormhole-80": it is one of Wormhole's own units, which links start by themselves`,
  'url :80 trigger unit wormholed': `word 5, "wormholed": it is one of Wormhole's own units, which links start by themselves`,
  'url :80 trigger unit x':
    'word 3, "trigger": cannot proxy to self: the recipe itself listens at 127.0.0.1:80 of this host',
  'url :80 trigger unit x url :81 chain url :82 tail url :83':
    'word 8, "chain": the tail is served by x.service, and the head of a chain by Wormhole',

  // What is missing
  url: `after "url" (word 1): ${URL_FORM}`,
  'url tail': `after "url" (word 1): ${URL_FORM}`,
  'url :80 remote': `after "remote" (word 3): ${MACHINE}`,
  'url :80 tunnel tail': `after "tunnel" (word 3): ${MACHINE}`,
  'url :80 udptunnel': `after "udptunnel" (word 3): ${MACHINE}`,
  'url :80 id': 'after "id" (word 3): expected a name for the link, such as web',
  'id tail': 'after "id" (word 1): expected a name for the link, such as web',
  idle: 'after "idle" (word 1): expected a span of time, such as 30s',
  'tail docker-run':
    'after "docker-run" (word 2): expected the arguments of docker run in one word, such as nginx',
  'tail docker-run child':
    'after "docker-run" (word 2): expected the arguments of docker run in one word, such as nginx',
  'url :3306': `after ":3306" (word 2): ${NO_TAIL}`,
  'url :80 docker-ns': `after "docker-ns" (word 3): ${NO_TAIL}`,
  'id web': `after "web" (word 2): ${NO_TAIL}`,
  'url :80 remote m': `after "m" (word 4): ${NO_TAIL}`,
  'url :80 tail docker-ns app child url :81': `after ":81" (word 8): ${NO_TAIL}`,
  'url :80 child url :81 tail':
    'word 3, "child": the link has no tail yet; say tail or trigger first, or chain for the child to be it',

  // What is said twice
  'url :3306 docker-ns url :80': 'word 4, "url": the port is already 3306; an end has one port',
  'url :80 url :80': 'word 3, "url": the port is already 80; an end has one port',
  'url tcp:// url udp://': 'word 3, "url": the protocol is already tcp; an end has one protocol',
  'url 10.0.0.1 url [::1]': 'word 3, "url": the host is already 10.0.0.1; an end has one host',
  'docker-ns a docker-ns b':
    'word 3, "docker-ns": the end already lives in container a; an end lives in one place',
  'docker-ns docker-ns':
    'word 2, "docker-ns": the end already lives in this host\'s netns; an end lives in one place',
  'url blue@ docker-ns':
    'word 3, "docker-ns": the end already lives in netns blue; an end lives in one place',
  'docker-ns app url blue@':
    'word 3, "url": the end already lives in container app; an end lives in one place',
  'docker-run nginx docker-ns app':
    'word 3, "docker-ns": the end already lives in a container of its own; an end lives in one place',
  'url :80 tail docker-ns a tail': 'word 6, "tail": the tail already began with "tail", word 3',
  'url :80 trigger docker-ns a tail': 'word 6, "tail": the tail already began with "trigger", word 3',
  'url :80 tail trigger': 'word 4, "trigger": the tail already began with "tail", word 3',
  'id a id b': 'word 3, "id": the id is already a; a link has one id',
  'id a idle 5m idle 1m': 'word 5, "idle": idle is already 5m; a link has one span',
  'url :80 tail url :81 remote m tail':
    'word 6, "remote": the head on m is the tail of this link; describe it after remote m',

  // Urls
  'url http://:80':
    'word 2, "http://:80": protocol "http" is none of tcp, udp, unix, unixgram and unixpacket',
  'url ://:80': 'word 2, "://:80": protocol "" is none of tcp, udp, unix, unixgram and unixpacket',
  'url @:80': 'word 2, "@:80": "" cannot be the name of a network namespace',
  'url ..@:80': 'word 2, "..@:80": ".." cannot be the name of a network namespace',
  'url .@': 'word 2, ".@": "." cannot be the name of a network namespace',
  'url a/b@:80': 'word 2, "a/b@:80": "a/b" cannot be the name of a network namespace',
  'url :0': `word 2, ":0": port "0" ${PORT}`,
  'url :65536': `word 2, ":65536": port "65536" ${PORT}`,
  'url :abc': `word 2, ":abc": port "abc" ${PORT}`,
  'url :': `word 2, ":": port "" ${PORT}`,
  'url :+80': `word 2, ":+80": port "+80" ${PORT}`,
  'url :08': `word 2, ":08": port "08" ${PORT}`,
  'url :0x50': `word 2, ":0x50": port "0x50" ${PORT}`,
  'url :1e3': `word 2, ":1e3": port "1e3" ${PORT}`,
  'url :٨٠': `word 2, ":٨٠": port "٨٠" ${PORT}`,
  'url 127.0.0.1:80:81': `word 2, "127.0.0.1:80:81": port "80:81" ${PORT}`,
  'url [::1]:': `word 2, "[::1]:": port "" ${PORT}`,
  'url tcp://127.0.0.1:80/': `word 2, "tcp://127.0.0.1:80/": port "80/" ${PORT}`,
  'url ::1': `word 2, "::1": ${BRACKETS}`,
  'url ::1:3306': `word 2, "::1:3306": ${BRACKETS}`,
  'url 1:2:3:4:5:6:7:8:3306': `word 2, "1:2:3:4:5:6:7:8:3306": ${BRACKETS}`,
  'url [::1': `word 2, "[::1": ${BRACKETS}`,
  'url [127.0.0.1]:80': 'word 2, "[127.0.0.1]:80": "127.0.0.1" is not an IPv6 address',
  'url [fe80::1%eth0]:80': 'word 2, "[fe80::1%eth0]:80": "fe80::1%eth0" is not an IPv6 address',
  'url []:80': 'word 2, "[]:80": "" is not an IPv6 address',
  'url db.example.com:80': `word 1, "url": host "db.example.com" ${HEAD}`,
  'url :80 remote beta url db.example.com:80 tail': `word 5, "url": host "db.example.com" ${HEAD}`,
  'url :80 tail url db:80 chain tail url :82':
    'word 6, "chain": the tail has a name, tcp://db:80, and the head of a chain listens at an address',
  'url :80 tail url -db.example.com:80': `word 5, "-db.example.com:80": options go before the recipe`,
  'url :80 tail url db..com': `word 5, "db..com": host "db..com" ${NEITHER}`,
  'url :80 tail url db-.com': `word 5, "db-.com": host "db-.com" ${NEITHER}`,
  'url :80 tail url db;rm:80': `word 5, "db;rm:80": host "db;rm" ${NEITHER}`,
  [`url :80 tail url ${'a'.repeat(64)}:80`]: `word 5, "${'a'.repeat(64)}:80": host "${'a'.repeat(64)}" ${NEITHER}`,
  'url :80 tail url bücher.example:80':
    'word 5, "bücher.example:80": host "bücher.example" has characters that DNS does not have: write "xn--bcher-kva.example"',
  'url 127.0.0.256': `word 2, "127.0.0.256": host "127.0.0.256" ${NUMBER}`,
  'url 127.0.0.01': `word 2, "127.0.0.01": host "127.0.0.01" ${NUMBER}`,
  'url :80 tail url 10.1:80': `word 5, "10.1:80": host "10.1" ${NUMBER}`,
  'url [::1]80': `word 2, "[::1]80": host "[::1]80" ${NEITHER}`,
  'url 3306': 'word 2, "3306": host "3306" is not an IP address; did you mean ":3306"?',

  // Names
  'docker-ns $mysql': 'word 2, "$mysql": "$mysql" cannot be the name or id of a container',
  'docker-ns a/b': 'word 2, "a/b": "a/b" cannot be the name or id of a container',
  'docker-ns //a': 'word 2, "//a": "//a" cannot be the name or id of a container',
  'docker-ns _a': 'word 2, "_a": "_a" cannot be the name or id of a container',
  'id web.socket': 'word 2, "web.socket": an id cannot end in ".socket"',
  'id web.service': 'word 2, "web.service": an id cannot end in ".service"',
  'id web-run': 'word 2, "web-run": an id cannot end in "-run"',
  'id sync': 'word 2, "sync": this id is reserved',
  'id far': 'word 2, "far": this id is reserved',
  'id udp': 'word 2, "udp": this id is reserved',
  'id tunnel-udp': 'word 2, "tunnel-udp": this id is reserved',
  'id tunnel-guard': 'word 2, "tunnel-guard": this id is reserved',
  'id .web': `word 2, ".web": ${ID}`,
  'id a/b': `word 2, "a/b": ${ID}`,
  'id wéb': `word 2, "wéb": ${ID}`,
  'remote my_server': 'word 2, "my_server": "my_server" is neither a host name nor an IP address',
  'remote x[fd00::1]': 'word 2, "x[fd00::1]": "x[fd00::1]" is neither a host name nor an IP address',
  'remote [fd00::1]x': 'word 2, "[fd00::1]x": "[fd00::1]x" is neither a host name nor an IP address',
  'remote 10.a.20': 'word 2, "10.a.20": "10.a.20" is neither a host name nor an IP address',
  'remote 10.20': 'word 2, "10.20": "10.20" is neither a host name nor an IP address',
  'remote a..b': 'word 2, "a..b": "a..b" is neither a host name nor an IP address',
  'remote 10.1': 'word 2, "10.1": "10.1" is neither a host name nor an IP address',
  'remote [10.0.0.1]': 'word 2, "[10.0.0.1]": "[10.0.0.1]" is neither a host name nor an IP address',
  'remote host:9999': 'word 2, "host:9999": "host:9999" is neither a host name nor an IP address',
  'remote fe80::1%eth0': 'word 2, "fe80::1%eth0": "fe80::1%eth0" is neither a host name nor an IP address',

  // Links that cannot be
  tail: 'word 1, "tail": cannot proxy to self: the recipe itself listens at 127.0.0.1 of this host',
  'url :80 tail':
    'word 3, "tail": cannot proxy to self: the recipe itself listens at 127.0.0.1:80 of this host',
  'url :80 trigger url localhost:80':
    'word 3, "trigger": cannot proxy to self: the recipe itself listens at 127.0.0.1:80 of this host',
  'url :80 tail child url :81 tail docker-ns a':
    'word 3, "tail": cannot proxy to self: the recipe itself listens at 127.0.0.1:80 of this host',
  'url :80 docker-ns a tail docker-ns a':
    'word 5, "tail": cannot proxy to self: the recipe itself listens at 127.0.0.1:80 of container a',
  'url a@:80 tail url a@':
    'word 3, "tail": cannot proxy to self: the recipe itself listens at 127.0.0.1:80 of netns a',
  'url [::1]:80 tail url [0:0::1]:80':
    'word 3, "tail": cannot proxy to self: the recipe itself listens at [::1]:80 of this host',
  'url 0.0.0.0:80 tail':
    'word 3, "tail": cannot proxy to self: the recipe itself listens at 127.0.0.1:80 of this host',
  'url 0.0.0.0:80 tail url 127.1.2.3:80':
    'word 3, "tail": cannot proxy to self: the recipe itself listens at 127.1.2.3:80 of this host',
  'url [::]:80 tail':
    'word 3, "tail": cannot proxy to self: the recipe itself listens at 127.0.0.1:80 of this host',
  'url [::]:80 tail url [::1]':
    'word 3, "tail": cannot proxy to self: the recipe itself listens at [::1]:80 of this host',
  'url 0.0.0.0:80 tail url 0.0.0.0':
    'word 3, "tail": cannot proxy to self: the recipe itself listens at 0.0.0.0:80 of this host',
  'url [::]:80 tail url [::]':
    'word 3, "tail": cannot proxy to self: the recipe itself listens at [::]:80 of this host',
  'url :80 tail url [::ffff:127.0.0.1]':
    'word 3, "tail": cannot proxy to self: the recipe itself listens at [::ffff:127.0.0.1]:80 of this host',
  'url :9000 chain tail url :9001':
    'word 3, "chain": cannot proxy to self: the recipe itself listens at 127.0.0.1:9000 of this host',
  'url :9000 chain url :9001 tail':
    'word 6, "tail": cannot proxy to self: the recipe itself listens at 127.0.0.1:9001 of this host',
  'url :9000 chain url :9001 tail url :9000':
    'word 6, "tail": cannot proxy to self: the recipe itself listens at 127.0.0.1:9000 of this host',
  'url :9000 tail url :9001 child tail url :9000':
    'word 7, "tail": cannot proxy to self: the recipe itself listens at 127.0.0.1:9000 of this host',
  'url :9000 remote m chain url :9001 tail url :9001':
    'word 8, "tail": cannot proxy to self: the recipe itself listens at 127.0.0.1:9001 of this host',
  'url :53 tail url udp://:54': `word 3, "tail": the head is tcp and the tail udp; ${TCP}`,
  'url :53 chain url udp://:54 tail docker-ns dns': `word 3, "chain": the head is tcp and the tail udp; ${TCP}`,
  'url :53 remote m url udp:// tail': `word 3, "remote": the head is tcp and the tail udp; ${TCP}`,
  'url udp://:53 tail url tcp://:53 docker-ns dns':
    'word 3, "tail": the head is udp and the tail tcp; udp leads to udp or unixgram',
  'url :53 url udp:// tail url tcp://:53 docker-ns dns':
    'word 5, "tail": the head is udp and the tail tcp; udp leads to udp or unixgram: a url without a protocol, such as :53, is reached by that of each client',
  'url :53 url udp:// chain url tcp://:54 tail docker-ns dns':
    'word 5, "chain": the head is udp and the tail tcp; udp leads to udp or unixgram: a url without a protocol, such as :53, is reached by that of each client',
  'url :53 url udp:// chain url tcp://:54 url udp://:55 tail docker-ns dns':
    'word 5, "chain": the listeners of the head lead to one address, and these to 127.0.0.1:54 and 127.0.0.1:55; make a link of each',
  'url :53 url udp:// remote m url tcp://:54 url udp://:55 tail docker-ns dns':
    'word 5, "remote": the listeners of the head lead to one address, and these to :54 and :55; make a link of each',
  'url unixgram:///run/x tail url udp://:514':
    'word 3, "tail": the head is unixgram and the tail udp; say tail url unixgram:// and a path or an abstract name',
  'url unixgram:///run/x tail':
    'word 3, "tail": the head is unixgram and the tail tcp; say tail url unixgram:// and a path or an abstract name',
  'url unixpacket:///run/x tail url unix:///run/y':
    'word 3, "tail": the head is unixpacket and the tail unix; say tail url unixpacket:// and a path or an abstract name',
  'url unixgram:///run/x remote m tail':
    'word 3, "remote": a unixgram head leads to a unixgram socket of the same machine only',
  'url :80 remote m url unix:///run/x tail':
    'word 5, "url": the head on another machine is reached over the network, by tcp or udp',
  'url unix:///run/x tail docker-ns db': `after "tail" (word 3): ${TAIL_PORT}`,
  'url unix:///run/x remote m tail docker-ns db': `after "tail" (word 5): ${TAIL_PORT}`,
  'url unix:///run/x chain url unix:///run/y tail docker-ns db': `after "tail" (word 6): ${TAIL_PORT}`,

  // Listeners
  'url :80 url tcp://:81': 'word 3, "url": the port is already 80; an end has one port',
  'url tcp://:80 url tcp://:81': 'word 3, "url": the protocol is already tcp; an end has one protocol',
  'url tcp://:80 url udp:// url udp://:81':
    'word 5, "url": the protocol is already tcp; an end has one protocol',
  'url tcp://:80 url udp:// url :81': 'word 5, "url": the port is already 80; an end has one port',
  'url :80 tail url :81 url udp://':
    'word 3, "tail": the head is tcp and the tail udp; tcp leads to tcp or unix',
  'url :80 tail url tcp://:81 url udp://:81':
    'word 6, "url": the protocol is already tcp; an end has one protocol',
  'url :80 url unix:///run/x url unix:///run/y':
    'word 5, "url": the end is already tcp://127.0.0.1:80 and unix:///run/x; an end has one address',
  'url unix:///run/x url :80': 'word 3, "url": the end is already unix:///run/x; an end has one address',
  'url blue@:53 url udp://red@:53':
    'word 3, "url": the end already lives in netns blue; an end lives in one place',

  // Paths and abstract names
  'url unix://': `word 2, "unix://": ${UNIX_FORM}`,
  'url unix://run/x': `word 2, "unix://run/x": ${UNIX_FORM}`,
  'url unix://:80': `word 2, "unix://:80": ${UNIX_FORM}`,
  'url unix:///': 'word 2, "unix:///": the path is that of a directory, and not of a socket',
  'url unix:///run/x/': 'word 2, "unix:///run/x/": the path is that of a directory, and not of a socket',
  'url unix:///run/../x': 'word 2, "unix:///run/../x": the path can be written shorter: /x',
  'url unix:///run//x': 'word 2, "unix:///run//x": the path can be written shorter: /run/x',
  'url unix:///run/x\\':
    'word 2, "unix:///run/x\\\\": the address of a unix socket cannot end in a blank or \\',
  'url unix://@': 'word 2, "unix://@": the abstract name after the @ is empty',
  'url unix://blue@x': 'word 2, "unix://blue@x": an abstract name begins with @: unix://blue@@x',
  'url unix://@@x': 'word 2, "unix://@@x": "" cannot be the name of a network namespace',
  'url unix://blue@/run/x':
    'word 2, "unix://blue@/run/x": a path is the same in every network namespace; leave out what stands before it: unix:///run/x',
  'url blue@ url unix:///run/x tail url :1':
    'word 3, "url": a path is the same in every network namespace; leave out the netns',
  'url unix:///run/x docker-ns app tail url :1':
    'word 3, "docker-ns": a path is one of this host\'s file system, not of that of container app; share its directory with the container (docker run -v), and leave docker-ns out',
  'url :80 tail docker-ns app url unix:///run/x':
    'word 6, "url": a path is one of this host\'s file system, not of that of container app; share its directory with the container (docker run -v), and leave docker-ns out',
  'url :80 docker-ns app url unix:///run/x tail url :1':
    'word 5, "url": a path is one of this host\'s file system, not of that of container app; share its directory with the container (docker run -v), and leave docker-ns out',
  'url :80 tail url unix:///run/x docker-run nginx':
    'word 6, "docker-run": a path is one of this host\'s file system, not of that of a container of its own; share its directory with a container of yours (docker run -v), or use a port, url :3306',
  'url unix:///run/x tail url unix:///run/x':
    'word 3, "tail": cannot proxy to self: the recipe itself listens at /run/x of this host',
  'url :80 url unix:///run/x tail url unix:///run/x':
    'word 5, "tail": cannot proxy to self: the recipe itself listens at /run/x of this host',
  'url unix://@x tail url unix://@x':
    'word 3, "tail": cannot proxy to self: the recipe itself listens at @x of this host',
};

for (const [text, message] of Object.entries(errors)) {
  test(text, () => checkMessage(text.split(' '), message));
}

/** Recipes with spaces or stranger things in their words. */
const oddErrors: [words: string[], message: string][] = [
  [['url', ''], `word 2, "": ${URL_FORM}`],
  [['url', ' :80'], `word 2, " :80": host " " ${NEITHER}`],
  [['url', ': 80'], `word 2, ": 80": port " 80" ${PORT}`],
  [['url', ':80 '], `word 2, ":80 ": port "80 " ${PORT}`],
  [['docker-ns', ''], 'word 2, "": "" cannot be the name or id of a container'],
  [['docker-ns', 'a b'], 'word 2, "a b": "a b" cannot be the name or id of a container'],
  [['docker-run', ''], 'docker-run (word 2): it needs an image, such as docker-run nginx'],
  [['docker-run', '  '], 'docker-run (word 2): it needs an image, such as docker-run nginx'],
  [['docker-run', "''"], 'docker-run (word 2): it needs an image, such as docker-run nginx'],
  [
    ['docker-run', 'sh -c "exit'],
    'docker-run (word 2): its arguments end inside a quote or after a backslash',
  ],
  [['docker-run', 'nginx \\'], 'docker-run (word 2): its arguments end inside a quote or after a backslash'],
  [['id', ''], `word 2, "": ${ID}`],
  [['id', 'a'.repeat(101)], `word 2, "${'a'.repeat(101)}": ${ID}`],
  [['remote', ''], 'word 2, "": "" is neither a host name nor an IP address'],
  [['url', ':80', ''], 'word 3, "": not a word of the recipe'],
  [['tail', 'docker-run', 'nginx\nExecStart=/bin/sh'], `word 3: ${CONTROL}`],
  [['tail', 'docker-run', 'secret\n', 'child', 'url', ':81'], `word 3: ${CONTROL}`],
  [['tail', 'docker-ns', 'a\r'], `word 3, "a\\r": ${CONTROL}`],
  [['url', ':80\0'], `word 2, ":80\\u0000": ${CONTROL}`],
  [['url', ':80', '\x7f'], `word 3, "\\u007f": ${CONTROL}`],
  [['url', ':80', '\x85'], `word 3, "\\u0085": ${CONTROL}`],
  [['url', ':80', '\ud800'], `word 3, "\\ud800": ${CONTROL}`],
  [
    ['url', ':80', 'tail\u2028\u202e'],
    'word 3, "tail\\u2028\\u202e": not a word of the recipe; did you mean "tail"?',
  ],
];

for (const [words, message] of oddErrors) {
  test(JSON.stringify(words), () => checkMessage(words, message));
}

test('the name of a network namespace has at most 255 bytes', () => {
  assert.not.throws(() => parseRecipe(['url', `${'é'.repeat(127)}a@:80`, 'tail']));
  const error = errorOf(() => parseRecipe(['url', `${'é'.repeat(128)}@:80`, 'tail']));
  assert.match(error.message, /cannot be the name of a network namespace$/);
});

test('host names have limits', () => {
  const label = 'a'.repeat(63);
  assert.not.throws(() =>
    parseRecipe(['url', ':80', 'remote', `${label}.${label}.${label}.${'a'.repeat(61)}`, 'tail']),
  );
  for (const name of [`a${label}`, `${label}.${label}.${label}.${'a'.repeat(62)}`, 'b.-a', 'a-', 'a.']) {
    const error = errorOf(() => parseRecipe(['url', ':80', 'remote', name, 'tail']));
    assert.match(error.message, /is neither a host name nor an IP address$/);
  }
});

test('the address of a unix socket has at most 107 bytes', () => {
  const path = `/${'é'.repeat(53)}`;
  assert.is(Buffer.byteLength(path), 107);
  assert.not.throws(() => parseRecipe(['url', `unix://${path}`, 'tail', 'url', ':80']));
  assert.not.throws(() => parseRecipe(['url', `unix://@${'a'.repeat(106)}`, 'tail', 'url', ':80']));
  for (const url of [`unix://${path}a`, `unix://@${'a'.repeat(107)}`]) {
    const error = errorOf(() => parseRecipe(['url', url, 'tail', 'url', ':80']));
    assert.match(error.message, /has at most 107 bytes, and this has 108$/);
  }
});

test('an empty recipe has no word to point at', () => {
  const error = errorOf(() => parseRecipe([]));
  assert.is(error.message, 'the recipe is empty; it says where to listen and where to connect to');
  assert.is(error.position, 0);
  assert.is(error.word, '');
  assert.is(errorOf(() => recipeFromText('  ')).message, error.message);
});

test('a text with an open quote is no recipe', () => {
  for (const text of ["url :80 docker-run 'nginx", 'tail "', 'tail \\']) {
    const error = errorOf(() => recipeFromText(text));
    assert.is(error.message, 'the recipe ends inside a quote or after a backslash');
    assert.is(error.position, 0);
  }
});

test.run();
