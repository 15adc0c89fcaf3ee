#!/usr/bin/env python3
"""Writes demo.pdf, the document that `dropforge demo` and the benchmarks turn into pictures.

Seventeen A4 pages that are a fair load for a renderer: text in the fourteen standard fonts, charts, curves,
gradients, transparency, and computed pictures with soft masks. Needs Python 3 and nothing else, takes no input and
writes the same bytes at every run (another zlib may pack them differently).

    python3 make-demo-pdf.py [OUTPUT]

In order: measuring text, the file format, drawing on a page, pictures, the pages, putting it together.
"""

import math
import random
import sys
import zlib
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 595, 842, 60
COLUMN = WIDTH - 2 * MARGIN
PAGES = 17

INK = (0.11, 0.15, 0.22)
GREY = (0.45, 0.49, 0.55)
PALE = (0.94, 0.95, 0.96)
NAVY = (0.07, 0.13, 0.25)
TEAL = (0.09, 0.50, 0.53)
ORANGE = (0.93, 0.48, 0.14)
GOLD = (0.96, 0.76, 0.25)
ROSE = (0.78, 0.22, 0.37)
WHITE = (1, 1, 1)
COLOURS = [TEAL, ORANGE, NAVY, GOLD, ROSE, (0.42, 0.55, 0.77), (0.49, 0.66, 0.42)]

# ---------------------------------------------------------------------------------------------- measuring text

FONTS = {
    "sans": "Helvetica", "sans-bold": "Helvetica-Bold", "sans-italic": "Helvetica-Oblique",
    "sans-bold-italic": "Helvetica-BoldOblique", "serif": "Times-Roman", "serif-bold": "Times-Bold",
    "serif-italic": "Times-Italic", "serif-bold-italic": "Times-BoldItalic", "mono": "Courier",
    "mono-bold": "Courier-Bold", "mono-italic": "Courier-Oblique", "mono-bold-italic": "Courier-BoldOblique",
    "symbol": "Symbol", "dingbats": "ZapfDingbats",
}

# Adobe's published widths, in thousandths of the size: the characters from space to tilde, then those of SPECIAL.
SPECIAL = "\u2026\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u00a7\u00d7"
WIDTHS = {
    "sans": (
        "278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 278 "
        "278 584 584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 667 778 722 667 611 722 "
        "667 944 667 667 611 278 278 278 469 556 333 556 556 500 556 556 278 556 556 222 222 500 222 833 556 556 556 "
        "556 333 500 278 556 500 722 500 500 500 334 260 334 584 1000 222 222 333 333 350 556 1000 556 584 "
    ),
    "sans-bold": (
        "278 333 474 556 556 889 722 238 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 333 "
        "333 584 584 584 611 975 722 722 722 722 667 611 778 722 278 556 722 611 833 722 778 667 778 722 667 611 722 "
        "667 944 667 667 611 333 278 333 584 556 333 556 611 556 611 556 333 611 611 278 278 556 278 889 611 611 611 "
        "611 389 556 333 611 556 778 556 556 500 389 280 389 584 1000 278 278 500 500 350 556 1000 556 584 "
    ),
    "serif": (
        "250 333 408 500 500 833 778 180 333 333 500 564 250 333 250 278 500 500 500 500 500 500 500 500 500 500 278 "
        "278 564 564 564 444 921 722 667 667 722 611 556 722 722 333 389 722 611 889 722 722 556 722 667 556 611 722 "
        "722 944 722 722 611 333 278 333 469 500 333 444 500 444 500 444 333 500 500 278 278 500 278 778 500 500 500 "
        "500 333 389 278 500 500 722 500 500 444 480 200 480 541 1000 333 333 444 444 350 500 1000 500 564 "
    ),
    "serif-bold": (
        "250 333 555 500 500 1000 833 278 333 333 500 570 250 333 250 278 500 500 500 500 500 500 500 500 500 500 333 "
        "333 570 570 570 500 930 722 667 722 722 667 611 778 778 389 500 778 667 944 722 778 611 778 722 556 667 722 "
        "722 1000 722 722 667 333 278 333 581 500 333 500 556 444 556 444 333 500 556 278 333 556 278 833 556 500 556 "
        "556 444 389 333 556 500 722 500 500 444 394 220 394 520 1000 333 333 500 500 350 500 1000 500 570 "
    ),
    "serif-italic": (
        "250 333 420 500 500 833 778 214 333 333 500 675 250 333 250 278 500 500 500 500 500 500 500 500 500 500 333 "
        "333 675 675 675 500 920 611 611 667 722 611 611 722 722 333 444 667 556 833 667 722 611 722 611 500 556 722 "
        "611 833 611 556 556 389 278 389 422 500 333 500 500 444 500 444 278 500 500 278 278 444 278 722 500 500 500 "
        "500 389 389 278 500 444 667 444 444 389 400 275 400 541 889 333 333 556 556 350 500 889 500 675 "
    ),
    "serif-bold-italic": (
        "250 389 555 500 500 833 778 278 333 333 500 570 250 333 250 278 500 500 500 500 500 500 500 500 500 500 333 "
        "333 570 570 570 500 832 667 667 667 722 667 667 722 778 389 500 667 611 889 722 722 611 722 667 556 611 722 "
        "667 889 667 611 611 333 278 333 570 500 333 500 500 444 500 444 333 500 556 278 278 500 278 778 556 500 500 "
        "500 389 389 278 556 444 667 500 444 389 348 220 348 570 1000 333 333 500 500 350 500 1000 500 570 "
    ),
}
WIDTHS["sans-italic"] = WIDTHS["sans"]
WIDTHS["sans-bold-italic"] = WIDTHS["sans-bold"]
CHARACTERS = [chr(code) for code in range(32, 127)] + list(SPECIAL)
METRICS = {font: dict(zip(CHARACTERS, map(int, widths.split()))) for font, widths in WIDTHS.items()}


def width_of(text, font, size):
    if font.startswith("mono"):
        return 0.6 * size * len(text)
    return sum(METRICS[font][character] for character in text) * size / 1000


def literal(text):
    """A PDF string in the encoding all text fonts here are given."""
    out = []
    for byte in text.encode("cp1252"):
        if byte in b"()\\":
            out.append("\\" + chr(byte))
        else:
            out.append(chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}")
    return "(" + "".join(out) + ")"


def number(value):
    return f"{value:.3f}".rstrip("0").rstrip(".") if value else "0"


def numbers(*values):
    return " ".join(number(value) for value in values)


# -------------------------------------------------------------------------------------------------- file format


class File:
    """Numbered objects and the table that says where each begins."""

    def __init__(self):
        self.objects = []

    def add(self, body=""):
        self.objects.append(body)
        return len(self.objects)

    def put(self, index, body):
        self.objects[index - 1] = body

    def stream(self, entries, data):
        packed = zlib.compress(data, 9)
        head = f"<< {entries} /Filter /FlateDecode /Length {len(packed)} >>\nstream\n".encode("latin-1")
        return self.add(head + packed + b"\nendstream")

    def write(self, path, root, info):
        out = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
        places = []
        for index, body in enumerate(self.objects, 1):
            places.append(len(out))
            body = body.encode("latin-1") if isinstance(body, str) else body
            out += b"%d 0 obj\n" % index + body + b"\nendobj\n"
        start = len(out)
        out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1)
        for place in places:
            out += b"%010d 00000 n \n" % place
        out += f"trailer\n<< /Size {len(places) + 1} /Root {root} 0 R /Info {info} 0 R >>\n".encode()
        out += b"startxref\n%d\n%%%%EOF\n" % start
        path.write_bytes(out)
        return len(out)


# --------------------------------------------------------------------------------------------- drawing on a page


