#!/bin/sh
# Installs Wormhole: the programs, their man pages, their static units, a key and the daemon's configuration. Safe to run again, also over an older version:
# links go on listening meanwhile.
set -eu

usage() {
	cat <<'EOF'
usage: ./install.sh [--prefix DIR] [--listen] [--uninstall [--purge]]

  --prefix DIR   install below DIR instead of /usr/local
  --listen       let machines that have the same key reach this one, on TCP port 9999
  --uninstall    remove what was installed; links stay, closed until Wormhole is installed again, and so does /etc/wormhole
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
*[\"\'\\\$\`[:cntrl:]]*) die "--prefix \"$prefix\" must not contain quotes, backslashes, \$ or control characters" 2 ;;
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
# Units to enable. These and links start the others.
enabled="wormhole-sync.path wormholed.socket wormholed-read.socket wormholed-key.path wormhole-far.socket wormhole-tunnel-guard.service wormhole-counters.service wormhole-services-watch.path wormhole-services-register.timer"
# Only on request; an upgrade leaves it as it is.
tcp=wormholed-tcp.socket
# Likewise: what tells Prometheus of links.
metrics="wormhole-metrics.socket wormhole-metrics.timer"
web="wormholed-web.socket"
apply="wormhole-apply.path wormhole-apply.service"
labels="wormhole-labels.path wormhole-labels.service"
# What only a boot starts.
atboot="wormhole-far.service"
live= # files of this running machine, not of a package
if [ -z "$destdir" ]; then live=yes; fi

[ "$(id -u)" = 0 ] || [ -n "$destdir" ] || die "this needs root: sudo ./install.sh"

# dpkg-query fails for a package that it does not know.
case $live$(dpkg-query -W -f '${db:Status-Status}' wormhole 2>/dev/null || true) in
yes | yesnot-installed | yesconfig-files) ;;
yes*) die "the Debian package wormhole is installed: apt install ./wormhole_VERSION.deb upgrades it; to use install.sh, apt remove wormhole first (links, tunnels and /etc/wormhole stay)" ;;
esac

# What lets a user other than root replace a file: the file itself or a directory above it, and how to change that.
weakness() {
	path=$(readlink -f "$1")
	while :; do
		owner=$(stat -c %U "$path")
		if [ "$(stat -c %u "$path")" != 0 ]; then
			echo "$path belongs to $owner: chown root:root '$path'"
			return
		fi
		case $(stat -c '%g %A' "$path") in
		*' '????????w?) echo "$path is writable by everybody: chmod o-w '$path'" && return ;;
		# With an access control list, these bits are the most that any user named there may do.
		*' '?????w????) echo "$path is writable by group $(stat -c %G "$path"): chmod g-w '$path'" && return ;;
		esac
		[ "$path" != / ] || return 0
		path=$(dirname "$path")
	done
}

own_units() { (cd "$source/units" && ls); }

booted() { [ -n "$live" ] && [ -d /run/systemd/system ]; }

links() {
	for file in "$units"/wormhole-*.socket; do
		grep -qs '^\[X-Wormhole\]' "$file" || continue
		grep -qE '^(Parent|Link)=' "$file" && continue
		id=${file##*/wormhole-}
		echo "${id%.socket}"
	done
}

# Closes what links listen on and ends their sessions. Their sockets stay enabled.
stop_links() {
	for file in "$units"/wormhole-*.socket; do
		if grep -qs '^\[X-Wormhole\]' "$file"; then
			socket=${file##*/}
			set -- "$@" "$socket" "${socket%.socket}.service"
		fi
	done
	[ $# = 0 ] || systemctl stop "$@" || say "not all links could be closed"
}

# Where each shell looks for what completes the commands of a program.
completion() {
	case $1 in
	bash) echo "$prefix/share/bash-completion/completions/wormhole" ;;
	zsh) echo "$prefix/share/zsh/site-functions/_wormhole" ;;
	# Without XDG_DATA_DIRS, fish looks below /usr and /etc only.
	fish) [ "$prefix" = /usr ] && echo /usr/share/fish/vendor_completions.d/wormhole.fish || echo /etc/fish/completions/wormhole.fish ;;
	esac
}

