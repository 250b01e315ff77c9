#!/usr/bin/env bash
# Put together what train_on_gpu.sh has sent, and ask whether it is better than the packaged weights:
#     [INTO=outputs/from_gpu] [XNEMO=.venv/bin/xnemo] bash docs/collect_from_gpu.sh RESULTS DATA [key=value ...]
# RESULTS is the folder of the parts, DATA the manifest with validation clips and portraits; the settings are those of
# `xnemo evaluate gate`. Without DATA it ends when all is unpacked.
set -euo pipefail

results=${1:?usage: bash docs/collect_from_gpu.sh RESULTS [DATA [key=value ...]]}
into=${INTO:-outputs/from_gpu}
(cd "$results" && sha256sum --quiet -c SHA256SUMS) || { echo "error: $results: a part is missing or damaged" >&2; exit 1; }
mkdir -p "$into"
cat "$results"/results.part-* | tar -C "$into" -xz
[ -d "$into/made/finished/animator" ] || { echo "error: $into/made: the training did not end; its log says why" >&2; exit 1; }
echo "weights: $into/made/finished/animator"
if [ $# -gt 1 ]; then
    data=$2
    shift 2
    "${XNEMO:-.venv/bin/xnemo}" evaluate gate "$into/made/finished" "$data" -o "$into/gate" "$@"
fi