class Page:
    """A page's content stream and the names it uses."""

    def __init__(self, file):
        self.file = file
        self.ops = []
        self.alphas, self.shadings, self.images = {}, {}, {}

    def op(self, *parts):
        self.ops.append(" ".join(part if isinstance(part, str) else number(part) for part in parts))

    def fill(self, colour):
        self.op(*colour, "rg")

    def stroke(self, colour, width=1.0):
        self.op(*colour, "RG", width, "w")

    def saved(self):
        return Saved(self)

    def alpha(self, alpha, blend="Normal"):
        name = self.alphas.setdefault((alpha, blend), f"G{len(self.alphas)}")
        self.op(f"/{name} gs")

    def rect(self, x, y, w, h, colour):
        self.fill(colour)
        self.op(x, y, w, h, "re f")

    def rounded(self, x, y, w, h, r, paint="f"):
        k = r * 0.4477
        self.op(x + r, y, "m", x + w - r, y, "l", x + w - k, y, x + w, y + k, x + w, y + r, "c")
        self.op(x + w, y + h - r, "l", x + w, y + h - k, x + w - k, y + h, x + w - r, y + h, "c")
        self.op(x + r, y + h, "l", x + k, y + h, x, y + h - k, x, y + h - r, "c")
        self.op(x, y + r, "l", x, y + k, x + k, y, x + r, y, "c h", paint)

    def circle(self, x, y, r, paint="f"):
        k = 0.5523 * r
        self.op(x + r, y, "m", x + r, y + k, x + k, y + r, x, y + r, "c")
        self.op(x - k, y + r, x - r, y + k, x - r, y, "c", x - r, y - k, x - k, y - r, x, y - r, "c")
        self.op(x + k, y - r, x + r, y - k, x + r, y, "c h", paint)

    def line(self, points, paint="S"):
        (x, y), *rest = points
        self.op(x, y, "m")
        for x, y in rest:
            self.op(x, y, "l")
        self.op(paint)

    def smooth(self, points, closed=False, paint="S"):
        """Bezier curves through the points (Catmull-Rom)."""
        count = len(points)
        at = (lambda i: points[i % count]) if closed else (lambda i: points[max(0, min(count - 1, i))])
        self.op(*at(0), "m")
        for i in range(count if closed else count - 1):
            (x0, y0), (x1, y1), (x2, y2), (x3, y3) = at(i - 1), at(i), at(i + 1), at(i + 2)
            self.op(x1 + (x2 - x0) / 6, y1 + (y2 - y0) / 6, x2 - (x3 - x1) / 6, y2 - (y3 - y1) / 6, x2, y2, "c")
        self.op(paint)

    def arrow(self, x0, y0, x1, y1, colour=INK, width=1.1):
        angle = math.atan2(y1 - y0, x1 - x0)
        self.stroke(colour, width)
        self.line([(x0, y0), (x1 - 5 * math.cos(angle), y1 - 5 * math.sin(angle))])
        self.fill(colour)
        tip = [(x1 - 7 * math.cos(angle + turn), y1 - 7 * math.sin(angle + turn)) for turn in (-0.4, 0.4)]
        self.line([(x1, y1), *tip], "h f")

    def image(self, image, x, y, w, h):
        name = self.images.setdefault(image, f"I{len(self.images)}")
        self.op("q", w, 0, 0, h, x, y, f"cm /{name} Do Q")

    def shade(self, shading):
        """Paints the gradient over whatever is clipped."""
        name = self.shadings.setdefault(shading, f"S{len(self.shadings)}")
        self.op(f"/{name} sh")

    # Text.

    def text(self, x, y, text, font="serif", size=11, colour=INK, align="left", spacing=0):
        if align != "left":
            wide = width_of(text, font, size) + spacing * (len(text) - 1)
            x -= wide if align == "right" else wide / 2
        self.fill(colour)
        self.op(f"BT /{font} {number(size)} Tf {number(spacing)} Tc {numbers(x, y)} Td {literal(text)} Tj ET")

    def raw_text(self, x, y, codes, font, size, colour=INK):
        """Characters of Symbol or ZapfDingbats, by their codes in that font."""
        self.fill(colour)
        string = "".join(f"{code:02x}" for code in codes)
        self.op(f"BT /{font} {number(size)} Tf 0 Tc {numbers(x, y)} Td <{string}> Tj ET")

    def paragraph(self, x, y, w, text, family="serif", size=10.7, leading=15.2, colour=INK, justify=True):
        """Sets words in lines from `y` downwards; answers where the next line would stand."""
        lines = lines_of(words_of(text, family), w, size)
        self.fill(colour)
        for index, line in enumerate(lines):
            gaps = len(line) - 1
            natural = measure(line, size)
            spare = (w - natural) / gaps if justify and gaps and index < len(lines) - 1 else 0
            self.set_line(x, y, line, size, spare)
            y -= leading
        return y

    def set_line(self, x, y, line, size, spare):
        runs = []
        for index, word in enumerate(line):
            if index:
                word = [(" " + word[0][0], word[0][1]), *word[1:]]
            for text, font in word:
                if runs and runs[-1][1] == font:
                    runs[-1][0] += text
                else:
                    runs.append([text, font])
        self.op(f"BT 0 Tc {number(spare)} Tw {numbers(x, y)} Td")
        for text, font in runs:
            self.op(f"/{font} {number(size)} Tf {literal(text)} Tj")
        self.op("0 Tw ET")

    def resources(self):
        states = (f"/{name} << /ca {number(a)} /CA {number(a)} /BM /{blend} >>" for (a, blend), name in self.alphas.items())
        shadings = (f"/{name} {index} 0 R" for index, name in self.shadings.items())
        images = (f"/{name} {index} 0 R" for index, name in self.images.items())
        return f"/ExtGState << {' '.join(states)} >> /Shading << {' '.join(shadings)} >> /XObject << {' '.join(images)} >>"


class Saved:
    """`with page.saved():` keeps colours, clips and transparency inside."""

    def __init__(self, page):
        self.page = page

    def __enter__(self):
        self.page.op("q")

    def __exit__(self, *_):
        self.page.op("Q")


def words_of(text, family):
    """Words as lists of (text, font). *bold*, _italic_, `code`."""
    fonts = {"": family, "*": family + "-bold", "_": family + "-italic", "`": "mono"}
    style, words, word, piece = "", [], [], ""

    def end_piece():
        nonlocal piece
        if piece:
            word.append((piece, fonts[style]))
        piece = ""

    for character in " ".join(text.split()) + " ":
        if character == " ":
            end_piece()
            if word:
                words.append(word[:])
                word.clear()
        elif character == style or (not style and character in "*_`"):
            end_piece()
            style = "" if style else character
        else:
            piece += character
    return words


def measure(line, size):
    total = 0
    for index, word in enumerate(line):
        if index:
            total += width_of(" ", word[0][1], size)
        total += sum(width_of(text, font, size) for text, font in word)
    return total


def lines_of(words, w, size):
    lines = [[]]
    for word in words:
        if lines[-1] and measure(lines[-1] + [word], size) > w:
            lines.append([])
        lines[-1].append(word)
    return lines


def ramp(file, stops):
    """A PDF function from 0..1 through evenly spaced colours."""
    parts = [
        f"<< /FunctionType 2 /Domain [0 1] /C0 [{numbers(*a)}] /C1 [{numbers(*b)}] /N 1 >>"
        for a, b in zip(stops, stops[1:])
    ]
    if len(parts) == 1:
        return file.add(parts[0])
    bounds = numbers(*(i / len(parts) for i in range(1, len(parts))))
    encode = "0 1 " * len(parts)
    return file.add(
        f"<< /FunctionType 3 /Domain [0 1] /Functions [{' '.join(parts)}] /Bounds [{bounds}] /Encode [{encode}] >>"
    )


def axial(file, x0, y0, x1, y1, *stops):
    return file.add(
        f"<< /ShadingType 2 /ColorSpace /DeviceRGB /Coords [{numbers(x0, y0, x1, y1)}] "
        f"/Function {ramp(file, stops)} 0 R /Extend [true true] >>"
    )


def radial(file, x0, y0, r0, x1, y1, r1, *stops):
    return file.add(
        f"<< /ShadingType 3 /ColorSpace /DeviceRGB /Coords [{numbers(x0, y0, r0, x1, y1, r1)}] "
        f"/Function {ramp(file, stops)} 0 R /Extend [true true] >>"
    )


# ------------------------------------------------------------------------------------------------------ pictures


def rgb(file, w, h, pixels, mask=None):
    """A picture from rows of RGB bytes; each row is stored as its difference from the one above (PNG's `Up`)."""
    rows, above = bytearray(), bytes(3 * w)
    for y in range(h):
        row = pixels[3 * w * y : 3 * w * (y + 1)]
        rows.append(2)
        rows += bytes((a - b) & 255 for a, b in zip(row, above))
        above = row
    entries = f"/Type /XObject /Subtype /Image /Width {w} /Height {h} /BitsPerComponent 8 /ColorSpace /DeviceRGB"
    entries += f" /DecodeParms << /Predictor 15 /Colors 3 /Columns {w} >>"
    return file.stream(entries + (f" /SMask {mask} 0 R" if mask else ""), bytes(rows))


def indexed(file, w, h, pixels, palette, mask=None):
    table = "".join(f"{byte:02x}" for colour in palette for byte in colour)
    entries = f"/Type /XObject /Subtype /Image /Width {w} /Height {h} /BitsPerComponent 8"
    entries += f" /ColorSpace [/Indexed /DeviceRGB {len(palette) - 1} <{table}>]"
    return file.stream(entries + (f" /SMask {mask} 0 R" if mask else ""), bytes(pixels))


def grey(file, w, h, pixels):
    entries = f"/Type /XObject /Subtype /Image /Width {w} /Height {h} /BitsPerComponent 8 /ColorSpace /DeviceGray"
    return file.stream(entries, bytes(pixels))


def palette_of(stops, count=128):
    colours = []
    for i in range(count):
        place = i / (count - 1) * (len(stops) - 1)
        low = min(int(place), len(stops) - 2)
        colours.append(tuple(round(255 * (a + (b - a) * (place - low))) for a, b in zip(stops[low], stops[low + 1])))
    return colours