tunnels() {
	for file in "$units"/wormhole-tunnel@*.service; do
		[ ! -e "$file" ] || sed -n 's/^Peer=//p' "$file"
	done
}

if [ -n "$uninstall" ]; then
	if [ -z "$live" ]; then
		: # The links and tunnels are those of this machine, and not of a package.
	elif [ -n "$purge" ]; then
		links=$(links | tr '\n' ' ')
		[ -z "$links" ] || { "$prefix/bin/wormhole" delete --all && say "deleted links: ${links% }"; }
		for peer in $(tunnels); do
			"$prefix/bin/wormhole" tunnel-delete --force "$peer" && say "deleted the tunnel to $peer"
		done
	elif [ -n "$(links)$(tunnels)" ]; then
		say "links and tunnels stay, closed until Wormhole is installed again: $(links | tr '\n' ' ')$(tunnels | tr '\n' ' ')(--purge deletes them)"
	fi
	if booted; then
		# Before the program goes, which stops their containers.
		stop_links
		# shellcheck disable=SC2086 # words
		systemctl disable --now $enabled $tcp $metrics $web $apply $labels $atboot >/dev/null 2>&1 || true
		systemctl stop wormhole-sync.service wormhole-sync-again.service wormhole-apply-again.service wormhole-labels-again.service wormholed-key.service wormholed.service wormhole-far.timer wormhole-far.service wormhole-tunnel-udp.service wormhole-counters.timer wormhole-counters-save.service wormhole-metrics.service wormholed-web.service 2>/dev/null || true
	fi
	# The last one is of earlier versions. Units that were edited may still refer to it.
	for unit in $(own_units) wormhole-program-missing@.service; do rm -f "$destdir$units/$unit"; done
	rm -rf "$destdir$lib" "$destdir$prefix/bin/wormhole" "$destdir$prefix/bin/wormholed"
	rm -f "$destdir/etc/tmpfiles.d/wormhole.conf"
	rm -f "$destdir$prefix/share/man/man1/wormhole.1" "$destdir$prefix/share/man/man5/wormhole.links.5" "$destdir$prefix/share/man/man8/wormholed.8"
	for shell in bash zsh fish; do rm -f "$destdir$(completion $shell)"; done
	rmdir "$destdir/etc/fish/completions" "$destdir/etc/fish" 2>/dev/null || true
	[ -z "$purge" ] || rm -rf "$destdir$etc"
	case $prefix in
	/usr | /usr/local) ;;
	*) (cd "$destdir$prefix" && rmdir -p lib bin share/bash-completion/completions share/zsh/site-functions 2>/dev/null; rmdir lib bin share/man/man1 share/man/man5 share/man/man8 share/man share . 2>/dev/null; rmdir "$destdir$prefix" 2>/dev/null) || true ;;
	esac
	if booted; then
		systemctl daemon-reload
		if [ -n "$purge" ]; then
			rm -rf /run/wormhole /run/wormholed-read /run/wormholed-web /run/private/wormholed-web /var/lib/wormhole
		fi
		# What has failed stays in memory otherwise, not found.
		systemctl reset-failed 'wormhole*' 2>/dev/null || true
	fi
	say "uninstalled from $prefix"
	exit 0
fi

