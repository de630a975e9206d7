/** Something that goes wrong on a host while links are used. */
export interface Fault {
  name: string;
  /**
   * What bash runs. `$LINK` is the link under load, `$DELAY` a random number of seconds below 1, `$CALL` a random number from 1 to 200.
   * `start_web` makes the container that a link leads to, `start_blue` and `start_green` the namespaces that links lead to and from.
   */
  script: string;
  /** The network namespace in which the sessions run, whose head and tail are both in it. Default: that of the host. */
  namespace?: 'green';
}

/** Stops all processes of a unit for some seconds. */
const suspended = (unit: string, seconds: number): string =>
  `systemctl kill -s STOP ${unit}; sleep ${seconds}; systemctl kill -s CONT ${unit}`;

/**
 * Kills the main process of a unit, and waits until systemd has started it again. Other processes of containerd.service are the parents of
 * containers: when they are killed too, the containers end, and Docker 20.10 takes them for running ones if it misses that.
 */
const killedMain = (unit: string): string =>
  `before=$(systemctl show -P MainPID ${unit}); systemctl kill --kill-who=main -s KILL ${unit}
   for i in {1..300}; do sleep 0.1; now=$(systemctl show -P MainPID ${unit}); [ $now != $before ] && [ $now != 0 ] && break; done
   for i in {1..300}; do systemctl -q is-active ${unit} && break; sleep 0.1; done; systemctl -q is-active ${unit}`;

/** A command that is killed at a random moment, and the next one, which has to put right what it has left. */
const killed = (command: string): string =>
  `timeout -s KILL $DELAY ${command} >/dev/null 2>&1; wormhole list >/dev/null; wormhole delete victim >/dev/null 2>&1
   ! systemctl cat wormhole-victim.socket >/dev/null 2>&1 && ! systemctl cat wormhole-victim.service >/dev/null 2>&1`;

/**
 * A command that is killed before one of its system calls that change something, and the next ones. If it has fewer, it ends as usual.
 */
const killedAtCall = (command: string): string =>
  killed(command).replace(
    'timeout -s KILL $DELAY',
    `strace -f -qq -o /dev/null -e trace=${CHANGING_CALLS} -e inject=${CHANGING_CALLS}:signal=KILL:when=$CALL`,
  );

const CHANGING_CALLS =
  'write,writev,pwrite64,sendmsg,sendto,connect,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync,ftruncate,flock,chmod,fchmod,fchmodat,clone3,vfork';

/** What nftables does with all that comes from or goes to the link under load, or its target, for 2 s. */
const onTheWire = (verdict: string): string =>
  `nft add table inet wire; nft add chain inet wire in '{ type filter hook input priority 0; }'
   nft add rule inet wire in tcp dport '{ $LINK, 4000 }' ${verdict}; nft add rule inet wire in tcp sport '{ $LINK, 4000 }' ${verdict}
   sleep 2; nft delete table inet wire`;

/** A command, and how it may end: well, or with one line that says why. `attempt` fails if it ends otherwise. */
const ATTEMPT = `attempt() {
     local said status; said=$("$@" 2>&1 >/dev/null); status=$?
     [ $status -eq 0 ] || { [ $status -eq 1 ] && [ "$(wc -l <<<"$said")" -eq 1 ] && [[ $said == 'wormhole: '* ]]; } ||
       { echo "$*: ended with $status and said: $said" >&2; return 1; }
   }`;

/**
 * A link is created, changed and deleted while the file system of a directory has some pages left at most. Then there is room again,
 * and nothing may be left of either link.
 */
