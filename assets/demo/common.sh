# What the demo's scripted agents have in common: talking, taking their time, and committing one file.
# `pace` stands above: 1 where somebody reads along, 0 where the demo plays itself.
set -u
say() { printf '%s\n' "$*"; sleep 0.4; }
# Seconds of work that only a reader needs.
works() { [ "$pace" -eq 0 ] || sleep "$1"; }
commit() {
    # Its colleagues work in the same worktree: git lets one commit at a time.
    tries=0
    until git add -- "$1" && git commit -q -m "$2" -- "$1"; do
        tries=$((tries + 1))
        [ "$tries" -lt 50 ] || exit 1
        sleep 0.1
    done
}
