# Shared by the scripts of this folder: a scratch folder that goes away, and expectations that name themselves.
top=$1
build=$2
scratch=$(mktemp -d "${TMPDIR:-/tmp}/varve-house.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# expect STATUS TEXT COMMAND...: the command must end with that status and its output hold that text
expect() {
    local status=$1 text=$2 rc=0
    shift 2
    "$@" >"$scratch/out" 2>&1 || rc=$?
    if [[ $rc != "$status" ]] || { [[ -n $text ]] && ! grep -qF -- "$text" "$scratch/out"; }; then
        sed 's/^/    /' "$scratch/out" >&2
        fail "'$*' answered $rc; expected $status and \"$text\""
    fi
}
