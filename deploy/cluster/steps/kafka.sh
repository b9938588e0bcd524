# Kafka is away: what a pod says, what the probes do to it, how it ends, and how soon it serves when Kafka is back.

kafka_away() {
    kk scale statefulset/kith-kafka --replicas=0 >/dev/null
    kk wait --for=delete pod/kith-kafka-0 --timeout=90s >/dev/null
    note "Kafka is away"
}

kafka_back() {
    kk scale statefulset/kith-kafka --replicas=1 >/dev/null
    until_ok 30 "Kafka's pod is there" kk get pod kith-kafka-0
    kk rollout status --timeout=180s statefulset/kith-kafka >/dev/null
    note "Kafka is back"
}

gone_or_restarted() { # since, seconds
    [ $((SECONDS - $1)) -ge "$2" ] || [ "$(restarts)" -gt 0 ]
}

says_kafka() { readyz waiting | grep -q 'the log does not answer'; }

step_waiting() {
    local started
    kafka_away
    # A pod as the Deployment makes it, with its probes.
    kk run waiting --image=kith --restart=Never --overrides="$(
        kk get deployment kith-posts -o json | python3 -c '
import json, sys
spec = json.load(sys.stdin)["spec"]["template"]["spec"]
spec["restartPolicy"] = "Always"
labels = {"app.kubernetes.io/part-of": "kith"}
print(json.dumps({"apiVersion": "v1", "metadata": {"labels": labels}, "spec": spec}))')" >/dev/null
    kk wait --for=jsonpath='{.status.phase}'=Running pod/waiting --timeout=60s >/dev/null
    # Longer than the startup probe's 30 tries, and three of the liveness probe's.
    until_ok 60 "it says for what it waits" says_kafka
    row "/readyz of a pod that waits for Kafka" "\`$(reason waiting)\`" yes
    started=$SECONDS
    until_ok 80 "70 s have gone" gone_or_restarted "$started" 70
    row_restarts
    started=$SECONDS
    kk delete pod waiting --wait >/dev/null
    row_at_most "SIGTERM while it waits, after 5 s of preStop: the pod is gone" "$((SECONDS - started))" 12 s
    kafka_back
    started=$SECONDS
    until_ok "$LIMIT_S" "all pods are ready" all_ready
    row "all pods are ready after Kafka is" "$((SECONDS - started)) s" yes
}

step_late() {
    local started many
    kafka_away
    kk delete pod -l app.kubernetes.io/part-of=kith --grace-period=0 --force >/dev/null 2>&1
    note "all pods start while Kafka is away, for $CLUSTER_LATE_SECONDS s"
    started=$SECONDS
    until_ok $((CLUSTER_LATE_SECONDS + 10)) "the time is over" gone_or_restarted "$started" "$CLUSTER_LATE_SECONDS"
    many=$(of_pods '{.metadata.name}' --field-selector=status.phase=Running | wc -l)
    row "pods that run after $((SECONDS - started)) s without Kafka" "$many" "$(yes_if [ "$many" = 10 ])"
    row_restarts
    kafka_back
    started=$SECONDS
    until_ok "$LIMIT_S" "all pods are ready" all_ready
    row "all pods are ready after Kafka is" "$((SECONDS - started)) s" yes
    row_restarts
}

# Kafka's process stands still for moments, as on a starved node. Its controller fences it, and until its next heartbeat
# it answers that there are no brokers.
step_frozen() {
    local pid started time what="Kafka stood still $CLUSTER_FREEZES times for 3 to 9 s: all pods are ready"
    pid=$(node shell pgrep -f 'kafka[.]Kafka /tmp/server')
    for time in $(seq "$CLUSTER_FREEZES"); do
        node shell kill -STOP "$pid"
        sleep $((3 + time % 4 * 2))
        node shell kill -CONT "$pid"
        sleep 1
    done
    started=$SECONDS
    if until_ok 90 "all pods are ready" all_ready; then row "$what" "$((SECONDS - started)) s" yes; else
        row "$what" "not within 90 s: $(kk get deployments -o jsonpath='{.items[*].status.readyReplicas}')" no
    fi
    row_restarts
}
