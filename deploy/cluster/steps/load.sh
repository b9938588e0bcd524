# The demo as load: it runs again and again until it is told to stop, and checks everything at the end of each run. The
# first run on an empty suite writes; the same demo again adds nothing and gets the same answers. Beside it one caller
# posts without end, and a follower reads each post at once: the caller fails if a page does not begin with the post.

# Differences and steps of a run.
verdict() { # its output
    python3 - "$1" <<'END'
import json, sys
text = open(sys.argv[1]).read()
said = json.loads(text[text.index("{"):text.rindex("}") + 1])
print(len(said["differences"]), said["steps"])
END
}

caller() { # name of the Job, arguments of kith-demo
    mkdir -p "$work/load/$1"
    cat >"$work/load/$1/kustomization.yaml" <<END
resources: [../demo]
images: [{ name: kith-demo, newTag: "$TAG" }]
patches:
  - target: { kind: Job }
    patch: |
      - { op: replace, path: /metadata/name, value: $1 }
      - { op: replace, path: /spec/template/spec/containers/0/args, value: [$2, --addresses, \$(ADDRESSES)] }
    options: { allowNameChange: true }
END
    k apply -k "$work/load/$1" >/dev/null
}

load_ended() { [ -n "$(k -n kith-callers get job "$1" -o jsonpath='{.status.succeeded}{.status.failed}')" ]; }

load_loop() {
    local run=0 name started
    until [ -e "$work/load/stop" ]; do
        run=$((run + 1)) name=load-$run started=$SECONDS
        caller "$name" "run, --json, --accounts, '$CLUSTER_ACCOUNTS', --in-flight, '$CLUSTER_IN_FLIGHT'"
        until load_ended "$name"; do sleep 2; done
        k -n kith-callers logs "job/$name" >"$work/load/$name.log" 2>&1 || true
        if [ "$(k -n kith-callers get job "$name" -o jsonpath='{.status.succeeded}')" != 1 ]; then
            echo "failed $name $((SECONDS - started))" >>"$work/load/runs"
            return 1
        fi
        echo "passed $name $((SECONDS - started))" >>"$work/load/runs"
        note "$name: $((SECONDS - started)) s, $(verdict "$work/load/$name.log" | sed 's/ / differences, /') steps"
    done
}

load_start() {
    local name
    rm -rf "$work/load"
    mkdir -p "$work/load"
    cp -r "$root/deploy/k8s/demo" "$work/load/"
    k -n kith-callers delete job --all >/dev/null 2>&1 || true
    caller fresh "latency, --posts, '1000000'"
    load_loop &
    load_pid=$! load_since=$SECONDS
    for name in fresh load-1; do
        until_ok 60 "$name calls" k -n kith-callers wait --for=jsonpath='{.status.ready}'=1 --timeout=1s "job/$name"
    done
    note "load: the demo of $CLUSTER_ACCOUNTS accounts, and a caller that posts"
}

# Whether both went on until now.
load_runs() { kill -0 "$load_pid" 2>/dev/null && ! load_ended fresh; }

load_stop() {
    local code=0 log many steps all=0 said
    load_runs || note "the load ended early"
    touch "$work/load/stop"
    note "waiting for the end of the demo's run and its check"
    wait "$load_pid" || code=$?
    load_pid=
    for log in "$work"/load/load-*.log; do
        read -r many steps <<<"$(verdict "$log" 2>/dev/null || echo "1 0")"
        all=$((all + many))
        [ "$many" = 0 ] || tail -5 "$log" >&2
    done
    k -n kith-callers logs job/fresh >"$work/load/fresh.log" 2>&1 || true
    said="$((SECONDS - load_since)) s, none failed"
    ! load_ended fresh || said=$(tail -1 "$work/load/fresh.log")
    row "posts meanwhile, each read at once by a follower" "$said" "$(yes_if grep -q 'none failed' <<<"$said")"
    k -n kith-callers delete job fresh --wait=false >/dev/null
    row "the demo meanwhile, $(awk '{ n++; s += $3 } END { print "runs: " n ", " s " s" }' "$work/load/runs")" \
        "$all differences" "$([ "$all" = 0 ] && [ "$code" = 0 ] && echo yes || echo no)"
}

load_pid=
load_kill() {
    [ -n "$load_pid" ] || return 0
    kill "$load_pid" 2>/dev/null || true
    k -n kith-callers delete job --all --wait=false >/dev/null 2>&1 || true
}
