#!/bin/sh
# Makes ready what the tests need, and says nothing when all is ready.
#
#   test/setup.sh        for every layer: Debian packages, libraries, dist
#   test/setup.sh unit   for the unit tests and the linter: libraries, dist; no root needed where there is strace
set -eu
cd "$(dirname "$0")/.."

# A run that gets no further than this ends like any other: with its closing line.
closing_line() {
  if [ "$?" -ne 0 ]; then
    echo '0 passed, 1 failed'
  fi
}
trap closing_line EXIT

fail() {
  echo "test/setup.sh: $*" >&2
  exit 1
}

# One at a time in this tree. The lock goes with this process.
exec 9<test/setup.sh
flock 9

node_version=$(node --version 2>/dev/null) || fail 'there is no node: install Node 20 or later'
node_major=${node_version#v}
[ "${node_major%%.*}" -ge 20 ] || fail "Node $node_version is too old: install Node 20 or later"

# What the lab needs of Debian, unit tests included.
lab_packages='mmdebstrap systemd-container iproute2 util-linux mount debian-archive-keyring procps
  gcc libc6-dev make flex bison bc xz-utils perl tcpdump e2fsprogs openssh-client socat nftables strace
  qemu-user chromium dpkg-dev lintian'

# Installs the Debian packages that are missing of those named.
install_packages() {
  missing=
  for package in "$@"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || status=none
    [ "$status" = installed ] || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  echo "setup: installing Debian packages:$missing"
  log=$(mktemp)
  # Without /run/systemd, maintainer scripts find no systemd that they could make start a service.
  # The lock is apt's own directory, because apt-get update does not wait for another one.
  # shellcheck disable=SC2016,SC2086
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 flock /var/lib/apt \
    unshare --mount --propagation private sh -euc '
      if [ -d /run/systemd ]; then mount -t tmpfs tmpfs /run/systemd; fi
      apt-get update --quiet
      apt-get install --quiet --yes --no-install-recommends -o DPkg::Lock::Timeout=600 "$@"
    ' sh $missing >"$log" 2>&1 </dev/null 9<&- || {
    tail -n 20 "$log" >&2
    fail "apt-get could not install$missing: see above"
  }
  rm -f "$log"
}

# Programs that unit tests start.
install_tools() {
  lacking=
  for tool in strace ip unshare nsenter prlimit; do
    command -v "$tool" >/dev/null || lacking="$lacking $tool"
  done
  [ -n "$lacking" ] || return 0
  [ -e /etc/debian_version ] ||
    fail "the unit tests need$lacking, which this machine lacks: install that"
  [ "$(id -u)" -eq 0 ] ||
    fail "the unit tests need$lacking, which this machine lacks: sudo apt-get install strace iproute2 util-linux"
  install_packages strace iproute2 util-linux
}

check_machine() {
  [ "$(uname -s)" = Linux ] && [ -e /etc/debian_version ] ||
    fail 'the lab runs on Debian 12: use such a machine, or only npm run test:unit'
  [ "$(id -u)" -eq 0 ] || fail 'the lab boots whole hosts: run as root, or only npm run test:unit'
  for kind in cgroup2 overlay; do
    grep -qw "$kind" /proc/filesystems || modprobe "$kind" 2>/dev/null ||
      fail "this kernel has no $kind file system: use Debian's own kernel"
  done
  cache=${WORMHOLE_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/wormhole-lab}
  mkdir -p "$cache"
  [ "$(stat --file-system --format=%T "$cache")" != overlayfs ] ||
    fail "$cache is on overlayfs, on which Docker cannot work: set WORMHOLE_LAB_CACHE to a directory on ext4 or xfs"
  [ -c /dev/net/tun ] || modprobe tun 2>/dev/null ||
    fail 'this kernel has no /dev/net/tun, to which virtual machines are plugged: load its module tun'
  unshare --mount --net true 2>/dev/null ||
    fail 'this machine does not let root make namespaces: use a virtual machine or a privileged container'
}

install_libraries() {
  stamp=node_modules/.package-lock.json
  if [ -e "$stamp" ] && [ -z "$(find package-lock.json -newer "$stamp")" ]; then
    return 0
  fi
  echo 'setup: npm ci'
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error 9<&- || fail 'npm ci failed: see above'
  touch "$stamp"
}

build() {
  stamp=dist/.built
  if [ -e "$stamp" ] && [ -z "$(find src templates build tsconfig.json package.json package-lock.json -newer "$stamp")" ]; then
    return 0
  fi
  echo 'setup: npm run build'
  mkdir -p dist
  # What is edited while the compiler runs is newer than the stamp.
  touch dist/.building
  npm run --silent build 9<&- || fail 'the sources do not compile: see above'
  mv dist/.building "$stamp"
}

if [ "${1:-}" = unit ]; then
  install_tools
else
  check_machine
  # shellcheck disable=SC2086 # words
  install_packages $lab_packages
fi
install_libraries
build
