"""Plain supervised fine-tuning: the loop with no hook."""

from cwac.interfaces import Method, MethodSettings


class Sft(Method[MethodSettings]):
    """Fine-tune on the task alone."""

    name = "sft"
    title = "SFT"
    summary = "Plain supervised fine-tuning; nothing protects the refusals."
    source = "The baseline of every paper, e.g. Qi et al. 2024, arXiv 2310.03693."
    adapters = ("full", "lora")
