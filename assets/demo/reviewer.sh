# A scripted agent of the demo: it waits quietly for something to review, and ends by itself.
. "${0%/*}/common.sh"

say "reviewer: waiting for orders.sql"
tries=0
until git log --format=%s -- orders.sql 2>/dev/null | grep -q .; do
    tries=$((tries + 1))
    [ "$tries" -lt 1500 ] || { say "reviewer: nothing came"; exit 1; }
    sleep 0.2
done
say "reviewer: reading it"
works 3
printf 'orders.sql: reviewed, one remark: name the time zone of placed_at.\n' > REVIEW.md
commit REVIEW.md "Review the orders table"
say "reviewer: done"
exit 0
