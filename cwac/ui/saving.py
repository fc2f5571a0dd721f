"""Images that a chart's camera saves: the page's font goes into them, and what the chart is of.

An image of its own has no part in a page's web fonts. Its text would be set in another, wider font
than the one that the chart was laid out for, and the ends of long labels and of the legend would be
cut off. Nor has it a part in the caption that stands on the page. Plotly passes every image as one
SVG through ``window.Blob``, its only place to add to it; a PNG is drawn from that SVG.
"""

import json
from typing import Final

FAMILY: Final = "Source Sans"
"""The first font of ``cwac.figures.style``, which Streamlit serves with its pages."""
BENEATH: Final = "beneath"
"""Where a chart's options for its camera, which plotly keeps, hold the lines of its caption."""
# Without a tag inside: Streamlit drops a script that seems to hold one.
_SCRIPT: Final = """<script>
(() => {
  if (window.savesImages) return;
  window.savesImages = true;
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
  // The chart whose camera was clicked, and how much taller its image becomes, in its own pixels.
  let chart = null, foot = 0;
  document.addEventListener("click", event => {
    if (event.target.closest?.(".modebar-btn")) chart = event.target.closest(".js-plotly-plot");
  }, true);
  const wrap = (text, width, font) => {
    const ruler = document.createElement("canvas").getContext("2d");
    ruler.font = font;
    const lines = [""];
    // A link, which has no spaces, breaks behind its parts.
    for (const piece of text.match(/[^ &?]*[ &?]?/g)) {
      const line = lines.at(-1) + piece;
      if (!lines.at(-1) || ruler.measureText(line.trimEnd()).width <= width)
        lines[lines.length - 1] = line;
      else lines.push(piece);
    }
    return lines;
  };
  const safe = text => text.replace(/[&\\x3c>]/g, sign => `&#${sign.charCodeAt(0)};`);
  const caption = (width, height) => {
    const { font, paper_bgcolor: paper } = chart._fullLayout;
    const size = Math.round(0.85 * font.size), step = Math.round(1.35 * size), edge = size;
    const texts = [...chart._context.toImageButtonOptions.%s ?? [], location.href];
    const lines = texts.flatMap(text => wrap(text, width - 2 * edge, `${size}px ${font.family}`));
    foot = lines.length * step + 2 * edge;
    const rows = lines.map((line, number) => `\\x3ctext x="${edge}" y="`
      + `${height + edge + size + number * step}">${safe(line.trimEnd())}\\x3c/text>`);
    return `\\x3crect x="0" y="${height}" width="${width}" height="${foot}" fill="${paper}"/>`
      + `\\x3cg class="beneath" fill="${font.color}" style="font: ${size}px `
      + `${font.family.replace(/"/g, "'")}; white-space: pre">${rows.join("")}\\x3c/g>`;
  };
  const complete = svg => {
    const root = svg.match(/\\x3csvg[^>]*>/)[0];
    const number = name => Number(root.match(` ${name}="([\\\\d.]+)`)[1]);
    const [width, height] = root.match(/viewBox="0 0 ([\\d.]+) ([\\d.]+)"/)?.slice(1).map(Number)
      ?? [number("width"), number("height")];
    const beneath = chart ? caption(width, height) : "";
    const times = number("height") / height;
    const taller = root.replace(/ viewBox="[^"]*"/, "")
      .replace(/ height="[^"]*"/, ` height="${times * (height + foot)}"`)
      .replace(/>$/, ` viewBox="0 0 ${width} ${height + foot}">`);
    return svg.replace(root, () => taller + face).replace(/\\x3c\\/svg>\\s*$/, beneath + "$&");
  };
  window.Blob = new Proxy(window.Blob, {
    construct(blob, [parts, options]) {
      const svg = options?.type?.startsWith("image/svg+xml") && typeof parts?.[0] === "string";
      foot = 0;
      return new blob(svg ? [complete(parts[0])] : parts, options);
    },
  });
  // Plotly has made the canvas of a PNG as tall as the chart alone.
  const canvas = CanvasRenderingContext2D.prototype, draw = canvas.drawImage;
  canvas.drawImage = function(image, ...place) {
    if (foot && place.length === 4 && image.src?.startsWith("blob:")) {
      place[3] *= image.naturalHeight / (image.naturalHeight - foot);
      this.canvas.height = place[3];
      foot = 0;
    }
    return draw.call(this, image, ...place);
  };
  // The rule comes with the page's first styles; without a font images are as plotly makes them.
  const wait = tries => find() ? read() : tries && setTimeout(() => wait(tries - 1), 500);
  wait(20);
})();
</script>"""


def complete_images() -> str:
    """Return a script that lets images saved from the page's charts bear its font and a caption."""
    return _SCRIPT % (json.dumps(FAMILY), BENEATH)
