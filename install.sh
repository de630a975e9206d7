#!/bin/sh
# Installs Wormhole: the programs, their man pages, their static units, a key and the daemon's configuration. Safe to run again, also over an older version:
# links go on listening meanwhile.
set -eu

usage() {
	cat <<'EOF'
usage: ./install.sh [--prefix DIR] [--listen] [--uninstall [--purge]]

  --prefix DIR   install below DIR instead of /usr/local
  --listen       let machines that have the same key reach this one, on TCP port 9999
  --uninstall    remove what was installed; links, their units and /etc/wormhole stay
  --purge        with --uninstall: delete all links, tunnels and /etc/wormhole too

With DESTDIR set, the files go below it, for a package, and nothing is started.
EOF
}

die() {
	echo "install.sh: $1" >&2
	exit "${2:-1}"
}

say() { echo "install.sh: $1"; }

prefix=/usr/local
listen=
uninstall=
purge=
while [ $# -gt 0 ]; do
	case $1 in
	--prefix)
		[ $# -ge 2 ] || die "--prefix needs a directory, such as --prefix /opt/wormhole" 2
		prefix=$2
		shift
		;;
	--prefix=*) prefix=${1#--prefix=} ;;
	--listen) listen=yes ;;
	--uninstall) uninstall=yes ;;
	--purge) purge=yes ;;
	-h | --help)
		usage
		exit 0
		;;
	*) die "unknown argument \"$1\"; see ./install.sh --help" 2 ;;
	esac
	shift
done
case $prefix in
/*) prefix=${prefix%/} ;;
*) die "--prefix \"$prefix\" must be an absolute path" 2 ;;
esac
[ -z "$purge" ] || [ -n "$uninstall" ] || die "--purge goes with --uninstall" 2
[ -z "$listen" ] || [ -z "$uninstall" ] || die "--listen does not go with --uninstall" 2

destdir=${DESTDIR-}
source=$(cd "$(dirname "$0")" && pwd)
lib=$prefix/lib/wormhole
units=/etc/systemd/system
etc=/etc/wormhole
# What systemd listens to and watches for; the rest of the units is started by these, and by links.
enabled="wormhole-sync.path wormholed.socket wormholed-key.path wormhole-far.socket wormhole-tunnel-guard.service"
# Only on request; an upgrade leaves it as it is.
tcp=wormholed-tcp.socket
# What only a boot starts.
atboot="wormhole-far.service"
live= # files of this running machine, not of a package
if [ -z "$destdir" ]; then live=yes; fi

[ "$(id -u)" = 0 ] || [ -n "$destdir" ] || die "this needs root: sudo ./install.sh"

own_units() { (cd "$source/units" && ls); }

booted() { [ -n "$live" ] && [ -d /run/systemd/system ]; }

links() {
	for file in "$units"/wormhole-*.socket; do
		grep -qs '^\[X-Wormhole\]' "$file" || continue
		grep -q '^Parent=' "$file" && continue
		id=${file##*/wormhole-}
		echo "${id%.socket}"
	done
}

tunnels() {
	for file in "$units"/wormhole-tunnel@*.service; do
		[ ! -e "$file" ] || sed -n 's/^Peer=//p' "$file"
	done
}

if [ -n "$uninstall" ]; then
	if [ -n "$purge" ]; then
		for id in $(links); do
			"$prefix/bin/wormhole" delete "$id" && say "deleted link $id"
		done
		for peer in $(tunnels); do
			"$prefix/bin/wormhole" tunnel-delete --force "$peer" && say "deleted the tunnel to $peer"
		done
	elif [ -n "$(tunnels)" ]; then
		say "links and tunnels stay, and do not work without the program: $(links | tr '\n' ' ')$(tunnels | tr '\n' ' ')(--purge deletes them)"
	elif [ -n "$(links)" ]; then
		say "links stay, and do not work without the program: $(links | tr '\n' ' ')(--purge deletes them)"
	fi
	if booted; then
		# shellcheck disable=SC2086 # words
		systemctl disable --now $enabled $tcp $atboot >/dev/null 2>&1 || true
		systemctl stop wormhole-sync.service wormholed-key.service wormholed.service wormhole-far.timer wormhole-far.service wormhole-tunnel-udp.service 2>/dev/null || true
	fi
	for unit in $(own_units); do rm -f "$destdir$units/$unit"; done
	rm -rf "$destdir$lib" "$destdir$prefix/bin/wormhole" "$destdir$prefix/bin/wormholed"
	rm -f "$destdir$prefix/share/man/man1/wormhole.1" "$destdir$prefix/share/man/man8/wormholed.8"
	[ -z "$purge" ] || rm -rf "$destdir$etc"
	case $prefix in
	/usr | /usr/local) ;;
	*) (cd "$destdir$prefix" && rmdir lib bin share/man/man1 share/man/man8 share/man share . 2>/dev/null; rmdir "$destdir$prefix" 2>/dev/null) || true ;;
	esac
	if booted; then
		systemctl daemon-reload
		[ -z "$purge" ] || rm -rf /run/wormhole /var/lib/wormhole
	fi
	say "uninstalled from $prefix"
	exit 0
fi

# What it needs.
missing=
node=$(command -v node || true)
if [ -z "$node" ]; then
	missing="$missing; node (20 or newer, https://nodejs.org)"
elif [ "$(node -p 'Number(process.versions.node.split(".")[0])')" -lt 20 ]; then
	missing="$missing; node 20 or newer (found $(node --version))"
