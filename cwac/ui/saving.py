"""Images that a chart's camera saves look as the page does: the page's font goes into them.

An image of its own has no part in a page's web fonts. Its text would be set in another, wider font
than the one that the chart was laid out for, and the ends of long labels and of the legend would be
cut off. Plotly passes every image as one SVG through ``window.Blob``, its only place to add to it.
"""

import json
from typing import Final

FAMILY: Final = "Source Sans"
"""The first font of ``cwac.figures.style``, which Streamlit serves with its pages."""
# Without a tag inside: Streamlit drops a script that seems to hold one.
_SCRIPT: Final = """<script>
(() => {
  if (window.savesFonts) return;
  window.savesFonts = true;
  const family = %s;
  let face = "";
  const find = () => [...document.styleSheets].flatMap(sheet => {
    try { return [...sheet.cssRules]; } catch { return []; }
  }).find(rule => rule instanceof CSSFontFaceRule && rule.style.fontStyle !== "italic"
    && rule.style.fontFamily.replace(/["']/g, "") === family);
  const read = async () => {
    const rule = find();
    const place = rule.style.src.match(/url\\(["']?([^"')]+)/)[1];
    const font = await (await fetch(new URL(place, rule.parentStyleSheet.href ?? location))).blob();
    const reader = new FileReader();
    reader.onload = () => {
      const weight = rule.style.fontWeight || "normal";
      face = `\\x3cstyle>@font-face { font-family: "${family}"; font-weight: ${weight}; `
        + `src: url(${reader.result}); }\\x3c/style>`;
    };
    reader.readAsDataURL(font);
  };
  window.Blob = new Proxy(window.Blob, {
    construct(blob, [parts, options]) {
      const svg = options?.type?.startsWith("image/svg+xml") && typeof parts?.[0] === "string";
      return new blob(svg ? [parts[0].replace(/\\x3csvg[^>]*>/, `$&${face}`)] : parts, options);
    },
  });
  // The rule comes with the page's first styles; without a font images are as plotly makes them.
  const wait = tries => find() ? read() : tries && setTimeout(() => wait(tries - 1), 500);
  wait(20);
})();
</script>"""


def keep_fonts() -> str:
    """Return a script that lets images saved from the page's charts bear the page's font."""
    return _SCRIPT % json.dumps(FAMILY)
