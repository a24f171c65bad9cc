"""Line charts as SVG, without any library."""

import html
import math

COLOURS = ["#000000", "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#17becf"]
WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 200, 40, 48


def ticks(low, high, count=6):
    """Round numbers from about low to about high."""
    step = 10 ** math.floor(math.log10(max((high - low) / count, 1e-12)))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= count)
    first = math.ceil(low / step - 1e-9)
    return [step * i for i in range(first, math.floor(high / step + 1e-9) + 1)]


def line_chart(title, x_name, y_name, series):
    """`series`: [(name, [(x, y), …]), …]. Returns the SVG's text."""
    points = [point for _, line in series for point in line]
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_low, y_high = min(y for _, y in points), max(y for _, y in points)
    # The first steps of a training would hide all that follows.
    lines_end = sorted(line[-1][1] for _, line in series)
    y_high = min(y_high, lines_end[-1] + 1.5 * max(lines_end[-1] - y_low, 0.5))
    x_span, y_span = x_high - x_low or 1, y_high - y_low or 1
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x, y):
        return LEFT + (x - x_low) / x_span * inner_width, TOP + (y_high - min(y, y_high)) / y_span * inner_height

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             f'<text x="{LEFT}" y="22" font-size="14">{html.escape(title)}</text>']
    for tick in ticks(y_low, y_high):
        _, y = place(x_low, tick)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#dddddd"/>'
                     f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    for tick in ticks(x_low, x_high):
        x, _ = place(tick, y_low)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:.6g}</text>')
    parts.append(f'<text x="{LEFT + inner_width / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{html.escape(x_name)}</text>')
    parts.append(f'<text transform="translate(16 {TOP + inner_height / 2:.0f}) rotate(-90)" text-anchor="middle">'
                 f'{html.escape(y_name)}</text>')
    for number, (name, line) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        dashes = ' stroke-dasharray="5 3"' if number >= len(COLOURS) else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}>'
                     f'<title>{html.escape(name)}</title></polyline>')
        y = TOP + 8 + 18 * number
        parts.append(f'<line x1="{WIDTH - RIGHT + 12}" y1="{y}" x2="{WIDTH - RIGHT + 36}" y2="{y}" stroke="{colour}" '
                     f'stroke-width="2"{dashes}/>'
                     f'<text x="{WIDTH - RIGHT + 42}" y="{y + 4}">{html.escape(name)}</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"
