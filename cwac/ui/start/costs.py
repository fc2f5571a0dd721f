"""The lesson's last step: what CWAC costs, and whether another method does at least as well."""

from cwac.analysis.claims import FOCUS
from cwac.analysis.dominance import NAMED
from cwac.analysis.enumeration import enumerated
from cwac.analysis.idle import idle_arms
from cwac.analysis.lesson import as_good_as, level_with
from cwac.analysis.outcomes import by_arm_and_rate, interval_text
from cwac.arms import ALIGNED, BASELINE, MANY, in_order
from cwac.figures.start.lesson import cost_panels
from cwac.ui.answers import rates_of_answers
from cwac.ui.elsewhere import answers_standing
from cwac.ui.frame import Frame
from cwac.ui.start.reveal import Revealed, counted


def costs(frame: Frame) -> Revealed | None:
    """Say whether a method does at least as well as CWAC in all that is measured."""
    answers = answers_standing(frame, frame.experiments[0])
    rates = rates_of_answers(answers)
    # What did nothing is SFT under another name.
    idle = idle_arms(answers.table)
    rates = rates[~rates["variant"].isin(idle)]
    named = by_arm_and_rate(rates)
    mine = named.get((FOCUS, "lookalikes_answered"))
    if mine is None:
        return None
    above = as_good_as(rates, FOCUS)
    known = set(answers.table["variant"]) - idle
    arms = in_order(r.arm for r in frame.experiments[0].records if r.arm.label in known)
    # Those that hold come first: a method that complies with everything is no rival.
    first = [BASELINE, FOCUS, *above]
    harm = {
        arm.label: named.get((arm.label, "harmful_score"), {}).get("value", 1.0) for arm in arms
    }
    ranked = sorted(
        arms,
        key=lambda arm: (
            first.index(arm.label) if arm.label in first else len(first),
            harm[arm.label],
        ),
    )
    drawn = ranked[:MANY]
    others = sum(arm.label not in {BASELINE, FOCUS} for arm in drawn)
    titles = {arm.label: arm.title for arm in arms}
    listed = ", ".join(titles[label] for label in above[:NAMED])
    listed += f" and {len(above) - NAMED} more" if len(above) > NAMED else ""
    level = [arm.title for arm in arms if arm.label in level_with(rates, FOCUS)]
    title = "As measured, no method here is as good as CWAC in all three and better in one"
    sentence = f"As measured, none of {len(arms) - 1} other methods is at least as good in all "
    sentence += "three and better in one."
    if above:
        title = f"At least as good as CWAC in all three, better in one: {listed} ({len(above)} of "
        title += f"{len(arms) - 1} methods)"
        sentence = f"{title}."
    if level:
        more = [f"{len(level) - NAMED} more"] if len(level) > NAMED else []
        sentence += f" Their intervals leave it open for {enumerated([*level[:NAMED], *more])}."
    sentence += f" CWAC answers {interval_text(mine)} of harmless look-alikes"
    before = named.get((ALIGNED.label, "lookalikes_answered"))
    sentence += f", the aligned model {interval_text(before)}" if before is not None else ""
    sentence += f" ({counted(mine)}). What is beyond noise, the tab Claims says."
    return Revealed(
        frozenset({1 if above else 0}),
        sentence,
        cost_panels(rates, title, drawn),
        rates[rates["variant"].isin([arm.label for arm in drawn])],
        "Methods at tuned settings where better ones than the default were found, else at their "
        f"defaults: SFT, CWAC and, of the others, the {others} with the lowest harmful score are "
        "drawn. Whiskers: 95\u00a0% intervals.",
        frame.experiments[0].title,
        ("harmful score", "task accuracy", "look-alikes answered", "interval"),
        frozenset({0, 1} if level else ()),
    )
