import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseRunArguments } from '../../src/docker-run/arguments.ts';
import { RunArgumentError, type RunRequest } from '../../src/docker-run/request.ts';

type Expected = Partial<Omit<RunRequest, 'holder' | 'container'>> & {
  holder?: object;
  container?: object;
};

const G = 1024 ** 3;

/** What the words before `image` ask for, besides that image. */
const understood: [args: string, expected: Expected][] = [
  ['image', {}],
  ['-- image', {}],
  ['image sh -c "echo $HOME"', { container: { Cmd: ['sh', '-c', 'echo $HOME'] } }],
  ['image -e A=B --rm', { container: { Cmd: ['-e', 'A=B', '--rm'] } }],
  ['image -- x', { container: { Cmd: ['--', 'x'] } }],
  ['-e A=B image', { container: { Env: ['A=B'] } }],
  ['-eA=B image', { container: { Env: ['A=B'] } }],
  ['-e=A=B image', { container: { Env: ['A=B'] } }],
  ['--env=A=B image', { container: { Env: ['A=B'] } }],
  ['--env A=B image', { container: { Env: ['A=B'] } }],
  [`-e 'A=two words' -e B= -e C=x=y image`, { container: { Env: ['A=two words', 'B=', 'C=x=y'] } }],
  ['-e A=-x image', { container: { Env: ['A=-x'] } }],
  ['-de A=B image', { container: { Env: ['A=B'] } }],
  ['-dp80:80 image', publish({ '80/tcp': [['', '80']] })],
  ['-d --detach image', {}],
  ['--rm=false --interactive=false image', {}],
  ['--env-file /etc/a --env-file=/etc/b image', { envFiles: ['/etc/a', '/etc/b'] }],
  ['-v /data image', { container: { Volumes: { '/data': {} } } }],
  ['-v data:/data image', host({ Binds: ['data:/data'] })],
  ['--volume=/srv/x:/data:ro,z -v d2:/e image', host({ Binds: ['/srv/x:/data:ro,z', 'd2:/e'] })],
  [
    '--mount type=bind,src=/a,dst=/b,readonly image',
    mount({ Type: 'bind', Source: '/a', Target: '/b', ReadOnly: true }),
  ],
  [
    '--mount type=bind,source=/a,target=/b,ro=false,bind-propagation=rslave image',
    mount({
      Type: 'bind',
      Source: '/a',
      Target: '/b',
      ReadOnly: false,
      BindOptions: { Propagation: 'rslave' },
    }),
  ],
  ['--mount source=vol,destination=/b image', mount({ Type: 'volume', Source: 'vol', Target: '/b' })],
  [
    '--mount type=tmpfs,target=/b,tmpfs-size=64m,tmpfs-mode=1770 image',
    mount({
      Type: 'tmpfs',
      Source: '',
      Target: '/b',
      TmpfsOptions: { SizeBytes: 64 * 1024 ** 2, Mode: 0o1770 },
    }),
  ],
  ['--tmpfs /run --tmpfs /tmp:rw,size=64m image', host({ Tmpfs: { '/run': '', '/tmp': 'rw,size=64m' } })],
  ['--name db image', { name: 'db' }],
  ['--network none image', network({ NetworkMode: 'none' })],
  ['--network my-net image', network({ NetworkMode: 'my-net' })],
  ['-p 80 image', publish({ '80/tcp': [['', '']] })],
  [
    '-p 8080:80 -p 8081:80 image',
    publish({
      '80/tcp': [
        ['', '8080'],
        ['', '8081'],
      ],
    }),
  ],
  ['-p 53:53/udp image', publish({ '53/udp': [['', '53']] })],
  ['-p 127.0.0.1:8080:80/tcp image', publish({ '80/tcp': [['127.0.0.1', '8080']] })],
  ['-p 127.0.0.1::80 image', publish({ '80/tcp': [['127.0.0.1', '']] })],
  ['-p [::1]:8080:80 image', publish({ '80/tcp': [['::1', '8080']] })],
  ['-p 8000-8001:80-81 image', publish({ '80/tcp': [['', '8000']], '81/tcp': [['', '8001']] })],
  ['-p 8000-8009:80 image', publish({ '80/tcp': [['', '8000-8009']] })],
  ['-p 80-81 image', publish({ '80/tcp': [['', '']], '81/tcp': [['', '']] })],
  ['-l a=b -l c --label d=e=f image', { container: { Labels: { a: 'b', c: '', d: 'e=f' } } }],
  ['-u 1000:1000 -w /srv image', { container: { User: '1000:1000', WorkingDir: '/srv' } }],
  ['--entrypoint /bin/sh image -c x', { container: { Entrypoint: ['/bin/sh'], Cmd: ['-c', 'x'] } }],
  ['--entrypoint "" image', { container: { Entrypoint: [''] } }],
  ['-h db.example image', { holder: { Hostname: 'db.example' } }],
  ['-m 512m image', host({ Memory: G / 2 })],
  ['--memory 1.5g image', host({ Memory: 1.5 * G })],
  ['--memory=10000000 image', host({ Memory: 10_000_000 })],
  ['-m 1GiB image', host({ Memory: G })],
  ['--cpus 1.5 --pids-limit -1 image', host({ NanoCpus: 1_500_000_000, PidsLimit: -1 })],
  ['--cpus .5 image', host({ NanoCpus: 500_000_000 })],
  ['--cap-drop all --cap-add net_admin image', host({ CapDrop: ['ALL'], CapAdd: ['NET_ADMIN'] })],
  ['--privileged --read-only --init image', host({ Privileged: true, ReadonlyRootfs: true, Init: true })],
  ['--privileged=false image', host({ Privileged: false })],
  ['--restart on-failure:3 image', host({ RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 3 } })],
  ['--restart no image', host({ RestartPolicy: { Name: 'no', MaximumRetryCount: 0 } })],
  [
    '--add-host a:10.0.0.1 --add-host b=fd00::1 --add-host c:host-gateway image',
    network({ ExtraHosts: ['a:10.0.0.1', 'b:fd00::1', 'c:host-gateway'] }),
  ],
  ['--dns 10.0.0.53 image', network({ Dns: ['10.0.0.53'] })],
  ['--pull always --platform linux/arm64 image', { pull: 'always', platform: 'linux/arm64' }],
];

