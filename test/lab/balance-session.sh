#!/bin/bash
# A session with an echo server at a port of 127.0.0.1: says the next number ten times a second, and prints what comes back.
exec 3<>"/dev/tcp/127.0.0.1/$1"
for number in $(seq 100000); do
	echo "$number" >&3
	read -r -t 120 answer <&3 || exit 1
	echo "$answer"
	sleep 0.1
done
