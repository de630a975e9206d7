#!/bin/bash
# Begins a connection to a port of 127.0.0.1 five times a second, also while former ones wait: clients.sh PORT FILE. Each that has ended
# adds a line to the file: when it began, ms since 1970; how long it took, ms; the name of the server, or "none".
connect() {
	local begin answer
	begin=$(date +%s%3N)
	answer=$(nc -w 60 127.0.0.1 "$1" </dev/null)
	echo "$begin $(($(date +%s%3N) - begin)) ${answer:-none}" >>"$2"
}
while sleep 0.2; do
	connect "$1" "$2" &
done