else
	node=$(node -p process.execPath)
	case $node in
	/home/* | /root/*) missing="$missing; node outside home directories (found $node, which sandboxed services cannot see)" ;;
	esac
fi
if ! command -v systemctl >/dev/null; then
	missing="$missing; systemd (249 or newer)"
else
	systemd=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
	[ "$systemd" -ge 249 ] || missing="$missing; systemd 249 or newer (found $systemd)"
fi
for tool in mount umount unshare nsenter; do
	command -v $tool >/dev/null || missing="$missing; $tool (Debian package util-linux or mount)"
done
command -v ip >/dev/null || missing="$missing; ip (Debian package iproute2)"
[ -z "$missing" ] || die "missing: ${missing#; }"

# Builds what is not built. A tree that has its packages and is up to date needs no network.
cd "$source"
if [ ! -d node_modules ]; then
	say "fetching packages (npm ci, no install scripts)"
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
fi
if [ ! -e dist/cli/main.js ] || [ -n "$(find src -newer dist/cli/main.js -name '*.ts' | head -n 1)" ]; then
	say "compiling"
	npm run --silent build
fi

# The new version is laid beside the old one and takes its place by renaming.
new=$destdir$lib.new
old=$destdir$lib.old
rm -rf "$new" "$old"
mkdir -p "$new" "$destdir$prefix/bin" "$destdir$prefix/share/man/man1" "$destdir$prefix/share/man/man8" "$destdir$units"
cp -R dist templates package.json LICENSE "$new/"
npm ls --omit=dev --all --parseable 2>/dev/null | sed -n "s#^$source/##p" | sort | while read -r package; do
	mkdir -p "$new/$(dirname "$package")"
	cp -R "$package" "$new/$(dirname "$package")/"
done
[ -d "$new/node_modules/koffi" ] || die "npm ls did not name the packages the program needs; remove node_modules and run again"
ln -s "$node" "$new/node"
chmod -R u=rwX,go=rX "$new"
[ ! -e "$destdir$lib" ] || mv "$destdir$lib" "$old"
mv "$new" "$destdir$lib"
rm -rf "$old"

program() {
	cat >"$destdir$prefix/bin/$1.new" <<EOF
#!/bin/sh
exec $lib/node $lib/dist/cli/$2 "\$@"
EOF
	chmod 755 "$destdir$prefix/bin/$1.new"
	mv "$destdir$prefix/bin/$1.new" "$destdir$prefix/bin/$1"
}
program wormhole main.js
program wormholed wormholed.js
install -m 644 man/wormhole.1 "$destdir$prefix/share/man/man1/wormhole.1"
install -m 644 man/wormholed.8 "$destdir$prefix/share/man/man8/wormholed.8"

changed=
for unit in $(own_units); do
	sed "s#@BIN@#$prefix/bin#g" "units/$unit" >"$destdir$units/.$unit.new"
	if cmp -s "$destdir$units/.$unit.new" "$destdir$units/$unit"; then
		rm -f "$destdir$units/.$unit.new"
	else
		mv "$destdir$units/.$unit.new" "$destdir$units/$unit"
		changed=yes
	fi
done

# The key that machines prove themselves with to each other.
if [ -n "$live" ] && [ ! -e $etc/key.secret ]; then
	install -d -m 755 $etc
	(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >$etc/key.secret.new)
	mv $etc/key.secret.new $etc/key.secret
	say "made a key in $etc/key.secret; machines that are to reach each other need the same one"
fi

if [ ! -e "$destdir$etc/wormholed.conf" ]; then
	install -d -m 755 "$destdir$etc"
	cat >"$destdir$etc/wormholed.conf.new" <<'EOF'
# Options of wormholed as systemd starts it: see man wormholed. They count from its next start on:
# systemctl stop wormholed.service
#
# -K FILE     the key file, not below /home or /root; one that is not /etc/wormhole/key.secret needs drop-ins for
#             wormholed-tcp.socket (ConditionPathExists=) and wormholed-key.path (PathChanged=) too
# -I ADDRESS  this machine's own address for tunnels, where it cannot be found out
# -E ADDRESS  the address that other machines reach this one by, where a router translates it
# -C CIDR     where tunnels take their addresses from (default 100.65.0.0/14)
# -P FROM-TO  UDP ports for tunnels in UDP (default 4500-4599)
#
# Where it listens is not said here but in wormholed-tcp.socket: systemctl edit wormholed-tcp.socket
WORMHOLED_ARGS=
EOF
	chmod 644 "$destdir$etc/wormholed.conf.new"
	mv "$destdir$etc/wormholed.conf.new" "$destdir$etc/wormholed.conf"
fi

if booted; then
	[ -z "$changed" ] || systemctl daemon-reload
	# It ends once it has finished what it is at; the next caller starts the new version.
	systemctl stop wormholed.service
	# shellcheck disable=SC2086 # words
	systemctl enable --quiet $enabled ${listen:+$tcp} $atboot
	# Not with --now --quiet, which would not say what could not be started.
	# shellcheck disable=SC2086 # words
	systemctl start $enabled ${listen:+$tcp}
	systemctl is-enabled --quiet $tcp || say "other machines cannot reach this one: systemctl enable --now $tcp, or --listen, opens port 9999 to those that have its key"
elif [ -n "$live" ]; then
	# shellcheck disable=SC2086 # words
	systemctl enable --quiet $enabled ${listen:+$tcp} $atboot 2>/dev/null || true
	say "systemd is not running here: the units start at the next boot"
fi
say "installed wormhole $("$node" -p 'require("./package.json").version') in $prefix"