# What it needs.
missing=
node=$(command -v node || true)
# Why a node must not be used. It will run as root, and this script is about to run it.
unfit() {
	real=$(readlink -f "$1")
	case $real in
	/home/* | /root/*) echo "node outside home directories (found $real, which sandboxed services cannot see)" && return ;;
	esac
	[ -n "$live" ] || return 0
	weak=$(weakness "$real")
	[ -z "$weak" ] || echo "node that root alone can change, since it runs as root (found $real, but $weak)"
}

if [ -z "$node" ]; then
	missing="$missing; node (20 or newer, https://nodejs.org)"
else
	unfit=$(unfit "$node")
	if [ -z "$unfit" ] && [ "$(node -p 'Number(process.versions.node.split(".")[0])')" -lt 20 ]; then
		unfit="node 20 or newer (found $(node --version))"
	fi
	if [ -z "$unfit" ]; then
		# What was found first may be a script.
		node=$(node -p process.execPath)
		unfit=$(unfit "$node")
	fi
	[ -z "$unfit" ] || missing="$missing; $unfit"
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
if [ -n "$live" ]; then
	for there in "$lib/dist/web" "$prefix/bin"; do
		while [ ! -e "$there" ]; do there=$(dirname "$there"); done
		weak=$(weakness "$there")
		[ -z "$weak" ] || die "--prefix \"$prefix\": what is installed there runs as root, but $weak"
	done
fi

# Builds what is not built. A tree whose dist is up to date needs no packages and no network.
cd "$source"
if [ ! -e dist/THIRD-PARTY-LICENSES ] ||
	[ -n "$(find src templates build package.json package-lock.json -newer dist/THIRD-PARTY-LICENSES | head -n 1)" ]; then
	if [ ! -d node_modules ]; then
		say "fetching packages (npm ci, no install scripts)"
		npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	fi
	say "building"
	npm run --silent build
fi

# Each file takes its place by renaming, so that at no moment a program is missing that a connection may start.
umask 022
mkdir -p "$destdir$lib/dist/cli" "$destdir$lib/dist/web" "$destdir$lib/dist/forwarder" "$destdir$prefix/bin" "$destdir$prefix/share/man/man1" "$destdir$prefix/share/man/man5" "$destdir$prefix/share/man/man8" "$destdir$units"
lay() {
	cp "$1" "$2.new"
	chmod 644 "$2.new"
	mv -T "$2.new" "$2"
}
# koffi.node goes first: it is loaded by the others. The units of links that an earlier version has created start the last two.
for file in dist/koffi.node dist/*.cjs dist/*.cjs.map dist/package.json dist/THIRD-PARTY-LICENSES dist/cli/main.js dist/forwarder/main.js dist/web/*.* LICENSE; do
	lay "$file" "$destdir$lib/$file"
done
ln -sfn "$node" "$destdir$lib/node.new"
mv -T "$destdir$lib/node.new" "$destdir$lib/node"
# A package does so where it is installed, with the node of that machine.
if [ -n "$live" ]; then
	# Without them, commands work and take longer to start.
	"$node" "$lib/dist/start.cjs" --write-code-cache "$lib/dist/wormhole.cjs" "$lib/dist/wormholed.cjs" || say "no code cache: commands start more slowly"
fi
# What an earlier version had beside these.
for file in "$destdir$lib"/* "$destdir$lib"/dist/* "$destdir$lib"/dist/*/*; do
	name=${file#"$destdir$lib"/}
	case $name in
	dist | dist/cli | dist/forwarder | dist/web | node | LICENSE) ;;
	dist/wormhole.cjs.cache | dist/wormholed.cjs.cache) ;;
	dist/*) [ -e "$source/$name" ] || rm -rf "$file" ;;
	*) rm -rf "$file" ;;
	esac
done

program() {
	cat >"$destdir$prefix/bin/$1.new" <<EOF
#!/bin/sh
exec '$lib/node' '$lib/dist/start.cjs' '$lib/dist/$1.cjs' "\$@"
EOF
	chmod 755 "$destdir$prefix/bin/$1.new"
	mv "$destdir$prefix/bin/$1.new" "$destdir$prefix/bin/$1"
}
program wormhole
program wormholed
install -m 644 man/wormhole.1 "$destdir$prefix/share/man/man1/wormhole.1"
install -m 644 man/wormhole.links.5 "$destdir$prefix/share/man/man5/wormhole.links.5"
install -m 644 man/wormholed.8 "$destdir$prefix/share/man/man8/wormholed.8"
for shell in bash zsh fish; do
	script=$destdir$(completion $shell)
	mkdir -p "$(dirname "$script")"
	"$node" dist/wormhole.cjs completion $shell >"$script.new"
	chmod 644 "$script.new"
	mv "$script.new" "$script"
done

# A path as ExecStart= takes it (systemd.service(5)), for the right side of sed's s command.
exec_start() {
	case $1 in
	*[!A-Za-z0-9/._-]*) word="\"$1\"" ;;
	*) word=$1 ;;
	esac
	printf '%s' "$word" | sed -e 's/%/%%/g' -e 's/[&/]/\\&/g'
}

changed=
for unit in $(own_units); do
	sed -e "s/@WORMHOLE@/$(exec_start "$prefix/bin/wormhole")/" -e "s/@WORMHOLED@/$(exec_start "$prefix/bin/wormholed")/" -e "s/@NODE@/$(exec_start "$lib/node")/" "units/$unit" >"$destdir$units/.$unit.new"
	if cmp -s "$destdir$units/.$unit.new" "$destdir$units/$unit"; then
		rm -f "$destdir$units/.$unit.new"
	else
		mv "$destdir$units/.$unit.new" "$destdir$units/$unit"
		changed=yes
	fi
done

tmpfiles=/etc/tmpfiles.d/wormhole.conf
install -d -m 755 "$destdir/etc/tmpfiles.d"
install -m 644 tmpfiles/wormhole.conf "$destdir$tmpfiles"
[ -z "$live" ] || systemd-tmpfiles --create $tmpfiles

# The key that machines prove themselves with to each other.
if [ -n "$live" ] && [ ! -e $etc/key.secret ]; then
	install -d -m 755 $etc
	(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >$etc/key.secret.new)
	mv $etc/key.secret.new $etc/key.secret
	say "made a key in $etc/key.secret; machines that are to reach each other need the same one"
fi

# Files of links, which wormhole apply reads.
install -d -m 755 "$destdir$etc" "$destdir$etc/links.d" "$destdir$etc/services.d"
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
# -C CIDR     where tunnels take their addresses from (default 100.64.0.0/14)
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
	# They end when their requests are done; the next caller starts the new version. systemd warns that their sockets can still start
	# them; that is intended, so --quiet.
	systemctl --quiet stop wormholed.service wormholed-web.service
	# It goes on for as long as there are tunnels in UDP.
	systemctl try-restart wormhole-tunnel-udp.service
	# shellcheck disable=SC2086 # words
	systemctl enable --now --quiet $enabled ${listen:+$tcp} || die "systemd has not started all of $enabled${listen:+ $tcp}: systemctl --failed says which"
	systemctl enable --quiet $atboot
	# What these want may be new.
	for unit in wormhole-apply.path wormhole-labels.path; do ! systemctl --quiet is-active "$unit" || systemctl start "$unit"; done
	"$prefix/bin/wormhole" upgrade || die "the program is installed, but the units of links have not been upgraded: wormhole upgrade tries again"
	# Forwarders that store their sessions: the new version takes them over.
	for unit in $(systemctl list-units --plain --no-legend --state=active 'wormhole-*.service' | cut -d ' ' -f 1); do
		pid=$(systemctl show -P MainPID "$unit")
		! grep -qz '^FDSTORE=[1-9]' "/proc/$pid/environ" 2>/dev/null || systemctl try-restart --no-block "$unit"
	done
	systemctl is-enabled --quiet $tcp || say "other machines cannot reach this one: systemctl enable --now $tcp, or --listen, opens port 9999 to those that have its key"
elif [ -n "$live" ]; then
	# shellcheck disable=SC2086 # words
	systemctl enable --quiet $enabled ${listen:+$tcp} $atboot 2>/dev/null || true
	say "systemd is not running here: the units start at the next boot"
fi
say "installed wormhole $("$node" -p 'require("./package.json").version') in $prefix"
