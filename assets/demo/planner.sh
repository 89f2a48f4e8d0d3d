# A scripted agent of the demo: it plans, asks one question, and goes on with the answer.
. "${0%/*}/common.sh"

say "planner: reading the brief of $METAWSM_TICKET"
"$METAWSM_BIN" forum signal --type progress --note "reading the code" --percent 20 >/dev/null || exit 1
works 2
say "planner: two ways to store the orders; asking"
answer=$("$METAWSM_BIN" forum ask --wait --timeout 60m --priority high \
    --title "Which schema for the orders table?" \
    --body "One table with a JSON column, or two tables with a key? The first is quicker, the second can be queried.") || exit 1
say "planner: the answer is: $answer"
works 3
{
    printf '# Plan for %s\n\n' "$METAWSM_TICKET"
    printf 'Decision: %s\n' "$answer"
} > PLAN.md
commit PLAN.md "Write down the plan for $METAWSM_TICKET"
"$METAWSM_BIN" forum signal --type completion --summary "the plan is committed" >/dev/null || exit 1
say "planner: done"
# A real agent's program stays at its prompt after the work; so does this one.
exec sleep 600