const onFullDisk = (directory: string): string =>
  `${ATTEMPT}; umask 022; mkdir -p /run/whole /run/small; mount --bind ${directory} /run/whole
   mount -t tmpfs -o mode=755,size=$(($(du -s --apparent-size -B 1 ${directory} | cut -f 1) * 2 + 8388608)) small /run/small
   cp -a ${directory}/. /run/small; mount --bind /run/small ${directory}
   wormhole create id victim url :7100 tail url :4009 >/dev/null || exit 1
   dd if=/dev/zero of=${directory}/full bs=4k >/dev/null 2>&1
   truncate -s -$((4096 * (CALL % 16))) ${directory}/full; wrong=
   attempt wormhole create id second url :7101 tail url :4009 || wrong=create
   attempt wormhole create --replace --rate 5 id victim url :7100 tail url :4009 || wrong="$wrong change"
   [ "$(echo $CALL | socat -t 5 - TCP:127.0.0.1:7100)" = $CALL ] || wrong="$wrong answer"
   attempt wormhole delete victim || wrong="$wrong delete"
   rm ${directory}/full
   wormhole delete second >/dev/null 2>&1; wormhole delete victim >/dev/null 2>&1
   wormhole create id victim url :7100 tail url :4009 >/dev/null && wormhole delete victim || wrong="$wrong again"
   left=$(find ${directory} -name '*victim*' -o -name '*second*')
   # A service may be reading it.
   umount -l ${directory} /run/small /run/whole; systemctl daemon-reload
   [ -z "$wrong$left" ] || { echo "wrong: $wrong; left: $left" >&2; exit 1; }`;

const VICTIM = 'wormhole create id victim url :7100 tail docker-ns web';

