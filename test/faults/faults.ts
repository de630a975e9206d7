/** Something that goes wrong on a host while links are used. */
export interface Fault {
  name: string;
  /**
   * What bash runs. `$LINK` is the link under load, `$DELAY` a random number of seconds below 1, `$CALL` a random number from 1 to 200.
   * `start_web` makes the container that a link leads to.
   */
  script: string;
}

/** Stops all processes of a unit for some seconds. */
const suspended = (unit: string, seconds: number): string =>
  `systemctl kill -s STOP ${unit}; sleep ${seconds}; systemctl kill -s CONT ${unit}`;

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
  { name: 'dockerd is killed', script: 'systemctl kill -s KILL docker.service' },
  { name: 'dockerd is restarted', script: 'systemctl restart docker.service' },
  { name: 'dockerd is suspended for 3 s', script: suspended('docker.service', 3) },
  { name: 'containerd is killed', script: 'systemctl kill -s KILL containerd.service' },
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
];
