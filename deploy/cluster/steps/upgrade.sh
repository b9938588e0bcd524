# The runbook of docs/upgrades.md, "On Kubernetes": a release with one more view in posts and in feeds, over, back and
# over again, while the demo runs.

CHANGED="posts:posts projector:feeds"        # a Deployment, and the fold group that it hosts

ask() { # deployment, command of kith...
    note "kubectl -n kith exec deploy/$1 -- kith ${*:2}"
    kk exec "deploy/$1" -- kith "${@:2}" 2>&1 | tee -a "$work/upgrade.log" >&2
    return "${PIPESTATUS[0]}"
}

# A command that is refused with "not now" is made again.
ask_again() { # seconds, deployment, command...
    local until=$((SECONDS + $1))
    shift
    until ask "$@"; do
        [ $SECONDS -lt $until ] || return 1
        sleep 3
    done
}

# A comparison is made again only while it could not be made: a busy node's reads time out.
compare() { # deployment, group
    local until=$((SECONDS + LIMIT_S))
    until ask "$1" verify "$2"; do
        [ $SECONDS -lt $until ] && tail -2 "$work/upgrade.log" | grep -q 'could not be made' || return 1
        sleep 5
    done
}

live() { # deployment, group: the number of the generation that serves
    kk exec "deploy/$1" -- kith projections "$2" --json | python3 -c '
import json, sys
print(next(one["generation"] for one in json.load(sys.stdin)["projections"] if one["state"] == "live"))'
}

has_history() {
    [ "$(kk exec deploy/kith-engagement -- kith projections engagement --json | python3 -c '
import json, sys
of = json.load(sys.stdin)["projections"][0]["partitions"]
print(sum(one["head_offset"] for one in of if one["topic"] == "kith.engagement.v1"))')" -ge "$CLUSTER_HISTORY" ]
}

pods_of() { kk get pods -l "app.kubernetes.io/name=$1,kith.dev/release=$2" -o jsonpath='{.items[*].metadata.name}'; }

says_it_waits() { # deployment
    local pod
    for pod in $(pods_of "kith-$1" next); do readyz "$pod" | grep -q 'this release has folds' || return 1; done
}

ready() { # deployment, how many
    [ "$(kk get deployment "$1" -o jsonpath='{.status.readyReplicas}')" = "$2" ]
}

current_serves() { ready kith-posts 2 && ready kith-projector 2; }
beside_serves() { ready kith-posts-next 2 && ready kith-projector-next 2; }
both_serve() { current_serves && beside_serves; }

# An eviction would be allowed: pods that wait do not count.
budgets_allow() {
    [ "$(kk get pdb kith-posts kith-projector -o jsonpath='{.items[*].status.disruptionsAllowed}')" = "1 1" ]
}

start_beside() {
    k apply -k "$work/k8s/beside" >/dev/null
    until_ok 120 "the next release's pods run" eval \
        '[ "$(kk get pods -l kith.dev/release=next --field-selector=status.phase=Running -o name | wc -l)" = 4 ]'
}

next_pods_gone() { [ -z "$(kk get pods -l kith.dev/release=next -o name)" ]; }

end_beside() {
    note "kubectl -n kith delete deployment --selector kith.dev/release=next"
    kk delete deployment --selector kith.dev/release=next >/dev/null
    until_ok 120 "they are gone" next_pods_gone
}

# 1 and 2: beside, waiting; filled.
fill_beside() {
    local pair name group started pod said answer
    manifests "$TAG_NEXT"
    start_beside
    until_ok 120 "posts' new pods say for what they wait" says_it_waits posts
    until_ok 120 "projector's new pods say for what they wait" says_it_waits projector
    for pod in $(pods_of kith-projector next); do said=$(reason "$pod"); done
    row "the new pods wait, the old ones serve" "\`$said\`" "$(yes_if current_serves)"
    row "PodDisruptionBudgets while they wait" "one old pod of each may be evicted" \
        "$(yes_if until_ok 20 "evictions are allowed" budgets_allow)"
    for pair in $CHANGED; do
        name=${pair%:*} group=${pair#*:} started=$SECONDS
        ask "kith-$name-next" rebuild "$group"
        row "kith rebuild $group" "$((SECONDS - started)) s" "$(yes_if current_serves)"
        answer=refused
        ! ask "kith-$name-next" verify "$group" || answer="not refused"
        row "kith verify $group between the releases" "$answer" "$(yes_if [ "$answer" = refused ])"
    done
}

promote() {
    local pair started
    for pair in $CHANGED; do
        started=$SECONDS
        ask_again 60 "kith-${pair%:*}-next" promote "${pair#*:}"
        until_ok 120 "the new pods are ready" ready "kith-${pair%:*}-next" 2
        row "kith promote ${pair#*:}: new pods are ready, and old ones" "$((SECONDS - started)) s" \
            "$(yes_if current_serves)"
    done
}

step_upgrade() {
    local pair started number equal=yes
    declare -A first
    : >"$work/upgrade.log"
    load_start
    until_ok "$LIMIT_S" "the log has $CLUSTER_HISTORY reactions" has_history
    for pair in $CHANGED; do first[$pair]=$(live "kith-${pair%:*}" "${pair#*:}"); done
    fill_beside
    promote
    for pair in $CHANGED; do ask_again 60 "kith-${pair%:*}" rollback "${pair#*:}"; done
    row "kith rollback of both" "old and new pods are ready" "$(yes_if both_serve)"
    end_beside
    row "the new pods have ended, the old ones serve" \
        "generations ${first[posts:posts]} and ${first[projector:feeds]}" "$(yes_if current_serves)"
    started=$SECONDS
    start_beside
    until_ok "$LIMIT_S" "the new pods are ready" beside_serves
    row "over again: new pods are ready, without a rebuild" "$((SECONDS - started)) s" "$(yes_if current_serves)"
    for pair in $CHANGED; do ask_again 60 "kith-${pair%:*}-next" promote "${pair#*:}"; done
    until_ok 120 "the Job has gone" init_gone
    started=$SECONDS
    k apply -k "$work/k8s/current" >/dev/null
    rolled_out "$LIMIT_S" $(every)
    row "the base rolls to the next release" "$((SECONDS - started)) s" "$(yes_if current_serves)"
    end_beside
    for pair in $CHANGED; do
        ask_again 120 "kith-${pair%:*}" drop-generation "${pair#*:}" --generation "${first[$pair]}"
    done
    row "kith drop-generation of the old tables" "done" yes
    load_stop
    # The tables as the release would fold them anew.
    for pair in $CHANGED; do
        ask "kith-${pair%:*}" rebuild "${pair#*:}"
        compare "kith-${pair%:*}" "${pair#*:}" || equal=no
        number=$(($(live "kith-${pair%:*}" "${pair#*:}") + 1))
        ask_again 60 "kith-${pair%:*}" drop-generation "${pair#*:}" --generation "$number" || true
    done
    row "kith verify against a fresh fold by the new release" \
        "$(grep -c 'are equal' "$work/upgrade.log") of 2 equal" "$equal"
    row_restarts
}
