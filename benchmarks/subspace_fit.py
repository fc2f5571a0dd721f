"""The subspace's streamed pass: seconds per token and peak memory as the tokens grow eightfold.

python benchmarks/subspace_fit.py [--model FOLDER] [--check]
"""

import statistics
from collections.abc import Iterator

from bench import Bench, Verdict, describe, open_bench, parser

from cwac.chat import Batch, collate
from cwac.provenance import peak_memory_bytes
from cwac.subspace import SafetySubspace, collect_second_moments

BATCH = 32


def main() -> None:
    """Measure, print, judge."""
    given = parser(__doc__ or "").parse_args()
    bench = open_bench(given)
    describe(bench)
    _fit(bench, 1)  # Buffers and kernels are set up here, not in what is compared.
    before = peak_memory_bytes()
    per_token: dict[int, float] = {}
    for times in (1, 2, 4, 8):
        found = [_fit(bench, times) for _ in range(max(1, given.rounds // times))]
        tokens = found[0][1]
        per_token[times] = statistics.median(seconds for seconds, _ in found) / tokens
        growth = (peak_memory_bytes() - before) / 2**20
        print(
            f"{tokens:,} tokens: {1e6 * per_token[times]:.2f} us per token, "
            f"{growth:.1f} MiB above the smallest fit's peak"
        )
    verdict = Verdict(given.check)
    verdict.line("seconds per token, 8 x the tokens over 1 x", per_token[8] / per_token[1], 1.25)
    verdict.line("peak memory growth in MiB, 8 x the tokens", growth, 16)
    verdict.leave()


def _fit(bench: Bench, times: int) -> tuple[float, int]:
    """Fit on the safety requests and their refusals, repeated; return seconds and tokens."""
    maps = bench.loaded.anatomy.maps
    started = bench.clock()
    moments = collect_second_moments(bench.loaded.model, maps, _batches(bench, times))
    seconds = bench.clock() - started
    # The decomposition does not depend on the tokens; it is made to see that it can be.
    SafetySubspace.from_moments(moments, maps, tail_energy=bench.config.measurement.tail_energy)
    return seconds, moments.tokens


def _batches(bench: Bench, times: int) -> Iterator[Batch]:
    chat = bench.loaded.chat
    prompts = bench.prompts.get("safety", "harmful")
    items = [chat.example_ids(prompt.text, prompt.answer or "No.") for prompt in prompts]
    for _ in range(times):
        for start in range(0, len(items), BATCH):
            yield collate(items[start : start + BATCH], chat.pad_id).to(bench.loaded.device)


if __name__ == "__main__":
    main()
