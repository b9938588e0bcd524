# The base from nothing, and the demo as a caller.

remove_suite() {
    local name
    k delete namespace kith kith-callers strangers --ignore-not-found --wait=false >/dev/null 2>&1
    kk delete pod --all --grace-period=0 --force >/dev/null 2>&1 || true
    k delete namespace kith kith-callers strangers --ignore-not-found --timeout=180s >/dev/null
    k delete persistentvolume --all --ignore-not-found --timeout=60s >/dev/null
    rm -rf "$KUBE_NODE_DIR/state/volumes" "$work/keys"
    mkdir -p "$KUBE_NODE_DIR/state/volumes"/{1,2} "$work/keys"
}

apply_servers() {
    rm -rf "$work/servers"
    cp -r "$here/servers" "$work/"
    mkdir -p "$work/servers/files"
    cp -r "$root/tests/servers/kafka" "$root/tests/servers/cassandra" "$work/servers/files/"
    sed -i "s|{volumes}|$KUBE_NODE_DIR/state/volumes|" "$work/servers/volumes.yaml"
    k apply -k "$work/servers" >/dev/null
}

# As docs/kubernetes.md says, `kith init` in an empty folder.
make_secrets() {
    k create namespace kith >/dev/null
    (
        cd "$work/keys"
        env -i PATH="$PATH" "$CLUSTER_BINARIES/kith" init >&2
        kk create secret generic kith-signing-keys --from-file=.kith/keys/signing-key.pem \
            --from-file=.kith/keys/refresh-token.key --from-file=.kith/keys/page-token.key \
            --from-file=.kith/keys/consistency-token.key --from-file=.kith/keys/jwks.json >/dev/null
        kk create secret generic kith-public-keys --from-file=.kith/keys/page-token.key \
            --from-file=.kith/keys/consistency-token.key --from-file=.kith/keys/jwks.json >/dev/null
    )
}

# Of the services; `kith init` is a command and prints text.
log_lines_not_json() {
    local pod
    for pod in $(kk get pods -l kith.dev/release=current -o name); do kk logs "$pod"; done | python3 -c '
import json, sys
bad = 0
for line in sys.stdin:
    try:
        json.loads(line)
    except ValueError:
        bad += 1
        print("not JSON:", line.rstrip()[:160], file=sys.stderr)
print(bad)'
}

step_suite() {
    local started name sound=""
    remove_suite
    make_secrets
    manifests "$TAG"
    started=$SECONDS
    apply_servers
    k apply -k "$work/k8s/current" 2>"$work/apply.log" >/dev/null || { cat "$work/apply.log" >&2; return 1; }
    note "applied; Kafka and Cassandra start together with the suite"
    kk wait --for=condition=Complete --timeout="${LIMIT_S}s" job/kith-init >/dev/null
    row "topics and tables are made, Kafka and Cassandra having started too" "$((SECONDS - started)) s" yes
    until_ok "$LIMIT_S" "all pods are ready" all_ready
    row "every pod is ready" "$((SECONDS - started)) s" yes
    rolled_out "$LIMIT_S" $(every)
    row_restarts
    row_at_most "lines of the services' logs that are not JSON" "$(log_lines_not_json)" 0 lines
    for name in $(every); do
        if kk exec "deployment/$name" -- kith doctor >"$work/doctor.log" 2>&1; then sound+=" $name"; else
            cat "$work/doctor.log" >&2
        fi
    done
    row "kith doctor in a pod of each Deployment" "exit code 0 in $(wc -w <<<"$sound") of 5" \
        "$(yes_if [ "$(wc -w <<<"$sound")" = 5 ])"
}

step_demo() {
    local started=$SECONDS said many steps
    k apply -k "$root/deploy/k8s/demo" >/dev/null
    k create namespace strangers >/dev/null
    k label namespace strangers pod-security.kubernetes.io/enforce=restricted >/dev/null
    k kustomize "$root/deploy/k8s/demo" | python3 -c '
import sys
job = next(one for one in sys.stdin.read().split("---\n") if "kind: Job" in one)
print(job.replace("namespace: kith-callers", "namespace: strangers"))' | k apply -f - >/dev/null
    until_ok 900 "the demo has ended" load_ended kith-demo
    k -n kith-callers logs job/kith-demo >"$work/demo.log" 2>&1
    read -r many steps <<<"$(verdict "$work/demo.log" || tail -1 "$work/demo.log")"
    row "deploy/k8s/demo, $steps steps" "$many differences, $((SECONDS - started)) s" "$(yes_if [ "$many" = 0 ])"
    k -n strangers wait --for=condition=Failed --timeout=120s job/kith-demo >/dev/null
    said=$(k -n strangers logs job/kith-demo 2>&1 | tail -1)
    row "the demo from a namespace without the label" "refused: ${said:0:80}" \
        "$(yes_if grep -q answer <<<"$said")"
}
