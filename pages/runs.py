"""Everything stored, and a short fine-tune of one's own."""

from cwac.ui.frame import page_frame
from cwac.ui.runs.launch.launching import show_launch
from cwac.ui.runs.stored import show_stored
from cwac.ui.sections import show_tabs

show_tabs(page_frame("runs"), {"stored": show_stored, "launch": show_launch})