/** The faults. The clock of a host is that of the machine, and the kernel here can neither delay packets nor reorder them. */
export const faults: Fault[] = [
  { name: 'the forwarder is killed', script: 'systemctl kill -s KILL wormhole-$LINK.service' },
  {
    name: 'the forwarder is killed five times',
    script: 'for i in 1 2 3 4 5; do systemctl kill -s KILL wormhole-$LINK.service; sleep 0.4; done',
  },
  { name: 'the forwarder is restarted', script: 'systemctl restart wormhole-$LINK.service' },
  { name: 'the forwarder is suspended for 2 s', script: suspended('wormhole-$LINK.service', 2) },
  { name: 'the forwarder dumps core', script: 'systemctl kill -s SEGV wormhole-$LINK.service' },
  {
    name: 'wormholed is killed',
    script:
      'wormhole ping localhost >/dev/null; systemctl kill -s KILL wormholed.service; sleep 0.3; wormhole ping localhost >/dev/null',
  },
  {
    name: 'wormholed is suspended for 2 s',
    script: `wormhole ping localhost >/dev/null; systemctl kill -s STOP wormholed.service; wormhole ping localhost >/dev/null & sleep 2
      systemctl kill -s CONT wormholed.service; wait $! && wormhole ping localhost >/dev/null`,
  },
  { name: 'dockerd is killed', script: killedMain('docker.service') },
  { name: 'dockerd is restarted', script: 'systemctl restart docker.service' },
  { name: 'dockerd is suspended for 3 s', script: suspended('docker.service', 3) },
  { name: 'containerd is killed', script: killedMain('containerd.service') },
  { name: 'containerd is suspended for 3 s', script: suspended('containerd.service', 3) },
  { name: 'D-Bus is suspended for 3 s', script: suspended('dbus.service', 3) },
  { name: 'D-Bus is killed', script: 'systemctl kill -s KILL dbus.service' },
  { name: 'journald is suspended for 3 s', script: suspended('systemd-journald.service', 3) },
  { name: 'journald is killed', script: 'systemctl kill -s KILL systemd-journald.service' },
  { name: 'the container is killed', script: 'docker kill web >/dev/null; docker start web >/dev/null' },
  { name: 'the container is restarted', script: 'docker restart -t 0 web >/dev/null' },
  {
    name: 'the container is paused for 3 s',
    script: 'docker pause web >/dev/null; sleep 3; docker unpause web >/dev/null',
  },
  {
    name: 'the container is removed and created again',
    script: 'docker rm -f web >/dev/null; sleep $DELAY; start_web',
  },
  { name: 'the wire is cut for 2 s', script: onTheWire('drop') },
  { name: 'the wire loses every fourth packet for 2 s', script: onTheWire('numgen random mod 4 0 drop') },
  {
    name: 'the wire takes 4 MB a second for 2 s',
    script: onTheWire('limit rate over 4 mbytes/second drop'),
  },
  { name: 'systemd reads its units again', script: 'systemctl daemon-reload' },
  { name: 'systemd executes itself again', script: 'systemctl daemon-reexec' },
  {
    name: '/run is full for 3 s',
    script: 'dd if=/dev/zero of=/run/full bs=1M >/dev/null 2>&1; sleep 3; rm /run/full',
  },
  { name: '/etc is read-only for 3 s', script: 'mount -o bind,ro /etc /etc; sleep 3; umount /etc' },
  { name: 'create is killed', script: killed(VICTIM) },
  { name: 'delete is killed', script: `${VICTIM} >/dev/null; ${killed('wormhole delete victim')}` },
  {
    name: 'a change in place is killed',
    script: `${VICTIM} >/dev/null; ${killed('wormhole create --replace --rate 5 id victim url :7100 tail url :4009')}`,
  },
  { name: 'create is killed at a system call', script: killedAtCall(VICTIM) },
  {
    name: 'delete is killed at a system call',
    script: `${VICTIM} >/dev/null; ${killedAtCall('wormhole delete victim')}`,
  },
  {
    name: 'a change in place is killed at a system call',
    script: `${VICTIM} >/dev/null; ${killedAtCall('wormhole create --replace --rate 5 id victim url :7100 tail url :4009')}`,
  },
  {
    name: 'the link is changed in place',
    script:
      'wormhole create --replace --rate $((1000 + RANDOM)) id $LINK url :$LINK tail url :4000 >/dev/null',
  },
  { name: 'Wormhole is upgraded', script: '/src/wormhole/install.sh >/dev/null' },
  {
    name: 'dockerd is suspended, and restarted before it goes on',
    script: 'systemctl kill -s STOP docker.service; sleep $DELAY; systemctl restart docker.service',
  },
  {
    name: 'dockerd is suspended for 3 s, while the forwarder into the container is restarted',
    script: `systemctl kill -s STOP docker.service; systemctl restart wormhole-netns@web.service & sleep 3
      systemctl kill -s CONT docker.service; wait $!`,
  },
  {
    name: 'dockerd is suspended for 3 s, while the container is restarted',
    script: `docker restart -t 0 web >/dev/null & sleep $DELAY; systemctl kill -s STOP docker.service; sleep 3
      systemctl kill -s CONT docker.service; wait $!`,
  },
  {
    name: 'D-Bus is killed, while the container is restarted',
    script: 'docker restart -t 0 web >/dev/null & sleep $DELAY; systemctl kill -s KILL dbus.service; wait $!',
  },
  {
    name: 'what follows containers is killed, while the container is restarted',
    script: `docker restart -t 0 web >/dev/null & sleep $DELAY; systemctl kill -s KILL wormhole-sync.service; wait $!`,
  },
  {
    name: 'the namespace of a tail is removed and created again',
    script: `exec 5<>/dev/tcp/127.0.0.1/7001; echo $CALL >&5; read -t 20 -u 5 answer; [ "$answer" = $CALL ] || exit 1
      systemctl stop blue; systemctl reset-failed blue 2>/dev/null; ip netns del blue; sleep $DELAY; start_blue
      timeout 60 cat <&5 >/dev/null 2>&1; [ $? -ne 124 ] || { echo 'the session into it does not end' >&2; exit 1; }`,
  },
  {
    name: 'the name of a namespace in which sessions run goes to a new one',
    script: 'ip netns del green; sleep $DELAY; start_green',
    namespace: 'green',
  },
  { name: '/etc is full', script: onFullDisk('/etc') },
  { name: '/var/lib/wormhole is full', script: onFullDisk('/var/lib/wormhole') },
];
