#!/bin/sh
# Weak symbols in an object compiled for AVX may replace the baseline's; there must be none. Arguments: archives.
set -eu
archives=0
status=0
for file in "$@"; do
  case "$file" in *.a) ;; *) continue ;; esac
  archives=$((archives + 1))
  symbols=$(nm -C "$file")
  if echo "$symbols" | grep -E ' [VWuvw] '; then
    echo "above: weak symbols of $file"
    status=1
  fi
done
if [ "$archives" -lt 4 ]; then
  echo "$archives archives given; one for each of 4 instruction sets is required"
  status=1
fi
exit $status
