#!/usr/bin/env bash
# Everything that only a GPU can show, in one command on a machine without a network:
#
#     benchmarks/gpu.sh [--dry-run] [PART ...]
#
# Writes one JSON a part, and gpu.log, into $OUT (benchmarks/results if not set). A part that fails costs only
# itself; the exit status is the number of parts that failed. Python packages that the machine lacks lie as wheels in
# ./wheels; CamVid, as one archive, in ./camvid.zip. The part protocol trains for as long as it is let: its runs lie in
# $RUNS and go on where they were cut off, its JSON is written after every run. --dry-run runs every part on the CPU at
# toy size.
set -uo pipefail
cd "$(dirname "$0")/.."

OUT="${OUT:-benchmarks/results}"
PYTHON="${PYTHON:-python3}"
RUNS="${RUNS:-${TMPDIR:-/tmp}/s4al-runs}"
DRY_RUN=""
if [ "${1:-}" = --dry-run ]; then
    DRY_RUN="$1" && shift
fi
PARTS=" ${*:-tests sanitizer parity network pool kernel step tensorrt protocol} "
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
    [[ "$PARTS" == *" $name "* ]] || return 0
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
sanitize() {
    for tool in memcheck racecheck; do
        compute-sanitizer --tool "$tool" --error-exitcode 9 \
            "$PYTHON" -m pytest -q tests/gpu/test_region_scores.py -k "camvid" || return
    done
}
if command -v compute-sanitizer > /dev/null && [ -z "$DRY_RUN" ]; then
    part sanitizer sanitize
fi
part parity bench parity ${DATA[@]+"${DATA[@]}"}
part network bench network
part pool bench pool
part kernel bench kernel
part step "$PYTHON" -m benchmarks.gpu_step ${DRY_RUN:+"$DRY_RUN"} --out "$OUT"
part tensorrt bench tensorrt

# The paper's protocol at a fifth of its length, from random weights; in the order in which rows are wanted.
protocol=(--preset camvid ${DATA[@]+"${DATA[@]}"} --runs "$RUNS" model.weights=none
    trainer.epochs=20 trainer.last_epochs=30)
rows=("S4AL+" "full supervision" "supervised 10 %" "random + self-training" "S4AL+ without queries"
    "supervised 10 %, without ReCo" S4AL)
if [ -n "$DRY_RUN" ]; then
    protocol=(--preset demo --runs "$SCRATCH/runs" run.full_supervision=false run.random_regions=false
        data.labelled_fraction=0.1 scenes.train=20 scenes.test=2 trainer.warmup_steps=0 trainer.epochs=1 trainer.last_epochs=1
        trainer.iterations_per_epoch=2 trainer.joint_iterations_per_epoch=2)
    rows=("S4AL+ without queries")
fi
part protocol "$PYTHON" -m benchmarks.label_efficiency "${protocol[@]}" --rows "${rows[@]}" --seeds 3108 \
    --name gpu_protocol --out "$OUT"
exit "$failed"
