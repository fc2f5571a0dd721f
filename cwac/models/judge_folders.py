"""What a judging model's folder tells before its weights are read, for those who ask early."""

from pathlib import Path
from typing import Any

from cwac.errors import ConfigError, ModelError, first_line
from cwac.intake import shown
from cwac.judges import KnownJudge, parse_judge
from cwac.judges.model_verdict import Meaning, meaning_of
from cwac.models.checking import check_model_folder
from cwac.models.loading import load_tokenizer
from cwac.models.size import check_settings


def check_judge(text: str) -> None:
    """Refuse a judging model that lies in a folder here and cannot be used, weights aside.

    What the hub has is not fetched for it.

    Raises
    ------
    CwacError
        As :func:`cwac.models.judge_models.judge_named` says.
    """
    known, model = parse_judge(text)
    source, _, stated = (model or "").partition("#")
    folder = Path(source).expanduser()
    if not source or not folder.is_dir():
        return
    check_model_folder(folder)
    check_settings(folder)
    judging_tokenizer(folder)
    if known.form == "generator":
        check_no_label(known, stated)
        return
    from transformers import AutoConfig  # noqa: PLC0415 - 1 s

    try:
        config = AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as problem:
        # What a configuration makes the library raise is no fixed list.
        raise ModelError(f"the judge {folder} cannot be loaded: {first_line(problem)}.") from None
    meaning_in(known, config, stated, folder)


def judging_tokenizer(folder: Path) -> Any:
    """Load a judge's tokenizer, with a token to fill up batches with.

    Raises
    ------
    ModelError
        There is none that can be read, or it has no such token.
    """
    tokenizer = load_tokenizer(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise ModelError(
            f"the tokenizer of the judge {folder} has no token to fill up with: none for padding, "
            "the end or what is unknown."
        )
    return tokenizer


def meaning_in(known: KnownJudge, config: Any, stated: str, folder: Path) -> Meaning:
    """Return what a classifier's labels mean, as its configuration names them.

    Parameters
    ----------
    known : KnownJudge
    config : PretrainedConfig
    stated : str
        As :func:`cwac.judges.model_verdict.meaning_of` takes it.
    folder : Path
        For the message.

    Raises
    ------
    ModelError
        There are no labels, or they do not tell.
    """
    labels = config.id2label
    if not isinstance(labels, dict) or not labels:
        raise ModelError(f"the judge {folder} has id2label = {shown(labels)}, which is no table.")
    names = [str(labels[number]) for number in sorted(labels)]
    if known.name == "beaver-dam":
        return Meaning("harm", tuple(range(len(names))))
    return meaning_of(names, stated, str(folder))


def check_no_label(known: KnownJudge, stated: str) -> None:
    """Refuse a label where a judge takes none.

    Raises
    ------
    ConfigError
        Names both.
    """
    if stated:
        raise ConfigError(f"the judge {known.name!r} takes a model alone, not #{stated}.")
