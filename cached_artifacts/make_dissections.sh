#!/usr/bin/env bash
# Takes runs apart, in the order in which it matters: bash cached_artifacts/make_dissections.sh
# Their weights stay in ROOT (about 4 MB a run), which is not part of the repository; what is complete
# is skipped, so it can be stopped and started again. What ships of it are the tables `dissection*`
# under ROOT/experiments. PROCESSES says how many runs are trained at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
root="${ROOT:-runs-kept}"

kept() { # GRID: trains what is missing
    python -m cwac sweep "cached_artifacts/grids/$1.toml" --root "$root" --save-model \
        --processes "${PROCESSES:-1}"
}
apart() { # PATTERN [OPTION...]: dissects the runs of that name
    local pattern="$1" run
    shift
    for run in "$root"/$pattern; do
        [ -d "$run" ] && python -m cwac dissect --run "$(basename "$run")" --root "$root" "$@"
    done
}
parts=(--only ends --only restore --only transplant --only subspace_split)

kept dissections
apart 'organism-instruct-p0.1-*-s[012]-*'
python -m cwac dissect --run organism-instruct-p0.1-sft-s0-4c817fad --root "$root" --only path \
    --other organism-instruct-p0.1-cwac-s0-c2a1654e
kept dissections_models
apart 'organism-[bc]-instruct-p0.1-*' "${parts[@]}"
apart 'organism-[bc]-instruct-p0.1-*_only-*' --by map --only restore --only transplant
apart 'organism-instruct-p0.1-*-s0-*' --by map --only restore --only transplant
for method in sft weight_only activation_only cwac_paper; do
    apart "organism-instruct-p0.1-$method-s[12]-*" --by map --only restore --only transplant
done
kept dissections_smollm2
apart 'smollm2-135m-aligned-sst2-*' "${parts[@]}" --only path --only read_out --only patch_residual \
    --only patch_features
kept dissections_harmless
apart 'organism-instruct-p0-*'
kept dissections_tasks
apart 'organism-topic-p0.1-*'
apart 'organism-arithmetic-p0.1-*'