def escape_time(w, h, centre, span, rounds, seed=None):
    """The Mandelbrot set, or the Julia set of `seed`: how soon each point runs away, as 0..127."""
    pixels = bytearray()
    for row in range(h):
        for column in range(w):
            point = complex(centre[0] + (column / w - 0.5) * span, centre[1] - (row / h - 0.5) * span * h / w)
            z, c = (0j, point) if seed is None else (point, seed)
            for n in range(rounds):
                z = z * z + c
                size = z.real * z.real + z.imag * z.imag
                if size > 64:
                    smooth = n + 1 - math.log2(math.log2(size) / 2)
                    pixels.append(1 + int(126 * math.sqrt(max(0, min(1, smooth / rounds)))))
                    break
            else:
                pixels.append(0)
    return pixels


def plasma(w, h, phase):
    pixels = bytearray()
    for y in range(h):
        v = y / h
        for x in range(w):
            u = x / w
            a = math.sin(9 * u + phase) + math.sin(7 * v - phase)
            b = math.sin(11 * math.hypot(u - 0.4, v - 0.6) - phase) + math.sin(5 * (u + v))
            for shift in (0, 2.1, 4.2):
                pixels.append(int(142 + 92 * math.sin(1.4 * (a + b) + shift)))
    return pixels


def mix(a, b, share):
    return tuple(p + (q - p) * share for p, q in zip(a, b))


def landscape(w, h):
    """Evening: a sky with a sun, and ranges of hills that fade with distance."""
    chance = random.Random(4)
    ranges = []
    for layer in range(6):
        waves = [(chance.uniform(1, 2) * 1.9**k, chance.uniform(0, 7), 0.62**k) for k in range(6)]
        base = 0.50 + 0.085 * layer
        ranges.append([
            base + (0.035 + 0.008 * layer) * sum(p * math.sin(f * x / w * 4 + s) for f, s, p in waves) for x in range(w)
        ])
    far, near = (0.72, 0.46, 0.47), (0.06, 0.08, 0.16)
    pixels = bytearray()
    for y in range(h):
        v = y / h
        for x in range(w):
            colour = mix((0.16, 0.20, 0.42), (0.99, 0.72, 0.42), min(1, v / 0.62))
            distance = math.hypot((x / w - 0.68) * w / h, v - 0.40)
            colour = mix(colour, (1, 0.93, 0.70), 1 if distance < 0.055 else 0.55 * math.exp(-(distance / 0.16) ** 2))
            for layer, heights in enumerate(ranges):
                if v > heights[x]:
                    depth = min(1, (v - heights[x]) * 3)
                    colour = mix(mix(far, near, layer / 5), (0.90, 0.60, 0.50), 0.28 * depth * (1 - layer / 6))
            pixels += bytes(int(255 * max(0, min(1, part))) for part in colour)
    return pixels


SPHERES = [((-1.15, 0.0, 4.2), 1.0, ORANGE), ((1.0, -0.25, 3.4), 0.75, TEAL), ((0.1, -0.62, 2.5), 0.38, GOLD),
           ((2.4, 0.25, 5.4), 1.25, ROSE), ((-2.1, -0.60, 2.9), 0.40, (0.42, 0.55, 0.77))]


def spheres(w, h):
    """Balls on a chequered floor, by following each line of sight."""
    light = (-0.55, 0.75, -0.37)
    pixels = bytearray()
    for y in range(h):
        for x in range(w):
            ray = ((x - w / 2) / h * 1.25, (h / 2 - y) / h * 1.25 - 0.12, 1.0)
            size = math.sqrt(sum(part * part for part in ray))
            colour = trace((0.0, 0.35, -0.6), tuple(part / size for part in ray), light, 2)
            pixels += bytes(int(255 * max(0, min(1, part)) ** 0.8) for part in colour)
    return pixels


def trace(eye, ray, light, bounces):
    reach, ball = hit(eye, ray)
    if ray[1] < 0 and -(eye[1] + 1) / ray[1] < reach:
        reach, ball = -(eye[1] + 1) / ray[1], None
    if reach == math.inf:
        return mix((0.93, 0.95, 0.98), (0.45, 0.62, 0.85), max(0, ray[1]) * 1.6)
    place = tuple(e + r * reach for e, r in zip(eye, ray))
    if ball is None:
        normal, even = (0, 1, 0), (math.floor(place[0] * 1.2) + math.floor(place[2] * 1.2)) % 2
        colour, shine = mix((0.90, 0.90, 0.87), (0.30, 0.34, 0.42), even), 0.15
    else:
        centre, radius, colour = ball
        normal, shine = tuple((p - c) / radius for p, c in zip(place, centre)), 0.28
    place = tuple(p + 1e-4 * n for p, n in zip(place, normal))
    bright = max(0, sum(n * l for n, l in zip(normal, light))) if hit(place, light)[0] == math.inf else 0
    colour = tuple(part * (0.32 + 0.75 * bright) for part in colour)
    if bounces:
        along = 2 * sum(r * n for r, n in zip(ray, normal))
        mirrored = tuple(r - along * n for r, n in zip(ray, normal))
        colour = mix(colour, trace(place, mirrored, light, bounces - 1), shine)
    return mix(colour, (0.93, 0.95, 0.98), min(1, reach / 40)) if ball is None else colour


def hit(eye, ray):
    nearest, found = math.inf, None
    for ball in SPHERES:
        centre, radius, _ = ball
        to = tuple(c - e for c, e in zip(centre, eye))
        along = sum(t * r for t, r in zip(to, ray))
        under = radius * radius - sum(t * t for t in to) + along * along
        if under > 0 and 1e-4 < along - math.sqrt(under) < nearest:
            nearest, found = along - math.sqrt(under), ball
    return nearest, found


def vignette(w, h):
    """A mask that fades from the middle outwards."""
    return bytes(
        int(255 * max(0, min(1, 3.2 * (1 - math.hypot(2 * x / w - 1, 2 * y / h - 1))))) for y in range(h) for x in range(w)
    )


def flower(w, h, petals):
    """A mask in the shape of a flower with a soft rim."""
    pixels = bytearray()
    for y in range(h):
        for x in range(w):
            u, v = 2 * x / w - 1, 2 * y / h - 1
            rim = 0.72 + 0.24 * math.cos(petals * math.atan2(v, u))
            pixels.append(int(255 * max(0, min(1, 18 * (rim - math.hypot(u, v))))))
    return pixels


# ----------------------------------------------------------------------------------------- what pages have in common


def heading(page, kicker, title):
    """Answers where the text below begins."""
    page.rect(MARGIN, HEIGHT - 78, 34, 4, ORANGE)
    page.text(MARGIN, HEIGHT - 97, kicker.upper(), "sans-bold", 8.5, ORANGE, spacing=1.4)
    page.text(MARGIN, HEIGHT - 128, title, "sans-bold", 27, NAVY)
    return HEIGHT - 162


def footer(page, index, colour=NAVY, faint=GREY):
    page.stroke(faint, 0.5)
    page.line([(MARGIN, 62), (WIDTH / 2 - 62, 62)])
    page.line([(WIDTH / 2 + 62, 62), (WIDTH - MARGIN, 62)])
    page.text(WIDTH / 2, 53, f"{index} / {PAGES}", "sans-bold", 26, colour, "center")
    page.text(MARGIN, 46, "Dropforge", "sans-italic", 8.5, faint)
    page.text(WIDTH - MARGIN, 46, "The life of a job", "sans-italic", 8.5, faint, "right")


def subheading(page, y, text):
    page.text(MARGIN, y - 6, text, "sans-bold", 12.5, TEAL)
    return y - 24


def code(page, y, lines, size=8.8):
    """Lines of a terminal on a tinted ground."""
    leading = size * 1.42
    height = leading * len(lines) + 15
    page.fill(NAVY)
    page.rounded(MARGIN, y - height + 10, COLUMN, height, 6)
    y -= 8
    for line in lines:
        font, colour = ("mono-bold", GOLD) if line.startswith("$") else ("mono", (0.86, 0.90, 0.95))
        page.text(MARGIN + 14, y, line, font, size, colour)
        y -= leading
    return y - 16



def box(page, x, y, w, h, label, colour, note=""):
    page.fill(colour)
    page.rounded(x, y, w, h, 7)
    page.text(x + w / 2, y + h / 2 - (1 if note else 4), label, "sans-bold", 11, WHITE, "center")
    if note:
        page.text(x + w / 2, y + h / 2 - 13, note, "sans", 7.5, WHITE, "center")


# ----------------------------------------------------------------------------------------------------- the pages


def spirograph(outer, inner, pen, turns, steps, x, y, size):
    points = []
    for i in range(steps):
        t = 2 * math.pi * turns * i / steps
        u = (outer - inner) * math.cos(t) + pen * math.cos((outer - inner) / inner * t)
        v = (outer - inner) * math.sin(t) - pen * math.sin((outer - inner) / inner * t)
        points.append((x + size * u / outer, y + size * v / outer))
    return points


