"""Patch the residual: the aligned model's stream at one layer and position of the tuned model."""

from torch import Tensor

from cwac.interfaces import DissectContext
from cwac.interventions._parts import OUTPUT, parts_of
from cwac.interventions._reading import texts_of
from cwac.interventions._streams import Patch, StreamTrial, StreamTrials, Where
from cwac.interventions.bench import Part


class PatchResidual(StreamTrials):
    """Activation patching of the whole stream, layer by layer.

    Positions are the last prompt token, the template's other closing tokens, the request, and the
    first token of the answer (outcomes alone: it comes behind the log-odds). Controls put the
    aligned stream of another harmful request, or of a harmless one, at the last token. At the
    last layer, with what follows it restored too, the aligned model's logits come out.
    """

    name = "patch_residual"

    def trials(self, context: DissectContext) -> list[StreamTrial]:
        """Return each layer and position, the controls, and the end that must be aligned."""
        places: dict[Where, str] = {"last": "last prompt token", "request": "request"}
        if context.chat.closing_tokens > 1:
            places["template"] = "template's closing tokens"
        texts = texts_of(context, context.harmful_test())
        donors = {"another harmful request": [*texts[1:], *texts[:1]]}
        if harmless := texts_of(context, context.prompts.get("test", "harmless")):
            donors["a harmless request"] = harmless
        trials = []
        for layer in range(context.anatomy.n_layers):
            part = Part(f"layer {layer}", layer)
            trials += [
                StreamTrial(part, text, Patch((layer,), where, given), answers=where == "last")
                for where, text in places.items()
            ]
            trials += [
                StreamTrial(part, f"last prompt token of {name}",
                            Patch((layer,), "last", given, donors=donor), control=True)
                for name, donor in donors.items()
            ]  # fmt: skip
            first = Patch((layer,), "first answer", given)
            trials.append(StreamTrial(part, "first answer token", first, answers=True))
        return [*trials, _end(context)]


def _end(context: DissectContext) -> StreamTrial:
    """Return the trial whose logits are the aligned model's, bit for bit."""
    layer = context.anatomy.n_layers - 1
    last = next(p for p in parts_of(context.anatomy, context.tuned, "layer") if p.map == OUTPUT)
    names = {*last.parameters, context.anatomy.output.parameter}
    return StreamTrial(
        Part(f"layer {layer}", layer),
        "whole prompt, output restored too",
        Patch((layer,), "prompt", given),
        weights={name: context.aligned[name] for name in names},
    )


def given(_layer: int, _stream: Tensor, given: Tensor | None) -> Tensor:
    """Return the giving pass's stream."""
    assert given is not None
    return given
