#!/bin/sh
# Runs the admission benchmark and writes what it measured to benches/RESULTS.md.
set -eu
cd "$(dirname "$0")/.."
output=$(mktemp)
trap 'rm -f "$output"' EXIT
if ! cargo bench --bench admission >"$output" 2>&1; then
    cat "$output" >&2
    exit 1
fi
rows=$(awk '
    /^admission::/ { split($1, path, "::"); split($2, id, ":"); bench = path[length(path)]; input = id[1] }
    /^  Instructions:/ {
        split($2, counts, "|"); count = counts[1]
        if (bench == "parse") parsed[input] = count
        printf "| %s | %s | %d | %.2f |\n", bench, input, count, count / parsed[input]
    }' "$output")
if [ -z "$rows" ]; then
    echo "record.sh: cargo bench printed no instruction counts:" >&2
    cat "$output" >&2
    exit 1
fi
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
cat >benches/RESULTS.md <<END
# What one admission costs

Instructions from the bytes of an AdmissionReview to the bytes of the answer, without HTTP and TLS. \`parse\` is the same
body read into a \`serde_json::Value\` in the same run; the ratio is to it. Written by \`benches/record.sh\`; do not edit.

| Benchmark | Input | Instructions | Ratio to parse |
|---|---|---:|---:|
$rows

- Command: \`cargo bench --bench admission\`
- Date: $(date -u +%Y-%m-%d)
- Machine: $(uname -sm), ${cpu:-unknown CPU}
- Tools: $(rustc --version), $(valgrind --version), $(gungraun-runner --version)
END
cat benches/RESULTS.md
