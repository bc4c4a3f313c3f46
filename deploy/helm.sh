#!/usr/bin/env bash
# Runs helm: that of KUBEBUILDER_ASSETS, else of PATH, else the newest that the tests built, else it builds the one that
# tests/control-plane/helm pins, which needs Go and takes a minute or two the first time.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/scalegate/control-plane

if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/helm" ]; then
  exec "$KUBEBUILDER_ASSETS/helm" "$@"
fi
if command -v helm >/dev/null; then
  exec helm "$@"
fi
# shellcheck disable=SC2012 # the folders are named by hashes
built=$(ls -t "$cache"/*/helm 2>/dev/null | head -n 1 || true)
if [ -n "$built" ]; then
  exec "$built" "$@"
fi
if ! command -v go >/dev/null; then
  echo "deploy/helm.sh: no helm; install it (https://helm.sh), or Go to build it" >&2
  exit 1
fi
module=$here/tests/control-plane/helm
folder=$cache/helm-$(cksum <"$module/go.sum" | cut -d' ' -f1)
echo "deploy/helm.sh: building helm into $folder" >&2
mkdir -p "$folder"
(cd "$module" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$folder/helm.part" helm.sh/helm/v4/cmd/helm)
mv "$folder/helm.part" "$folder/helm"
exec "$folder/helm" "$@"
