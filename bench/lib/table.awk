# Raw figures of bench/copy as a table: medians of the rounds, and each as a ratio to the best of the peers.
# Columns: row tool wall cpu rss_kib exit load objects requests p50_ms p99_ms; `-`: there is none
BEGIN { FS = "\t" }
{
  key = $1 SUBSEP $2
  if (!(key in seen)) { seen[key] = 1; if (!($1 in rows)) { rows[$1] = 1; order[++count] = $1 } tools[$1] = tools[$1] " " $2 }
  n = ++rounds[key]
  wall[key, n] = $3; cpu[key, n] = $4; rss[key, n] = $5 == "-" ? $5 : $5 / 1024; p50[key, n] = $10; p99[key, n] = $11
  exits[key] = $6; load[key] = $7; held[key] = $8; asked[key] = $9
}
function median(values, key,   i, j, t, list, n) {
  n = rounds[key]
  if (values[key, 1] == "-") return "-"
  for (i = 1; i <= n; i++) list[i] = values[key, i]
  for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (list[j] < list[i]) { t = list[i]; list[i] = list[j]; list[j] = t }
  return list[int((n + 1) / 2)] + 0
}
function best(row, values,   names, i, m, b, key) {
  b = -1
  split(tools[row], names, " ")
  for (i in names) if (names[i] != "farshore") {
    key = row SUBSEP names[i]
    if (exits[key] != 0) continue
    m = median(values, key)
    if (m == "-") continue
    if (b < 0 || m < b) b = m
  }
  return b
}
function shown(value, base, unit) { return value == "-" ? value : base > 0 ? sprintf("%.2f%s (%.2f ×)", value, unit, value / base) : sprintf("%.2f%s", value, unit) }
END {
  print "| row | tool | wall | CPU | peak memory | exit | load | objects at the target | requests | p50 | p99 |"
  print "|---|---|---|---|---|---|---|---|---|---|---|"
  for (r = 1; r <= count; r++) {
    row = order[r]
    split(tools[row], names, " ")
    bw = best(row, wall); bc = best(row, cpu); br = best(row, rss); b50 = best(row, p50); b99 = best(row, p99)
    for (i = 1; i in names; i++) {
      key = row SUBSEP names[i]
      gsub(/,/, ", ", asked[key]); gsub(/=/, " ", asked[key])
      printf "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", row, names[i], shown(median(wall, key), bw, " s"), \
        shown(median(cpu, key), bc, " s"), shown(median(rss, key), br, " MiB"), exits[key], load[key], held[key], asked[key], \
        shown(median(p50, key), b50, " ms"), shown(median(p99, key), b99, " ms")
    }
    delete names
  }
}