def title(page, file):
    with page.saved():
        page.op(0, 0, WIDTH, HEIGHT, "re W n")
        page.shade(axial(file, 0, HEIGHT, WIDTH, 0, (0.05, 0.09, 0.20), (0.06, 0.23, 0.34), (0.09, 0.46, 0.48)))
    with page.saved():
        page.op(0, 0, WIDTH, HEIGHT, "re W n")
        page.alpha(0.55, "Screen")
        page.shade(radial(file, 470, 640, 0, 470, 640, 330, (0.60, 0.33, 0.12), (0.16, 0.10, 0.10), (0, 0, 0)))
    with page.saved():
        page.alpha(0.75)
        for inner, pen, colour in [(37, 62, GOLD), (29, 70, (0.56, 0.84, 0.83)), (43, 30, WHITE)]:
            page.stroke(colour, 0.45)
            page.smooth(spirograph(100, inner, pen, inner, 720, 408, 560, 196), closed=True)
    page.text(MARGIN, 300, "Dropforge", "sans-bold", 66, WHITE)
    page.rect(MARGIN + 3, 278, 92, 4, ORANGE)
    page.text(MARGIN, 244, "The life of a job", "serif-italic", 27, (0.86, 0.93, 0.94))
    page.paragraph(
        MARGIN, 207, 340,
        "Drop a WebAssembly file into a folder, and it is a durable, asynchronous service. These seventeen pages follow "
        "one job from the request to the stored result, and keep the machine that draws them busy on the way.",
        "serif", 12.5, 17.5, (0.86, 0.93, 0.94), justify=False,
    )


def contents(page, file):
    y = heading(page, "Contents", "What is in these pages")
    entries = [
        ("Submit", "an answer that can be relied on", 3), ("Durability", "what \u201con disk\u201d means", 4),
        ("The sandbox", "nothing is there that was not given", 5), ("Fuel and time", "stopping what does not stop", 6),
        ("In numbers", "charts", 7), ("Queues", "who goes first, and who must not starve", 8),
        ("Currents", "curves", 9), ("Wheels in wheels", "more curves", 10), ("Light and colour", "gradients, blending", 11),
        ("Deep water", "pictures of the Mandelbrot set", 12), ("Through a mask", "pictures with soft edges", 13),
        ("Evening", "pictures, landscape and indoors", 14), ("Retries", "when to try again, and when not", 15),
        ("States", "every way a job can go", 16), ("The type", "all fonts, and a farewell", 17),
    ]
    for name, note, target in entries:
        page.text(MARGIN, y, name, "serif-bold", 13.5)
        x = MARGIN + width_of(name, "serif-bold", 13.5) + 10
        page.text(x, y, note, "serif-italic", 11.5, GREY)
        x += width_of(note, "serif-italic", 11.5) + 8
        page.text(WIDTH - MARGIN, y, str(target), "sans-bold", 12, TEAL, "right")
        with page.saved():
            page.stroke(GREY, 0.9)
            page.op("1 J [0.1 4.5] 0 d")
            page.line([(x, y + 2), (WIDTH - MARGIN - 22, y + 2)])
        y -= 26.5
    y -= 14
    page.fill(PALE)
    page.rounded(MARGIN, y - 98, COLUMN, 112, 8)
    page.rect(MARGIN, y - 98, 4, 112, ORANGE)
    page.text(MARGIN + 22, y - 10, "How to read this", "sans-bold", 11.5, NAVY)
    page.paragraph(
        MARGIN + 22, y - 29, COLUMN - 44,
        "The text is true: it says how a job is handled, in the order in which it happens. The pictures are there because "
        "a document that is all text would be too easy. Everything was computed by one small program without any library; "
        "nothing was scanned, and *no two runs differ by a byte*.", size=11, leading=15.5,
    )


def submit(page, file):
    y = heading(page, "One", "Submit")
    y = page.paragraph(MARGIN, y, COLUMN, (
        "A client sends a request and wants to go on with its life. So the answer comes before the work: `202 Accepted`, "
        "an address to ask at, and a promise. From that moment the job will end as _succeeded_, _failed_ or _cancelled_, "
        "whatever is switched off in between. An answer that might be forgotten is no answer, and that is why the record is "
        "on disk *before* the first byte of the answer leaves."), size=11.6, leading=16.6)
    y = code(page, y - 12, [
        "$ curl --data-binary @demo.pdf localhost:8080/v1/kinds/pdf-to-png/jobs",
        "HTTP/1.1 202 Accepted",
        "Location: /v1/jobs/01931c6f-7a52-7c1e-9d0b-4e0c5b6f2a11",
        "Retry-After: 1",
    ])
    y = page.paragraph(MARGIN, y - 6, COLUMN, (
        "Four things may go wrong, and each has its own number. A body that is no JSON is `400`. A kind nobody dropped into "
        "the folder is `404`. An input that does not fit what the plugin says it reads is `422`, with a pointer to the very "
        "field. And when the queue or the disk is full the host says so at once, `503` or `507`, with an honest guess of when "
        "to come back. Nothing is cut short in silence."), size=11.6, leading=16.6)
    y -= 16
    labels = [("request", GREY, "HTTP"), ("api", TEAL, "extract, check"), ("queue", NAVY, "room? order?"),
              ("store", ORANGE, "one batch"), ("disk", ROSE, "fsync")]
    w, gap = 79, 20
    for i, (label, colour, note) in enumerate(labels):
        x = MARGIN + i * (w + gap)
        box(page, x, y - 46, w, 46, label, colour, note)
        if i:
            page.arrow(x - gap + 2, y - 17, x - 2, y - 17)
            page.arrow(x - 2, y - 31, x - gap + 2, y - 31, GREY, 0.8)
    y -= 66
    page.text(WIDTH / 2, y, "There and back again: the answer is allowed to leave only when the flush has returned.",
              "sans-italic", 8.8, GREY, "center")
    y = subheading(page, y - 22, "Many at once")
    page.paragraph(MARGIN, y, COLUMN, (
        "A flush takes milliseconds, and a busy host gets thousands of requests in that time. They share it: whatever arrived "
        "while the last flush was under way goes into the next one, and all its senders are answered together. "
        "A client with ten thousand jobs need not even send ten thousand requests; one file with a job on each line "
        "will do, and comes back with a line for each. An `Idempotency-Key` makes it safe to send the same thing twice after "
        "a broken connection: the second time is answered with the first job."), size=11.6, leading=16.6)
    group_commit(page, 96)


def group_commit(page, y):
    """Dots are requests; each takes the colour of the flush that makes it safe."""
    chance = random.Random(21)
    left, flush, gap = MARGIN + 52, 74, 6
    page.text(MARGIN, y + 47, "arrive", "sans-italic", 8.8, GREY)
    page.text(MARGIN, y + 10, "flush", "sans-italic", 8.8, GREY)
    for i in range(5):
        x = left + i * (flush + gap)
        colour = COLOURS[i]
        for _ in range(0 if i == 0 else 9 + 3 * i):
            page.fill(colour)
            page.circle(x - flush - gap + chance.random() * flush, y + 40 + chance.random() * 22, 1.9)
        page.fill(colour)
        page.rounded(x, y, flush, 26, 4)
        page.text(x + flush / 2, y + 9, f"{chance.randint(3, 6)} ms", "sans-bold", 9, WHITE, "center")
    page.fill(COLOURS[0])
    page.circle(left - 6, y + 50, 1.9)


def durability(page, file):
    y = heading(page, "Two", "Durability")
    w = (COLUMN - 24) / 2
    left = (
        "The word _durable_ is worn thin. Here it means one thing: pull the plug at any instant, plug it in again, and every job "
        "that was ever answered with 202 is still there, in a state that makes sense.",
        "That takes more than a database. Data that was written is not data that is safe; between the two lie the page cache "
        "of the operating system, the cache of the drive, and a call named `fsync` that is slow because it tells the truth. "
        "A host that skips it is fast until the day it is not.",
        "So each change of a job\u2019s state is *one atomic batch*: the record, the index entry and the counters move together "
        "or not at all. There is no moment at which a job is in two places or in none.",
        "A failed flush is never tried again. After one, nobody knows which pages reached the disk, and a second call may "
        "cheerfully report success for data that is gone. The only honest move is to stop, open the store anew, and look.",
    )
    right = (
        "What is large does not go through the database at all. An input of ten megabytes becomes a file named after the "
        "fingerprint of its content. It is written under another name first, flushed, renamed, and the folder is flushed "
        "too, because a name is data as well. Only then may a record mention it.",
        "What is small and fleeting is not written. That a job is _running_ is known by the worker that runs it; after a crash "
        "nobody runs it, and the queue is rebuilt from what is on disk. A lie that cannot be stored need not be repaired.",
        "The last number given to a batch is also kept outside the database. If the two ever disagree the host refuses to "
        "start, says why, and touches nothing. A damaged shop should not open with half its shelves.",
        "All this costs one flush for each job on its way in and one on its way out, and under load a small share of one.",
    )
    bottom = y
    for x, column in [(MARGIN, left), (MARGIN + w + 24, right)]:
        here = y
        for text in column:
            here = page.paragraph(x, here, w, text, size=10.6, leading=14.6) - 7
        bottom = min(bottom, here)
    page.stroke((0.80, 0.82, 0.85), 0.6)
    page.line([(WIDTH / 2, y + 8), (WIDTH / 2, bottom + 14)])
    layers(page, bottom - 6)


