#!/usr/bin/env bash
# Everything that only a GPU can show, in one command on a machine without a network:
#
#     benchmarks/gpu.sh [--dry-run]
#
# Writes one JSON a part, and gpu.log, into $OUT (benchmarks/results if not set). A part that fails costs only
# itself; the exit status is the number of parts that failed. Python packages that the machine lacks lie as wheels in
# ./wheels; CamVid, as one archive, in ./camvid.zip (images below a folder of any name; masks are not needed).
# --dry-run runs every part on the CPU at toy size.
set -uo pipefail
cd "$(dirname "$0")/.."

OUT="${OUT:-benchmarks/results}"
PYTHON="${PYTHON:-python3}"
DRY_RUN="${1:-}"
SCRATCH="$(mktemp -d)"
trap 'rm -rf "$SCRATCH"' EXIT
mkdir -p "$OUT" && : > "$OUT/gpu.log"
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

if compgen -G "wheels/*.whl" > /dev/null; then
    "$PYTHON" -m pip install -q --no-index --no-deps --no-cache-dir --target "$SCRATCH/site" wheels/*.whl
    export PYTHONPATH="$PYTHONPATH:$SCRATCH/site"
fi
DATA=()
if [ -f camvid.zip ]; then
    "$PYTHON" -m zipfile -e camvid.zip "$SCRATCH/camvid" && DATA=(--data "$SCRATCH/camvid")
fi

failed=0
part() { # part NAME COMMAND...
    local name="$1" started="$SECONDS"
    shift
    echo "== $name"
    if ! "$@" > "$SCRATCH/log" 2>&1; then
        failed=$((failed + 1))
        echo "FAILED, more in gpu.log:"
    fi
    tail -n 4 "$SCRATCH/log"
    { echo "== $name"; cat "$SCRATCH/log"; } >> "$OUT/gpu.log"
    echo "   $((SECONDS - started)) s"
}

bench() { "$PYTHON" -m benchmarks.gpu "$@" ${DRY_RUN:+"$DRY_RUN"} --out "$OUT"; }

# First whether the kernel is right, then how fast it is; the part that needs the longest comes last.
part tests "$PYTHON" -m pytest -q tests/gpu
if command -v compute-sanitizer > /dev/null && [ -z "$DRY_RUN" ]; then
    for tool in memcheck racecheck; do
        part "$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 \
            "$PYTHON" -m pytest -q tests/gpu/test_region_scores.py -k "camvid"
    done
fi
part parity bench parity ${DATA[@]+"${DATA[@]}"}
part network bench network
part pool bench pool
part kernel bench kernel
exit "$failed"
