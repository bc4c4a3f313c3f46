#!/usr/bin/env bash
# Renders deploy/install.yaml from the chart: the namespace and the chart with its default values.
#   deploy/render.sh          rewrites it
#   deploy/render.sh --check  fails when it differs from what the chart makes
set -euo pipefail
cd "$(dirname "$0")"

namespace=scalegate-system
text=$(
  cat <<END
# scalegate with the default values of deploy/chart, in the namespace $namespace.
# Rendered by deploy/render.sh; do not edit.
#
#   kubectl apply -f install.yaml
#
# The image is named scalegate; push it to a registry of yours first, then name it here, in both Deployments.
apiVersion: v1
kind: Namespace
metadata:
  name: $namespace
  labels:
    pod-security.kubernetes.io/enforce: restricted
END
  ./helm.sh template scalegate chart --namespace "$namespace"
)
if [ "${1:-}" = --check ]; then
  if ! diff -u install.yaml <(echo "$text"); then
    echo "deploy/install.yaml is not what the chart makes; rewrite it with 'make install-yaml'" >&2
    exit 1
  fi
else
  echo "$text" >install.yaml
fi