function host(HostConfig: object): Expected {
  return { container: { HostConfig } };
}

function network(HostConfig: object): Expected {
  return { holder: { HostConfig } };
}

function mount(settings: object): Expected {
  return host({ Mounts: [settings] });
}

function publish(ports: Record<string, [ip: string, port: string][]>): Expected {
  const ExposedPorts = Object.fromEntries(Object.keys(ports).map((port) => [port, {}]));
  const PortBindings = Object.fromEntries(
    Object.entries(ports).map(([port, bindings]) => [
      port,
      bindings.map(([HostIp, HostPort]) => ({ HostIp, HostPort })),
    ]),
  );
  return { holder: { ExposedPorts, HostConfig: { PortBindings } } };
}

for (const [args, { holder, container, ...rest }] of understood) {
  test(args, () => {
    assert.equal(parseRunArguments(args), {
      image: 'image',
      envFiles: [],
      holder: { HostConfig: {}, ...holder },
      container: { HostConfig: {}, ...container },
      ...rest,
    });
  });
}

for (const image of [
  'nginx',
  'nginx:1.27',
  'wormhole/mysql',
  '127.0.0.1:5000/team/app:v1',
  'ghcr.io/me/my-app_x@sha256:0123456789abcdef0123456789abcdef',
  'MyHost/app',
]) {
  test(`image ${image}`, () => assert.is(parseRunArguments(image).image, image));
}

