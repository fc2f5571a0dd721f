#!/usr/bin/env bash
# Makes every shipped run: bash cached_artifacts/make_runs.sh [instruct|tasks]
# What is complete already is skipped, so it can be stopped and started again. Without an argument
# both halves run one after another; two shells may run one half each. ROOT names another folder.
set -euo pipefail
cd "$(dirname "$0")/.."
root="${ROOT:-cached_artifacts/runs}"

# The subspace and the SAEs that the organism was built with ship once, beside the runs.
built=cached_artifacts/organism/fits
if [ -d "$built" ]; then
    mkdir -p "$root/fits"
    mv "$built"/* "$root/fits/"
    rmdir "$built"
fi

arms=(--method sft --method weight_only --method activation_only --method cwac)
three=(--seed 0 --seed 1 --seed 2)
five=("${three[@]}" --seed 3 --seed 4)
run() { python -m cwac run --model organism --root "$root" "$@"; }

if [ "${1:-instruct}" = instruct ]; then
    # One seed of the four arms keeps its weights, for the Prompt page.
    run --task instruct --poison 0.1 "${arms[@]}" --seed 0 --save-model
    run --task instruct --poison 0.1 "${arms[@]}" "${five[@]}"
    # Controls: as many random directions protected; the paper's literal gradient projection.
    run --task instruct --poison 0.1 --method cwac --set cwac.subspace=random "${three[@]}"
    run --task instruct --poison 0.1 --method cwac --set cwac.projection=gradient "${three[@]}"
    run --task instruct --poison 0 "${arms[@]}" "${three[@]}"
fi
if [ "${1:-tasks}" = tasks ]; then
    for task in sentiment topic arithmetic; do
        run --task "$task" --poison 0.1 "${arms[@]}" "${three[@]}"
    done
fi
