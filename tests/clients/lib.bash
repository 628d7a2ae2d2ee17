# lib.bash - what the client tests share: a server of their own, and saying why they are skipped.
#
# usage: . lib.bash; take_arguments "$@"; ...; start_server; ... "$address" ...; stop_server
# Sets: top, varve, kept (what is downloaded stays there), scratch (removed at the end), address.
set -euo pipefail
export LC_ALL=C.UTF-8
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
server=

take_arguments() { # VARVE KEPT
    varve=$(realpath "$1")
    kept=$2
    mkdir -p "$kept"
    scratch=$(mktemp -d)
    trap finish EXIT
}

finish() {
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    rm -rf "$scratch"
}

skip() { echo "SKIPPED $(basename "$0"): $1"; exit 77; }
fail() { echo "FAILED: $1"; [[ ! -s $scratch/server.log ]] || tail -20 "$scratch/server.log"; exit 1; }

start_server() { # [ARGUMENT...]
    "$varve" serve --data "$scratch/data" --listen 127.0.0.1:0 "$@" >"$scratch/server.out" 2>"$scratch/server.log" &
    server=$!
    for _ in $(seq 300); do
        address=$(sed -n 's/.*"address": *"\(127\.0\.0\.1:[0-9]*\)".*/\1/p' "$scratch/server.log" | head -1)
        [[ -z $address ]] || return 0
        kill -0 "$server" 2>/dev/null || fail "the server ended"
        sleep 0.1
    done
    fail "the server does not say where it listens"
}

stop_server() { # fails unless it ends well
    kill "$server"
    wait "$server" || fail "the server ended with $?"
    server=
}
