"""How the whole app looks: the theme, and a mode for a room; both stay in the link.

Streamlit keeps a reader's theme in the browser and offers a server no way to set it. A short script
writes it there, and loads the page anew where it was another one; that is tested in a browser,
because the name of the entry is Streamlit's own.

Figures are painted on the server, for the theme that a page said it has when it last asked. Where
the system's theme changes under an open page, the page asks again: :data:`_follow_theme`.
"""

import json
from typing import Final

import streamlit as st

from cwac.ui import selection
from cwac.ui.navigation import MOVED, PAGES
from cwac.ui.saving import complete_images

THEMES: Final = {None: "System", "light": "Light", "dark": "Dark"}
"""In the link, and Streamlit's word for it."""
LARGER: Final = 1.35
"""How much larger figures' text and marks are for a room."""
ENTRY: Final = "stActiveTheme-{path}-v2"
"""Where Streamlit keeps a theme, one entry per address that was opened."""
_SCRIPT: Final = """<script>
(() => {
  const name = JSON.stringify(%s);
  const entry = path => %s.replace("{path}", path);
  const here = entry(location.pathname);
  const before = localStorage.getItem(here) || '"System"';
  for (const path of [...%s, location.pathname]) localStorage.setItem(entry(path), name);
  if (before !== name && localStorage.getItem(here) === name) location.reload();
})();
</script>"""
# Streamlit's own parts follow at once, and no server is told. Asked only when the page is drawn in
# the new theme: till then the page says of itself that it has the old one. Sixty frames are a
# second; a page whose theme was chosen does not change at all.
_FOLLOW: Final = """export default ({ parentElement, setTriggerValue }) => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const ground = () => getComputedStyle(parentElement).getPropertyValue("--st-background-color");
  let drawn = ground();
  const ask = frames => {
    const now = ground();
    if (now !== drawn) { drawn = now; setTriggerValue("changed", true); }
    else if (frames > 0) requestAnimationFrame(() => ask(frames - 1));
  };
  const follow = () => ask(60);
  dark.addEventListener("change", follow);
  return () => dark.removeEventListener("change", follow);
};"""
_follow_theme = st.components.v2.component("cwac_follow_theme", js=_FOLLOW, isolate_styles=False)
INKS: Final = {"light": "#FFFFFF", "dark": "#0B131B"}
"""What is written on the accent colour: Streamlit's white cannot be read on the dark theme's blue.
Not ``light-dark()``: a dialog lies outside of the part of the page that says which it is."""
# Its colours of code are too faint on the page, and fainter at the 60 % of a caption. Its margins
# leave a fifth of a narrow window empty at the sides, and a hand's breadth at the foot. What is
# under a figure stays on one line: else the button goes beneath the reading. Tabs go on to a second
# line: those that a narrow window scrolls out of sight are not found, the open one among them.
# A long name in the sidebar's box ends in an ellipsis, not in half a letter; on its chips it wraps,
# and their box shows all of a figure's. A button that is a sentence begins its second line where it
# begins the first. Plotly's buttons turn almost white at the pointer, whatever their text is.
_STYLE: Final = """<style>
[data-testid="stCaptionContainer"] code, [data-testid="stCode"] .token { color: inherit; }
[data-testid="stMainBlockContainer"] { padding: 4rem clamp(1.5rem, 4vw, 5rem) 2rem; }
[data-testid="stTabs"] [role="tablist"] { flex-wrap: wrap; row-gap: 0; }
[data-testid="stSidebar"] input[role="combobox"] { text-overflow: ellipsis; }
[data-testid="stSidebar"] [data-testid="stMultiSelect"] [role="group"] { max-height: 24rem; }
[data-testid="stSidebar"] [data-tag] { max-width: 100%%; height: auto; min-height: 28px; }
[data-testid="stSidebar"] [data-tag] > span { white-space: normal; }
.updatemenu-item-rect { fill: rgba(138,148,160,0.25) !important; }
.updatemenu-button:hover .updatemenu-item-rect { fill: rgba(138,148,160,0.5) !important; }
[data-testid="stBaseButton-tertiary"] { text-align: left; }
[class*="st-key-foot_"] { flex-wrap: nowrap; }
[class*="st-key-foot_"] > :first-child { flex: 1 1 0; min-width: 0; }
[data-tag]:not([data-disabled]), [data-testid="stBaseButton-primary"]:not(:disabled) {
  color: %s;
}
%s</style>"""
_ROOM: Final = """html { font-size: 21px !important; }
[data-testid="stSidebar"], [data-testid="stExpandSidebarButton"] { display: none; }
"""


def is_dark() -> bool:
    """Return whether the page is dark: as chosen, else as the browser says."""
    chosen = selection.current().theme
    return chosen == "dark" if chosen in THEMES and chosen else st.context.theme.type == "dark"


def figure_scale() -> float:
    """Return how much larger figures are than they are drawn."""
    return LARGER if selection.current().presenter else 1.0


def offer_look() -> None:
    """Draw the switches at the foot of the sidebar, and make the page look as they say."""
    chosen = selection.current()
    theme = chosen.theme if chosen.theme in THEMES else None
    with st.sidebar:
        st.session_state["_theme"] = THEMES[theme]
        st.segmented_control(
            "Theme", list(THEMES.values()), key="_theme", on_change=_take_theme, required=True
        )
        st.session_state["_presenter"] = chosen.presenter
        st.toggle(
            "Presenter mode",
            key="_presenter",
            on_change=lambda: selection.select(presenter=st.session_state["_presenter"]),
            help="Larger type on the page and in figures, no sidebar.",
        )
        paths = ["/", *(f"/{name}" for name in (*PAGES, *MOVED, "home"))]
        words = map(json.dumps, (THEMES[theme], ENTRY, paths))
        st.html(
            _SCRIPT % tuple(words) + complete_images(st.context.url), unsafe_allow_javascript=True
        )
        # Without a callback to call, a trigger draws nothing anew.
        _follow_theme(key="_follow_theme", height=1, on_changed_change=lambda: None)
    ink = INKS["dark" if is_dark() else "light"]
    st.html(_STYLE % (ink, _ROOM if chosen.presenter else ""))


def show_heading(title: str) -> None:
    """Draw a page's heading; in the mode for a room with the button that ends it beside it."""
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        st.title(title, anchor=False)
        if selection.current().presenter:
            st.button(
                "Leave presenter mode",
                key="leave_presenter",
                icon="✖️",
                on_click=lambda: selection.select(presenter=False),
            )


def _take_theme() -> None:
    names = {word: name for name, word in THEMES.items()}
    selection.select(theme=names[st.session_state["_theme"]])
