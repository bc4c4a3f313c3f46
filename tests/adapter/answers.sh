#!/usr/bin/env bash
# Asks a real API server, whose APIServices lead to this adapter, and prints each status and body. README.md has the output.
# usage: KUBECTL=path/to/kubectl KUBECONFIG=file answers.sh
set -euo pipefail
kubectl=${KUBECTL:-kubectl}
"$kubectl" apply -f - >/dev/null <<'PODS'
apiVersion: v1
kind: Namespace
metadata: {name: serving}
---
apiVersion: v1
kind: Pod
metadata: {name: vllm-0, namespace: serving, labels: {app: vllm}}
spec: {containers: [{name: server, image: vllm/vllm-openai}]}
---
apiVersion: v1
kind: Pod
metadata: {name: vllm-1, namespace: serving, labels: {app: vllm}}
spec: {containers: [{name: server, image: vllm/vllm-openai}]}
---
apiVersion: v1
kind: Service
metadata: {name: front, namespace: serving}
spec: {ports: [{port: 80}]}
PODS
socket=$(mktemp -d)/proxy
"$kubectl" proxy --unix-socket="$socket" >/dev/null &
proxy=$!
trap 'kill $proxy' EXIT
for _ in $(seq 100); do [ -S "$socket" ] && break; sleep 0.1; done

ask() { # path below /apis
  printf '\nGET /apis/%s\n' "$1"
  curl --silent --user-agent answers --globoff --path-as-is --unix-socket "$socket" --write-out '\n%{http_code}' "http://localhost/apis/$1" |
    tr -d '\n' | sed -E 's/"timestamp":"[^"]*"/"timestamp":"…"/g; s/(.*)([0-9]{3})$/\2 \1\n/; s/ +/ /g'
}

ask custom.metrics.k8s.io/v1beta1
ask custom.metrics.k8s.io/v1beta2
# The version that the HPA controller would take: the preferred one of the group.
preferred=$(curl --silent --user-agent answers --unix-socket "$socket" http://localhost/apis/custom.metrics.k8s.io | sed -E 's/.*"preferredVersion":\{[^}]*"version":"([^"]*)".*/\1/')
custom=custom.metrics.k8s.io/$preferred
pods=$custom/namespaces/serving/pods/*
running='prometheus.googleapis.com|vllm:num_requests_running|gauge'
external=external.metrics.k8s.io/v1beta1
ask $external
ask "$pods/$running?labelSelector=app%3Dvllm"
ask "$pods/prometheus.googleapis.com%7Cvllm%3Anum_requests_running%7Cgauge?labelSelector=app%3Dvllm"
ask "custom.metrics.k8s.io/v1beta1/namespaces/serving/pods/*/$running?labelSelector=app%3Dvllm"
ask "$pods/prometheus.googleapis.com|vllm:num_requests_runing|gauge?labelSelector=app%3Dvllm"
ask "$pods/absent?labelSelector=app%3Dvllm"
ask "$pods/known_without_series?labelSelector=app%3Dvllm"
ask "$pods/$running?labelSelector=app%3Dnobody"
ask "$custom/namespaces/default/pods/*/$running"
ask "$custom/namespaces/serving/pods/vllm-0/$running"
ask "$custom/namespaces/serving/pods/vllm-0/known_without_series"
ask "$custom/namespaces/serving/pods/nobody/$running"
ask "$custom/namespaces/serving/services/front/queue_depth"
ask "$custom/namespaces/serving/services/front/absent"
ask "$pods/$running?labelSelector=app%3Dvllm&metricLabelSelector=model%3Da"
ask "$external/namespaces/serving/pubsub.googleapis.com|subscription|num_undelivered_messages"
ask "$external/namespaces/serving/pubsub.googleapis.com|subscription|num_undelivered_messages?labelSelector=resource.labels.subscription_id%3Dother"
ask "$external/namespaces/serving/pubsub.googleapis.com|subscription|num_undelivered_messages?labelSelector=subscription%3Djobs"
ask "$external/namespaces/serving/absent"
ask "$external/namespaces/default/absent"