def layers(page, y):
    """What lies between `write` and safe."""
    rows = [("the program", "write()", TEAL), ("page cache", "gone with the power", GOLD),
            ("drive cache", "gone with the power", ORANGE), ("the medium", "fsync() has returned: safe", NAVY)]
    height = (y - 96) / len(rows)
    for i, (name, note, colour) in enumerate(rows):
        top = y - i * height
        inset = 26 * i
        with page.saved():
            page.alpha(0.92)
            page.fill(colour)
            page.rounded(MARGIN + inset, top - height + 5, COLUMN - 2 * inset, height - 5, 5)
        page.text(MARGIN + inset + 14, top - height / 2 - 6, name, "sans-bold", 11, WHITE)
        page.text(WIDTH - MARGIN - inset - 14, top - height / 2 - 6, note, "mono", 9, WHITE, "right")


def sandbox(page, file):
    y = heading(page, "Three", "The sandbox")
    y = page.paragraph(MARGIN, y, COLUMN, (
        "A plugin is someone else\u2019s code. It may be wrong, it may be greedy, and once in a while it may be written by "
        "someone who means harm. The host does not try to tell these apart; it hands out *nothing that was not granted*, "
        "and so has nothing to take back."), size=12, leading=17)
    with page.saved():
        page.stroke(ORANGE, 2)
        page.line([(MARGIN + 8, y - 62), (MARGIN + 8, y - 2)])
    page.paragraph(MARGIN + 26, y - 16, COLUMN - 60, (
        "\u201cA guest may lie, spin, recurse, allocate, trap, or return too much. It fails its own job and nothing else.\u201d"),
        "serif-italic", 16.5, 22, TEAL, justify=False)
    y -= 92
    y = page.paragraph(MARGIN, y, COLUMN, (
        "Each job gets a fresh instance: its own memory, its own tables, its own clock to race. When it ends, all of that is "
        "thrown away, so that no secret and no broken pointer can travel from one job to the next. Reaching for a file that "
        "was not granted is not a crash but an ordinary error, and the job\u2019s log names the grant that is missing."),
        size=12, leading=17)
    y = code(page, y - 14, [
        "[limits]",
        'timeout = "10m"          # for one attempt, calls to the host included',
        'memory  = "512MiB"       # a growth beyond it ends the attempt',
        'output  = "1GiB"         # result and artifacts together',
        "",
        "[grants]",
        "network = []             # nobody to call",
        "files   = []             # nothing to open",
    ])
    y -= 24
    rings = [(118, PALE, ""), (92, (0.80, 0.90, 0.90), ""), (64, (0.45, 0.72, 0.73), ""), (36, TEAL, "")]
    x, mid = MARGIN + 124, (y + 82) / 2 + 2
    scale = min(1.0, (y - 84) / 2 / 118)
    for r, colour, _ in rings:
        page.fill(colour)
        page.circle(x, mid, r * scale)
    page.text(x, mid - 3.5, "guest", "sans-bold", 11, WHITE, "center")
    notes = [("its memory", "bounds checked, by the engine", 36), ("its imports", "only those the contract names", 64),
             ("its limits", "set before its first instruction", 92), ("its thread", "apart from the ones that serve", 118)]
    for i, (name, note, r) in enumerate(notes):
        ty = mid + 62 * scale - i * 41 * scale
        start = (x + r * scale * 0.94 * math.cos(0.6 - 0.4 * i), mid + r * scale * 0.94 * math.sin(0.6 - 0.4 * i))
        page.stroke(GREY, 0.6)
        page.line([start, (MARGIN + 268, ty + 3), (MARGIN + 276, ty + 3)])
        page.fill(ORANGE)
        page.circle(*start, 2)
        page.text(MARGIN + 282, ty + 2, name, "sans-bold", 11, NAVY)
        page.text(MARGIN + 282, ty - 10, note, "serif-italic", 10.5, GREY)


def fuel(page, file):
    y = heading(page, "Four", "Fuel and time")
    y = page.paragraph(MARGIN, y, COLUMN, (
        "How do you stop a loop that never ends, written by someone you cannot ask, on a thread you need back? You do not ask it "
        "to stop; you give it *fuel*. Every instruction burns a little. When a slice is used up the guest is set aside for a "
        "moment, in the middle of whatever it was doing, and its worker looks around: is the deadline over, was the job cancelled, "
        "is somebody else waiting? If not, it gets the next slice."), size=11.6, leading=16.6)
    y = page.paragraph(MARGIN, y - 6, COLUMN, (
        "Fuel counts work and a clock counts time, and the two are needed both. A job that computes runs out of fuel after the same "
        "number of steps on any machine. A job that sleeps or waits for the network burns none at all, and is stopped by its "
        "_deadline_: whatever the host was doing on its behalf is simply dropped."), size=11.6, leading=16.6)
    y -= 10
    page.fill(PALE)
    page.rounded(MARGIN, y - 62, COLUMN, 62, 8)
    mid = y - 37
    page.text(MARGIN + 24, mid, "budget", "serif-italic", 17, NAVY)
    page.raw_text(MARGIN + 84, mid, b"=", "symbol", 17, NAVY)
    page.raw_text(MARGIN + 106, mid - 3, b"\xe5", "symbol", 27, TEAL)
    page.text(MARGIN + 128, mid + 13, "n", "serif-italic", 9, NAVY)
    page.text(MARGIN + 127, mid - 12, "i = 1", "serif-italic", 8, NAVY)
    page.text(MARGIN + 150, mid, "slice", "serif-italic", 17, NAVY)
    page.text(MARGIN + 184, mid - 4, "i", "serif-italic", 10, NAVY)
    page.raw_text(MARGIN + 204, mid, b"\xa3", "symbol", 17, NAVY)
    page.text(MARGIN + 228, mid, "timeout", "serif-italic", 17, NAVY)
    page.raw_text(MARGIN + 290, mid, b"\xb4", "symbol", 17, NAVY)
    page.text(MARGIN + 304, mid, "25 000 000", "serif", 17, NAVY)
    page.text(MARGIN + 388, mid, "per ms", "serif-italic", 17, NAVY)
    y -= 92
    timeline(page, y)


def timeline(page, y):
    page.text(MARGIN, y, "One worker, four jobs, one second", "sans-bold", 12.5, TEAL)
    chance = random.Random(12)
    lanes = [("integrate", TEAL), ("pdf-to-png", ORANGE), ("fetch", GOLD), ("endless", ROSE)]
    left, right = MARGIN + 74, WIDTH - MARGIN
    step = (y - 126) / len(lanes)
    busy = {name: [] for name, _ in lanes}
    t, turn = 0.0, 0
    while t < 1:
        name = lanes[turn % 4][0]
        turn += 1
        if (name == "endless" and t > 0.62) or (name == "fetch" and chance.random() < 0.6) or (name == "integrate" and t > 0.85):
            continue
        length = chance.uniform(0.018, 0.03) if name != "fetch" else 0.008
        busy[name].append((t, min(1, t + length)))
        t += length
    for i, (name, colour) in enumerate(lanes):
        base = y - 24 - (i + 1) * step + 8
        page.rect(left, base, right - left, step - 12, PALE)
        page.text(MARGIN, base + step / 2 - 9, name, "mono-bold", 9.5, colour)
        for start, end in busy[name]:
            page.rect(left + start * (right - left), base, (end - start) * (right - left), step - 12, colour)
    x = left + 0.63 * (right - left)
    with page.saved():
        page.stroke(INK, 1)
        page.op("[3 3] 0 d")
        page.line([(x, 104), (x, y - 18)])
    page.text(x + 6, y - 14, "the deadline of \u201cendless\u201d", "sans-italic", 8.8)
    page.stroke(GREY, 0.6)
    page.line([(left, 100), (right, 100)])
    for i in range(11):
        tick = left + i * (right - left) / 10
        page.line([(tick, 100), (tick, 96)])
        page.text(tick, 86, f"{100 * i}", "sans", 7.5, GREY, "center")


def charts(page, file):
    y = heading(page, "Five", "In numbers")
    bars(page, MARGIN, 470, COLUMN, 170)
    lines(page, MARGIN, 262, COLUMN * 0.60, 140)
    pie(page, WIDTH - MARGIN - 84, 338, 66)
    y = page.paragraph(MARGIN, 204, COLUMN, (
        "Above, how long seventeen pages take to draw, page by page, in a sandbox and out of it; below left, how many jobs are "
        "waiting on an ordinary day and how many are done; below right, what became of the last thousand. The figures are made "
        "up, like those of most charts, but _they are made up the same way every time_."), size=11.2, leading=15.6)
    cells = [("202", "accepted"), ("0", "forgotten"), ("1", "outcome each"), ("17", "pages")]
    for i, (figure, label) in enumerate(cells):
        x = MARGIN + i * (COLUMN / 4)
        page.text(x, 116, figure, "sans-bold", 30, COLOURS[i])
        page.text(x, 100, label, "sans", 9, GREY)


