"""Images of a chart: the page's font goes into them, what the chart is of, where it is from.

An image of its own has no part in a page's web fonts. Its text would be set in another, wider font
than the one that the chart was laid out for, and the ends of long labels and of the legend would be
cut off. Nor has it a part in the caption that stands on the page. Plotly passes every image as one
SVG through ``window.Blob`` and draws a PNG from it; in Safari the PNG is drawn from an image whose
address holds the SVG. These are the only places to add to it.

A button that saves an image is the camera's other hand: the browser clicks that, and no server is
told. An image for a slide is 16:9 and light whatever the page is: the chart is laid out anew for
it, and keeps its height, so that nothing is squeezed.
"""

import json
from typing import Final
from urllib.parse import urlsplit

from cwac.figures.style import THEMES
from cwac.hosts import is_loopback

FAMILY: Final = "Source Sans"
"""The first font of ``cwac.figures.style``, which Streamlit serves with its pages."""
BENEATH: Final = "beneath"
"""Where a chart's options for its camera, which plotly keeps, hold the lines of its caption."""
SCALE: Final = 2
"""Pixels of a saved image per pixel of the page."""
SLIDE_WIDTH: Final = 1280
"""Pixels of the page that an image for a slide is wide, at least."""
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
  // The chart whose camera was clicked, the slide that it becomes, if one, and how large its image
  // is, in the chart's pixels.
  let chart = null, slide = null, whole = null, pressing = false;
  const camera = plot => plot.querySelector(".modebar-btn");
  const press = (plot, options) => {
    const usual = plot._context.toImageButtonOptions;
    plot._context.toImageButtonOptions = { ...usual, ...options };
    pressing = true;
    // It does not bubble: outside of the menu a click would close it.
    camera(plot).dispatchEvent(new MouseEvent("click"));
    pressing = false;
    plot._context.toImageButtonOptions = usual;
  };
  const light = %s;
  const relit = part => typeof part === "string" ? light[part.toUpperCase()] ?? part
    : Array.isArray(part) ? part.map(relit)
    : part?.constructor === Object
      ? Object.fromEntries(Object.entries(part).map(([name, value]) => [name, relit(value)]))
    : part;
  const pressSlide = plot => {
    const { data, layout, _fullLayout: { height, font } } = plot;
    const { edge, size, step } = measures(font);
    // Wide enough that the chart keeps its height above its caption.
    let wide = %d, foot = 0;
    for (let tries = 0; tries < 4; tries++) {
      foot = captionOf(plot, font, wide - 2 * edge).length * step + size;
      wide = Math.max(wide, Math.ceil(16 / 9 * (height + foot + 2 * edge)));
    }
    const tall = Math.round(9 / 16 * wide);
    slide = { size: [wide, tall], times: %d / wide };
    // Plotly copies both at once.
    [plot.data, plot.layout] = [relit(data), relit(layout)];
    press(plot, { format: "png", filename: `${plot._context.toImageButtonOptions.filename}_slide`,
      width: wide - 2 * edge, height: tall - foot - 2 * edge, scale: slide.times });
    [plot.data, plot.layout] = [data, layout];
  };
  document.addEventListener("click", event => {
    const button = event.target.closest?.("button")?.closest('[class*="st-key-image_"]');
    const asked = button?.className.match(/st-key-image_(png|svg|slide)_(\\S+)/);
    const plot = asked ? document.querySelector(`.st-key-figure_${asked[2]} .js-plotly-plot`)
      : event.target.closest?.(".modebar-btn")?.closest(".js-plotly-plot");
    if (!plot) return;
    chart = plot;
    if (pressing) return;
    slide = null;
    const isSlide = asked ? asked[1] === "slide"
      : plot._context.toImageButtonOptions.slide && camera(plot).contains(event.target);
    if (!asked && !isSlide) return;
    event.stopImmediatePropagation();
    if (isSlide) pressSlide(plot);
    else press(plot, { format: asked[1] });
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
  const measures = font => ({ edge: 12, size: Math.round(0.85 * font.size),
    step: Math.round(1.35 * Math.round(0.85 * font.size)) });
  const captionOf = (plot, font, width) => {
    const texts = [...plot._context.toImageButtonOptions.%s ?? [],
      %s + location.pathname + location.search];
    return texts.flatMap(text => wrap(text, width, `${measures(font).size}px ${font.family}`));
  };
  const safe = text => text.replace(/[&\\x3c>]/g, sign => `&#${sign.charCodeAt(0)};`);
  // In a frame: the title of a chart begins at its very edge.
  const complete = svg => {
    const root = svg.match(/\\x3csvg[^>]*>/)[0];
    const number = name => Number(root.match(` ${name}="([\\\\d.]+)`)[1]);
    const [width, height] = root.match(/viewBox="0 0 ([\\d.]+) ([\\d.]+)"/)?.slice(1).map(Number)
      ?? [number("width"), number("height")];
    const times = number("width") / width;
    const { font, paper_bgcolor: ground } = chart._fullLayout;
    const [ink, paper] = slide ? [relit(font.color), relit(ground)] : [font.color, ground];
    const { edge, size, step } = measures(font);
    const lines = captionOf(chart, font, width);
    whole = slide?.size ?? [width + 2 * edge, height + lines.length * step + size + 2 * edge];
    const place = `x="${-edge}" y="${-edge}" width="${whole[0]}" height="${whole[1]}"`;
    const rows = lines.map((line, number) => `\\x3ctext x="0" y="`
      + `${height + 2 * size + number * step}">${safe(line.trimEnd())}\\x3c/text>`);
    const beneath = `\\x3cg class="beneath" fill="${ink}" style="font: ${size}px `
      + `${font.family.replace(/"/g, "'")}; white-space: pre">${rows.join("")}\\x3c/g>`;
    const larger = root.replace(/ (viewBox|width|height)="[^"]*"/g, "").replace(/>$/,
      ` width="${times * whole[0]}" height="${times * whole[1]}"`
      + ` viewBox="${-edge} ${-edge} ${whole.join(" ")}">${face}`
      + `\\x3crect ${place} fill="${paper}"/>`);
    return svg.replace(root, () => larger).replace(/\\x3c\\/svg>\\s*$/, end => beneath + end);
  };
  window.Blob = new Proxy(window.Blob, {
    construct(blob, [parts, options]) {
      const svg = options?.type?.startsWith("image/svg+xml") && typeof parts?.[0] === "string";
      whole = null;
      return new blob(svg && chart ? [complete(parts[0])] : parts, options);
    },
  });
  const source = Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, "src");
  const inline = "data:image/svg+xml,";
  Object.defineProperty(HTMLImageElement.prototype, "src", {
    ...source,
    set(place) {
      const drawn = chart && String(place).startsWith(inline) && place.includes("main-svg");
      source.set.call(this, drawn
        ? inline + encodeURIComponent(complete(decodeURIComponent(place.slice(inline.length))))
        : place);
    },
  });
  // Plotly has made the canvas of a PNG as large as the chart alone.
  const canvas = CanvasRenderingContext2D.prototype, draw = canvas.drawImage;
  canvas.drawImage = function(image, ...place) {
    if (whole && place.length === 4 && /^(blob|data):/.test(image.src)) {
      const times = slide?.times ?? %d;
      [place[2], place[3]] = whole.map(pixels => times * pixels);
      [this.canvas.width, this.canvas.height] = [place[2], place[3]].map(Math.round);
      whole = null;
    }
    return draw.call(this, image, ...place);
  };
  // The rule comes with the page's first styles; without a font images are as plotly makes them.
  const wait = tries => find() ? read() : tries && setTimeout(() => wait(tries - 1), 500);
  wait(20);
})();
</script>"""


def button_of(key: str, kind: str) -> str:
    """Return the key of the button that saves a chart as an image: the script knows it by this.

    Parameters
    ----------
    kind : str
        ``png``, ``svg``, or ``slide`` for a PNG of 16:9, light.
    """
    return f"image_{kind.lower()}_{key}"


def place_of(address: str | None) -> str:
    """Return what a file writes before a page's path: the host, else what opens the page anew.

    Examples
    --------
    >>> place_of("https://lab.example.org/features"), place_of("http://127.0.0.1:8501/features")
    ('https://lab.example.org', 'cwac app: ')
    """
    parts = urlsplit(address or "")
    host = parts.hostname or ""
    # An address of this machine alone leads others nowhere.
    return f"{parts.scheme}://{parts.netloc}" if host and not is_loopback(host) else "cwac app: "


def complete_images(address: str | None) -> str:
    """Return a script that lets images saved from the page's charts bear its font and a caption.

    Parameters
    ----------
    address : str or None
        Of the page.
    """
    light = dict(zip(THEMES["dark"], THEMES["light"], strict=True))
    place = json.dumps(place_of(address))
    return _SCRIPT % (
        *(json.dumps(FAMILY), json.dumps(light), SLIDE_WIDTH, SCALE * SLIDE_WIDTH),
        *(BENEATH, place, SCALE),
    )
