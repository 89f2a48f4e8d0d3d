# What the demo's scripted agents have in common: talking, and committing one file.
set -u
say() { printf '%s\n' "$*"; sleep 0.4; }
commit() {
    # Its colleagues work in the same worktree: git lets one commit at a time.
    tries=0
    until git add -- "$1" && git commit -q -m "$2" -- "$1"; do
        tries=$((tries + 1))
        [ "$tries" -lt 50 ] || exit 1
        sleep 0.1
    done
}
