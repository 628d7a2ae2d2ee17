#!/bin/bash
# test_story.sh VARVE-SIM: the story of a seed is the same to the byte every time, and reads like one.
set -euo pipefail
sim=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for seed in 3 11; do
  for run in a b; do "$sim" --seed $seed --trace-ops >"$dir/$run" || { tail -5 "$dir/$run"; exit 1; }; done
  cmp "$dir/a" "$dir/b"
  for word in "leads in term" "asks at node" "world     heals" "operations "; do
    grep -q -- "$word" "$dir/a" || { echo "seed $seed: no \"$word\" in the story"; exit 1; }
  done
done
# Wrong words are refused, and say so.
set +e
"$sim" --seed x 2>"$dir/err"; [[ $? == 2 ]] || { echo "a seed that is no number was taken"; exit 1; }
"$sim" --seed 1 --without nothing 2>"$dir/err"; [[ $? == 2 ]] && grep -q "no such fault" "$dir/err"
