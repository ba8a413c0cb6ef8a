#!/usr/bin/env bash
# report.sh PROGRAM SCRATCH: report.html in headless Chromium. Ends with 77 where there is none.
set -euo pipefail
program=$1 scratch=$2
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
  echo "no Chromium here"
  exit 77
}
. "$(dirname "${BASH_SOURCE[0]}")/tiny_data.sh"
rm -rf "$scratch"
cifar10 "$scratch/data"
"$program" train --model conv-gap --data "$scratch/data" --epochs 3 --threads 1 --out "$scratch/run" >"$scratch/log"
"$program" compare --pools gap,gap+gmp --seeds 2 --data "$scratch/data" --epochs 2 --threads 1 --out "$scratch/compare" >>"$scratch/log"

# open PAGE OPTIONS...: what the browser makes of a page.
open() {
  local page=$1
  shift
  "$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$scratch/profile" \
    --virtual-time-budget=2000 "$@" "file://$page" 2>/dev/null
}
expect() {
  if [ "$2" != "$3" ]; then
    echo "FAILED: $1 is $2, expected $3"
    exit 1
  fi
}
at_least() {
  if ! [ "$2" -ge "$3" ]; then
    echo "FAILED: $1 is $2, expected at least $3"
    exit 1
  fi
}

# What the browser asked the net for, but for what it asks its maker's servers on its own account.
left() {
  grep -oE '"url":"(https?|wss?):[^"]*"' "$scratch/net.json" | grep -vcE '//[a-z0-9.-]*\.(google|googleapis|gstatic)\.com/' || true
}

for report in run compare; do
  page=$scratch/$report/report.html
  # It names nothing outside itself, and has no script to fail.
  expect "$report: addresses" "$(grep -coE '(src|href|url\()[=("'"'"' ]*(https?:)?//' "$page" || true)" 0
  expect "$report: scripts" "$(grep -c '<script' "$page" || true)" 0

  # A copy tells what it looks like, in its title.
  cat - "$page" >"$scratch/$report-probe.html" <<'PROBE'
<script>
window.errors = 0;
addEventListener("error", () => ++errors, true);
addEventListener("load", () => {
  const all = (s) => [...document.querySelectorAll(s)];
  const seen = (e) => { const b = e.getBoundingClientRect(); return b.width > 5 && b.height > 5; };
  const light = getComputedStyle(document.body).backgroundColor.match(/\d+/g).reduce((a, b) => a + +b, 0) > 380;
  const dot = (e) => getComputedStyle(e).fill !== "none";
  const left = performance.getEntriesByType("resource").filter((e) => !/^(data|file):/.test(e.name)).length;
  document.title = ["RESULT", errors + left, all("img").length, all("img").filter((i) => !(i.complete && i.naturalWidth > 0 && seen(i))).length,
    all("path.line").filter((e) => e.getBoundingClientRect().width > 5).length, all(".dot").filter(dot).length, all("rect.bar").filter(seen).length,
    all(".confusion td").length, document.documentElement.scrollWidth <= innerWidth, light ? "light" : "dark", "END"].join(" ");
});
</script>
PROBE
  for width in 1200 390; do
    for colours in light dark; do
      dark=()
      [ "$colours" = light ] || dark=(--force-dark-mode --blink-settings=preferredColorScheme=0)
      name=$report-$width-$colours
      result=$(open "$scratch/$report-probe.html" --window-size=$width,1000 "${dark[@]}" --log-net-log="$scratch/net.json" --dump-dom |
        grep -o 'RESULT .* END' | head -1)
      echo "$name: $result"
      read -r _ errors images broken curves dots bars cells fits scheme _ <<<"$result"
      expect "$name: script errors and requests" "$errors" 0
      expect "$name: images that do not show" "$broken" 0
      at_least "$name: images" "$images" 4
      at_least "$name: curves" "$curves" 5
      at_least "$name: points" "$dots" 8
      expect "$name: confusion matrix cells" "$cells" 100
      expect "$name: fits its window" "$fits" true
      expect "$name: colours" "$scheme" "$colours"
      [ "$report" = run ] || at_least "$name: bars" "$bars" 4
      expect "$name: requests that leave" "$(left)" 0
      open "$page" --window-size=$width,2400 "${dark[@]}" --screenshot="$scratch/$name.png" || true
      at_least "$name: bytes of the screenshot" "$(stat -c %s "$scratch/$name.png")" 20000
    done
  done
done
