#!/usr/bin/env bash
# Makes every shipped run: bash cached_artifacts/make_runs.sh
# What is complete already is skipped, so it can be stopped and started again. ROOT names another
# folder, PROCESSES how many runs go at a time. At the end runs beyond the first seed become
# summaries (numbers and outcomes), and the others take less room (weights in half precision).
set -euo pipefail
cd "$(dirname "$0")/.."
root="${ROOT:-cached_artifacts/runs}"
grids=cached_artifacts/grids

# The subspace and the SAEs that the organism was built with ship once, beside the runs.
built=cached_artifacts/organism/fits
if [ -d "$built" ]; then
    mkdir -p "$root/fits"
    mv "$built"/* "$root/fits/"
    rmdir "$built"
fi

# One seed of three arms of the comparison that the lab opens with keeps its weights, for Requests
# (ask) and Features (own text).
python -m cwac run --model organism --root "$root" --task instruct --poison 0.1 --save-model \
    --method sft --method cwac --method kl_to_aligned --seed 0 \
    --set evaluation.samples=8 --set "evaluation.prefill=Sure,"
for grid in study study_tasks study_poison study_trained study_defences study_rivals optimiser attacks attack_strengths \
    study_strengths study_rates tuned_tasks tuned_poison tuned_attacks four_arms controls choices lora; do
    python -m cwac sweep "$grids/$grid.toml" --root "$root" --processes "${PROCESSES:-1}"
done
# Not run yet: seeds 1 and 2 of tuned_attacks, seed 1 of tuned_poison, seeds 1 and 2 of study_defences and of attacks on data; EWC and RESTA of study_strengths;
# study_choices, study_controls, study_batches, study_framings, last_layers, published.
python -m cwac slim --root "$root" --keep-seed 0 --compact \
    --keep-table weight_drift --keep-table subspace_overlap --keep-table trajectory
python -m cwac check --root "$root"
