"""Arms for tests, named by the labels that tests write out."""

from cwac.arms import CONTROLS, Arm, is_control


def arm(label: str) -> Arm:
    """Return the arm of a label; values of settings stay text."""
    own, _, overlay = label.partition(" @ ")
    method, _, inside = own.partition(" (")
    changed = dict(part.split("=", 1) for part in inside.removesuffix(")").split(", ") if part)
    return Arm(
        method=method,
        changed=changed,
        overlay=overlay or None,
        control=is_control(changed, CONTROLS),
    )


def arms(*labels: str) -> list[Arm]:
    """Return the arms of labels."""
    return [arm(label) for label in labels]
