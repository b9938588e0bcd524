# What happens to pods: rollouts, kills, calls through a rollout, another tag, another setting.

step_rollout() {
    local name started
    load_start
    for name in $(every); do
        started=$SECONDS
        kk rollout restart "deployment/$name" >/dev/null
        rolled_out "$LIMIT_S" "$name"
        row "rollout of $name" "$((SECONDS - started)) s" "$(yes_if load_runs)"
    done
    load_stop
    row_restarts
}

both_ready() { # deployment
    [ "$(kk get deployment "$1" -o jsonpath='{.status.readyReplicas} {.status.replicas}')" = "2 2" ]
}

all_ready() {
    local one
    for one in $(every); do both_ready "$one" || return 1; done
}

another_ready() { # deployment, pod that was killed
    ! kk get pod "$2" && both_ready "$1"
}

step_kill() {
    local name pod started
    load_start
    for name in $(every); do
        pod=$(kk get pod -l "app.kubernetes.io/name=$name" -o jsonpath='{.items[0].metadata.name}')
        started=$SECONDS
        kk delete pod "$pod" --grace-period=0 --force >/dev/null 2>&1
        until_ok "$LIMIT_S" "$name has two ready pods" another_ready "$name" "$pod"
        row "a pod of $name was killed: replaced and ready" "$((SECONDS - started)) s" "$(yes_if load_runs)"
    done
    for name in kith-kafka kith-scylla; do
        started=$SECONDS
        kk delete pod "$name-0" --grace-period=0 --force >/dev/null 2>&1
        until_ok 30 "$name-0 is another pod" kk wait --for=create "pod/$name-0" --timeout=5s
        kk rollout status --timeout="${LIMIT_S}s" "statefulset/$name" >/dev/null
        until_ok "$LIMIT_S" "all pods are ready" all_ready
        row "the only pod of $name was killed: it and the suite are ready" \
            "$((SECONDS - started)) s" "$(yes_if load_runs)"
    done
    load_stop
    row_restarts
}

knock_is() { [ "$(k -n kith-callers get pod knock -o jsonpath='{.status.phase}')" = "$1" ]; }

step_calls() {
    local started=$SECONDS over line
    k -n kith-callers delete pod knock --ignore-not-found --grace-period=0 --force >/dev/null 2>&1
    sed "s|{seconds}|$CLUSTER_CALL_SECONDS|" "$here/knock.yaml" | k apply -f - >/dev/null
    k -n kith-callers wait --for=condition=Ready --timeout=60s pod/knock >/dev/null
    kk rollout restart $(every | sed 's|^|deployment/|') >/dev/null
    note "all Deployments are restarted"
    rolled_out "$LIMIT_S" $(every)
    row "rollout of all five at once, while calls are made" "$((SECONDS - started)) s" "$(yes_if knock_is Running)"
    until_ok $((CLUSTER_CALL_SECONDS + 30)) "the callers have ended" eval 'knock_is Succeeded || knock_is Failed'
    for over in service pods; do
        k -n kith-callers logs knock -c "$over" | tee "$work/knock-$over.log" >&2
        line=$(tail -1 "$work/knock-$over.log")
        case $over in service) over="the Services' addresses" ;; pods) over="the headless Services" ;; esac
        row "calls that are never repeated, over $over" "$line" \
            "$(yes_if grep -q ', lost 0, methods without an answer 0,' <<<"$line")"
    done
}

init_gone() { ! kk get job kith-init; }

images_of_pods() { of_pods '{.spec.containers[0].image}' --field-selector=status.phase=Running | sort -u | xargs; }

step_apply() {
    local started=$SECONDS
    until_ok 120 "the Job has gone" init_gone
    manifests "$TAG_AGAIN"
    if ! k apply -k "$work/k8s/current" >"$work/apply.log" 2>&1; then
        row "another tag applies" "$(grep -i 'invalid\|error' "$work/apply.log" | head -1 | cut -c1-120)" no
        return
    fi
    row "another tag applies" "exit code 0" yes
    kk wait --for=condition=Complete --timeout=120s job/kith-init >/dev/null
    rolled_out "$LIMIT_S" $(every)
    until_ok 60 "the old pods are gone" eval '[ "$(images_of_pods)" = "kith:$TAG_AGAIN" ]'
    row "the Job ran again and all pods have the tag" "$((SECONDS - started)) s" yes
}

configurations() {
    of_pods '{.spec.containers[0].envFrom[0].configMapRef.name}' --field-selector=status.phase=Running | sort -u | xargs
}

step_configuration() {
    local started before after
    until_ok 120 "the Job has gone" init_gone
    before=$(configurations)
    manifests "$TAG" KITH_DEFAULT_DEADLINE_MS=4000
    started=$SECONDS
    k apply -k "$work/k8s/current" >/dev/null 2>"$work/apply.log"
    rolled_out "$LIMIT_S" $(every)
    until_ok 60 "all pods have one ConfigMap" eval '[ "$(configurations | wc -w)" = 1 ]'
    after=$(configurations)
    row "a changed setting rolls all pods" "$((SECONDS - started)) s" "$(yes_if [ "$before" != "$after" ])"
}
