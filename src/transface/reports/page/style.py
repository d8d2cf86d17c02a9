"""The style sheet of HTML reports: light and dark by the reader's setting, readable on paper, no file of its own."""

from transface.plots import DARK_SERIES, FAINT, GRID, INK, PAPER, SERIES


def variables(ink: str, faint: str, grid: str, paper: str, series: tuple[str, ...], rest: str) -> str:
    """Return the declarations of one colour scheme."""
    lines = "".join(f"--series-{index}:{colour};" for index, colour in enumerate(series))
    return f"--ink:{ink};--faint:{faint};--grid:{grid};--paper:{paper};{lines}{rest}"


LIGHT = variables(
    INK,
    FAINT,
    GRID,
    PAPER,
    SERIES,
    "--page:#f4f6f9;--accent:#1f5fd1;--warn:#7a4a00;--warn-paper:#fff4d6;--warn-edge:#e0a100;--best:#e3f2ea;",
)
DARK = variables(
    "#e8ebf0",
    "#a3adbb",
    "#39424f",
    "#181d25",
    DARK_SERIES,
    "--page:#0f1319;--accent:#7db0ff;--warn:#ffd88a;--warn-paper:#33280f;--warn-edge:#b98700;--best:#173527;",
)

STYLE = (
    ":root{--sans:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','DejaVu"
    " Sans',Arial,sans-serif;color-scheme:light dark;"
    + LIGHT
    + "}\n@media (prefers-color-scheme:dark){:root{"
    + DARK
    + "}}\n@media print{:root{"
    + LIGHT
    + "}}\n"
    + """
*{box-sizing:border-box}
html{scroll-behavior:smooth}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 var(--sans)}
header,main{max-width:78rem;margin:0 auto;padding:0 1.5rem}
header{padding-top:2.2rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .3rem;letter-spacing:-.01em}
h2{font-size:1.2rem;margin:0 0 .8rem;letter-spacing:-.005em}
.subtitle{margin:0 0 1rem;color:var(--faint)}
p{max-width:52rem;margin:.4rem 0;overflow-wrap:anywhere}
a{color:var(--accent)}
.skip{position:absolute;left:-999px}
.skip:focus{left:1rem;top:1rem;background:var(--paper);padding:.5rem 1rem;z-index:2}
nav ol{list-style:none;display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;margin:0 0 1.2rem;padding:0;font-size:.92rem}
nav a{text-decoration:none}
nav a:hover,nav a:focus{text-decoration:underline}
section{background:var(--paper);border:1px solid var(--grid);border-radius:10px;padding:1.2rem 1.4rem;margin:0 0 1.2rem}
.table{overflow-x:auto;margin:.9rem 0 .3rem}
.table:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:0 0 .5rem;caption-side:top}
th,td{padding:.42rem .8rem;text-align:right;vertical-align:baseline;border-bottom:1px solid var(--grid)}
thead th{font-weight:600;color:var(--faint);vertical-align:bottom;border-bottom:2px solid var(--grid)}
th:first-child{text-align:left;padding-left:.2rem;position:sticky;left:0;background:var(--paper)}
tbody th{font-weight:500;min-width:9rem}
tbody tr:last-child th,tbody tr:last-child td{border-bottom:0}
td .value{white-space:nowrap}
td .words{white-space:normal}
td.best .value{font-weight:700;background:var(--best);border-radius:4px;padding:.05rem .3rem;margin-right:-.3rem}
tr.best th,tr.best .value{font-weight:700}
.interval{display:block;color:var(--faint);font-size:.82em;white-space:nowrap}
.none{color:var(--faint)}
tr.published th,tr.published td{color:var(--faint);font-style:italic}
tr.baseline th,tr.baseline td{color:var(--faint)}
.badge{display:inline-block;font-size:.72rem;font-style:normal;font-weight:600;line-height:1.5;white-space:nowrap}
.badge{border:1px solid currentColor;border-radius:999px;padding:0 .5rem;margin-left:.3rem}
.badge.best{color:var(--series-2)}
abbr{text-decoration:none;color:var(--warn);font-weight:700;margin-left:.1rem}
.notes{font-size:.84rem;color:var(--faint);margin-bottom:1rem}
.notes p{margin:.15rem 0;max-width:none}
.warnings{background:var(--warn-paper);border-left:4px solid var(--warn-edge);color:var(--warn);border-radius:4px;
padding:.6rem 1rem}
.warnings ul{margin:0;padding-left:1.1rem}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1rem;margin:1rem 0}
figure{margin:0}
.plot svg{width:100%;height:auto;display:block}
.plot svg *{stroke-linejoin:round;stroke-linecap:butt}
.plot svg text{font-family:var(--sans)}
figcaption{font-size:.9rem;color:var(--faint);margin:.3rem 0}
.picture{margin:1rem 0}
.picture img{max-width:100%;height:auto;background:#fefefe;border-radius:6px;display:block}
.gallery{margin:1.2rem 0}
.gallery figcaption{color:var(--ink);font-weight:600}
.gallery ul{list-style:none;margin:.4rem 0 0;padding:0;display:grid;
grid-template-columns:repeat(auto-fill,minmax(170px,1fr));gap:.9rem}
.faces{display:flex;gap:2px}
.faces img,.missing{width:84px;height:84px;object-fit:cover;border-radius:4px;background:var(--grid)}
.pair{display:block;font-size:.8rem;color:var(--faint);font-variant-numeric:tabular-nums}
details{margin:.5rem 0}
summary{cursor:pointer;color:var(--accent)}
pre{overflow-x:auto;background:var(--page);border:1px solid var(--grid);border-radius:6px;padding:.8rem;
font-size:.82rem;line-height:1.45}
@media (max-width:40rem){
header,main{padding:0 .5rem}
header{padding-top:1rem}
h1{font-size:1.5rem}
section{padding:.8rem .7rem;border-radius:6px;margin-bottom:.8rem}
tbody th{min-width:6rem}
th,td{padding:.4rem .5rem}
.gallery ul{grid-template-columns:repeat(2,1fr);gap:.6rem}
.faces img,.missing{width:calc(50% - 1px);height:auto;aspect-ratio:1}
}
@media print{
body{background:#fff;font-size:10.5pt}
nav,.skip,details:not([open]){display:none}
section{border:0;padding:0;margin:0 0 1.2rem}
.table{overflow:visible}
tr,figure,li{break-inside:avoid}
h2,caption{break-after:avoid}
}
"""
)