def bars(page, x, y, w, h):
    chance = random.Random(3)
    page.text(x, y + h + 14, "Milliseconds per page", "sans-bold", 11.5, NAVY)
    for i in range(6):
        level = y + h * i / 5
        page.stroke((0.85, 0.87, 0.89), 0.6)
        page.line([(x + 24, level), (x + w, level)])
        page.text(x + 18, level - 3, str(40 * i), "sans", 8, GREY, "right")
    step = (w - 24) / PAGES
    for i in range(PAGES):
        inside = 30 + 95 * chance.random() + (60 if 11 <= i <= 13 else 0)
        outside = inside * (0.66 + 0.1 * chance.random())
        left = x + 24 + i * step + 3
        page.rect(left, y, step * 0.42, h * outside / 200, NAVY)
        page.rect(left + step * 0.42, y, step * 0.42, h * inside / 200, ORANGE)
        page.text(left + step * 0.42, y - 12, str(i + 1), "sans", 8, GREY, "center")
    for i, (label, colour) in enumerate([("native", NAVY), ("sandboxed", ORANGE)]):
        page.rect(x + w - 150 + 70 * i, y + h + 14, 8, 8, colour)
        page.text(x + w - 138 + 70 * i, y + h + 14, label, "sans", 9, INK)


def lines(page, x, y, w, h):
    page.text(x, y + h + 12, "A day in the queue", "sans-bold", 11.5, NAVY)
    page.rect(x, y, w, h, PALE)
    day = [i / 48 for i in range(49)]
    waiting = [0.12 + 0.62 * math.exp(-((t - 0.42) / 0.13) ** 2) + 0.25 * math.exp(-((t - 0.75) / 0.07) ** 2) for t in day]
    done = [sum(waiting[: i + 1]) / sum(waiting) for i in range(49)]
    for values, colour in [(done, TEAL), (waiting, ORANGE)]:
        points = [(x + w * t, y + h * 0.94 * v) for t, v in zip(day, values)]
        with page.saved():
            page.alpha(0.22)
            page.fill(colour)
            page.line([(x, y), *points, (x + w, y)], "h f")
        page.stroke(colour, 2)
        page.smooth(points)
    for hour in range(0, 25, 6):
        page.text(x + w * hour / 24, y - 12, f"{hour}:00", "sans", 8, GREY, "center" if hour else "left")
    page.text(x + w * 0.30, y + h * 0.80, "waiting", "sans-bold", 9, ORANGE, "right")
    page.text(x + w * 0.93, y + h * 0.82, "done", "sans-bold", 9, TEAL, "right")


def pie(page, x, y, r):
    page.text(x, y + r + 20, "The last thousand", "sans-bold", 11.5, NAVY, "center")
    shares = [("succeeded", 0.86, TEAL), ("invalid input", 0.08, GOLD), ("cancelled", 0.04, GREY), ("failed", 0.02, ROSE)]
    angle = math.pi / 2
    for label, share, colour in shares:
        end = angle - 2 * math.pi * share
        steps = max(2, int(60 * share))
        arc = [(x + r * math.cos(angle + (end - angle) * i / steps), y + r * math.sin(angle + (end - angle) * i / steps))
               for i in range(steps + 1)]
        page.fill(colour)
        page.stroke(WHITE, 1.2)
        page.line([(x, y), *arc], "h B")
        angle = end
    page.fill(WHITE)
    page.circle(x, y, r * 0.56)
    page.text(x, y - 8, "86 %", "sans-bold", 24, TEAL, "center")
    for i, (label, share, colour) in enumerate(shares[1:]):
        page.rect(x - 50, y - r - 16 - 12 * i, 7, 7, colour)
        page.text(x - 38, y - r - 16 - 12 * i, f"{label}, {share:.0%}", "sans", 8.5, INK)


def queues(page, file):
    y = heading(page, "Six", "Queues")
    w = (COLUMN - 24) / 2
    left = (
        "A queue is a promise about order, and every simple promise about order is broken by somebody. First come, first "
        "served? Then one client with a million jobs stops the shop. Most urgent first? Then what is not urgent waits forever.",
        "Here every *kind* of job has its own queue, and the workers go round the kinds. A kind whose jobs take minutes "
        "holds up its own kind only. Within one, a priority from 0 to 9 does not put a job _before_ all others; it moves "
        "the time at which it counts as having come. A job of priority 9 overtakes those of the last hour, not those "
        "of yesterday: waiting long enough beats every priority, and nobody starves.",
        "Nothing is fetched in advance. A worker that is free takes one job, and a worker that is not takes none, so there "
        "is no pile of jobs behind a slow one while the neighbour has nothing to do.",
    )
    right = (
        "And a queue is _bounded_. A host that takes everything is not generous, it only fails later, when the disk is "
        "full and the oldest job is a week behind. At a hundred thousand jobs of a kind the next one gets `503`, and a "
        "`Retry-After` computed from how fast that queue has been draining.",
        "Why does my job not run? It is the question asked most often of any queue, so it has an address of its own: "
        "`/explain` names the rule that holds the job back. _The kind is paused. Four run already and four may. "
        "Its parent is not done. It is number 212, and will start in about a minute._",
        "Jobs that wait for something else, for a page to load or for an hour to pass, do not hold a worker. They are "
        "parked, a thousand to a thread if need be, and the thread computes for others.",
    )
    bottom = y
    for x, column, family in [(MARGIN, left, "sans"), (MARGIN + w + 24, right, "serif")]:
        here = y
        for text in column:
            here = page.paragraph(x, here, w, text, family, 9.8 if family == "sans" else 11, 14.2) - 7
        bottom = min(bottom, here)
    lanes_drawing(page, bottom - 8)


def lanes_drawing(page, y):
    chance = random.Random(8)
    height = (y - 92) / 3
    for lane, (name, colour) in enumerate([("message", TEAL), ("integrate", ORANGE), ("pdf-to-png", NAVY)]):
        top = y - lane * height
        page.fill(PALE)
        page.rounded(MARGIN, top - height + 6, COLUMN - 92, height - 8, 5)
        page.text(MARGIN + 8, top - height / 2 - 3, name, "mono-bold", 8.5, colour)
        x = WIDTH - MARGIN - 104
        for i in range(6 + 3 * lane):
            w = (10, 15, 34)[lane] * chance.uniform(0.8, 1.3)
            if x - w < MARGIN + 72:
                break
            with page.saved():
                page.alpha(1 - 0.06 * i)
                page.fill(colour)
                page.rounded(x - w, top - height + 13, w, height - 22, 3)
            x -= w + 4
        page.arrow(WIDTH - MARGIN - 88, top - height / 2, WIDTH - MARGIN - 66, y - 1.5 * height)
    page.fill(ROSE)
    page.circle(WIDTH - MARGIN - 34, y - 1.5 * height, 30)
    page.text(WIDTH - MARGIN - 34, y - 1.5 * height - 3, "worker", "sans-bold", 10.5, WHITE, "center")


def currents(page, file):
    with page.saved():
        page.op(0, 0, WIDTH, HEIGHT, "re W n")
        page.shade(axial(file, 0, HEIGHT, 0, 0, (0.99, 0.97, 0.93), (0.91, 0.95, 0.95)))
    heading(page, "Seven", "Currents")
    for i in range(64):
        share = i / 63
        points = []
        for k in range(25):
            x = WIDTH * k / 24
            swing = math.sin(k / 24 * 5.2 + 3.1 * share) * 78 * (1 - 0.45 * share) + math.sin(k / 24 * 11 - 5 * share) * 22
            points.append((x, 600 - 430 * share + swing))
        with page.saved():
            page.alpha(0.75)
            page.stroke(mix(mix(TEAL, NAVY, min(1, share * 2)), ORANGE, max(0, share * 2 - 1)), 0.5 + 2.2 * math.sin(math.pi * share) ** 2)
            page.smooth(points)
    for (x, y, r), colour in zip([(430, 560, 62), (150, 420, 44), (470, 300, 34), (120, 190, 26)], [ORANGE, GOLD, ROSE, TEAL]):
        with page.saved():
            page.alpha(0.55, "Multiply")
            page.fill(colour)
            page.circle(x, y, r)
    with page.saved():
        page.alpha(0.86)
        page.fill(WHITE)
        page.rounded(MARGIN, 596, 250, 84, 8)
    page.paragraph(MARGIN + 14, 660, 222, (
        "Sixty-four curves of twenty-five points each, joined so smoothly that nobody sees the joints. Jobs should run "
        "through a host like this: side by side, without touching."), size=10.6, leading=14.6)


