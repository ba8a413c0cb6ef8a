// The style sheet of report.html.
#pragma once

inline constexpr const char* report_style = R"css(
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #1b2230; --faint: #5b6577; --rule: #dfe3ea; --accent: 38, 99, 201;
  --c1: #2363c9; --c2: #c2541b; --c3: #17805a; --c4: #8a3fb0; --c5: #97700a; --c6: #b8326d; --c7: #2b7f96; --c8: #6a6f7a; }
@media (prefers-color-scheme: dark) { :root {
  --page: #12151b; --card: #1b2029; --text: #e6eaf2; --faint: #9aa5b8; --rule: #333b49; --accent: 110, 160, 255;
  --c1: #7aa8ff; --c2: #f2995e; --c3: #57c79a; --c4: #c794ec; --c5: #d9b44a; --c6: #f08bb6; --c7: #6fc3da; --c8: #aab1bf; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 20px 16px 48px; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 8px 0 4px; }
h2 { font-size: 1.15rem; margin: 0 0 10px; }
p { margin: 0 0 10px; max-width: 75ch; }
.faint { color: var(--faint); }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 16px; margin: 16px 0; min-width: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 10px; margin: 14px 0; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 10px 14px; }
.tile b { display: block; font-size: 1.45rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { color: var(--faint); font-size: .85rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); gap: 18px; }
.chart { margin: 0; min-width: 0; max-width: 620px; }
.chart svg[viewBox] { width: 100%; height: auto; display: block; }
figcaption { font-weight: 600; font-size: .92rem; margin-bottom: 6px; }
.legend { display: block; font-weight: 400; }
.key { white-space: nowrap; margin-right: 12px; font-size: .85rem; color: var(--faint); }
.key svg { vertical-align: middle; margin-right: 4px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--faint); font-variant-numeric: tabular-nums; }
svg text.name, svg text.value { fill: var(--text); }
.grid { stroke: var(--rule); stroke-width: 1; }
.line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; }
.line.dashed { stroke-dasharray: 5 4; }
.dot, .bar { fill: var(--c); }
.whisker { stroke: var(--text); stroke-width: 1.3; fill: none; }
.c1 { --c: var(--c1); } .c2 { --c: var(--c2); } .c3 { --c: var(--c3); } .c4 { --c: var(--c4); }
.c5 { --c: var(--c5); } .c6 { --c: var(--c6); } .c7 { --c: var(--c7); } .c8 { --c: var(--c8); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 9px; text-align: right; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; color: var(--faint); }
th:first-child, td:first-child { text-align: left; }
.confusion td { text-align: center; min-width: 40px; padding: 5px 4px; border: 1px solid var(--card); background: rgba(var(--accent), var(--share)); }
.confusion th { border: 0; }
.confusion thead th { vertical-align: bottom; text-align: center; }
.confusion tbody th { text-align: right; white-space: nowrap; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 232px), 1fr)); gap: 14px; }
.picture { margin: 0; font-size: .85rem; }
.picture div { display: flex; gap: 4px; }
.picture img { width: calc(50% - 2px); height: auto; min-width: 0; aspect-ratio: var(--aspect, 1); image-rendering: pixelated; border-radius: 4px; }
.picture figcaption { font-weight: 400; font-size: .85rem; margin: 4px 0 0; }
.layers { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr)); gap: 16px; }
.layers figure { margin: 0; }
.layers img { width: 100%; height: auto; image-rendering: pixelated; border-radius: 4px; display: block; }
.layers figcaption { margin: 4px 0 0; font-weight: 400; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr)); gap: 2px 24px; margin: 0; font-size: .9rem; }
dl div { display: flex; justify-content: space-between; gap: 12px; border-bottom: 1px solid var(--rule); padding: 2px 0; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; text-align: right; }
@media print { body { background: none; } section, .tile { break-inside: avoid; } }
)css";
