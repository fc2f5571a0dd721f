"""What each method answers: one request, all outcomes, and what other judges say."""

from cwac.ui.frame import page_frame
from cwac.ui.requests.judges import show_judgements
from cwac.ui.requests.one import show_one
from cwac.ui.requests.outcomes import show_outcomes
from cwac.ui.sections import show_tabs

show_tabs(
    page_frame("requests"),
    {"one": show_one, "outcomes": show_outcomes, "judges": show_judgements},
)