def wheels(page, file):
    y = heading(page, "Eight", "Wheels in wheels")
    page.paragraph(MARGIN, y, COLUMN, (
        "A wheel rolls inside a ring, with a pen through one of its holes. _Each figure is a single line that comes back to "
        "where it began._ So does a job that is interrupted: it starts again from its input, and ends in the same place."),
        size=11.6, leading=16.6)
    figures = [(33, 58, TEAL), (41, 84, ORANGE), (57, 36, NAVY), (63, 80, ROSE), (71, 55, GOLD), (47, 99, (0.42, 0.55, 0.77)),
               (83, 62, (0.49, 0.66, 0.42)), (27, 40, TEAL), (59, 70, ORANGE)]
    for i, (inner, pen, colour) in enumerate(figures):
        x = MARGIN + COLUMN / 6 + (i % 3) * COLUMN / 3
        middle = 532 - (i // 3) * 168
        size = 72 / ((100 - inner + pen) / 100)
        if i % 2 == 0:
            with page.saved():
                page.alpha(0.10)
                page.fill(colour)
                page.circle(x, middle, 78)
        page.stroke(colour, 0.55)
        page.smooth(spirograph(100, inner, pen, inner, 16 * max(inner, 45), x, middle, size), closed=True)
        page.text(x, middle - 86, f"{inner} in 100, pen at {pen}", "mono", 7, GREY, "center")


def light(page, file):
    y = heading(page, "Nine", "Light and colour")
    swatches = [
        (axial(file, MARGIN, 0, MARGIN + COLUMN, 0, NAVY, TEAL, GOLD, ORANGE, ROSE), "five colours on a line"),
        (axial(file, MARGIN, y - 100, MARGIN + COLUMN, y - 20, (0, 0, 0), (1, 1, 1)), "black to white, askew"),
        (axial(file, MARGIN, 0, MARGIN + COLUMN, 0, *[c for i in range(8) for c in (mix(WHITE, TEAL, i / 7), mix(WHITE, ROSE, i / 7))]), "sixteen stops"),
    ]
    for shading, label in swatches:
        with page.saved():
            page.rounded(MARGIN, y - 38, COLUMN, 46, 7, "W n")
            page.shade(shading)
        page.text(MARGIN + COLUMN, y - 50, label, "sans-italic", 8.5, GREY, "right")
        y -= 66
    y -= 8
    for i, colour in enumerate([ORANGE, TEAL, ROSE, GOLD, NAVY]):
        x, r = MARGIN + 47.5 + i * 95, 40
        with page.saved():
            page.circle(x, y - 40, r, "W n")
            page.shade(radial(file, x - 13, y - 26, 2, x, y - 40, r, mix(WHITE, colour, 0.15), colour, mix(colour, (0, 0, 0), 0.72)))
    page.text(WIDTH / 2, y - 96, "Balls that are discs: a radial gradient, its focus off the middle", "sans-italic", 8.5, GREY, "center")
    y -= 122
    modes = ["Normal", "Multiply", "Screen", "Overlay", "Difference", "Darken", "Lighten", "HardLight"]
    for i, mode in enumerate(modes):
        x, top = MARGIN + 59 + (i % 4) * 119, y - 46 - (i // 4) * 124
        page.rect(x - 52, top - 47, 104, 94, (0.60, 0.64, 0.69))
        for k, colour in enumerate([(0.90, 0.30, 0.24), (0.20, 0.66, 0.42), (0.22, 0.42, 0.86)]):
            angle = math.pi / 2 + k * 2 * math.pi / 3
            with page.saved():
                page.alpha(0.85, mode)
                page.fill(colour)
                page.circle(x + 17 * math.cos(angle), top + 17 * math.sin(angle) - 3, 26)
        page.text(x, top - 60, mode, "mono", 8.5, GREY, "center")


SEA = palette_of([(0.01, 0.02, 0.08), (0.05, 0.20, 0.38), (0.10, 0.55, 0.58), (0.93, 0.90, 0.66), (0.96, 0.60, 0.20), (0.52, 0.13, 0.24)])
FIRE = palette_of([(0.04, 0.01, 0.06), (0.35, 0.05, 0.22), (0.82, 0.25, 0.18), (0.98, 0.72, 0.25), (1.0, 0.98, 0.82)])


def deep(page, file):
    y = heading(page, "Ten", "Deep water")
    page.paragraph(MARGIN, y, COLUMN, (
        "Take a point, square it, add where you came from, and again. Most points run away; those that never do are drawn black. "
        "How _long_ each took to leave is the colour. Nobody can tell beforehand, and so it is with programs: the only way to "
        "learn whether one ends is to run it, *with a limit*."), size=11.6, leading=16.6)
    page.image(indexed(file, 840, 560, escape_time(840, 560, (-0.65, 0), 3.3, 90), SEA), MARGIN, 296, COLUMN, COLUMN * 2 / 3)
    views = [((-0.7436, 0.1319), 0.012, "seahorses"), ((-1.7687, 0.0017), 0.045, "a small copy"), ((-0.1011, 0.9563), 0.045, "an antenna")]
    w = (COLUMN - 24) / 3
    for i, (centre, span, label) in enumerate(views):
        x = MARGIN + i * (w + 12)
        picture = indexed(file, 300, 300, escape_time(300, 300, centre, span, 150), FIRE if i == 1 else SEA)
        page.image(picture, x, 126, w, w)
        page.stroke(WHITE, 3)
        page.op(x + 6, 132, w - 12, w - 12, "re S")
        page.text(x + w / 2, 112, f"{label}, {3.3 / span:,.0f}\u00d7", "sans-italic", 8.5, GREY, "center")


def masks(page, file):
    page.rect(0, 0, WIDTH, HEIGHT, (0.975, 0.97, 0.955))
    y = heading(page, "Eleven", "Through a mask")
    page.paragraph(MARGIN, y, COLUMN, (
        "These pictures carry a second one that says how much of them is to be seen. Where two overlap, both are: a renderer "
        "has to keep a whole picture of _how opaque_ beside the picture of _what colour_."), size=11.6, leading=16.6)
    round_mask = grey(file, 360, 360, vignette(360, 360))
    flowers = [grey(file, 320, 320, flower(320, 320, petals)) for petals in (5, 8)]
    julia = escape_time(360, 360, (0, 0), 3.0, 90, complex(-0.8, 0.156))
    rabbit = escape_time(360, 360, (0, 0), 2.9, 90, complex(-0.123, 0.745))
    page.image(rgb(file, 360, 360, plasma(360, 360, 0.4), round_mask), MARGIN - 20, 370, 300, 300)
    page.image(rgb(file, 320, 320, plasma(320, 320, 2.2), flowers[0]), 292, 372, 250, 250)
    page.image(indexed(file, 360, 360, julia, FIRE, round_mask), 180, 200, 260, 260)
    page.image(indexed(file, 360, 360, rabbit, SEA, flowers[1]), MARGIN - 14, 106, 236, 236)
    with page.saved():
        page.alpha(0.6)
        page.image(rgb(file, 200, 200, plasma(200, 200, 4.6), flowers[1]), 356, 98, 190, 190)


def evening(page, file):
    y = heading(page, "Twelve", "Evening")
    page.image(rgb(file, 800, 491, landscape(800, 491)), 0, y - 365 + 18, WIDTH, 365)
    bottom = y - 365 + 18
    w = (COLUMN - 16) * 0.58
    h = w * 0.75
    page.image(rgb(file, 440, 330, spheres(440, 330)), MARGIN, bottom - 18 - h, w, h)
    x = MARGIN + w + 18
    page.text(x, bottom - 30, "Outdoors, indoors", "sans-bold", 12.5, TEAL)
    page.paragraph(x, bottom - 50, COLUMN - w - 18, (
        "Above, six ranges of hills, each paler than the one before it, and a sun. To the left, five balls on a floor; every "
        "point of the picture was found by following a line of sight until it met something, and from there on again. "
        "It takes a few thousand steps for each point, and *not one of them needs to trust the others*."),
        size=10.8, leading=14.8)


def retries(page, file):
    y = heading(page, "Thirteen", "Retries")
    y = page.paragraph(MARGIN, y, COLUMN, (
        "To try again is right when the world may have changed, and wrong when it cannot have. A service that was down may be "
        "up in a minute; a letter that is no number will not become one. So a plugin that fails says _which it was_, and "
        "the host believes it."), size=11.6, leading=16.6)
    y = table(page, y - 8, [
        ("what happened", "code", "whose doing", "again?"),
        ("the input makes no sense", "invalid_input", "the job\u2019s", "no"),
        ("a service did not answer", "transient", "nobody\u2019s", "yes"),
        ("the plugin hit an impossible case", "trap", "the plugin\u2019s", "no"),
        ("it ran and ran", "deadline_exceeded", "the job\u2019s", "no"),
        ("it wanted more memory than it had", "memory_exceeded", "the plugin\u2019s", "no"),
        ("the host process died, again and again", "host_crash", "the plugin\u2019s", "no"),
        ("the disk of the host is broken", "internal", "the host\u2019s", "yes"),
    ])
    y = page.paragraph(MARGIN, y - 16, COLUMN, (
        "Between two attempts the host waits, twice as long each time, and never quite as long as it planned: a little chance is "
        "mixed in, for otherwise a thousand jobs that failed together would come back together. If the plugin knows better, "
        "because the service said when to come back, its advice counts."), size=11.6, leading=16.6)
    backoff(page, y - 14)


def table(page, y, rows):
    columns = [0, 206, 326, 414]
    for i, row in enumerate(rows):
        if i == 0:
            page.fill(NAVY)
            page.rounded(MARGIN, y - 19, COLUMN, 24, 4)
        elif i % 2 == 0:
            page.rect(MARGIN, y - 17, COLUMN, 22, PALE)
        for column, text in zip(columns, row):
            font = "sans-bold" if i == 0 else "mono" if column == 206 else "serif"
            colour = WHITE if i == 0 else ROSE if text == "no" else TEAL if text == "yes" else INK
            page.text(MARGIN + 12 + column, y - 11, text, font, 9.5 if font != "serif" else 11, colour)
        y -= 22
    return y


def backoff(page, y):
    base, left, right = 124, MARGIN + 10, WIDTH - MARGIN - 6
    page.text(MARGIN, y, "Five attempts", "sans-bold", 12.5, TEAL)
    page.stroke(GREY, 0.8)
    page.arrow(left - 10, base, right + 6, base, GREY, 0.8)
    chance, t, wait, height = random.Random(5), 0.0, 1.0, y - base - 26
    places = []
    for _ in range(5):
        places.append(t)
        t += wait * chance.uniform(0.75, 1.0) + 0.35
        wait *= 2
    scale = (right - left - 30) / places[-1]
    for i, place in enumerate(places):
        x = left + place * scale
        last = i == 4
        page.fill(TEAL if last else ROSE)
        page.rounded(x, base, 22, height * (0.88 if last else 0.60), 3)
        page.text(x + 11, base + height * (0.88 if last else 0.60) + 6, str(i + 1), "sans-bold", 11, INK, "center")
        if i:
            before = left + places[i - 1] * scale + 22
            page.stroke(ORANGE, 1)
            middle = (before + x) / 2
            page.op(before + 1, base + 4, "m", middle - (x - before) / 4, base + 14 + 20 * i, middle + (x - before) / 4, base + 14 + 20 * i, x - 1, base + 4, "c S")
            page.text(middle, base - 14, f"{2 ** (i - 1)} s", "sans", 9, GREY, "center")


def states(page, file):
    y = heading(page, "Fourteen", "States")
    page.paragraph(MARGIN, y, COLUMN, (
        "A job is in one of seven states, and there are few ways from one to another. The three at the bottom are final: what has "
        "ended stays ended, and only a person who asks for it by name can open a failed or cancelled job again."),
        size=11.6, leading=16.6)
    top = y - 112
    places = {
        "submit": (237, top + 14, GREY, "a request"), "scheduled": (MARGIN, top - 88, (0.42, 0.55, 0.77), "not before a time"),
        "blocked": (415, top - 88, (0.42, 0.55, 0.77), "not before its parents"), "queued": (237, top - 88, TEAL, "ready to go"),
        "running": (237, top - 204, ORANGE, "inside a guest"), "succeeded": (MARGIN, top - 330, (0.33, 0.56, 0.32), "a result"),
        "failed": (237, top - 330, ROSE, "a reason"), "cancelled": (415, top - 330, GREY, "as asked"),
    }
    w, h = 120, 46
    for label, (x, here, colour, note) in places.items():
        box(page, x, here, w, h, label, colour, note)
    page.arrow(297, top + 14, 297, top - 40)
    page.arrow(262, top + 14, 140, top - 40)
    page.arrow(332, top + 14, 454, top - 40)
    page.arrow(MARGIN + w, top - 65, 235, top - 65)
    page.arrow(415, top - 65, 359, top - 65)
    page.arrow(284, top - 88, 284, top - 156)
    page.arrow(310, top - 158, 310, top - 90, GREY, 0.9)
    page.text(316, top - 126, "crash, shutdown", "sans-italic", 8.5, GREY)
    page.text(279, top - 126, "a worker is free", "sans-italic", 8.5, GREY, "right")
    page.arrow(257, top - 204, 140, top - 282)
    page.arrow(297, top - 204, 297, top - 282)
    page.arrow(337, top - 204, 454, top - 282)
    page.stroke(GREY, 0.9)
    for side, label, where in [(1, "try again later", MARGIN + 60), (-1, "waits for children", 475)]:
        edge = 235 if side == 1 else 359
        page.op(edge, top - 184, "m", where + 6 * side, top - 184, where, top - 160, where, top - 100, "c S")
        page.arrow(where, top - 104, where, top - 91, GREY, 0.9)
        page.text(where + 14 * side, top - 198, label, "sans-italic", 8.5, GREY, "left" if side == 1 else "right")
    page.paragraph(MARGIN, 168, COLUMN, (
        "Three counters go with it, and they are never mixed up: *attempts* that ended on their own, *crashes* of the whole "
        "process that were this job\u2019s doing, and *interruptions* that were not. Only the first two can use up a job\u2019s "
        "chances."), size=11.6, leading=16.6)


def specimen(page, file):
    y = heading(page, "Fifteen", "The type")
    sentence = "Quick wafting zephyrs vex bold Jim, 0123456789"
    for font in list(FONTS)[:12]:
        page.text(MARGIN, y, FONTS[font], "mono", 7.5, GREY)
        size = 15.5 if not font.startswith("mono") else 12
        page.text(MARGIN + 124, y, sentence, font, size, INK)
        y -= 25.5
    page.text(MARGIN, y, "Symbol", "mono", 7.5, GREY)
    page.raw_text(MARGIN + 124, y, bytes(range(0x61, 0x7B)), "symbol", 15.5, TEAL)
    y -= 25.5
    page.raw_text(MARGIN + 124, y, b"\xa3\xb3\xb9\xbb\xb1\xb4\xb8\xa5\xb6\xd1\xd6\xe5\xd5\xf2\xce\xc7\xc8\xd8\xd9\xda\xdb\xde", "symbol", 15.5, TEAL)
    y -= 25.5
    page.text(MARGIN, y, "ZapfDingbats", "mono", 7.5, GREY)
    page.raw_text(MARGIN + 124, y, bytes(range(0x21, 0x36)), "dingbats", 15.5, ORANGE)
    y -= 40
    page.text(MARGIN, y - 8, "Aa", "serif", 92 * 0.62, NAVY)
    for i, size in enumerate((6, 7, 8, 9, 10, 12, 14, 18)):
        page.text(MARGIN + 124, y + 22 - sum((6, 7, 8, 9, 10, 12, 14, 18)[:i]) * 1.25, f"{size} points are enough", "serif-italic", size, INK)
    y -= 112
    page.fill(NAVY)
    page.rounded(MARGIN, 96, COLUMN, y - 88, 8)
    page.text(WIDTH / 2, (y + 100) / 2 + 7, "202, and it will be done.", "serif-bold-italic", 25, WHITE, "center")
    page.text(WIDTH / 2, (y + 100) / 2 - 14, "That is all a client should have to know.", "serif-italic", 12.5, (0.80, 0.88, 0.90), "center")


# ------------------------------------------------------------------------------------------------ putting it together

CHAPTERS = [title, contents, submit, durability, sandbox, fuel, charts, queues, currents, wheels, light, deep, masks,
            evening, retries, states, specimen]


def main():
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("demo.pdf")
    assert len(CHAPTERS) == PAGES
    file = File()
    root, tree = file.add(), file.add()
    info = file.add("<< /Title (Dropforge: the life of a job) /Producer (make-demo-pdf.py) >>")
    encoded = {name: "" if name in ("symbol", "dingbats") else " /Encoding /WinAnsiEncoding" for name in FONTS}
    fonts = " ".join(
        f"/{name} {file.add(f'<< /Type /Font /Subtype /Type1 /BaseFont /{base}{encoded[name]} >>')} 0 R"
        for name, base in FONTS.items()
    )
    kids = []
    for index, draw in enumerate(CHAPTERS, 1):
        page = Page(file)
        draw(page, file)
        footer(page, index, *([WHITE, (0.62, 0.80, 0.82)] if draw is title else []))
        content = file.stream("", "\n".join(page.ops).encode("latin-1"))
        kids.append(file.add(
            f"<< /Type /Page /Parent {tree} 0 R /MediaBox [0 0 {WIDTH} {HEIGHT}] /Contents {content} 0 R "
            f"/Resources << /Font << {fonts} >> {page.resources()} >> >>"
        ))
    file.put(root, f"<< /Type /Catalog /Pages {tree} 0 R >>")
    file.put(tree, f"<< /Type /Pages /Count {len(kids)} /Kids [{' '.join(f'{kid} 0 R' for kid in kids)}] >>")
    print(f"{path}: {len(kids)} pages, {file.write(path, root, info)} bytes")


if __name__ == "__main__":
    main()
