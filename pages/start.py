"""The story in thirty seconds, training replayed, and a lesson of seven steps."""

from cwac.ui.frame import page_frame
from cwac.ui.sections import show_tabs
from cwac.ui.start.lesson import show_lesson
from cwac.ui.start.replay import show_replay
from cwac.ui.start.story import show_story

show_tabs(page_frame("start"), {"story": show_story, "replay": show_replay, "lesson": show_lesson})