const misunderstood: [args: string, message: RegExp][] = [
  ['', /^it needs an image, such as docker-run nginx$/],
  ['-e A=B', /^it needs an image/],
  ['"" x', /^it needs an image/],
  ['-e A=B --', /^it needs an image/],
  ['"open', /inside a quote/],
  ['image\\', /after a backslash/],
  [
    'Nginx',
    /^word 1 of its arguments cannot be the name of an image, .*; names of images are in lower case$/,
  ],
  ['-d nginx: x', /^word 2 of its arguments cannot be the name of an image, which comes after the options$/],
  ['-it image', /^-i: nobody can type/],
  ['-t image', /^-t: .* no terminal/],
  ['--tty image', /^--tty: .* no terminal/],
  ['--rm image', /^--rm: the container is kept/],
  ['--rm=yes image', /true or false/],
  ['--gpus all image', /^--gpus is not supported; these options are: --add-host, --cap-add, /],
  ['--__proto__ x image', /^--__proto__ is not supported/],
  ['--constructor=x image', /^--constructor is not supported/],
  ['-x image', /^-x is not supported/],
  ['-P image', /^-P is not supported/],
  ['--env', /^--env needs a value$/],
  ['-e PATH image', /^-e \(word 1 of its arguments\): write NAME=VALUE; there is no environment/],
  ['-e =x image', /^-e \(word 1 .*\): write NAME=VALUE/],
  ['--env-file env image', /^--env-file \(.*\): write an absolute path$/],
  ['-v ./data:/data image', /^-v \(.*\): its source is neither an absolute path nor/],
  ['-v data image', /the path inside the container must be absolute/],
  ['-v /a:b image', /the path inside the container must be absolute/],
  ['-v /a:/ image', /cannot be \//],
  ['-v /a:/b:rx image', /^-v \(.*\): there are no such modes; one is ro$/],
  ['-v /a:/b:ro:z image', /write SOURCE:\/PATH/],
  ['--mount type=bind,src=a,dst=/b image', /a bind needs the absolute path/],
  ['--mount type=nfs,dst=/b image', /type is bind, volume or tmpfs/],
  [
    '--mount type=volume,src=/a,dst=/b image',
    /its source is neither an absolute path nor the name of a volume/,
  ],
  ['--mount src=v image', /the path inside the container must be absolute/],
  ['--mount src,dst=/b image', /src needs a value/],
  ['--mount foo=1,dst=/b image', /only these fields are supported: type, source/],
  ['--mount dst=/b,tmpfs-size=1m image', /tmpfs-size and tmpfs-mode are for type=tmpfs/],
  ['--tmpfs tmp image', /must be absolute/],
  ['--name a/b image', /^--name \(.*\): not a name for a container$/],
  ['--name a-netns image', /cannot end in "-netns"/],
  [
    '--network container:db image',
    /^--network \(.*\): to be in the network of another container, write docker-ns and its name$/,
  ],
  ['--network a --network b image', /^--network \(word 3 of its arguments\): a second network/],
  ['--network host -p 80 image', /^--publish makes no sense with --network host/],
  ['-p 80:80 --network none image', /^--publish makes no sense with --network none/],
  ['-p x image', /^-p \(.*\): write \[\[IP:\]/],
  ['-p 0:80 image', /ports go from 1 to 65535/],
  ['-p 65536 image', /ports go from 1 to 65535/],
  ['-p 81-80 image', /ports go from 1 to 65535/],
  ['-p 8000-8002:80-81 image', /differ in length/],
  ['-p 80/icmp image', /tcp, udp or sctp/],
  ['-p 1.2.3:80:80 image', /write \[\[IP:\]/],
  ['-p ::1:80:80 image', /in brackets/],
  ['-p 127.0.0.1:80 image', /write \[\[IP:\]/],
  ['-l =x image', /write NAME or NAME=VALUE/],
  ['-l wormhole.link=x image', /are for Wormhole/],
  ['-w srv image', /write an absolute path/],
  ['-h a_b image', /not the name of a host/],
  ['-m 5m image', /no less than 6m/],
  ['-m lots image', /write a size/],
  ['--cpus 0 image', /a number above 0/],
  ['--cpus -1 image', /a number above 0/],
  ['--pids-limit x image', /a whole number/],
  ['--cap-add NET-ADMIN image', /not the name of a capability/],
  ['--privileged=maybe image', /^--privileged \(.*\): write true or false$/],
  [
    '--restart always image',
    /^--restart \(.*\): the link starts it when it is needed; write no or on-failure$/,
  ],
  ['--restart unless-stopped image', /the link starts it/],
  ['--restart no:3 image', /write no, on-failure/],
  ['--add-host a image', /write it HOST:ADDRESS/],
  ['--dns one image', /write an IP address/],
  ['--pull sometimes image', /write always, missing or never/],
  ['--platform arm64 image', /write OS\/ARCHITECTURE/],
];

for (const [args, message] of misunderstood) {
  test(`not: ${args}`, () => {
    try {
      parseRunArguments(args);
    } catch (error) {
      assert.instance(error, RunArgumentError);
      assert.match((error as Error).message, message);
      assert.not.match((error as Error).message, /\n/);
      return;
    }
    assert.unreachable('it was understood');
  });
}

test('random words are understood or refused in one line', () => {
  const word = fc.oneof(
    fc.string(),
    fc.constantFrom(...[...understood, ...misunderstood].flatMap(([args]) => args.split(' '))),
  );
  fc.assert(
    fc.property(fc.array(word), (words) => {
      try {
        assert.ok(parseRunArguments(words.join(' ')).image);
      } catch (error) {
        assert.instance(error, RunArgumentError);
        assert.not.match((error as Error).message, /[\n\r]/);
      }
    }),
    { numRuns: 5_000 },
  );
});

test.run();
