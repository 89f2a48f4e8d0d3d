# A scripted agent of the demo: its first life ends by a crash, its second one does the work.
. "${0%/*}/common.sh"

mark="$METAWSM_HOME/.metawsm/coder-was-here"
say "coder: reading the ticket"
works 4
if [ ! -e "$mark" ]; then
    : > "$mark"
    say "coder: writing orders.sql"
    works 4
    say "coder: loading every order there ever was"
    works 5
    say "coder: out of memory"
    kill -9 $$
fi
say "coder: starting over, this time with less"
works 4
printf 'CREATE TABLE orders (id INTEGER PRIMARY KEY, placed_at TEXT NOT NULL);\n' > orders.sql
commit orders.sql "Add the orders table"
"$METAWSM_BIN" forum signal --type progress --note "the table is committed" --percent 90 >/dev/null || exit 1
"$METAWSM_BIN" forum signal --type completion --summary "orders.sql is committed" >/dev/null || exit 1
say "coder: done"
exit 0
