"""Every plug-in with what a page or a person must know to choose it."""

from cwac.cli.known import known_datasets, known_judges
from cwac.errors import CwacError
from cwac.messages import (
    Catalogue,
    MethodEntry,
    MetricEntry,
    ModelDefaults,
    ModelEntry,
    TaskEntry,
)
from cwac.methods import METHODS
from cwac.metrics import METRIC_INFOS
from cwac.models import MODELS
from cwac.models.card import CardDefaults, ModelCard, read_card
from cwac.models.folders import resolve_folder
from cwac.models.presets import sae_source
from cwac.tasks import TASKS


def catalogue() -> Catalogue:
    """Return everything that can be chosen, in the registries' order."""
    return Catalogue(
        models=tuple(_model(name) for name in MODELS),
        tasks=tuple(
            TaskEntry(name=name, title=task.title, chance=task.chance)
            for name, task in TASKS.items()
        ),
        datasets=known_datasets(),
        judges=known_judges(),
        methods=tuple(_method(name) for name in METHODS),
        metrics=tuple(
            MetricEntry(
                name=info.name,
                title=info.title,
                unit=info.unit,
                direction=info.direction,
                range=info.range,
            )
            for info in METRIC_INFOS.values()
        ),
    )


def _model(name: str) -> ModelEntry:
    spec = MODELS[name]
    card, problem = ModelCard(defaults=CardDefaults.build(spec.defaults)), None
    if spec.shipped:
        try:
            card = read_card(resolve_folder(name))
        except CwacError as error:
            problem = str(error)
    return ModelEntry(
        name=name,
        title=spec.title,
        summary=spec.summary,
        source=spec.source,
        parameters=spec.parameters,
        saes=sae_source(spec),
        shipped=spec.shipped,
        problem=problem,
        defaults=ModelDefaults.model_validate(card.defaults.model_dump(mode="json")),
    )


def _method(name: str) -> MethodEntry:
    method = METHODS[name]
    return MethodEntry(
        name=name,
        title=method.title,
        stage=method.stage,
        control=method.control,
        needs=tuple(sorted(method.needs)),
        adapters=method.adapters,
        strength_knob=method.strength_knob,
        extra_passes=method.extra_passes,
        summary=method.summary,
        source=method.source,
        deviation=method.deviation,
        published=dict(method.published),
        settings=method.settings_type().complete(),
    )
