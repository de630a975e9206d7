#!/bin/bash
# Begins a connection to a database five times a second, also while former ones wait: postgres-clients.sh PORT FILE. Each that has
# ended adds a line to the file: when it began, ms since 1970; how long it took, ms; the name of the server, or "none".
export PGCONNECT_TIMEOUT=60
connect() {
	local begin end answer
	begin=$(date +%s%3N)
	answer=$(psql -h 127.0.0.1 -p "$1" -U postgres -Atqc 'show cluster_name' 2>/dev/null) || answer=none
	end=$(date +%s%3N)
	echo "$begin $((end - begin)) $answer" >>"$2"
}
while sleep 0.2; do
	connect "$1" "$2" &
done
